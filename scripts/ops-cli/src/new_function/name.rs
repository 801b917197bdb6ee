//! The name of a queue, and all that is named after it.

use anyhow::ensure;

use crate::usage_error::UsageError;

/// The longest name made from it is `<name>-queue`, an account id of 6 to 30 characters.
const LENGTH: std::ops::RangeInclusive<usize> = 6..=24;
/// `<name>-queue` and `<name>-cron` are other things of a function.
const RESERVED_ENDINGS: [&str; 2] = ["-queue", "-cron"];
/// Words of Rust that are long enough; and `webhooks`, the service without a queue.
const RESERVED: [&str; 13] = [
    "abstract", "become", "continue", "extern", "override", "return", "static", "struct", "typeof", "unsafe",
    "unsized", "virtual", "webhooks",
];

/// A name that a queue may have.
#[derive(Debug)]
pub(super) struct Name {
    kebab: String,
    module: String,
    camel: String,
    constant: String,
}

impl Name {
    /// Checks the form.
    pub(super) fn parse(text: &str) -> Result<Self, UsageError> {
        let refused = |why: &str| Err(UsageError(format!("{text:?} cannot be the name of a queue: {why}")));
        let is_word = |word: &str| {
            word.starts_with(|first: char| first.is_ascii_lowercase())
                && word.chars().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit())
        };
        if !text.split('-').all(is_word) {
            return refused("it must be lower-case words with hyphens between them, such as calendar-sync");
        }
        if !LENGTH.contains(&text.len()) {
            let (shortest, longest) = (LENGTH.start(), LENGTH.end());
            return refused(&format!("it must have {shortest} to {longest} characters"));
        }
        if RESERVED.contains(&text) || RESERVED_ENDINGS.iter().any(|ending| text.ends_with(ending)) {
            return refused("it is reserved");
        }
        let capitalized = |word: &str| word[..1].to_ascii_uppercase() + &word[1..];
        let module = text.replace('-', "_");
        Ok(Self {
            kebab: text.to_owned(),
            camel: text.split('-').map(capitalized).collect(),
            constant: module.to_ascii_uppercase(),
            module,
        })
    }

    /// No package, of this workspace or from elsewhere, may have the name.
    pub(super) fn check_packages(&self, lock: &str) -> anyhow::Result<()> {
        let names = lock.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
        let mut names = names.filter(|name| name.replace('-', "_") == self.module);
        ensure!(
            names.next().is_none(),
            UsageError(format!("there is a package {} in Cargo.lock already", self.kebab))
        );
        Ok(())
    }

    /// No word of a source to which an identifier is added may be that identifier.
    pub(super) fn check_identifiers<const N: usize>(
        &self,
        source: &str,
        identifiers: [&str; N],
    ) -> Result<(), UsageError> {
        let mut words = source.split(|it: char| !it.is_ascii_alphanumeric() && it != '_');
        match words.find(|word| identifiers.contains(word)) {
            Some(word) => Err(UsageError(format!(
                "{} cannot be added: {word} is the name of something else",
                self.kebab
            ))),
            None => Ok(()),
        }
    }

    /// A template for this queue.
    pub(super) fn fill(&self, template: &str) -> String {
        template
            .replace("{{name}}", &self.kebab)
            .replace("{{snake}}", &self.module)
            .replace("{{Camel}}", &self.camel)
            .replace("{{CONST}}", &self.constant)
    }

    /// Of the queue, its package and its service.
    pub(super) fn kebab(&self) -> &str {
        &self.kebab
    }

    /// Of its crate, and of the module of its payload.
    pub(super) fn module(&self) -> &str {
        &self.module
    }

    /// Of its payload, and of its job.
    pub(super) fn camel(&self) -> &str {
        &self.camel
    }

    /// Of its constant.
    pub(super) fn constant(&self) -> &str {
        &self.constant
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_named_after_the_queue() {
        let name = Name::parse("weekly-digest2").unwrap();
        assert_eq!(
            name.fill("{{name}} {{snake}} {{Camel}} {{CONST}}"),
            "weekly-digest2 weekly_digest2 WeeklyDigest2 WEEKLY_DIGEST2"
        );
    }

    #[test]
    fn a_malformed_or_reserved_name_is_refused() {
        for name in [
            "",
            "short",
            "a-name-that-is-much-too-long",
            "Weekly-digest",
            "weekly_digest",
            "weekly--digest",
            "-weekly",
            "weekly-",
            "weekly-2",
            "wöchentlich",
            "weekly/digest",
            "weekly digest",
            "weekly-queue",
            "weekly-cron",
            "static",
            "webhooks",
        ] {
            Name::parse(name).unwrap_err();
        }
    }

    #[test]
    fn a_name_that_something_has_is_refused() {
        let name = Name::parse("serde-json").unwrap();
        name.check_packages("name = \"serde_json\"\n").unwrap_err();
        name.check_packages("name = \"serde\"\n").unwrap();
        name.check_identifiers("use serde_json;", [name.module()]).unwrap_err();
        name.check_identifiers("use my_serde_json;", [name.module()]).unwrap();
    }
}
