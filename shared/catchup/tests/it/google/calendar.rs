//! Calendar over the wire: pages, sync tokens, and everything that goes wrong.

use std::time::Duration;

use catchup::google::calendar::{EVENTS_PER_PAGE, NextEvents, SyncScope};
use catchup::google::{Error, Session, TokenError};
use catchup::payload::Integration::GoogleCalendar;
use chrono::TimeDelta;
use google_stand_in::{Call, Event, FaultKind};
use uuid::Uuid;

use crate::google::stack::{Stack, USUAL};

fn full(stack: &Stack) -> SyncScope {
    SyncScope::Full {
        from: stack.world.now() - TimeDelta::days(1),
        until: stack.world.now() + TimeDelta::days(60),
    }
}

/// Asks for a page of events while the calls go wrong; all further ones, too, if `forever`.
async fn broken(kind: FaultKind, forever: bool) -> (Stack, u32, Result<usize, Error>) {
    let stack = Stack::start().await;
    let mut session = stack.session(GoogleCalendar).await;
    if forever {
        stack.inject_forever(Call::EventsList, kind);
    } else {
        stack.inject(Call::EventsList, kind);
    }
    let page =
        stack.calendar.events(&mut session, &stack.primary(), &full(&stack), EVENTS_PER_PAGE, None).await;
    let calls = session.calls();
    (stack, calls, page.map(|page| page.events.len()))
}

#[tokio::test]
async fn all_calendars_are_listed() {
    let stack = Stack::start().await;
    let page = stack.calendar.calendars(&mut stack.session(GoogleCalendar).await, None).await.unwrap();
    let mut listed: Vec<_> = page.items.into_iter().filter_map(|calendar| calendar.id).collect();
    let mut known: Vec<_> =
        stack.world.calendars(stack.user(USUAL)).unwrap().into_iter().map(|c| c.id).collect();
    listed.sort();
    known.sort();
    assert_eq!(listed, known);
}

#[tokio::test]
async fn events_come_in_pages_and_changes_by_sync_token() {
    const NEW: usize = 2600;
    let stack = Stack::start().await;
    let (user_id, primary) = (stack.user(USUAL), stack.primary());
    for number in 0..NEW {
        let event =
            Event::timed(&number.to_string(), stack.world.now() + TimeDelta::hours(1), TimeDelta::hours(1));
        stack.world.add_event(user_id, &primary, event).unwrap();
    }
    let mut session = stack.session(GoogleCalendar).await;
    let scope = full(&stack);
    let first = stack.calendar.events(&mut session, &primary, &scope, EVENTS_PER_PAGE, None).await.unwrap();
    assert_eq!(first.events.len(), 2500);
    let NextEvents::Page(token) = first.next else { panic!("there is more") };
    let second =
        stack.calendar.events(&mut session, &primary, &scope, EVENTS_PER_PAGE, Some(&token)).await.unwrap();
    assert!(second.events.len() >= NEW - 2500);
    let NextEvents::Sync(token) = second.next else { panic!("this is all") };

    let unchanged = stack
        .calendar
        .events(&mut session, &primary, &SyncScope::Since(token), EVENTS_PER_PAGE, None)
        .await
        .unwrap();
    assert!(unchanged.events.is_empty());
    let NextEvents::Sync(token) = unchanged.next else { panic!("this is all") };
    let gone = stack
        .world
        .events(user_id, &primary)
        .unwrap()
        .into_iter()
        .find(|event| event.summary.as_deref() == Some("7"));
    stack.world.delete_event(user_id, &primary, &gone.unwrap().id).unwrap();
    let changed = stack
        .calendar
        .events(&mut session, &primary, &SyncScope::Since(token), EVENTS_PER_PAGE, None)
        .await
        .unwrap();
    assert_eq!(changed.events.len(), 1);
    assert_eq!(changed.events[0].status.as_deref(), Some("cancelled"));
    assert_eq!(session.calls(), 4);
}

#[tokio::test]
async fn an_expired_sync_token_says_so() {
    let stack = Stack::start().await;
    let mut session = stack.session(GoogleCalendar).await;
    let page = stack
        .calendar
        .events(&mut session, &stack.primary(), &full(&stack), EVENTS_PER_PAGE, None)
        .await
        .unwrap();
    let NextEvents::Sync(token) = page.next else { panic!("this is all") };
    stack.world.expire_sync_tokens(stack.user(USUAL)).unwrap();
    let page = stack
        .calendar
        .events(&mut session, &stack.primary(), &SyncScope::Since(token), EVENTS_PER_PAGE, None)
        .await;
    assert!(matches!(page, Err(Error::SyncTokenExpired)), "{page:?}");
}

#[tokio::test]
async fn the_events_of_any_calendar_id_are_found() {
    let stack = Stack::start().await;
    let user_id = stack.user(USUAL);
    let like = stack.world.calendars(user_id).unwrap().remove(0);
    let mut session = stack.session(GoogleCalendar).await;
    for id in ["en.usa#holiday@group.v.calendar.google.com", "a/b?c=d%23 é@example.test", "{calendarId}"] {
        let calendar = google_stand_in::Calendar { id: id.to_owned(), primary: false, ..like.clone() };
        stack.world.add_calendar(user_id, calendar).unwrap();
        let event = Event::timed("Tea", stack.world.now() + TimeDelta::hours(1), TimeDelta::hours(1));
        let event = stack.world.add_event(user_id, id, event).unwrap();
        let page =
            stack.calendar.events(&mut session, id, &full(&stack), EVENTS_PER_PAGE, None).await.unwrap();
        assert_eq!(page.events.len(), 1, "{id}");
        assert_eq!(page.events[0].id.as_deref(), Some(event.id.as_str()), "{id}");
    }
}

#[tokio::test]
async fn an_unknown_calendar_is_not_found() {
    let stack = Stack::start().await;
    let mut session = stack.session(GoogleCalendar).await;
    let page =
        stack.calendar.events(&mut session, "no/such calendar", &full(&stack), EVENTS_PER_PAGE, None).await;
    assert!(matches!(page, Err(Error::NotFound)), "{page:?}");
}

#[tokio::test]
async fn a_refused_access_token_is_renewed_once() {
    let (stack, calls, page) = broken(FaultKind::Unauthorized, false).await;
    assert!(page.is_ok(), "{page:?}");
    assert_eq!((calls, stack.calls(Call::Token)), (2, 2));

    let (stack, calls, page) = broken(FaultKind::Unauthorized, true).await;
    assert!(matches!(page, Err(Error::Unauthorized)), "{page:?}");
    assert_eq!((calls, stack.calls(Call::Token)), (2, 2));
}

#[tokio::test]
async fn a_token_that_another_task_renewed_meanwhile_is_taken_as_it_is() {
    let stack = Stack::start().await;
    let user_id = stack.user(USUAL);
    let mut session = stack.session(GoogleCalendar).await;
    stack.tokens.refresh(user_id, GoogleCalendar).await.unwrap();
    stack.inject(Call::EventsList, FaultKind::Unauthorized);
    let page =
        stack.calendar.events(&mut session, &stack.primary(), &full(&stack), EVENTS_PER_PAGE, None).await;
    assert!(page.is_ok(), "{page:?}");
    assert_eq!(stack.calls(Call::Token), 2);
}

#[tokio::test]
async fn a_grant_that_was_revoked_during_a_sync_is_found_out() {
    let stack = Stack::start().await;
    let user_id = stack.user(USUAL);
    let mut session = stack.session(GoogleCalendar).await;
    stack.world.revoke_grant(user_id, google_stand_in::Integration::GoogleCalendar).unwrap();
    let page =
        stack.calendar.events(&mut session, &stack.primary(), &full(&stack), EVENTS_PER_PAGE, None).await;
    assert!(matches!(page, Err(Error::Token(TokenError::Suspected { .. }))), "{page:?}");
    stack.advance(TimeDelta::hours(24));
    let page =
        stack.calendar.events(&mut session, &stack.primary(), &full(&stack), EVENTS_PER_PAGE, None).await;
    assert!(matches!(page, Err(Error::Unauthorized)), "the token was renewed once: {page:?}");
    let session = Session::begin(&stack.tokens, user_id, GoogleCalendar).await;
    assert!(matches!(session, Err(Error::Token(TokenError::Revoked))), "{session:?}");
    assert_eq!(stack.health(user_id, GoogleCalendar).await.as_deref(), Some("revoked"));
}

#[tokio::test]
async fn a_rate_limited_response_names_its_time() {
    let (_, _, page) = broken(FaultKind::TooManyRequests { retry_after_s: 7_000 }, false).await;
    assert!(
        matches!(page, Err(Error::Limited { retry_after }) if retry_after == Duration::from_secs(7_000)),
        "{page:?}"
    );
    for kind in [FaultKind::RateLimit, FaultKind::DayQuota, FaultKind::TooManyRequests { retry_after_s: 7 }] {
        let (_, _, page) = broken(kind, false).await;
        let wait = Duration::from_mins(1)..Duration::from_secs(75);
        assert!(
            matches!(page, Err(Error::Limited { retry_after }) if wait.contains(&retry_after)),
            "{kind:?}: {page:?}"
        );
    }
}

#[tokio::test]
async fn waits_at_a_limit_double_up_to_an_hour_are_recorded_and_end_with_a_success() {
    let stack = Stack::start().await;
    let user_id = stack.user(USUAL);
    stack.tokens.refresh(user_id, GoogleCalendar).await.unwrap();
    stack.inject_forever(Call::CalendarListList, FaultKind::DayQuota);
    for (place, minutes) in [1, 2, 4, 8, 16, 32, 60, 60].into_iter().enumerate() {
        let mut session = Session::begin(&stack.tokens, user_id, GoogleCalendar).await.unwrap();
        let page = stack.calendar.calendars(&mut session, None).await;
        let Err(Error::Limited { retry_after }) = page else { panic!("{page:?}") };
        let range = if minutes < 60 { minutes * 60..=minutes * 75 } else { 2_700..=3_600 };
        assert!(range.contains(&retry_after.as_secs()), "{minutes}: {retry_after:?}");
        assert_eq!(stack.waits().await, [(user_id, i32::try_from(place + 1).unwrap())]);

        // Whatever job it is: no job asks before that time, and other users do.
        let early = Session::begin(&stack.tokens, user_id, GoogleCalendar).await;
        assert!(matches!(early, Err(Error::Limited { .. })), "{early:?}");
        stack.advance(TimeDelta::from_std(retry_after).unwrap());
    }
    assert_eq!(stack.calls(Call::CalendarListList), 8);
    stack.world.clear_faults();
    let mut session = Session::begin(&stack.tokens, user_id, GoogleCalendar).await.unwrap();
    stack.calendar.calendars(&mut session, None).await.unwrap();
    assert!(stack.waits().await.is_empty());
}

#[tokio::test]
async fn an_account_without_calendar_is_asked_again_after_a_week() {
    let stack = Stack::start().await;
    let user_id = stack.user(USUAL);
    let mut session = stack.session(GoogleCalendar).await;
    stack.inject(Call::CalendarListList, FaultKind::NotACalendarUser);
    let page = stack.calendar.calendars(&mut session, None).await;
    assert!(matches!(page, Err(Error::NoCalendarAccount)), "{page:?}");
    for hours in [0, 167] {
        stack.advance(TimeDelta::hours(hours));
        let session = Session::begin(&stack.tokens, user_id, GoogleCalendar).await;
        assert!(matches!(session, Err(Error::NoCalendarAccount)), "{session:?}");
    }
    assert_eq!((stack.calls(Call::CalendarListList), stack.calls(Call::Token)), (1, 1));
    stack.advance(TimeDelta::hours(1));
    let mut session = Session::begin(&stack.tokens, user_id, GoogleCalendar).await.unwrap();
    stack.calendar.calendars(&mut session, None).await.unwrap();
}

#[tokio::test]
async fn what_google_says_of_an_account_does_not_hold_for_the_next_one() {
    let stack = Stack::start().await;
    let user_id = stack.user(USUAL);
    let mut session = stack.session(GoogleCalendar).await;
    stack.inject(Call::CalendarListList, FaultKind::NotACalendarUser);
    assert!(stack.calendar.calendars(&mut session, None).await.is_err());
    let session = Session::begin(&stack.tokens, user_id, GoogleCalendar).await;
    assert!(matches!(session, Err(Error::NoCalendarAccount)), "{session:?}");
    sqlx::query("UPDATE oauth_tokens SET refresh_token = 'of another account'")
        .execute(&mut stack.connect().await)
        .await
        .unwrap();
    let mut session = Session::begin(&stack.tokens, user_id, GoogleCalendar).await.unwrap();
    stack.calendar.calendars(&mut session, None).await.unwrap();
}

#[tokio::test]
async fn a_scope_that_is_missing_in_a_call_is_recorded_as_in_an_exchange() {
    let stack = Stack::start().await;
    let user_id = stack.user(USUAL);
    let mut session = stack.session(GoogleCalendar).await;
    stack.world.untick_box(user_id, google_stand_in::Integration::GoogleCalendar).unwrap();
    for _ in 0..2 {
        let page = stack.calendar.calendars(&mut session, None).await;
        assert!(matches!(page, Err(Error::MissingScope)), "{page:?}");
    }
    assert_eq!(stack.health(user_id, GoogleCalendar).await.as_deref(), Some("revoked"));
    assert_eq!(stack.messages(user_id, GoogleCalendar).await.len(), 1);
}

#[tokio::test]
async fn a_refused_address_renews_no_token() {
    let stack = Stack::start().await;
    let mut session = stack.session(GoogleCalendar).await;
    for kind in [FaultKind::AddressUnauthorized, FaultKind::ApiDisabled] {
        stack.inject(Call::CalendarListList, kind);
        let page = stack.calendar.calendars(&mut session, None).await;
        assert!(matches!(page, Err(Error::AddressRefused { .. } | Error::ApiDisabled)), "{kind:?}: {page:?}");
    }
    assert_eq!((stack.calls(Call::Token), session.calls()), (1, 2));
}

#[tokio::test]
async fn each_failure_of_the_server_is_classified() {
    let (_, _, page) = broken(FaultKind::ServerError { status: 502 }, false).await;
    assert!(matches!(page, Err(Error::Unavailable(status)) if status == 502), "{page:?}");
    let (_, _, page) = broken(FaultKind::Gone, false).await;
    assert!(matches!(page, Err(Error::SyncTokenExpired)), "{page:?}");
    let (_, _, page) = broken(FaultKind::Garbage, false).await;
    assert!(matches!(page, Err(Error::Garbage(_))), "{page:?}");
    let (_, calls, page) = broken(FaultKind::Reset, false).await;
    assert!(matches!(page, Err(Error::Transport(_))), "{page:?}");
    assert_eq!(calls, 1);
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off_and_known_to_be_too_large() {
    let (_, _, page) = broken(FaultKind::Huge, false).await;
    assert!(matches!(page, Err(Error::TooLarge)), "{page:?}");
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_given_up() {
    let stack = Stack::start().await;
    let mut session = stack.session(GoogleCalendar).await;
    // Opens the connection, so that nothing but the answer is waited for.
    stack.calendar.calendars(&mut session, None).await.unwrap();
    stack.inject(Call::CalendarListList, FaultKind::Slow { delay_ms: 3_600_000 });
    tokio::time::pause();
    let page = stack.calendar.calendars(&mut session, None).await;
    assert!(matches!(page, Err(Error::Timeout)), "{page:?}");
}

#[tokio::test]
async fn a_token_that_google_never_gave_is_replaced() {
    let stack = Stack::start().await;
    let user_id = stack.user(USUAL);
    stack.tokens.refresh(user_id, GoogleCalendar).await.unwrap();
    stack.store_access_token(user_id, GoogleCalendar, &Uuid::new_v4().to_string()).await;
    let mut session = Session::begin(&stack.tokens, user_id, GoogleCalendar).await.unwrap();
    stack.calendar.calendars(&mut session, None).await.unwrap();
    assert_eq!(session.calls(), 2);
}

#[tokio::test]
async fn a_hidden_calendar_is_listed() {
    let stack = Stack::start().await;
    let (user_id, primary) = (stack.user(USUAL), stack.primary());
    stack.world.hide_calendar(user_id, &primary, true).unwrap();
    let page = stack.calendar.calendars(&mut stack.session(GoogleCalendar).await, None).await.unwrap();
    assert!(page.items.iter().any(|calendar| calendar.id.as_deref() == Some(&primary)));
}

#[tokio::test]
async fn a_last_page_without_a_token_is_one_only_if_it_is_a_page() {
    let stack = Stack::start().await;
    let mut session = stack.session(GoogleCalendar).await;
    stack.inject(Call::EventsList, FaultKind::NoSyncToken);
    let page = stack
        .calendar
        .events(&mut session, &stack.primary(), &full(&stack), EVENTS_PER_PAGE, None)
        .await
        .unwrap();
    assert_eq!(page.next, NextEvents::Anew);
    assert!(!page.events.is_empty());
}
