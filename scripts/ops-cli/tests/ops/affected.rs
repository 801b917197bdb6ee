//! Which functions a change touches, on real histories of this project.

use std::process::Command;

use serde_json::Value;

use crate::history::History;

fn affected(history: &History, base: &str) -> Value {
    answer(history, &[base])
}

fn answer(history: &History, arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_ops"))
        .args(["affected", "--json"])
        .args(arguments)
        .current_dir(history.root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn names(effects: &Value, field: &str) -> Vec<String> {
    serde_json::from_value(effects[field].clone()).unwrap()
}

/// The functions of this project: its folders.
fn all(history: &History) -> Vec<String> {
    let folders = history.root().join("functions").read_dir().unwrap();
    let mut all: Vec<_> = folders.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    all.sort();
    all
}

#[test]
fn each_change_touches_what_it_must_and_nothing_else() {
    let history = History::of_this_project();
    let all = all(&history);
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let mut base = history.commit();
    let mut check = |change: &dyn Fn(), functions: &[&str], queues: &[&str]| {
        change();
        let head = history.commit();
        let effects = affected(&history, &base);
        assert_eq!(names(&effects, "functions"), functions, "{effects}");
        assert_eq!(names(&effects, "queues"), queues, "{effects}");
        base = head;
        effects
    };

    // Nothing.
    check(&|| {}, &[], &[]);
    // One function's folder: one function. Its tests: none.
    check(&|| history.append("functions/token-refresh/src/lib.rs", "// x\n"), &["token-refresh"], &[]);
    check(&|| history.append("functions/token-refresh/tests/job.rs", "// x\n"), &[], &[]);
    // The service without a queue.
    check(&|| history.append("functions/webhooks/src/lib.rs", "// x\n"), &["webhooks"], &[]);
    // A package that all link, and its tests.
    check(&|| history.append("shared/catchup/src/google/calendar.rs", "// x\n"), &all, &[]);
    check(&|| history.append("shared/src/envelope.rs", "// x\n"), &all, &[]);
    check(&|| history.append("shared/catchup/tests/it/main.rs", "// x\n"), &[], &[]);
    // A dependency.
    let (one, another) = ("google-people1 = { version = \"7\"", "google-people1 = { version = \"7.0\"");
    check(&|| history.replace("Cargo.toml", one, another), &all, &[]);
    // An entry of a queue that no function fills, and of one that is filled.
    let attempts = |queue: &str| {
        let entry = format!("\"{queue}\": {{\n      \"attempts\": ");
        history.replace("infra/queues.json", &entry, &format!("{entry}1"));
    };
    check(&|| attempts("token-refresh"), &["token-refresh"], &["token-refresh"]);
    check(
        &|| attempts("google-contacts-sync"),
        &["adaptive-sync", "google-contacts-sync"],
        &["google-contacts-sync"],
    );
    // Migrations run before; no function holds them.
    let migration =
        check(&|| history.append("shared/migrations/99999999999999_x.sql", "SELECT 1;\n"), &[], &[]);
    assert_eq!(migration["migrations"], true);
    // What is not shipped.
    for path in
        ["README.md", "tests/src/lib.rs", "infra/local/cloud/src/lib.rs", "scripts/up", ".github/x.yml"]
    {
        check(&|| history.append(path, "\n"), &[], &[]);
    }
    // What a query answers, and what the images are made with.
    let query = history.root().join(".sqlx").read_dir().unwrap().next().unwrap().unwrap().file_name();
    check(&|| history.append(&format!(".sqlx/{}", query.display()), "\n"), &all, &[]);
    check(&|| history.append("infra/images/root/etc/passwd", "x\n"), &all, &[]);
    // How one function scales: no function, one queue. A test of Terraform: nothing.
    let scaling = "\"concurrency\": 16, \"maxInstances\": 2";
    let more = "\"concurrency\": 16, \"maxInstances\": 3";
    check(&|| history.replace("infra/gcp/functions.json", scaling, more), &[], &["token-refresh"]);
    check(&|| history.append("infra/gcp/tests/access.tftest.hcl", "\n"), &[], &[]);
    // What cannot be known.
    check(&|| history.append("something-new", "\n"), &all, &[]);
}

#[test]
fn a_function_that_is_new_is_built_and_one_that_is_gone_is_not() {
    const LOCK: &str = "Cargo.lock";
    let history = History::of_this_project();
    let locked = |name: &str| format!("name = \"{name}\"\nversion");
    let mut base = history.commit();

    // The lock file says what all link: the images say whom it concerns.
    history.copy("functions/token-refresh", "functions/new");
    history.replace("functions/new/Cargo.toml", "\"token-refresh\"", "\"new\"");
    let text = std::fs::read_to_string(history.root().join(LOCK)).unwrap();
    let (_, package) = text.split_once(&locked("token-refresh")).unwrap();
    let (package, _) = package.split_once("[[package]]").unwrap();
    history.append(LOCK, &format!("\n[[package]]\n{}{package}", locked("new")));
    let head = history.commit();
    let effects = answer(&history, &[&base, "--committed"]);
    assert_eq!(names(&effects, "functions"), all(&history), "{effects}");
    assert!(names(&effects, "functions").contains(&"new".to_owned()));
    assert_eq!(names(&effects, "queues"), [""; 0], "{effects}");
    base = head;

    // Its code alone, while the queue is declared.
    history.remove("functions/token-refresh");
    history.replace("Cargo.toml", "token-refresh = { path = \"functions/token-refresh\" }\n", "");
    history.replace_part(LOCK, &format!("[[package]]\n{}", locked("token-refresh")), "[[package]]", "");
    let head = history.commit();
    let effects = answer(&history, &[&base, "--committed"]);
    assert_eq!(names(&effects, "functions"), all(&history), "{effects}");
    assert!(!names(&effects, "functions").contains(&"token-refresh".to_owned()));
    assert_eq!(names(&effects, "queues"), [""; 0], "{effects}");
    base = head;

    // Its queue, which no other function fills.
    history.replace_part("infra/queues.json", "    \"token-refresh\"", "    \"calendar-sync\"", "");
    history.replace_part("infra/gcp/functions.json", "    \"token-refresh\"", "    \"calendar-sync\"", "");
    let effects = affected(&history, &base);
    assert_eq!(names(&effects, "functions"), [""; 0], "{effects}");
    assert_eq!(names(&effects, "queues"), ["token-refresh"], "{effects}");
}

#[test]
fn what_was_taken_back_since_the_base_counts_among_commits() {
    let history = History::of_this_project();
    let base = history.commit();
    let check = |functions: &[&str]| {
        let effects = answer(&history, &[&base, "--committed"]);
        assert_eq!(names(&effects, "functions"), functions, "{effects}");
    };
    check(&[]);
    // What lies about in the checkout of CI is not delivered.
    history.append("something-new", "\n");
    check(&[]);
    history.remove("something-new");
    // A file, and an entry of a file that is looked into, there and back.
    let (source, declaration) = ("functions/token-refresh/src/lib.rs", "infra/queues.json");
    history.replace(source, "//!", "//! x");
    history.commit();
    history.replace(source, "//! x", "//!");
    history.replace(declaration, "\"timeoutSeconds\": 120", "\"timeoutSeconds\": 121");
    history.commit();
    check(&["token-refresh"]);
    history.replace(declaration, "\"timeoutSeconds\": 121", "\"timeoutSeconds\": 120");
    history.commit();
    check(&["token-refresh"]);
    assert_eq!(names(&affected(&history, &base), "functions"), [""; 0]);
    // Between a broken state and the one before it, everything differs.
    history.replace(declaration, "{", "{{");
    history.commit();
    history.replace(declaration, "{{", "{");
    history.commit();
    check(&all(&history).iter().map(String::as_str).collect::<Vec<_>>());
    // The empty tree: nothing was delivered yet.
    let effects = answer(&history, &["4b825dc642cb6eb9a060e54bf8d69288fbee4904", "--committed"]);
    assert_eq!(names(&effects, "functions"), all(&history));
}

#[test]
fn a_base_that_is_not_there_is_an_error() {
    let history = History::of_this_project();
    let output = Command::new(env!("CARGO_BIN_EXE_ops"))
        .args(["affected", "no-such-branch"])
        .current_dir(history.root())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no-such-branch"));
}
