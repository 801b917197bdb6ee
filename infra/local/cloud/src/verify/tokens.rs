//! Tokens, their health, and what their users were told.

use catchup::google::TokenCipher;
use chrono::{DateTime, TimeDelta, Utc};
use google_stand_in::{Grant, Integration};
use secrecy::ExposeSecret;
use sqlx::FromRow;

use super::{Check, Health};

/// The function and the stand-in each look at the clock, one after the other.
const CLOCKS_APART: TimeDelta = TimeDelta::seconds(30);

#[derive(FromRow)]
struct TokenRow {
    access_token: String,
    refresh_token: Option<String>,
    expires_at: Option<DateTime<Utc>>,
}

impl Check<'_> {
    pub(super) async fn tokens(&mut self) -> anyhow::Result<()> {
        for integration in Integration::ALL {
            let row: Option<TokenRow> = sqlx::query_as(
                "SELECT access_token, refresh_token, expires_at FROM oauth_tokens WHERE user_id = $1 AND provider = $2",
            )
            .bind(self.user.id)
            .bind(integration.provider())
            .fetch_optional(&mut *self.db)
            .await?;
            match (row, self.user.grant(integration)) {
                (None, None) => {}
                (Some(_), None) => {
                    self.differs(format!("oauth_tokens {}: there is no grant", integration.provider()));
                }
                (None, Some(_)) => self.differs(format!("oauth_tokens {}: lost", integration.provider())),
                (Some(row), Some(grant)) => {
                    let grant = grant.clone();
                    self.token(integration, &row, &grant)?;
                    self.health(integration, Health::of(&grant, self.now)).await?;
                }
            }
        }
        Ok(())
    }

    fn token(&mut self, integration: Integration, row: &TokenRow, grant: &Grant) -> anyhow::Result<()> {
        let cipher: TokenCipher = self.seeded.encryption_key.parse()?;
        let name = integration.provider();
        let is = |stored: &str, token: &str| {
            cipher.decrypt(stored).is_ok_and(|found| found.expose_secret() == token)
        };
        self.same(
            format!("oauth_tokens {name}: access_token"),
            is(&row.access_token, &grant.access_token),
            true,
        );
        let refresh_token_is_newest = match (&row.refresh_token, &grant.refresh_token) {
            (Some(stored), Some(token)) => is(stored, token),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        self.same(format!("oauth_tokens {name}: refresh_token"), refresh_token_is_newest, true);
        let apart = row.expires_at.map(|time| (time - grant.access_token_expires_at).abs());
        self.same(
            format!("oauth_tokens {name}: expires_at"),
            apart.is_some_and(|apart| apart < CLOCKS_APART),
            true,
        );
        Ok(())
    }

    async fn health(&mut self, integration: Integration, health: Health) -> anyhow::Result<()> {
        let name = integration.provider();
        let status: Option<(String, bool)> = sqlx::query_as(
            "SELECT status, last_checked >= $3 FROM token_health WHERE user_id = $1 AND integration_type = $2",
        )
        .bind(self.user.id)
        .bind(name)
        .bind(self.seeded.at.naive_utc())
        .fetch_optional(&mut *self.db)
        .await?;
        self.same(format!("token_health {name}"), status, Some((health.status().to_owned(), true)));
        let open: Vec<String> = sqlx::query_scalar(
            "SELECT notification_type FROM token_health_notifications
             WHERE user_id = $1 AND integration_type = $2 AND resolved_at IS NULL",
        )
        .bind(self.user.id)
        .bind(name)
        .fetch_all(&mut *self.db)
        .await?;
        let expected: &[&str] = match health {
            Health::Valid => &[],
            Health::ExpiringSoon => &["token_expiring_soon"],
            Health::Revoked => &["token_invalid"],
        };
        let open: Vec<&str> = open.iter().map(String::as_str).collect();
        self.same(format!("open token_health_notifications {name}"), open.as_slice(), expected);
        Ok(())
    }
}
