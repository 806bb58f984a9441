//! How the node is: for its page, its supervisor and its metrics.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use serde_json::{Map, Value, json};

use super::app::App;
use super::census::census;
use super::health;
use super::params::Json;
use super::problem::Problem;

/// `GET /healthz`: the process is there.
pub(super) async fn alive() -> Json {
    Json(json!({ "schema": "tibet.http.health", "version": 1, "status": "alive" }))
}

/// `GET /readyz`: the node does its work.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Result<Json, Problem> {
    let finding = health::look(&app).await;
    if finding.reasons.is_empty() {
        return Ok(Json(json!({ "schema": "tibet.http.health", "version": 1, "status": "ready" })));
    }
    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", "Not ready", finding.reasons.join("; ")))
}

/// `GET /api/v1/status`
pub(super) async fn status(State(app): State<Arc<App>>) -> Json {
    let finding = health::look(&app).await;
    let counted = census(&app).await;
    let events: Map<String, Value> =
        app.node.stats().all().into_iter().map(|(name, count)| (name.to_owned(), count.into())).collect();
    let (origin, log_key) = finding.origin.unzip();
    let (size, head) = finding.log.map_or((None, None), |(size, head)| (Some(size), head));
    Json(json!({
        "schema": "tibet.http.status",
        "version": 1,
        "software": concat!("tibet-overlay ", env!("CARGO_PKG_VERSION")),
        "node_key": app.node.key().to_multibase(),
        "node": jis::Name::of_key(&app.node.key()).as_str(),
        "registry": origin,
        "started_at": app.started_at.to_string(),
        "uptime_seconds": app.node.uptime().as_secs(),
        "ready": finding.reasons.is_empty(),
        "not_ready_because": finding.reasons,
        "identities": app.node.directory().len(),
        "online": app.node.online(),
        "relay_sessions": app.node.relay_sessions(),
        "zones": { "GROEN": counted.groen, "GEEL": counted.geel, "ROOD": counted.rood },
        "revoked": counted.revoked,
        "disputed": counted.disputed,
        "pending": finding.waiting,
        "log": { "size": size, "head": head, "key": log_key },
        "events": events,
    }))
}

/// `GET /metrics`, in the text form of OpenMetrics. Which series there are does not depend on who comes (SECURITY R61).
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let finding = health::look(&app).await;
    let counted = census(&app).await;
    let mut registry = Registry::with_prefix("tibet");
    let build = vec![("version", env!("CARGO_PKG_VERSION"))];
    registry.register("build", "What is running", Info::new(build));
    gauge(&mut registry, "identities", "Registered identities", app.node.directory().len());
    gauge(&mut registry, "devices_online", "Devices heard of late", app.node.online());
    if let Some(sessions) = app.node.relay_sessions() {
        gauge(&mut registry, "relay_sessions", "Devices that the node relays for", sessions);
    }
    gauge(&mut registry, "identities_revoked", "Identities whose key or name is revoked", counted.revoked);
    gauge(
        &mut registry,
        "identities_disputed",
        "Identities with contradicting signed objects",
        counted.disputed,
    );
    let zones = Family::<[(&'static str, &'static str); 1], Gauge>::default();
    for (zone, count) in [("GROEN", counted.groen), ("GEEL", counted.geel), ("ROOD", counted.rood)] {
        zones.get_or_create(&[("zone", zone)]).set(number(count));
    }
    registry.register(
        "zone_identities",
        "Identities by what they were set or have earned, without vouches",
        zones,
    );
    gauge(&mut registry, "names_waiting", "Names that wait for the operator", finding.waiting);
    if let Some((size, _)) = finding.log {
        gauge(&mut registry, "log_tree_size", "Tokens in the audit log", size);
    }
    gauge(&mut registry, "ready", "Whether the node does its work", u8::from(finding.reasons.is_empty()));
    let uptime = Gauge::<i64>::default();
    uptime.set(number(app.node.uptime().as_secs()));
    registry.register_with_unit("uptime", "How long the node has been running", Unit::Seconds, uptime);
    counters(&mut registry, "overlay_events", "What the overlay node did", "event", app.node.stats().all());
    counters(&mut registry, "http_responses", "Answers over HTTP", "class", app.counters.answers());
    counters(&mut registry, "http_refusals", "What was not let in", "what", app.counters.refusals());
    let open = app.counters.connections.load(Ordering::Relaxed);
    gauge(&mut registry, "http_connections", "Open connections", open);
    // By this name everybody's dashboards find it.
    let mut plain = Registry::default();
    let started = Gauge::<f64, std::sync::atomic::AtomicU64>::default();
    started.set(app.started_at.as_millis() as f64 / 1000.0);
    plain.register_with_unit("process_start_time", "When the node began", Unit::Seconds, started);
    let mut text = String::new();
    let written = prometheus_client::encoding::text::encode_registry(&mut text, &registry)
        .and_then(|()| encode(&mut text, &plain));
    match written {
        Ok(()) => {
            let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, media_type)], text).into_response()
        }
        Err(_) => Problem::unavailable("the metrics cannot be written").into_response(),
    }
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: impl TryInto<i64>) {
    let gauge = Gauge::<i64>::default();
    gauge.set(number(value));
    registry.register(name, help, gauge);
}

fn number(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

fn counters(
    registry: &mut Registry,
    name: &str,
    help: &str,
    label: &'static str,
    counts: impl IntoIterator<Item = (&'static str, u64)>,
) {
    let family = Family::<[(&'static str, &'static str); 1], Counter>::default();
    for (value, count) in counts {
        family.get_or_create(&[(label, value)]).inc_by(count);
    }
    registry.register(name, help, family);
}
