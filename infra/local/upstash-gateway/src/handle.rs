//! Answers one HTTP request.

use std::error::Error;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::auth::{Access, Tokens};
use crate::execute::{Done, Executor};
use crate::failure::{Failure, refusal_status};
use crate::reply::{self, Format, Reply, Strings};
use crate::request::{self, Reading, Subscription, SubscriptionKind, Wish};
use crate::stream::Streams;
use crate::sync_token;

const JSON: &str = "application/json";
const BINARY: &str = "application/octet-stream";

/// Everything requests share.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) tokens: Tokens,
    pub(crate) reading: Reading,
    pub(crate) executor: Executor,
    pub(crate) streams: Streams,
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
        let sync_token = head.headers.get(sync_token::HEADER).map(HeaderValue::as_bytes);
        let wish = self.reading.wish(&head.method, &head.uri, body).await?;
        if !matches!(wish, Wish::Stats { .. } | Wish::Admin(_)) {
            self.executor.check_quota()?;
        }
        match wish {
            Wish::Command(command) => {
                let done = self.executor.pipeline(vec![command], access, sync_token).await?;
                Ok(single(done, format))
            }
            Wish::Pipeline(commands) => {
                let done = self.executor.pipeline(commands, access, sync_token).await?;
                Ok(respond(StatusCode::OK, items(&done.replies, format), format, &done.sync_token))
            }
            Wish::Transaction(commands) => {
                // This form has no RESP2.
                let format = match format {
                    Format::Json(strings) => Format::Json(strings),
                    Format::Resp2 => Format::Json(Strings::Text),
                };
                let done = self.executor.transaction(commands, access).await?;
                Ok(respond(StatusCode::OK, items(&done.replies, format), format, &done.sync_token))
            }
            Wish::Subscribe(wanted) => {
                self.bill_subscription(&wanted);
                self.streams.subscribe(self.executor.primary().backend(), wanted).await
            }
            Wish::Monitor => {
                full(access, "monitor")?;
                self.executor.billing().command("MONITOR");
                self.streams.monitor(self.executor.primary().backend()).await
            }
            Wish::Stats { reset } => {
                full(access, "stats")?;
                let billing = self.executor.billing();
                let bill = if reset { billing.reset() } else { billing.bill() };
                Ok(axum::Json(bill).into_response())
            }
            Wish::Admin(command) => {
                full(access, "admin")?;
                let result = command.apply(self.executor.unkindness()).await?;
                Ok(axum::Json(serde_json::json!({ "result": result })).into_response())
            }
        }
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

fn single(Done { replies, sync_token }: Done, format: Format) -> Response {
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
    respond(status, body, format, &sync_token)
}

fn respond(status: StatusCode, body: Vec<u8>, format: Format, sync_token: &str) -> Response {
    let content_type = match format {
        Format::Json(_) => JSON,
        Format::Resp2 => BINARY,
    };
    let mut response = (status, [(header::CONTENT_TYPE, content_type)], body).into_response();
    let token = HeaderValue::try_from(sync_token).expect("base64 is a header value");
    response.headers_mut().insert(sync_token::HEADER, token);
    response
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
