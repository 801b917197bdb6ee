//! One field for whatever an operator has: it leads to the page of a queue, a user, a dead letter or a task.

use axum::extract::RawQuery;
use axum::response::Redirect;
use uuid::Uuid;

use super::access::Visitor;
use super::parameters::{Parameters, address};
use super::refusal::Refusal;
use crate::explain::is_dead_letter_id;
use crate::names;

pub(super) async fn find(_: Visitor, RawQuery(query): RawQuery) -> Result<Redirect, Refusal> {
    let parameters = Parameters::of_query(query.as_deref());
    let Some(what) = parameters.get("q")? else { return Ok(Redirect::to("/")) };
    let to = if what.parse::<Uuid>().is_ok() {
        format!("/users/{what}")
    } else if is_dead_letter_id(what) {
        format!("/dead-letters/{what}")
    } else if let Ok(queue) = names::queue(what) {
        format!("/queues/{}", queue.name())
    } else {
        address("/task", &[("key", what.to_owned())])
    };
    Ok(Redirect::to(&to))
}
