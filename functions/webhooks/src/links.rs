//! The links in messages. `GET` shows a page with one button and changes nothing, as mail scanners fetch every link; `POST` acts. No
//! login: the token shows that we sent the link to the person.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use catchup::cache::Cache;
use catchup::db::deliveries::{Channel, Deliveries};
use catchup::db::opt_outs::{List, OptOut, OptOuts, Reason};
use catchup::db::suggestions::{Act, Suggestions};
use catchup::links::{Link, Links, SUGGESTION_PATH, TOKEN, UNSUBSCRIBE_PATH};
use shared::clock::Clock;
use shared::config::InvalidConfig;
use shared::job::Setup;
use shared::runtime::Handled;
use shared::telemetry::line::OutcomeCode;
use url::form_urlencoded;
use uuid::Uuid;

use crate::callbacks::{Error, Gate, MAX_TEXT_CHARS, Verified};
use crate::unknown_callers;

/// The pages.
pub const PATHS: [&str; 2] = [UNSUBSCRIBE_PATH, SUGGESTION_PATH];

/// Acts for people who follow a link.
pub(crate) struct Receiver {
    links: Links,
    deliveries: Deliveries,
    opt_outs: OptOuts,
    suggestions: Suggestions,
    cache: Cache,
    clock: Clock,
    gate: Gate,
}

impl Receiver {
    pub(crate) fn new(setup: &mut Setup, gate: Gate) -> Result<Self, InvalidConfig> {
        let (deliveries, opt_outs) = (Deliveries::new(setup), OptOuts::new(setup));
        let (suggestions, cache) = (Suggestions::new(setup), Cache::new(setup));
        let links = Links::from_config(setup.config());
        let clock = setup.clock();
        Ok(Self {
            links: links?,
            deliveries: deliveries?,
            opt_outs: opt_outs?,
            suggestions: suggestions?,
            cache: cache?,
            clock,
            gate,
        })
    }

    /// A page with one button.
    pub(crate) async fn show(self: Arc<Self>, request: Request) -> Handled {
        let address = unknown_callers::address(request.headers());
        let link = self.link(request.uri());
        let show = async {
            let Some(link) = link else { return Ok(Verified::Unknown) };
            let words = Words::of(link);
            let body = format!("<form method=\"post\"><button>{}</button></form>", words.button);
            let page = page(StatusCode::OK, words.title, &body);
            Ok(Verified::Accepted(Handled::new(OutcomeCode::Done, page)))
        };
        self.gate.pass(address, show).await
    }

    /// Does what the link says.
    pub(crate) async fn act(self: Arc<Self>, request: Request) -> Handled {
        let address = unknown_callers::address(request.headers());
        let link = self.link(request.uri());
        let act = async {
            let Some(link) = link else { return Ok(Verified::Unknown) };
            let acted = match link {
                Link::Unsubscribe { message } => self.unsubscribe(message).await?,
                Link::WeMet { suggestion } => self.suggestion(suggestion, Act::WeMet).await?,
                Link::NotNow { suggestion } => self.suggestion(suggestion, Act::NotNow).await?,
                Link::Never { suggestion } => self.suggestion(suggestion, Act::Never).await?,
                Link::StillUseful { suggestion } => self.suggestion(suggestion, Act::StillUseful).await?,
            };
            let Some(user_id) = acted else {
                let gone = page(
                    StatusCode::GONE,
                    "This link has expired",
                    "<p>What it was about is not there any more.</p>",
                );
                return Ok(Verified::Accepted(Handled::new(OutcomeCode::Skipped, gone).because("gone")));
            };
            let words = Words::of(link);
            let done = page(StatusCode::OK, words.done, "<p>You can close this page.</p>");
            Ok(Verified::Accepted(Handled::new(OutcomeCode::Done, done).about(user_id)))
        };
        self.gate.pass(address, Box::pin(act)).await
    }

    fn link(&self, uri: &Uri) -> Option<Link> {
        let (_, token) = form_urlencoded::parse(uri.query()?.as_bytes()).find(|(name, _)| name == TOKEN)?;
        let link = self.links.read(&token).filter(|_| token.len() <= MAX_TEXT_CHARS)?;
        // A link acts at its own address only.
        let is_unsubscribe = matches!(link, Link::Unsubscribe { .. });
        (is_unsubscribe == (uri.path() == UNSUBSCRIBE_PATH)).then_some(link)
    }

    async fn unsubscribe(&self, message: Uuid) -> Result<Option<Uuid>, Error> {
        let Some(sent_to) = self.deliveries.sent_to(message).await? else { return Ok(None) };
        let lists = std::slice::from_ref::<List>(&sent_to.list);
        let opt_out = OptOut { channel: Channel::Email, lists, reason: Reason::Unsubscribe, callback: None };
        self.opt_outs.opt_out(sent_to.user_id, opt_out, self.clock.now()).await?;
        self.cache.preferences_changed(sent_to.user_id).await?;
        Ok(Some(sent_to.user_id))
    }

    async fn suggestion(&self, suggestion: Uuid, act: Act) -> Result<Option<Uuid>, Error> {
        let Some(acted) = self.suggestions.act(suggestion, act, self.clock.now()).await? else {
            return Ok(None);
        };
        self.cache.suggestions_changed(acted.user_id).await?;
        if act == Act::WeMet {
            self.cache.contacts_changed(acted.user_id, &acted.contacts).await?;
        }
        Ok(Some(acted.user_id))
    }
}

/// What the pages of a link say.
struct Words {
    title: &'static str,
    button: &'static str,
    done: &'static str,
}

impl Words {
    const fn of(link: Link) -> Self {
        match link {
            Link::Unsubscribe { .. } => Self {
                title: "Unsubscribe from these e-mails?",
                button: "Unsubscribe",
                done: "You will get no more of these e-mails",
            },
            Link::WeMet { .. } => {
                Self { title: "Did you catch up?", button: "Yes, we did", done: "Noted: you were in touch" }
            }
            Link::NotNow { .. } => Self {
                title: "Not now?",
                button: "Remind me in a week",
                done: "We will suggest it again in a week",
            },
            Link::Never { .. } => Self {
                title: "Never suggest this contact again?",
                button: "Never suggest again",
                done: "This contact will not be suggested again",
            },
            Link::StillUseful { .. } => Self {
                title: "Do you want more ideas?",
                button: "Yes, more ideas",
                done: "More ideas will come with your next batch",
            },
        }
    }
}

/// A page without anything of others: no script, no image, no address that it tells.
fn page(status: StatusCode, title: &str, body: &str) -> Response {
    const STYLE: &str = "body{font:1.1rem/1.5 system-ui,sans-serif;max-width:28rem;margin:15vh auto;padding:0 1rem;text-align:center}\
                         button{font:inherit;padding:.8rem 1.6rem;min-height:44px;border:0;border-radius:.5rem;background:#1a56c4;color:#fff}\
                         @media(prefers-color-scheme:dark){body{background:#111;color:#eee}}";
    let html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <meta name=\"robots\" content=\"noindex\"><title>{title}</title><style>{STYLE}</style></head>\
         <body><h1>{title}</h1>{body}</body></html>\n"
    );
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'",
        ),
    ];
    (status, headers, html).into_response()
}
