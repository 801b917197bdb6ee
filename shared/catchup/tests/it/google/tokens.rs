//! Tokens are renewed, stored, and their health is reported to the right user only.

use catchup::google::{Session, TokenError};
use catchup::payload::Integration::{self, GoogleCalendar, GoogleContacts};
use chrono::TimeDelta;
use futures_util::future::join_all;
use google_stand_in::{Call, FaultKind};
use secrecy::ExposeSecret;
use shared::job::Failure;

use crate::google::stack::{
    APPLICATION, NO_REFRESH_TOKEN, NO_REFRESH_TOKEN_YET_FRESH, NOTHING_GRANTED, Stack, USUAL, WORKING,
};

fn stand_in(integration: Integration) -> google_stand_in::Integration {
    match integration {
        GoogleCalendar => google_stand_in::Integration::GoogleCalendar,
        GoogleContacts => google_stand_in::Integration::GoogleContacts,
    }
}

#[tokio::test]
async fn a_renewed_token_is_stored_encrypted_and_used_until_it_nearly_expires() {
    let stack = Stack::start().await;
    let user_id = stack.user(USUAL);
    let fresh = stack.tokens.refresh(user_id, GoogleCalendar).await.unwrap();
    assert_eq!(stack.stored(user_id, GoogleCalendar).await.0, fresh.expose_secret());
    assert_eq!(stack.health(user_id, GoogleCalendar).await.as_deref(), Some("valid"));
    assert_eq!(stack.health(user_id, GoogleContacts).await, None);

    for (minutes, is_renewed) in [(54, false), (2, true)] {
        let calls = stack.calls(Call::Token);
        stack.advance(TimeDelta::minutes(minutes));
        Session::begin(&stack.tokens, user_id, GoogleCalendar).await.unwrap();
        let stored = stack.stored(user_id, GoogleCalendar).await.0;
        assert_eq!(
            (stack.calls(Call::Token) > calls, stored != fresh.expose_secret()),
            (is_renewed, is_renewed)
        );
    }
}

#[tokio::test]
async fn a_revoked_grant_is_notified_once_and_resolved_when_it_works_again() {
    let stack = Stack::start().await;
    let user_id = stack.user(USUAL);
    for integration in [GoogleCalendar, GoogleContacts] {
        stack.world.revoke_grant(user_id, stand_in(integration)).unwrap();
        // The others were not asked since: for a day it is not believed.
        let refused = stack.tokens.refresh(user_id, integration).await;
        assert!(matches!(refused, Err(TokenError::Suspected { .. })), "{refused:?}");
        assert!(stack.notices(user_id, integration).await.is_empty());
        stack.advance(TimeDelta::hours(24));
        for _ in 0..2 {
            assert!(matches!(stack.tokens.refresh(user_id, integration).await, Err(TokenError::Revoked)));
            stack.advance(TimeDelta::hours(24));
        }
        assert_eq!(stack.health(user_id, integration).await.as_deref(), Some("revoked"));
        let link = format!("{APPLICATION}/app?view=preferences");
        assert_eq!(stack.notices(user_id, integration).await, [("token_invalid".to_owned(), link)]);

        stack.world.restore_grant(user_id, stand_in(integration)).unwrap();
        stack.tokens.refresh(user_id, integration).await.unwrap();
        assert_eq!(stack.health(user_id, integration).await.as_deref(), Some("valid"));
        assert!(stack.notices(user_id, integration).await.is_empty());
    }
}

#[tokio::test]
async fn a_refused_token_is_believed_when_others_work_after_it() {
    let stack = Stack::start().await;
    let user_id = stack.user(USUAL);
    stack.world.revoke_grant(user_id, stand_in(GoogleCalendar)).unwrap();
    let refused = stack.tokens.refresh(user_id, GoogleCalendar).await;
    assert!(matches!(refused, Err(TokenError::Suspected { .. })), "{refused:?}");
    stack.tokens.refresh(user_id, GoogleContacts).await.unwrap();
    for place in WORKING {
        stack.tokens.refresh(stack.user(place), GoogleCalendar).await.unwrap();
    }
    let refused = stack.tokens.refresh(user_id, GoogleCalendar).await;
    assert!(
        matches!(refused, Err(TokenError::Suspected { .. })),
        "not within the same half minute: {refused:?}"
    );
    stack.advance(TimeDelta::seconds(30));
    let refused = stack.tokens.refresh(user_id, GoogleCalendar).await;
    assert!(matches!(refused, Err(TokenError::Revoked)), "{refused:?}");
    assert_eq!(stack.health(user_id, GoogleCalendar).await.as_deref(), Some("revoked"));
    assert_eq!(stack.health(user_id, GoogleContacts).await.as_deref(), Some("valid"));
}

#[tokio::test]
async fn a_scope_that_is_missing_is_told_once_with_its_box_and_resolved_when_it_is_granted() {
    let stack = Stack::start().await;
    let user_id = stack.user(USUAL);
    for (integration, consent_box) in [
        (GoogleCalendar, "See and download any calendar"),
        (GoogleContacts, "See and download your contacts"),
    ] {
        stack.world.rotate_refresh_token(user_id, stand_in(integration)).unwrap();
        stack.world.untick_box(user_id, stand_in(integration)).unwrap();
        for _ in 0..2 {
            let token = stack.tokens.refresh(user_id, integration).await;
            assert!(matches!(token, Err(TokenError::MissingScope)), "{token:?}");
        }
        assert_eq!(stack.health(user_id, integration).await.as_deref(), Some("revoked"));
        let messages = stack.messages(user_id, integration).await;
        assert!(messages.len() == 1 && messages[0].contains(consent_box), "{messages:?}");

        // The rotated refresh token was kept.
        stack.world.tick_box(user_id, stand_in(integration)).unwrap();
        stack.tokens.refresh(user_id, integration).await.unwrap();
        assert_eq!(stack.health(user_id, integration).await.as_deref(), Some("valid"));
        assert!(stack.notices(user_id, integration).await.is_empty());
    }
}

#[tokio::test]
async fn a_token_without_refresh_token_works_until_its_end_and_then_counts_as_revoked() {
    let stack = Stack::start().await;
    let fresh = stack.user(NO_REFRESH_TOKEN_YET_FRESH);
    let token = stack.tokens.refresh(fresh, GoogleCalendar).await.unwrap();
    assert_eq!(token.expose_secret(), stack.stored(fresh, GoogleCalendar).await.0);
    assert_eq!(stack.health(fresh, GoogleCalendar).await.as_deref(), Some("expiring_soon"));
    assert_eq!(stack.notices(fresh, GoogleCalendar).await[0].0, "token_expiring_soon");

    let over = stack.user(NO_REFRESH_TOKEN);
    assert!(matches!(stack.tokens.refresh(over, GoogleCalendar).await, Err(TokenError::Revoked)));
    assert_eq!(stack.health(over, GoogleCalendar).await.as_deref(), Some("revoked"));
    assert_eq!(stack.notices(over, GoogleCalendar).await[0].0, "token_invalid");
    assert_eq!(stack.calls(Call::Token), 0);
}

#[tokio::test]
async fn a_user_who_connected_nothing_has_no_token() {
    let stack = Stack::start().await;
    let user_id = stack.user(NOTHING_GRANTED);
    assert!(matches!(stack.tokens.refresh(user_id, GoogleCalendar).await, Err(TokenError::NotConnected)));
    assert_eq!(stack.health(user_id, GoogleCalendar).await, None);
}

#[tokio::test]
async fn a_failure_that_is_not_the_users_changes_nothing() {
    let stack = Stack::start().await;
    let user_id = stack.user(USUAL);
    let before = stack.stored(user_id, GoogleCalendar).await;
    for kind in [
        FaultKind::Unauthorized,
        FaultKind::RateLimit,
        FaultKind::TooManyRequests { retry_after_s: 1 },
        FaultKind::Gone,
        FaultKind::ServerError { status: 503 },
        FaultKind::Reset,
        FaultKind::Garbage,
        FaultKind::Huge,
    ] {
        stack.inject(Call::Token, kind);
        let error = stack.tokens.refresh(user_id, GoogleCalendar).await.unwrap_err();
        assert!(!matches!(error, TokenError::Revoked), "{kind:?}: {error}");
        let is_ours = kind == FaultKind::Unauthorized;
        match Failure::from(error) {
            Failure::Transient(_) => assert!(!is_ours, "{kind:?}"),
            Failure::Unavailable { .. } => assert!(is_ours, "{kind:?}"),
            failure @ (Failure::Permanent(_) | Failure::Busy { .. }) => panic!("{kind:?}: {failure}"),
        }
        assert_eq!(stack.health(user_id, GoogleCalendar).await, None, "{kind:?}");
        assert_eq!(stack.stored(user_id, GoogleCalendar).await, before, "{kind:?}");
    }
    assert!(stack.world.faults().is_empty(), "each of them struck");
    stack.tokens.refresh(user_id, GoogleCalendar).await.unwrap();
}

#[tokio::test]
async fn a_rotated_refresh_token_takes_the_place_of_the_old_one() {
    let stack = Stack::start().await;
    let user_id = stack.user(USUAL);
    let (_, old) = stack.stored(user_id, GoogleCalendar).await;
    stack.world.rotate_refresh_token(user_id, stand_in(GoogleCalendar)).unwrap();
    stack.tokens.refresh(user_id, GoogleCalendar).await.unwrap();
    let (_, new) = stack.stored(user_id, GoogleCalendar).await;
    assert_ne!(new, old);
    stack.tokens.refresh(user_id, GoogleCalendar).await.unwrap();
    assert_eq!(stack.stored(user_id, GoogleCalendar).await.1, new);
}

#[tokio::test]
async fn concurrent_refreshes_lose_no_rotated_token_and_revoke_no_user() {
    let stack = Stack::start().await;
    let user_id = stack.user(USUAL);
    for _ in 0..5 {
        stack.world.rotate_refresh_token(user_id, stand_in(GoogleCalendar)).unwrap();
        let refreshes = join_all((0..8).map(|_| stack.tokens.refresh(user_id, GoogleCalendar))).await;
        assert!(refreshes.iter().all(Result::is_ok), "{refreshes:?}");
        assert_eq!(stack.health(user_id, GoogleCalendar).await.as_deref(), Some("valid"));
    }
    stack.tokens.refresh(user_id, GoogleCalendar).await.unwrap();
}
