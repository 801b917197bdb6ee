//! A Google world next to a stack, whose database knows its users.

use google_stand_in::{SeedOptions, World};
use local_cloud::Background;
use local_cloud::seed::{self, Variety};
use local_cloud::stack::serve_google;
use url::Url;

use crate::stack::Stack;

/// Serves a world.
///
/// # Panics
/// If the server does not start.
#[must_use]
pub fn serve(world: &World) -> Background {
    serve_google(world).expect("the stand-in starts")
}

/// The stand-in for Google.
pub struct Google {
    /// What Google knows.
    pub world: World,
    encryption_key: String,
    server: Background,
}

impl Google {
    /// Starts it, and puts its users into the stack's database.
    ///
    /// # Panics
    /// If something does not start.
    pub async fn start(stack: &Stack, options: SeedOptions) -> Self {
        Self::start_at(&stack.database, options).await
    }

    /// The same with any database.
    ///
    /// # Panics
    /// If something does not start.
    pub async fn start_at(database: &Url, options: SeedOptions) -> Self {
        let world = World::seeded(options);
        let server = serve(&world);
        let encryption_key = seed::new_encryption_key();
        seed::seed(database, &world, &encryption_key, Variety::Plain).await.expect("the database is empty");
        Self { world, encryption_key, server }
    }

    /// What a function's environment says about Google.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, String); 7] {
        let client = google_stand_in::Config::default();
        [
            ("ENCRYPTION_KEY", self.encryption_key.clone()),
            ("GOOGLE_CLIENT_ID", client.client_id),
            ("GOOGLE_CLIENT_SECRET", client.client_secret),
            ("GOOGLE_TOKEN_URL", format!("{}/token", self.server.url())),
            ("GOOGLE_API_URL", self.server.url()),
            ("APP_BASE_URL", "https://app.example.test".to_owned()),
            // The stand-in delivers to this machine only, so nothing is sent there.
            ("CALENDAR_WEBHOOK_URL", "https://webhooks.example.test/google-calendar".to_owned()),
        ]
    }
}
