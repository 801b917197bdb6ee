//! `ops completions` and `ops man`: what a shell completes, and the pages of the manual, made of the commands themselves.

use std::io::Write as _;
use std::process::ExitCode;

use catchup::queues;
use clap::builder::PossibleValuesParser;
use clap::{Args, Command};
use clap_complete::{Shell, generate};
use clap_mangen::Man;
use shared::queue::Queue;

use crate::names;
use crate::operations::schedules::cloud_name;

/// As shells know it, whatever path it is called by.
const PROGRAM: &str = "ops";

/// Print what a shell needs to complete commands, options, and names of queues and schedules.
///
/// bash: `source <(scripts/ops completions bash)`. zsh, after compinit: `source <(scripts/ops completions zsh)`.
/// fish: `scripts/ops completions fish | source`.
#[derive(Args)]
pub(crate) struct Completions {
    /// The shell.
    shell: Shell,
}

/// Print a page of the manual, to be read with `man`: `scripts/ops man > ops.1; man ./ops.1`.
#[derive(Args)]
pub(crate) struct Manual {
    /// The command that the page is about, such as `dead-letters replay`; without it, the page of all.
    #[arg(value_name = "COMMAND")]
    command: Vec<String>,
}

impl Completions {
    pub(crate) fn print(&self, ops: Command) -> anyhow::Result<ExitCode> {
        std::io::stdout().write_all(&script(self.shell, ops))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Manual {
    pub(crate) fn print(&self, ops: Command) -> anyhow::Result<ExitCode> {
        let ops = named(ops);
        let mut found = &ops;
        for name in &self.command {
            let known: Vec<&str> = found.get_subcommands().map(Command::get_name).collect();
            let below = found.find_subcommand(name);
            found = below.ok_or_else(|| names::unknown("command", name, &known))?;
        }
        let mut page = Vec::new();
        Man::new(found.clone()).render(&mut page)?;
        std::io::stdout().write_all(&page)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Names the commands below it as they are called.
fn named(ops: Command) -> Command {
    let mut ops = ops.bin_name(PROGRAM);
    ops.build();
    ops
}

fn script(shell: Shell, ops: Command) -> Vec<u8> {
    let (mut ops, mut script) = (with_names(ops), Vec::new());
    generate(shell, &mut ops, PROGRAM, &mut script);
    if shell == Shell::Fish {
        for command in ops.get_subcommands() {
            let name = command.get_name();
            names_for_fish(command, &format!("__fish_ops_using_subcommand {name}"), &mut script);
        }
    }
    script
}

/// The generator for fish completes the values of options, and not those without one.
fn names_for_fish(command: &Command, when: &str, script: &mut Vec<u8>) {
    for argument in command.get_positionals() {
        let names: Vec<_> =
            argument.get_possible_values().iter().map(|it| it.get_name().to_owned()).collect();
        if !names.is_empty() {
            script.extend(format!("complete -c ops -n \"{when}\" -f -a \"{}\"\n", names.join(" ")).bytes());
        }
    }
    for below in command.get_subcommands() {
        let when = format!("{when}; and __fish_seen_subcommand_from {}", below.get_name());
        names_for_fish(below, &when, script);
    }
}

/// The same, with the names that stand for a queue or a schedule. When commands run, they take all names of each, and suggest one for a
/// typing error.
fn with_names(command: Command) -> Command {
    let command = command.mut_args(|argument| {
        let names = match argument.get_value_names() {
            Some([name]) if name == "QUEUE" => queues::all().map(Queue::name).collect(),
            Some([name]) if name == "SCHEDULE" => schedules(),
            _ => return argument,
        };
        argument.value_parser(PossibleValuesParser::new(names))
    });
    command.mut_subcommands(with_names)
}

/// Names of all schedules, which live as long as the program: it prints them and ends.
fn schedules() -> Vec<&'static str> {
    let of = |queue: Queue| {
        queue.policy().schedules.iter().map(move |schedule| &*cloud_name(queue, schedule).leak())
    };
    queues::all().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::Arguments;

    /// All commands below it, and itself.
    fn all(command: &Command) -> Vec<&Command> {
        let below = command.get_subcommands().filter(|it| it.get_name() != "help").flat_map(all);
        std::iter::once(command).chain(below).collect()
    }

    #[test]
    fn each_command_has_a_page_that_describes_it_and_all_that_it_takes() {
        let ops = named(Arguments::command());
        let commands = all(&ops);
        assert!(commands.len() > ops.get_subcommands().count() + 10, "those below others, too");
        for command in commands {
            let mut page = Vec::new();
            Man::new(command.clone()).render(&mut page).unwrap();
            let page = String::from_utf8(page).unwrap();
            let name = command.get_name();
            let described =
                page.split_once("\n.SH DESCRIPTION\n").map(|(_, rest)| rest.split("\n.SH").next());
            assert!(described.flatten().is_some_and(|text| text.trim().len() > 10), "{name}: {page}");
            for argument in command.get_arguments() {
                let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
                assert!(!help.is_empty(), "{name}: {}", argument.get_id());
            }
        }
    }

    #[test]
    fn each_shell_completes_commands_queues_and_schedules() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = String::from_utf8(script(shell, Arguments::command())).unwrap();
            let names = queues::all().map(Queue::name).chain(schedules());
            for name in names.chain(["dead-letters", "doctor"]) {
                assert!(script.contains(name), "{shell}: {name}");
            }
        }
    }
}
