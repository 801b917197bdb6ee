//! The application's database: every table, column and index that our statements use, and that its tokens can be read.

use catchup::db::handover::Handovers;
use catchup::google::TokenCipher;
use serde::Deserialize;
use serde_json::Value;
use shared::db::Database;

use super::findings::Findings;
use crate::database::wait_for;
use crate::gcloud::Gcloud;
use crate::repository::Repository;
use crate::settings;

/// The application's indexes.
const INDEXES: &str = include_str!("../../../../infra/local/cloud/schema/application-indexes.txt");
const UNIQUE: &str = "CREATE UNIQUE INDEX";
/// What sqlx has checked at build time: each statement of ours.
const STATEMENTS: &str = ".sqlx";
const KEY: &str = "ENCRYPTION_KEY";
const KEY_SUBJECT: &str = "encryption key";
/// What is shown of a list.
const SHOWN: usize = 5;

#[derive(Deserialize)]
struct Statement {
    query: String,
}

pub(super) fn check(
    gcloud: &Gcloud,
    service: &Value,
    database: Option<&str>,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let needs_key = settings::is_set(service, KEY);
    let Some(url) = database else {
        findings.unchecked("schema", "no database: set DATABASE_URL, in the cloud to that of the SQL proxy");
        if needs_key {
            findings.unchecked(KEY_SUBJECT, "no database to decrypt a token of");
        }
        return Ok(());
    };
    let Ok(options) = url.parse() else {
        findings.expect("schema", false, "the URL of the database is malformed");
        return Ok(());
    };
    let statements = statements()?;
    wait_for(async {
        let db = Handovers::from(Database::connect_lazily(options, 1));
        let unusable = match db.unusable(&statements).await {
            Ok(unusable) => unusable,
            Err(error) => {
                let error = anyhow::Error::from(error);
                findings.expect("schema", false, format!("the database cannot be reached: {error:#}"));
                return Ok(());
            }
        };
        let reasons: Vec<_> =
            unusable.iter().map(|(reason, count)| format!("{reason} ({count} statements)")).collect();
        findings.expect(
            "schema",
            reasons.is_empty(),
            shown(&reasons, || format!("{} statements can be run", statements.len())),
        );
        let missing = db.missing_indexes(INDEXES.lines()).await?;
        indexes(&missing, findings);
        if needs_key {
            match db.any_token().await {
                Err(error) if error.is_permission_denied() => {
                    findings.unchecked(
                        KEY_SUBJECT,
                        "your database user may not read tokens: let someone check who may",
                    );
                }
                token => encryption_key(gcloud, service, token?, findings),
            }
        }
        Ok(())
    })
}

/// What a statement of ours names in ON CONFLICT must be there; without another index, statements are only slower.
fn indexes(missing: &[&str], findings: &mut Findings) {
    let of_kind = |is_unique| {
        let count = INDEXES.lines().filter(|entry| entry.contains(UNIQUE) == is_unique).count();
        let missing = missing.iter().filter(|entry| entry.contains(UNIQUE) == is_unique);
        let missing: Vec<_> = missing
            .filter_map(|entry| entry.split_once('|'))
            .map(|(_, index)| format!("no {index}"))
            .collect();
        (missing.is_empty(), shown(&missing, || format!("{count} are there")))
    };
    let (is_there, detail) = of_kind(true);
    findings.expect("unique indexes", is_there, detail);
    match of_kind(false) {
        (true, detail) => findings.expect("indexes", true, detail),
        (false, detail) => findings.unknown("indexes", format!("{detail}: sweeps are slower")),
    }
}

fn shown(problems: &[String], otherwise: impl FnOnce() -> String) -> String {
    if problems.is_empty() {
        return otherwise();
    }
    let more = problems.len().saturating_sub(SHOWN);
    let text = problems.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("; ");
    if more == 0 { text } else { format!("{text}; and {more} more") }
}

/// The service's key reads what the application wrote. The key is shown nowhere.
fn encryption_key(gcloud: &Gcloud, service: &Value, token: Option<String>, findings: &mut Findings) {
    let Some(token) = token else {
        findings.unknown(KEY_SUBJECT, "no user has a token yet");
        return;
    };
    let key = match settings::variable(service, KEY) {
        Some(key) => Ok(key.to_owned()),
        None => match settings::secret(service, KEY) {
            Some((secret, version)) => {
                gcloud.text(&["secrets", "versions", "access", version, &format!("--secret={secret}")])
            }
            None => Err(anyhow::anyhow!("the service has none")),
        },
    };
    // gcloud's own words could show what it read.
    let Ok(key) = key else {
        findings.unchecked(KEY_SUBJECT, "you may not read the secret: let someone check who may");
        return;
    };
    let decrypted = key.trim().parse::<TokenCipher>().and_then(|cipher| cipher.decrypt(&token));
    findings.expect(
        KEY_SUBJECT,
        decrypted.is_ok(),
        decrypted
            .map_or_else(|error| error.to_string(), |_| "decrypts a token of the application".to_owned()),
    );
}

/// Every statement of ours.
fn statements() -> anyhow::Result<Vec<String>> {
    let mut statements = Vec::new();
    for entry in Repository::here()?.root().join(STATEMENTS).read_dir()? {
        let file = std::fs::read_to_string(entry?.path())?;
        statements.push(serde_json::from_str::<Statement>(&file)?.query);
    }
    Ok(statements)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_missing_unique_index_keeps_a_queue_from_being_taken_over() {
        #[track_caller]
        fn check(missing: &[&str], is_ready: bool, said: &[&str]) {
            let mut findings = Findings::default();
            indexes(missing, &mut findings);
            let text = findings.to_string();
            assert_eq!(findings.is_ready(), is_ready, "{text}");
            assert!(findings.missing().is_empty() && said.iter().all(|said| text.contains(said)), "{text}");
        }
        let unique = INDEXES.lines().find(|entry| entry.contains(UNIQUE)).unwrap();
        let other = INDEXES.lines().find(|entry| !entry.contains(UNIQUE)).unwrap();
        let name = |entry: &'static str| entry.split_once('|').unwrap().1;
        check(&[], true, &["are there"]);
        check(&[other], true, &[name(other), "?"]);
        check(&[unique], false, &[name(unique), "WRONG"]);
        check(&[other, unique], false, &[name(other), name(unique)]);
    }
}
