//! Whatever happens to people at Google, what the user wrote on their contacts stays, with the person.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use catchup::queues;
use google_stand_in::{Labelled, Person, PersonName};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;
use tests::Delivery;
use uuid::Uuid;

use crate::{Fixture, check_done};

const PEOPLE: usize = 1_000;
const CASES: u32 = 3;

/// What happens at Google, or a sync. People are chosen by a number that is taken modulo how many there are.
#[derive(Debug, Clone)]
enum Step {
    Rename { person: usize, new_first: bool },
    Merge { from: usize, into: usize },
    Delete { person: usize },
    Restore { person: usize, renamed: bool },
    Change { person: usize },
    Sync { full: bool },
    Expire,
}

fn step() -> impl Strategy<Value = Step> {
    let person = 0..PEOPLE;
    prop_oneof![
        4 => (person.clone(), any::<bool>()).prop_map(|(person, new_first)| Step::Rename { person, new_first }),
        3 => (person.clone(), person.clone()).prop_map(|(from, into)| Step::Merge { from, into }),
        3 => person.clone().prop_map(|person| Step::Delete { person }),
        4 => (person.clone(), any::<bool>()).prop_map(|(person, renamed)| Step::Restore { person, renamed }),
        2 => person.prop_map(|person| Step::Change { person }),
        4 => any::<bool>().prop_map(|full| Step::Sync { full }),
        1 => Just(Step::Expire),
    ]
}

/// A person, and the contacts that may be theirs.
#[derive(Debug, Clone)]
struct Known {
    resource_name: String,
    contacts: BTreeSet<Uuid>,
    /// Only a list of changes says who was merged.
    merged_since: BTreeSet<Uuid>,
    is_deleted: bool,
}

struct Book {
    fixture: Fixture,
    /// Who was merged into another is not here any more.
    people: Vec<Known>,
    own: BTreeMap<Uuid, String>,
    changes: usize,
}

fn person(number: usize) -> Person {
    let value = |value: String| vec![Labelled { value, label: "home".to_owned(), primary: true }];
    Person {
        name: Some(PersonName { given: format!("Given {number}"), family: "Family".to_owned() }),
        // Some have no address, and are known by their number alone.
        emails: if number.is_multiple_of(4) {
            Vec::new()
        } else {
            value(format!("Person.{number}@Example.test"))
        },
        phones: value(format!("+44 (20) {number:06}")),
        ..Person::default()
    }
}

/// All that is the user's own of each contact that has any of it.
const OWN: &str =
    "SELECT c.id, concat_ws('|', instagram, x_handle, other_social_media, timezone, frequency_preference,
        last_contact_date, custom_notes, dunbar_circle, circle_assigned_at, circle_assigned_by,
        (SELECT string_agg(g.group_id::text, ',') FROM contact_groups g WHERE g.contact_id = c.id),
        (SELECT string_agg(l.notes, ',') FROM interaction_logs l WHERE l.contact_id = c.id))
    FROM contacts c WHERE instagram IS NOT NULL ORDER BY c.id";

impl Book {
    async fn new() -> Self {
        let fixture = Fixture::with(0).await;
        for number in 0..PEOPLE {
            fixture.world().add_person(fixture.user, person(number)).unwrap();
        }
        check_done(&fixture.sync().await, false);
        // One in five has nothing of the user's.
        let own = format!(
            "UPDATE contacts SET instagram = '@' || name, x_handle = 'x' || name, other_social_media = '{{\"a\": 1}}',
                    timezone = 'Europe/London', frequency_preference = 'monthly', last_contact_date = now(),
                    custom_notes = 'met at ' || name || ' and more', dunbar_circle = 'close', circle_assigned_at = now()
             WHERE right(regexp_replace(name, '[^0-9]', '', 'g'), 1) NOT IN ('3', '8');
             INSERT INTO groups (user_id, name) VALUES ('{user}', 'mine');
             INSERT INTO contact_groups (contact_id, group_id)
             SELECT c.id, g.id FROM contacts c, groups g WHERE c.instagram IS NOT NULL AND g.name = 'mine';
             INSERT INTO interaction_logs (user_id, contact_id, date, type, notes)
             SELECT user_id, id, now(), 'call', name FROM contacts WHERE instagram IS NOT NULL",
            user = fixture.user
        );
        fixture.stack.run(&own).await;
        let rows =
            fixture.stack.rows::<(Uuid, String)>("SELECT id, google_resource_name FROM contacts").await;
        let rows: BTreeMap<String, Uuid> = rows.into_iter().map(|(id, name)| (name, id)).collect();
        let people = fixture.world().people(fixture.user).unwrap();
        let people = people.into_iter().map(|person| Known {
            contacts: [rows[&person.resource_name]].into(),
            resource_name: person.resource_name,
            merged_since: BTreeSet::new(),
            is_deleted: false,
        });
        let people: Vec<_> = people.collect();
        let own: BTreeMap<_, _> = fixture.stack.rows::<(Uuid, String)>(OWN).await.into_iter().collect();
        assert_eq!(own.len(), PEOPLE * 4 / 5);
        Self { fixture, people, own, changes: 0 }
    }

    async fn take(&mut self, step: &Step) {
        let (world, user) = (self.fixture.world().clone(), self.fixture.user);
        let count = self.people.len();
        match *step {
            Step::Rename { person, new_first } => {
                let known = &mut self.people[person % count];
                if !known.is_deleted {
                    known.resource_name =
                        world.rename_person(user, &known.resource_name, new_first).unwrap().resource_name;
                }
            }
            Step::Merge { from, into } => {
                let (from, into) = (from % count, into % count);
                if from != into && !self.people[from].is_deleted && !self.people[into].is_deleted {
                    let gone = self.people[from].clone();
                    let kept = &mut self.people[into];
                    world.merge_people(user, &gone.resource_name, &kept.resource_name).unwrap();
                    kept.merged_since.extend(gone.contacts.iter().chain(&gone.merged_since));
                    self.people.remove(from);
                }
            }
            Step::Delete { person } => {
                let known = &mut self.people[person % count];
                if !known.is_deleted {
                    world.delete_person(user, &known.resource_name).unwrap();
                    known.is_deleted = true;
                }
            }
            Step::Restore { person, renamed } => {
                // The next one who is deleted.
                let deleted =
                    (0..count).map(|by| (person + by) % count).find(|at| self.people[*at].is_deleted);
                if let Some(at) = deleted {
                    let known = &mut self.people[at];
                    known.resource_name =
                        world.restore_person(user, &known.resource_name, renamed).unwrap().resource_name;
                    known.is_deleted = false;
                }
            }
            Step::Change { person } => {
                let known = &self.people[person % count];
                self.changes += 1;
                let name = PersonName { given: format!("Changed {}", self.changes), family: String::new() };
                if !known.is_deleted {
                    world
                        .change_person(user, &known.resource_name, |person| person.name = Some(name))
                        .unwrap();
                }
            }
            Step::Expire => world.expire_sync_tokens(user).unwrap(),
            Step::Sync { full } => self.sync(full).await,
        }
    }

    async fn sync(&mut self, full: bool) {
        let sync_type = if full { "full" } else { "incremental" };
        let data = json!({ "userId": self.fixture.user, "syncType": sync_type });
        let answer = self.fixture.service.deliver(Delivery::of(queues::GOOGLE_CONTACTS_SYNC, &data)).await;
        check_done(&answer, false);
        let was_full = answer.body["result"]["syncType"] == "full";
        self.check(was_full).await;
    }

    /// Nothing of the user's is lost or changed, and it is with whom it was about.
    async fn check(&mut self, was_full: bool) {
        let own: BTreeMap<_, _> = self.fixture.stack.rows::<(Uuid, String)>(OWN).await.into_iter().collect();
        assert_eq!(own, self.own, "the user's own fields");
        let live = self
            .fixture
            .stack
            .rows::<(Uuid, String)>("SELECT id, google_resource_name FROM contacts WHERE NOT archived")
            .await;
        let mut wrong = String::new();
        let mut rows: BTreeMap<String, Uuid> = live.into_iter().map(|(id, name)| (name, id)).collect();
        for known in &mut self.people {
            let row = rows.remove(&known.resource_name);
            if known.is_deleted {
                if row.is_some() {
                    let _ = writeln!(wrong, "a contact of a deleted person: {known:?}");
                }
                continue;
            }
            let merged = std::mem::take(&mut known.merged_since);
            if !was_full {
                known.contacts.extend(merged);
            }
            let has_own = known.contacts.iter().any(|contact| self.own.contains_key(contact));
            match row {
                Some(row) if known.contacts.contains(&row) && self.own.contains_key(&row) == has_own => {
                    known.contacts = [row].into();
                }
                row => {
                    let _ = writeln!(
                        wrong,
                        "{row:?} after a {} sync: {known:?}",
                        if was_full { "full" } else { "incremental" }
                    );
                }
            }
        }
        assert_eq!(wrong, "");
        assert_eq!(rows, BTreeMap::new(), "contacts of nobody");
    }
}

#[test]
fn notes_groups_frequency_and_circle_survive_whatever_happens_at_google() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let config = Config { cases: CASES, max_shrink_iters: 0, failure_persistence: None, ..Config::default() };
    let steps = proptest::collection::vec(step(), 30..60);
    let survives = |steps: Vec<Step>| {
        runtime.block_on(async {
            let mut book = Book::new().await;
            for step in &steps {
                book.take(step).await;
            }
            book.sync(false).await;
            book.sync(true).await;
            Ok(())
        })
    };
    TestRunner::new(config).run(&steps, survives).unwrap();
}
