//! What this month costs.

use askama::Template;
use axum::extract::{RawQuery, State};
use serde_json::json;

use super::App;
use super::access::Visitor;
use super::page::{Frame, show};
use super::pages::Shown;
use super::parameters::Parameters;
use crate::cost::figure;
use crate::operations::cost::{Estimate, MonthCost};
use crate::operations::usage::Budget;
use crate::table::known;

#[derive(Template)]
#[template(path = "console/cost.html")]
struct CostPage<'a> {
    frame: &'a Frame,
    cost: Option<&'a MonthCost>,
}

#[expect(clippy::unused_self, reason = "a template calls methods")]
impl CostPage<'_> {
    /// Names and texts of two cells.
    fn cells(&self, estimate: &Estimate) -> [(&'static str, String); 2] {
        [("so far", figure(estimate.so_far)), ("per month", known(estimate.projected.map(figure)))]
    }

    fn budget(&self, cost: &MonthCost) -> String {
        let Budget { free, warning, .. } = cost.budget;
        format!("Of the Redis commands of a month {free:.0} are free; an alert fires from {warning:.0} on.")
    }
}

pub(super) async fn cost(State(app): State<App>, visitor: Visitor, RawQuery(query): RawQuery) -> Shown {
    let (cost, asked) = Box::pin(app.operations.cost_of_month()).await;
    let mut frame = app.frame("Cost", visitor, "cost --counted");
    frame.sources.push(asked);
    let page = CostPage { frame: &frame, cost: cost.as_ref() };
    let data = json!({ "sources": frame.sources, "cost": cost });
    show(&Parameters::of_query(query.as_deref()), &data, &frame.nonce, &page)
}
