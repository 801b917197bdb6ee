//! Where a changed file belongs.

use std::collections::BTreeMap;

use super::{DECLARATION, NEEDS};

/// What a path stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// No function is built from it.
    Nowhere,
    /// All functions may be built from it, or it is unknown.
    Everywhere,
    /// Sources of this workspace package.
    Package(&'a str),
    /// SQL that runs before any function.
    Migrations,
    /// Read by Terraform only.
    Terraform,
    /// `infra/queues.json`.
    Declaration,
    /// `infra/gcp/functions.json`.
    Needs,
}

/// Folders of a package that are not linked into anything that is shipped.
const UNSHIPPED: [&str; 3] = ["tests/", "benches/", "examples/"];
/// What makes the images, in a package that no function links.
const IMAGES: [&str; 1] = ["scripts/ops-cli/src/image"];
const TERRAFORM: [&str; 2] = ["infra/gcp/", "infra/alerts.json"];
const TERRAFORM_TESTS: &str = "/tests/";
/// Outside the packages.
const UNBUILT: [&str; 11] = [
    "scripts/",
    "infra/local/",
    "infra/cloudbuild",
    "infra/prometheus",
    ".github/",
    ".ci/",
    "LICENSE",
    ".gitignore",
    ".cargo/deny.toml",
    ".clippy.toml",
    ".rustfmt.toml",
];

impl<'a> Place<'a> {
    /// `packages`: folder of each workspace package, relative to the root.
    pub(super) fn of(path: &str, packages: &'a BTreeMap<String, String>) -> Self {
        let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| path.starts_with(prefix));
        let is_prose = path.rsplit_once('.').is_some_and(|(_, extension)| extension == "md");
        let inside = packages.iter().filter_map(|(name, folder)| {
            let inside = path.strip_prefix(folder.as_str())?.strip_prefix('/')?;
            Some((name.as_str(), inside))
        });
        // One package may be in the folder of another.
        let package = inside.min_by_key(|(_, inside)| inside.len());
        match (path, package) {
            (DECLARATION, _) => Self::Declaration,
            (NEEDS, _) => Self::Needs,
            _ if begins(&IMAGES) => Self::Everywhere,
            _ if is_prose => Self::Nowhere,
            _ if begins(&TERRAFORM) && path.contains(TERRAFORM_TESTS) => Self::Nowhere,
            _ if begins(&TERRAFORM) => Self::Terraform,
            (_, Some((_, inside))) if inside.starts_with("migrations/") => Self::Migrations,
            (_, Some((_, inside))) if UNSHIPPED.iter().any(|folder| inside.starts_with(folder)) => {
                Self::Nowhere
            }
            (_, Some((name, _))) => Self::Package(name),
            _ if begins(&UNBUILT) || is_gone(path) => Self::Nowhere,
            _ => Self::Everywhere,
        }
    }
}

/// Whether the path is in the folder of a function that is no package any more. No function links another.
fn is_gone(path: &str) -> bool {
    path.strip_prefix("functions/").is_some_and(|inside| inside.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_has_a_place() {
        let packages: BTreeMap<_, _> = [
            ("calendar-sync", "functions/calendar-sync"),
            ("shared", "shared"),
            ("catchup", "shared/catchup"),
            ("local-cloud", "infra/local/cloud"),
            ("ops", "scripts/ops-cli"),
            ("tests", "tests"),
        ]
        .map(|(name, folder)| (name.to_owned(), folder.to_owned()))
        .into();
        let check = |path, expected| assert_eq!(Place::of(path, &packages), expected, "{path}");
        check("functions/calendar-sync/src/lib.rs", Place::Package("calendar-sync"));
        check("functions/calendar-sync/Cargo.toml", Place::Package("calendar-sync"));
        check("functions/calendar-sync/tests/job.rs", Place::Nowhere);
        check("functions/gone/src/lib.rs", Place::Nowhere);
        check("functions/README.md", Place::Nowhere);
        check("functions/something-new", Place::Everywhere);
        check("shared/src/queue.rs", Place::Package("shared"));
        check("shared/Cargo.toml", Place::Package("shared"));
        check("shared/migrations/1_x.sql", Place::Migrations);
        check("shared/catchup/tests/it/main.rs", Place::Nowhere);
        check("shared/catchup/src/google.rs", Place::Package("catchup"));
        check("shared/catchup/Cargo.toml", Place::Package("catchup"));
        check("shared/catchup/migrations/1_x.sql", Place::Migrations);
        check("shared/catchup/tests/it/main.rs", Place::Nowhere);
        check("infra/local/cloud/src/lib.rs", Place::Package("local-cloud"));
        check("infra/local/prometheus.yml", Place::Nowhere);
        check("infra/gcp/main.tf", Place::Terraform);
        check("infra/gcp/README.md", Place::Nowhere);
        check("infra/gcp/modules/queue-function/tests/x.tftest.hcl", Place::Nowhere);
        check("infra/gcp/functions.json", Place::Needs);
        check("infra/queues.json", Place::Declaration);
        check("infra/Dockerfile", Place::Everywhere);
        check("infra/images/root/etc/passwd", Place::Everywhere);
        check("scripts/ops", Place::Nowhere);
        check("scripts/ops-cli/src/image/layout.rs", Place::Everywhere);
        check("scripts/ops-cli/src/main.rs", Place::Package("ops"));
        check("scripts/up", Place::Nowhere);
        check("tests/it/main.rs", Place::Package("tests"));
        check("tests/fixtures/x.json", Place::Package("tests"));
        check("Cargo.lock", Place::Everywhere);
        check("Cargo.toml", Place::Everywhere);
        check("README.md", Place::Nowhere);
        check(".clippy.toml", Place::Nowhere);
        check(".cargo/config.toml", Place::Everywhere);
        check(".cargo/deny.toml", Place::Nowhere);
        check("rust-toolchain.toml", Place::Everywhere);
        check(".sqlx/query-1.json", Place::Everywhere);
        check("something-new", Place::Everywhere);
    }
}
