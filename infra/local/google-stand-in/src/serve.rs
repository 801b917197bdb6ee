//! The HTTP server: Google's paths, and the operator's under `/admin`.

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::net::TcpListener;

use crate::call::Call;
use crate::refusal::{Api, Refusal};
use crate::request_context::RequestContext;
use crate::world::World;
use crate::{admin, calendar_list, event_list, group_list, people_list, push, watch};

/// The OAuth client that the token endpoint knows.
#[derive(Debug, Clone)]
pub struct Config {
    /// `client_id`.
    pub client_id: String,
    /// `client_secret`.
    pub client_secret: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            client_id: "stand-in.apps.googleusercontent.com".to_owned(),
            client_secret: "stand-in-client-secret".to_owned(),
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct App {
    pub(crate) world: World,
    pub(crate) config: Arc<Config>,
}

/// Serves `world` on `listener`, which must be bound to a loopback address, and delivers its push notifications, until
/// `shutdown` resolves; then open connections get two seconds. Dropping the future stops immediately.
pub async fn serve(
    listener: TcpListener,
    world: World,
    config: Config,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let app = App { world: world.clone(), config: Arc::new(config) };
    tokio::select! {
        ended = stand_in::serve(listener, router(app), shutdown) => ended,
        () = push::deliver(world) => Ok(()),
    }
}

fn router(app: App) -> Router {
    Router::new()
        .route("/token", post(token))
        .route("/calendar/v3/users/me/calendarList", get(calendar_list_list))
        .route("/calendar/v3/calendars/{calendar_id}", get(calendars_get))
        .route("/calendar/v3/calendars/{calendar_id}/events", get(events_list))
        .route("/calendar/v3/calendars/{calendar_id}/events/watch", post(events_watch))
        .route("/calendar/v3/channels/stop", post(channels_stop))
        .route("/v1/people/me/connections", get(people_connections_list))
        .route("/v1/contactGroups", get(contact_groups_list))
        .nest("/admin", admin::router())
        .fallback(unknown)
        .with_state(app)
}

async fn token(context: RequestContext, body: Bytes) -> Response {
    context.refresh(body).await
}

async fn calendar_list_list(context: RequestContext) -> Response {
    context
        .answer(Call::CalendarListList, |state, user, query, _| calendar_list::list(state, user, query))
        .await
}

async fn calendars_get(context: RequestContext, Path(id): Path<String>) -> Response {
    context.answer(Call::CalendarsGet, |state, user, _, _| calendar_list::get(state, user, &id)).await
}

async fn events_list(context: RequestContext, Path(id): Path<String>) -> Response {
    context
        .answer(Call::EventsList, |state, user, query, now| event_list::list(state, user, &id, query, now))
        .await
}

async fn events_watch(context: RequestContext, Path(id): Path<String>, body: Bytes) -> Response {
    context.answer(Call::EventsWatch, |state, user, _, now| watch::watch(state, user, &id, &body, now)).await
}

async fn channels_stop(context: RequestContext, body: Bytes) -> Response {
    context.answer(Call::ChannelsStop, |state, user, _, now| watch::stop(state, user, &body, now)).await
}

async fn people_connections_list(context: RequestContext) -> Response {
    context
        .answer(Call::PeopleConnectionsList, |state, user, query, now| {
            people_list::list(state, user, query, now)
        })
        .await
}

async fn contact_groups_list(context: RequestContext) -> Response {
    context
        .answer(Call::ContactGroupsList, |state, user, query, now| group_list::list(state, user, query, now))
        .await
}

async fn unknown() -> Response {
    Refusal::not_found("Not Found").into_answer(Api::Calendar).into_response()
}
