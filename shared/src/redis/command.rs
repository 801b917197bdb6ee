//! A Redis command.

use std::fmt;

use serde::Serialize;

/// A command with its arguments. Its debug form shows the name alone: arguments are keys and values of people.
#[derive(Clone, Serialize)]
#[serde(transparent)]
pub struct Command(Vec<String>);

impl Command {
    /// A command without arguments yet.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(vec![name.to_owned()])
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl fmt::Display) -> Self {
        self.0.push(arg.to_string());
        self
    }

    /// Adds each as one argument.
    #[must_use]
    pub fn args(self, args: impl IntoIterator<Item = impl fmt::Display>) -> Self {
        args.into_iter().fold(self, Self::arg)
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Command({} …)", self.0[0])
    }
}
