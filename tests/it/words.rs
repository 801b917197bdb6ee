//! The field's words: what a reader who knows other job systems would not find, or would stumble over, is not used.

use tests::repository;

/// A word of our own, and the field's word for it. Words are matched whole; those in lower case also where they begin a
/// sentence.
const PRIVATE: &[(&str, &str)] = &[
    ("a letter", "a dead letter, or an e-mail"),
    ("AHEAD", "HORIZON"),
    ("all is right", "success"),
    ("aloud", "with a warning"),
    ("announce_channel", "record_intent"),
    ("another form", "is malformed, or does not match the schema"),
    ("another shape", "is malformed, or does not match the schema"),
    ("ask_for_a_call", "acquire_call"),
    ("ask_for_sync", "enqueue_sync"),
    ("at once", "immediately, or at the same time"),
    ("BACK", "LOOKBACK"),
    ("be had", "is available"),
    ("bear repetition", "is idempotent"),
    ("bears repetition", "is idempotent"),
    ("beside", "next to"),
    ("came back", "was rescheduled"),
    ("Card", "ContactFields"),
    ("come back", "is rescheduled"),
    ("come_back", "reschedule"),
    ("Comeback", "Reschedule"),
    ("comes back", "is rescheduled"),
    ("comes_back", "is_rescheduled"),
    ("come-back", "reschedule"),
    ("come-backs", "rescheduled tasks"),
    ("COMPARED", "CONFLICT_WINDOW"),
    ("Decorated", "UnexpectedUrlParts"),
    ("Diary", "CalendarState"),
    ("disturbance", "transient failure"),
    ("Doubtful", "Inconclusive"),
    ("Extent", "SyncScope"),
    ("FAILURES_BEFORE_REST", "FAILURE_THRESHOLD"),
    ("fate", "rng, or delivery status"),
    ("few_a_day", "limit_per_day"),
    ("give the task free", "release the claim"),
    ("gives the task free", "releases the claim"),
    ("go on", "continue"),
    ("goes on", "continues"),
    ("has_room", "has_time_to_send"),
    ("identities a queue", "identities per queue"),
    ("Incomplete", "InvalidConfig"),
    ("Interruption", "Disposition"),
    ("is away", "is unavailable"),
    ("is over", "has expired, or has ended"),
    ("judge", "classify"),
    ("judged", "classified"),
    ("judges", "classifies"),
    ("KEPT", "RETENTION"),
    ("Least severity", "minimum log level"),
    ("LEAVE", "RELEASE_GRACE"),
    ("let_pass", "advance"),
    ("Letter", "EmailBody, or DeadLetter"),
    ("mend", "fix"),
    ("met nobody", "never reached an instance"),
    ("MOST_A_DAY", "MAX_PER_DAY"),
    ("MOST_NEW", "MAX_NEW"),
    ("newcomer", "new_contact"),
    ("nobody", "no caller, no one, or the noun that is meant"),
    ("NoReceipt", "SendError"),
    ("occasion", "scheduled_for, or period_start"),
    ("one call a", "one call per"),
    ("one module a", "one module per"),
    ("one row a", "one row per"),
    ("one task a", "one task per"),
    ("Outlook", "PendingWork"),
    ("Patience", "Timeouts"),
    ("public door", "webhook receiver"),
    ("Reception", "RequestContext"),
    ("Resting", "CircuitOpen"),
    ("Scene", "Fixture"),
    ("Scissors", "ConnectionKiller"),
    ("Settlement", "Disposition"),
    ("socket folder", "socket directory"),
    ("spoken for", "has an open suggestion"),
    ("Standing", "TaskState"),
    ("somebody", "the noun that is meant"),
    ("stands in", "is recorded in"),
    ("stays announced as dead", "its dead letter was not removed"),
    ("StoredLetter", "StoredDeadLetter"),
    ("strangers", "unlinked"),
    ("stray", "orphaned"),
    ("strays", "orphaned channels"),
    ("Suggesting", "SuggestionsTx"),
    ("Surroundings", "Endpoints"),
    ("suspects", "stale candidates"),
    ("task a user", "task per user"),
    ("Telling", "DeliveryKey"),
    ("tells of", "lists, or reports"),
    ("the call itself is wrong", "usage error"),
    ("told of", "notified about"),
    ("Trouble", "ProviderError"),
    ("Turn", "Permit"),
    ("twins", "duplicates"),
    ("Unprotected", "InsecureUrl"),
    ("Unseen", "NoTraffic"),
    ("Unusable", "InvalidEndpoint"),
    ("Verdict", "Decision, or Disposition"),
    ("Walk", "EventListing"),
    ("Walked", "ListedScope"),
    ("went well", "succeeded"),
    ("who carries e-mail", "e-mail provider"),
    ("withdraw_channel", "discard"),
    ("whoever", "the noun that is meant"),
    ("WrongCall", "UsageError"),
];

/// Where one of them is a contract or has its ordinary sense: the path of a file or folder, the word (all words, if it is
/// empty), and why.
const ALLOWED: &[(&str, &str, &str)] = &[
    ("infra/images/run", "nobody", "a user of Unix systems"),
    ("infra/local/cloud/src/postgres.rs", "nobody", "a user of Unix systems"),
    ("scripts/prepare", "nobody", "a user of Unix systems"),
    ("shared/catchup/migrations", "", "sqlx refuses a migration that was edited after it was applied"),
    ("shared/catchup/src/db/webhook_channels.rs", "stray", "a value of jobs.push_channels.state"),
    ("tests/it/words.rs", "", "the list itself"),
];

/// The field's words for what the platform does, by which a reader searches its sources. They are matched whole: "release"
/// has no lease.
const FIELD: [&str; 10] = [
    "retry",
    "reschedule",
    "lease",
    "expired",
    "timeout",
    "dead letter",
    "replay",
    "debounce",
    "snooze",
    "rate limit",
];

/// Written by people for people: programs, templates, pages, declarations, scripts.
const EXTENSIONS: [&str; 15] = [
    "hcl", "json", "lua", "md", "mjs", "py", "rs", "sh", "sql", "tf", "tftpl", "tmpl", "toml", "yaml", "yml",
];

#[test]
fn private_words_are_not_used() {
    let mut found = Vec::new();
    let mut used = vec![false; ALLOWED.len()];
    repository::each_text_file(&EXTENSIONS, |path, text| {
        for (number, line) in text.lines().enumerate() {
            for (word, instead) in PRIVATE {
                if !contains_word(line, word) {
                    continue;
                }
                let allowed = ALLOWED.iter().position(|(file, allowed, _)| {
                    path.starts_with(file) && (allowed.is_empty() || allowed == word)
                });
                match allowed {
                    Some(index) => used[index] = true,
                    None => found.push(format!("{}:{}: {word}: say {instead}", path.display(), number + 1)),
                }
            }
        }
    });
    assert!(found.is_empty(), "{} private words:\n{}", found.len(), found.join("\n"));
    for (entry, used) in ALLOWED.iter().zip(used) {
        assert!(used, "an exception without a use: {entry:?}");
    }
}

#[test]
fn the_fields_words_are_found_in_the_platforms_sources() {
    let mut missing = FIELD.to_vec();
    repository::each_text_file(&["rs"], |path, text| {
        if path.starts_with("shared/src") {
            missing.retain(|word| !text.lines().any(|line| contains_word(line, word)));
        }
    });
    assert!(missing.is_empty(), "in no source below shared/src: {missing:?}");
}

/// Whether the line has the word, whole: not as a part of another word. Ordinary words are also found as words of a name,
/// such as a test's; names only as they are.
fn contains_word(line: &str, word: &str) -> bool {
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    let line = match (word.contains(char::is_uppercase), word.contains('_')) {
        (true, _) => line.to_owned(),
        (false, true) => line.to_ascii_lowercase(),
        (false, false) => line.to_ascii_lowercase().replace('_', " "),
    };
    line.match_indices(word).any(|(start, _)| {
        !line[..start].ends_with(is_part) && !line[start + word.len()..].starts_with(is_part)
    })
}

#[test]
fn a_word_is_matched_whole() {
    let check = |line, word, expected| assert_eq!(contains_word(line, word), expected, "{line}");
    check("Nobody calls", "nobody", true);
    check("has_room()", "has_room", true);
    check("has_room_for", "has_room", false);
    check("the Scenery", "Scene", false);
    check("a scene", "Scene", false);
    check("amended", "mend", false);
    check("fn the_sync_goes_on()", "goes on", true);
}
