//! Answers one HTTP request.

use std::error::Error;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::auth::{Access, Tokens};
use crate::command::Command;
use crate::execute::{Done, Executor};
use crate::failure::{Failure, refusal_status};
use crate::reply::{self, Format, Reply, Strings};
use crate::request::{self, Reading, Subscription, SubscriptionKind, Wish};
use crate::stream::Streams;
use crate::sync_token::{self, SyncTokens};

const JSON: &str = "application/json";
const BINARY: &str = "application/octet-stream";

/// Everything requests share.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) tokens: Tokens,
    pub(crate) reading: Reading,
    pub(crate) executor: Executor,
    pub(crate) streams: Streams,
    pub(crate) sync_tokens: SyncTokens,
}

/// The only route.
pub(crate) async fn handle(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    match gateway.answer(request).await {
        Ok(response) => response,
        Err(failure) => {
            if let Failure::Backend(error) = &failure {
                let cause = error.source().map(ToString::to_string).unwrap_or_default();
                tracing::warn!(%error, cause, "a request could not be answered");
            }
            failure.into_response()
        }
    }
}

impl Gateway {
    async fn answer(&self, request: Request) -> Result<Response, Failure> {
        let (head, body) = request.into_parts();
        if !self.reading.allows(&head.method, &head.uri) {
            return Err(Failure::Method);
        }
        let access = self.tokens.access(&head.headers, &head.uri).ok_or(Failure::Unauthorized)?;
        let format = request::format(&head.headers)?;
        match self.reading.wish(&head.method, &head.uri, body).await? {
            Wish::Command(command) => self.command(command, access, format).await,
            Wish::Pipeline(commands) => {
                let done = self.executor.pipeline(commands, access).await?;
                Ok(self.respond(StatusCode::OK, items(&done.replies, format), format, done.wrote))
            }
            Wish::Transaction(commands) => {
                // This form has no RESP2.
                let format = match format {
                    Format::Json(strings) => Format::Json(strings),
                    Format::Resp2 => Format::Json(Strings::Text),
                };
                let done = self.executor.transaction(commands, access).await?;
                Ok(self.respond(StatusCode::OK, items(&done.replies, format), format, done.wrote))
            }
            Wish::Subscribe(wanted) => {
                self.bill_subscription(&wanted);
                self.streams.subscribe(self.executor.backend(), wanted).await
            }
            Wish::Monitor => {
                full(access, "monitor")?;
                self.executor.billing().command("MONITOR");
                self.streams.monitor(self.executor.backend()).await
            }
            Wish::Stats { reset } => {
                full(access, "stats")?;
                let billing = self.executor.billing();
                let bill = if reset { billing.reset() } else { billing.bill() };
                Ok(axum::Json(bill).into_response())
            }
        }
    }

    async fn command(&self, command: Command, access: Access, format: Format) -> Result<Response, Failure> {
        let Done { replies, wrote } = self.executor.pipeline(vec![command], access).await?;
        let status = match replies.first() {
            Some(Err(message)) => refusal_status(message),
            Some(Ok(_)) | None => StatusCode::OK,
        };
        let mut body = Vec::new();
        for reply in &replies {
            match format {
                Format::Json(strings) => reply::write_json_item(&mut body, reply, strings),
                Format::Resp2 => reply::write_resp2(&mut body, reply),
            }
        }
        Ok(self.respond(status, body, format, wrote))
    }

    fn respond(&self, status: StatusCode, body: Vec<u8>, format: Format, wrote: bool) -> Response {
        let content_type = match format {
            Format::Json(_) => JSON,
            Format::Resp2 => BINARY,
        };
        let mut response = (status, [(header::CONTENT_TYPE, content_type)], body).into_response();
        let token = HeaderValue::try_from(self.sync_tokens.after(wrote)).expect("base64 is a header value");
        response.headers_mut().insert(sync_token::HEADER, token);
        response
    }

    fn bill_subscription(&self, wanted: &Subscription) {
        let name = match wanted.kind {
            SubscriptionKind::Channels => "SUBSCRIBE",
            SubscriptionKind::Patterns => "PSUBSCRIBE",
        };
        for _ in &wanted.names {
            self.executor.billing().command(name);
        }
    }
}

fn items(replies: &[Reply], format: Format) -> Vec<u8> {
    let mut body = Vec::new();
    match format {
        Format::Json(strings) => reply::write_json_items(&mut body, replies, strings),
        Format::Resp2 => replies.iter().for_each(|reply| reply::write_resp2(&mut body, reply)),
    }
    body
}

fn full(access: Access, command: &str) -> Result<(), Failure> {
    match access {
        Access::Full => Ok(()),
        Access::ReadOnly => Err(Failure::Refused(format!(
            "NOPERM this user has no permissions to run the '{command}' command or its subcommand"
        ))),
    }
}
