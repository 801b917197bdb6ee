//! What is found out about a token, and how its user is notified.

use super::scope;
use crate::db::token_health::{INVALID_GRANT, MISSING_SCOPE, NO_REFRESH_TOKEN, NoticeKind, TokenStatus};
use crate::payload::Integration;

/// What was found out about a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    /// Google refuses its refresh token.
    Refused,
    /// It lacks a scope.
    MissingScope,
    /// It has no refresh token, and works for more than a day.
    Usable,
    /// It has no refresh token, and ends within a day.
    ExpiresSoon,
    /// It has no refresh token, and has ended.
    Expired,
}

impl Finding {
    /// The token's health, and its `error_message`.
    pub(super) fn health(self) -> (TokenStatus, Option<&'static str>) {
        match self {
            Self::Refused => (TokenStatus::Revoked, Some(INVALID_GRANT)),
            Self::MissingScope => (TokenStatus::Revoked, Some(MISSING_SCOPE)),
            Self::Usable => (TokenStatus::Valid, None),
            Self::ExpiresSoon => (TokenStatus::ExpiringSoon, Some(NO_REFRESH_TOKEN)),
            Self::Expired => (TokenStatus::Revoked, Some(NO_REFRESH_TOKEN)),
        }
    }
}

/// What the user is notified of, if anything.
pub(super) fn text(integration: Integration, finding: Finding) -> Option<(NoticeKind, String)> {
    let name = integration.product();
    match finding {
        Finding::Refused | Finding::Expired => {
            let text =
                format!("CatchUp can no longer read your {name}. Connect it again to keep it up to date.");
            Some((NoticeKind::TokenInvalid, text))
        }
        Finding::MissingScope => {
            let consent_box = scope::consent_box(integration);
            let text = format!(
                "CatchUp may not read your {name}: a box was not ticked when you connected it. Connect it again and tick \
                 \u{201c}{consent_box}\u{201d}."
            );
            Some((NoticeKind::TokenInvalid, text))
        }
        Finding::ExpiresSoon => {
            let text = format!(
                "CatchUp's access to your {name} ends within a day. Connect it again to keep it up to date."
            );
            Some((NoticeKind::TokenExpiringSoon, text))
        }
        Finding::Usable => None,
    }
}
