//! The seeded world and its changes.

use std::collections::BTreeSet;

use chrono::Offset as _;
use google_stand_in::{GrantState, Integration, Recurrence, SeedOptions, User, World};

use crate::site::{Time, small};

/// Everything that the functions copy, as text.
fn portrait(world: &World) -> String {
    let mut lines = Vec::new();
    for user in world.users() {
        lines.push(format!("{user:?}"));
        for calendar in world.calendars(user.id).expect("a user") {
            lines
                .push(format!("{calendar:?} {:?}", world.events(user.id, &calendar.id).expect("a calendar")));
        }
        lines.push(format!("{:?} {:?}", world.people(user.id), world.groups(user.id)));
    }
    lines.join("\n")
}

#[test]
fn a_seed_and_its_ticks_give_the_same_world_again() {
    let world = || {
        let world = World::seeded(small(&Time::start()));
        world.tick(60);
        world
    };
    assert_eq!(portrait(&world()), portrait(&world()));
    let other = World::seeded(SeedOptions { seed: 8, ..small(&Time::start()) });
    assert_ne!(portrait(&world()), portrait(&other));
}

#[test]
fn a_tick_changes_the_world_in_every_way() {
    let world = World::seeded(SeedOptions { users: 30, ..small(&Time::start()) });
    let before = portrait(&world);
    let happened = world.tick(1_500);
    assert_eq!(happened.len(), 17, "{happened:?}");
    assert_ne!(before, portrait(&world));
    let revoked = |user: &&User| {
        Integration::ALL
            .iter()
            .any(|i| user.grant(*i).is_some_and(|grant| grant.state == GrantState::Revoked))
    };
    let users = world.users();
    assert!(users.iter().filter(revoked).count() * 4 < users.len(), "most users continue");
}

#[test]
fn the_default_world_has_every_kind_of_user_calendar_event_and_contact() {
    let time = Time::start();
    let world = World::seeded(SeedOptions { clock: time.clock(), ..SeedOptions::default() });
    let users = world.users();
    assert_eq!(users.len(), 50);
    let any = |what: &dyn Fn(&User) -> bool| users.iter().any(what);
    let grants = || users.iter().flat_map(|user| Integration::ALL.map(|i| user.grant(i).cloned())).flatten();
    assert!(any(&|user| user.calendar_grant.is_none() && user.contacts_grant.is_none()));
    assert!(grants().any(|grant| grant.state == GrantState::Revoked));
    assert!(grants().any(|grant| grant.refresh_token.is_none()));
    let left = |grant: &google_stand_in::Grant| (grant.access_token_expires_at - world.now()).num_minutes();
    assert!(grants().any(|grant| left(&grant) < 0));
    assert!(grants().any(|grant| (0..5).contains(&left(&grant))));
    assert!(grants().any(|grant| left(&grant) > 30));
    let half = |user: &User| {
        use chrono::TimeZone as _;
        user.time_zone.offset_from_utc_datetime(&world.now().naive_utc()).fix().local_minus_utc() % 3_600 != 0
    };
    assert!(any(&half), "an offset that is not whole hours");

    let books: Vec<usize> = users.iter().map(|user| world.people_count(user.id).expect("a user")).collect();
    assert_eq!(books.iter().max(), Some(&5_000));
    assert!(books.iter().sum::<usize>() < 30_000);
    assert!(users.iter().zip(&books).any(|(user, people)| user.contacts_grant.is_some() && *people == 0));
    let calendars: BTreeSet<usize> =
        users.iter().map(|user| world.calendars(user.id).expect("a user").len()).collect();
    assert_eq!(calendars, BTreeSet::from([0, 1, 2, 3, 4, 5]));

    let events: Vec<_> = users
        .iter()
        .flat_map(|user| {
            world
                .calendars(user.id)
                .expect("a user")
                .into_iter()
                .flat_map(|calendar| world.events(user.id, &calendar.id).expect("a calendar"))
        })
        .collect();
    let some = |what: &dyn Fn(&google_stand_in::Event) -> bool| events.iter().any(what);
    assert!(some(&|event| event.is_all_day()));
    assert!(some(&|event| event.transparent));
    assert!(some(&|event| event.declined()));
    assert!(some(&|event| matches!(event.recurrence, Recurrence::Instance { .. })));
    assert!(some(&|event| event.summary.is_none()));
    assert!(some(&|event| event.summary.as_ref().is_some_and(|text| text.chars().count() > 500)));
    assert!(some(&|event| event.instants().0 > world.now() + chrono::TimeDelta::days(61)));
    assert!(some(&|event| event.instants().1 < world.now() - chrono::TimeDelta::days(31)));
    let ids: BTreeSet<&str> = events.iter().map(|event| event.id.as_str()).collect();
    assert!(ids.len() < events.len(), "an event in two calendars of a user");
}

#[test]
fn a_user_can_be_given_a_hundred_thousand_people() {
    let world = World::seeded(SeedOptions { huge_user: Some(1), ..small(&Time::start()) });
    let user = world.users().swap_remove(1);
    assert_eq!(world.people_count(user.id), Ok(100_000));
}
