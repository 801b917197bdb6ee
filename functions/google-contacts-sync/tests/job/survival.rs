//! Whatever happens to people at Google, what the user wrote on their contacts stays, with the person.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use catchup::queues;
use google_stand_in::{Labelled, Organization, Person, PersonName};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;
use tests::Delivery;
use uuid::Uuid;

use crate::{Fixture, check_done};

const PEOPLE: usize = 1_000;
/// Most things happen to so many of them, so that several happen to one.
const EVENTFUL: usize = 16;
const CASES: u32 = 3;

/// What happens at Google or in the application, or a sync. People are chosen by a number that is taken modulo how many there
/// are.
#[derive(Debug, Clone)]
enum Step {
    Rename {
        person: usize,
        new_first: bool,
    },
    Merge {
        from: usize,
        into: usize,
    },
    Delete {
        person: usize,
    },
    Restore {
        person: usize,
        renamed: bool,
    },
    Change {
        person: usize,
    },
    Employ {
        person: usize,
    },
    /// The user archives the contact by hand.
    Archive {
        person: usize,
    },
    Sync {
        full: bool,
    },
    Expire,
}

fn step() -> impl Strategy<Value = Step> {
    let person = prop_oneof![4 => 0..EVENTFUL, 1 => 0..PEOPLE].boxed();
    prop_oneof![
        4 => (person.clone(), any::<bool>()).prop_map(|(person, new_first)| Step::Rename { person, new_first }),
        3 => (person.clone(), person.clone()).prop_map(|(from, into)| Step::Merge { from, into }),
        3 => person.clone().prop_map(|person| Step::Delete { person }),
        4 => (person.clone(), any::<bool>()).prop_map(|(person, renamed)| Step::Restore { person, renamed }),
        2 => person.clone().prop_map(|person| Step::Change { person }),
        2 => person.clone().prop_map(|person| Step::Employ { person }),
        2 => person.prop_map(|person| Step::Archive { person }),
        4 => any::<bool>().prop_map(|full| Step::Sync { full }),
        1 => Just(Step::Expire),
    ]
}

/// A person, and the contacts that may be theirs.
#[derive(Debug, Clone)]
struct Known {
    resource_name: String,
    contacts: BTreeSet<Uuid>,
    /// Of people who were merged into this one since the last sync.
    merged: BTreeSet<Uuid>,
    /// Those that gave way to another one, and those of merged people, of whom only a list of changes says so.
    others: BTreeSet<Uuid>,
    is_deleted: bool,
}

/// What is the user's own of a contact.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Own {
    /// Of two contacts of a person the one with more stays.
    rank: i32,
    values: String,
}

struct Book {
    fixture: Fixture,
    /// Who was merged into another is not here any more.
    people: Vec<Known>,
    own: BTreeMap<Uuid, Own>,
    /// Contacts that the user archived, and when.
    archived: BTreeMap<Uuid, String>,
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
        organizations: if number.is_multiple_of(3) { Vec::new() } else { employed(number) },
        ..Person::default()
    }
}

fn employed(number: usize) -> Vec<Organization> {
    vec![Organization { name: Some(format!("Company {number}")), title: Some("Engineer".to_owned()) }]
}

/// All that is the user's own of each contact that has any of it: values, or no more than a line of the note.
const OWN: &str =
    "SELECT c.id, CASE WHEN instagram IS NULL THEN 1 ELSE 2 END, concat_ws('|', instagram, x_handle, other_social_media, timezone, frequency_preference,
        last_contact_date, substring(custom_notes from 'met at [^\n]* and more'), dunbar_circle, circle_assigned_at, circle_assigned_by,
        (SELECT string_agg(g.group_id::text, ',') FROM contact_groups g WHERE g.contact_id = c.id),
        (SELECT string_agg(l.notes, ',') FROM interaction_logs l WHERE l.contact_id = c.id))
    FROM contacts c WHERE instagram IS NOT NULL OR custom_notes LIKE '%met at % and more%' ORDER BY c.id";

async fn own_values(fixture: &Fixture) -> BTreeMap<Uuid, Own> {
    let rows = fixture.stack.rows::<(Uuid, i32, String)>(OWN).await;
    rows.into_iter().map(|(id, rank, values)| (id, Own { rank, values })).collect()
}

impl Book {
    async fn new() -> Self {
        let fixture = Fixture::with(0).await;
        for number in 0..PEOPLE {
            fixture.world().add_person(fixture.user, person(number)).unwrap();
        }
        check_done(&fixture.sync().await, false);
        // Three in ten have nothing of the user's, one a note and nothing else.
        let last_digit = "right(regexp_replace(name, '[^0-9]', '', 'g'), 1)";
        let own = format!(
            "UPDATE contacts SET instagram = '@' || name, x_handle = 'x' || name, other_social_media = '{{\"a\": 1}}',
                    timezone = 'Europe/London', frequency_preference = 'monthly', last_contact_date = now(),
                    dunbar_circle = 'close', circle_assigned_at = now()
             WHERE {last_digit} NOT IN ('2', '3', '5', '8');
             UPDATE contacts SET custom_notes = concat_ws(
                 E'\n', CASE WHEN {last_digit} IN ('1', '5') THEN custom_notes END, 'met at ' || name || ' and more'
             ) WHERE {last_digit} NOT IN ('2', '3', '8');
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
            merged: BTreeSet::new(),
            others: BTreeSet::new(),
            is_deleted: false,
        });
        let people: Vec<_> = people.collect();
        let own = own_values(&fixture).await;
        assert_eq!(own.len(), PEOPLE * 7 / 10);
        Self { fixture, people, own, archived: BTreeMap::new(), changes: 0 }
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
                    kept.merged.extend(gone.contacts.iter().chain(&gone.merged));
                    kept.others.extend(gone.others);
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
            Step::Employ { person } => {
                let known = &self.people[person % count];
                self.changes += 1;
                let organizations = employed(PEOPLE + self.changes);
                if !known.is_deleted {
                    let change = |person: &mut Person| person.organizations = organizations;
                    world.change_person(user, &known.resource_name, change).unwrap();
                }
            }
            Step::Archive { person } => {
                for id in self.people[person % count].contacts.clone() {
                    let archive = format!(
                        "UPDATE contacts SET archived = true, archived_at = now() WHERE id = '{id}' AND NOT archived
                         RETURNING id, archived_at::text"
                    );
                    self.archived.extend(self.fixture.stack.rows::<(Uuid, String)>(&archive).await);
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

    /// Nothing of the user's is lost or changed, and it is with the person whom it was about.
    async fn check(&mut self, was_full: bool) {
        let own = own_values(&self.fixture).await;
        for (id, expected) in &self.own {
            assert_eq!(own.get(id), Some(expected), "the user's own values of {id}");
        }
        assert_eq!(own.len(), self.own.len());
        let stack = &self.fixture.stack;
        let archived = "SELECT id, archived_at::text FROM contacts WHERE archived";
        let archived: BTreeMap<_, _> = stack.rows::<(Uuid, String)>(archived).await.into_iter().collect();
        for (id, expected) in &self.archived {
            assert_eq!(archived.get(id), Some(expected), "what the user archived stays archived: {id}");
        }
        let in_use = "SELECT google_resource_name, id FROM contacts WHERE NOT archived";
        let mut rows: BTreeMap<String, Uuid> =
            stack.rows::<(String, Uuid)>(in_use).await.into_iter().collect();
        let rank = |id: &Uuid| self.own.get(id).map_or(0, |own| own.rank);
        let mut wrong = String::new();
        for known in &mut self.people {
            let row = rows.remove(&known.resource_name);
            if known.is_deleted {
                if row.is_some() {
                    let _ = writeln!(wrong, "a contact of a deleted person: {known:?}");
                }
                continue;
            }
            let merged = std::mem::take(&mut known.merged);
            let theirs = if was_full { &mut known.others } else { &mut known.contacts };
            theirs.extend(merged);
            let rest = || known.contacts.iter().filter(|id| !self.archived.contains_key(id));
            match row {
                Some(row)
                    if known.contacts.union(&known.others).any(|id| *id == row)
                        && rest().all(|id| rank(id) <= rank(&row)) =>
                {
                    known.others.append(&mut known.contacts);
                    known.contacts = [row].into();
                }
                None if rest().next().is_none() => {}
                row => {
                    let sync = if was_full { "full" } else { "incremental" };
                    let _ = writeln!(wrong, "{row:?} after a sync that was {sync}: {known:?}");
                }
            }
        }
        assert_eq!(wrong, "");
        assert_eq!(rows, BTreeMap::new(), "contacts without a person");
    }
}

#[test]
fn what_the_user_wrote_or_archived_survives_any_sequence_of_changes_at_google() {
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
