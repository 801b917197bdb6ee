//! Deploys and take-over.

use askama::Template;
use axum::extract::{RawQuery, State};

use super::App;
use super::access::Visitor;
use super::page::{Frame, show};
use super::pages::Shown;
use super::parameters::Parameters;
use crate::deploys::{differs, serves};
use crate::operations::deploys::{Deployed, Deploys, Owner};
use crate::table::known;

#[derive(Template)]
#[template(path = "console/deploys.html")]
struct DeploysPage<'a> {
    frame: &'a Frame,
    deploys: &'a Deploys,
}

#[expect(clippy::unused_self, reason = "a template calls methods")]
impl DeploysPage<'_> {
    fn serves(&self, it: &Deployed) -> String {
        known(serves(it))
    }

    fn differs(&self, it: &Deployed) -> String {
        differs(it)
    }

    fn has_queue(&self, it: &Deployed) -> bool {
        it.owner != Some(Owner::Public)
    }

    fn has_drift(&self, it: &Deployed) -> bool {
        it.drift.as_ref().is_some_and(|drift| !drift.is_empty())
    }
}

pub(super) async fn deploys(State(app): State<App>, visitor: Visitor, RawQuery(query): RawQuery) -> Shown {
    let deploys = Box::pin(app.operations.deploys()).await?;
    let mut frame = app.frame("Deploys", visitor, "deploys");
    frame.sources.clone_from(&deploys.sources);
    let page = DeploysPage { frame: &frame, deploys: &deploys };
    show(&Parameters::of_query(query.as_deref()), &deploys, &frame.nonce, &page)
}
