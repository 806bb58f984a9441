//! What the operator decides: trust, and names that wait for a human.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use jis::Name;
use serde::Deserialize;
use serde_json::{Value, json};
use tibet_registry::{Fira, Refusal, Standing};

use super::app::App;
use super::params::{Body, Json, NamePart, Params, limit, reason};
use super::problem::Problem;
use crate::ClaimReport;

/// The reason that is written down where none is given.
const NO_REASON: &str = "no reason given";

/// `GET /api/v1/trust/{name}`
pub(super) async fn trust(State(app): State<Arc<App>>, NamePart(name): NamePart) -> Result<Json, Problem> {
    breakdown(&app, name).await.map(Json)
}

async fn breakdown(app: &Arc<App>, name: Name) -> Result<Value, Problem> {
    let asked = name.clone();
    let found = app.look(move |registry, now| {
        let found = registry.peek(&asked, now)?;
        Ok(found.map(|found| (found.standing, found.route.explicit_trust, found.route.history.fira(now))))
    });
    let found = found.await?.map_err(|error| Problem::storage(&error))?;
    let (standing, explicit, fira) = found.ok_or_else(Problem::unknown_name)?;
    Ok(described(&name, standing, explicit, &fira))
}

fn described(name: &Name, standing: Standing, explicit: Option<f64>, fira: &Fira) -> Value {
    json!({
        "schema": "tibet.http.trust",
        "version": 1,
        "name": name.as_str(),
        "score": standing.score,
        "zone": standing.zone.as_str(),
        "source": standing.source.as_str(),
        "disputed": standing.disputed,
        "explicit": explicit,
        "fira": {
            "score": fira.score,
            "frequency": fira.frequency,
            "integrity": fira.integrity,
            "recency": fira.recency,
            "anomaly": fira.anomaly,
            "interactions": fira.history.interactions,
            "verify_pass": fira.history.verify_pass,
            "verify_fail": fira.history.verify_fail,
            "anomalies": fira.history.anomalies,
            "last_success": fira.history.last_success.map(|at| at.to_string()),
        },
    })
}

/// The body of [`set_trust`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SetTrust {
    /// A score, or `null` to go back to what the device has earned. Has to be there: to forget it is no wish.
    #[serde(deserialize_with = "Option::deserialize")]
    score: Option<f64>,
    reason: String,
}

/// `PUT /api/v1/trust/{name}`
pub(super) async fn set_trust(
    State(app): State<Arc<App>>,
    NamePart(name): NamePart,
    Body(body): Body<SetTrust>,
) -> Result<Json, Problem> {
    reason(&body.reason)?;
    if body.score.is_some_and(|score| !(0.0..=1.0).contains(&score)) {
        return Err(Problem::refusal(&Refusal::Score));
    }
    let changed = name.clone();
    app.registry(move |registry, now| {
        let done = registry.set_trust(&changed, body.score, &body.reason, now);
        (done, vec![changed])
    })
    .await?
    .map_err(|refusal| Problem::refusal(&refusal))?;
    breakdown(&app, name).await.map(Json)
}

/// The query of [`pending`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PendingQuery {
    after: Option<String>,
    limit: Option<u64>,
}

/// `GET /api/v1/pending`
pub(super) async fn pending(
    State(app): State<Arc<App>>,
    Params(query): Params<PendingQuery>,
) -> Result<Json, Problem> {
    let limit = limit(query.limit)?;
    // As it stood in the page before: in one spelling.
    let after =
        query.after.as_deref().map(str::parse::<Name>).transpose().map_err(|error| Problem::name(&error))?;
    let page = app.look(move |registry, _| registry.requests(after.as_ref(), limit)).await?;
    let page = page.map_err(|error| Problem::storage(&error))?;
    let next = page.last().filter(|_| page.len() == limit).map(|request| request.name.as_str());
    Ok(Json(json!({
        "schema": "tibet.http.pending",
        "version": 1,
        "requests": page.iter().map(ClaimReport::from).collect::<Vec<_>>(),
        "next": next,
    })))
}

/// The body of a decision; may be left out.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Decision {
    reason: Option<String>,
}

/// `POST /api/v1/pending/{name}/approve`
pub(super) async fn approve(
    State(app): State<Arc<App>>,
    NamePart(name): NamePart,
    body: Bytes,
) -> Result<Json, Problem> {
    decide(&app, name, &body, true).await
}

/// `POST /api/v1/pending/{name}/deny`
pub(super) async fn deny(
    State(app): State<Arc<App>>,
    NamePart(name): NamePart,
    body: Bytes,
) -> Result<Json, Problem> {
    decide(&app, name, &body, false).await
}

async fn decide(app: &Arc<App>, name: Name, body: &[u8], approve: bool) -> Result<Json, Problem> {
    let decision = match body {
        [] => Decision { reason: None },
        body => serde_json::from_slice(body)
            .map_err(|_| Problem::bad_request("the body is {\"reason\": \"…\"}, or nothing"))?,
    };
    let why = decision.reason.unwrap_or_else(|| NO_REASON.to_owned());
    reason(&why)?;
    let decided = app.registry(move |registry, now| {
        let done = if approve { registry.approve(&name, &why, now) } else { registry.deny(&name, &why, now) };
        (done, vec![name])
    });
    let request = decided.await?.map_err(|refusal| Problem::refusal(&refusal))?;
    let mut json = json!(ClaimReport::from(&request));
    json["schema"] = "tibet.http.request".into();
    json["version"] = 1.into();
    Ok(Json(json))
}
