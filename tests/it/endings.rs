//! Every way in which a dispatch can end is known, shown, and on the architecture page.

use std::collections::BTreeSet;

use tests::document::{ENDINGS, with_endings};
use tests::endings::{endings, possible, shown};

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_of_the_runtime_has_a_row_and_the_page_shows_what_happens() {
    let endings = endings().await;
    let (possible, shown) = (possible(), shown(&endings));
    let missing: Vec<_> = possible.difference(&shown).collect();
    assert!(missing.is_empty(), "no row shows {missing:#?}");
    let unlisted: Vec<_> = shown.difference(&possible).collect();
    assert!(unlisted.is_empty(), "the runtime does not list {unlisted:#?}");
    let page = std::fs::read_to_string(ENDINGS).unwrap();
    let expected = with_endings(&page, &endings);
    let (page, expected): (BTreeSet<&str>, BTreeSet<&str>) =
        (page.lines().collect(), expected.lines().collect());
    let (only_page, only_seen): (Vec<_>, Vec<_>) =
        (page.difference(&expected).collect(), expected.difference(&page).collect());
    assert_eq!(only_page, only_seen, "run cargo run --package tests --bin document");
}
