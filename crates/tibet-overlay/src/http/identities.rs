//! What the node knows of its devices.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use base64ct::{Base64, Encoding as _};
use jis::{IdentityStatus, KeyEvent, Name, Record, RecordStatus, Signed, UnixTime};
use serde::Deserialize;
use serde_json::{Value, json};
use tibet_registry::{Route, Standing, Zone};

use super::app::App;
use super::census;
use super::params::{Json, NamePart, Params, Part, capability, limit};
use super::problem::Problem;
use crate::intents::PresenceState;
use crate::system;

/// Identities looked at for one page. With filters a page may therefore be short, and still have a next one.
const MAX_LOOKED_AT: usize = 1000;

/// An identity, its record read but not verified: it was when it came in.
struct Held {
    route: Route,
    record: Record,
    standing: Standing,
    presence: PresenceState,
    /// The node it is at, while it is online.
    node: Option<Name>,
    last_seen: Option<UnixTime>,
    observed: Option<std::net::SocketAddr>,
}

impl Held {
    fn new(app: &App, route: Route, now: UnixTime) -> Option<Self> {
        let record = Signed::<Record>::decode(route.record_bytes()).ok()?.claims().clone();
        let seen = u32::try_from(route.id).ok().and_then(|number| app.node.seen(number));
        let here = seen.is_some_and(|seen| seen.state == PresenceState::Online);
        Some(Self {
            standing: route.own_standing(now),
            presence: presence_of(app, &route),
            // Which other node it is at is asked for all of a page at once.
            node: here.then(|| Name::of_key(&app.node.key())),
            last_seen: seen.map(|seen| app.node.wall_time(seen.at)),
            observed: seen.filter(|seen| seen.state == PresenceState::Online).map(|seen| seen.address),
            route,
            record,
        })
    }

    /// Whether it is at another node of the same registry.
    fn is_elsewhere(&self) -> bool {
        self.presence == PresenceState::Online && self.node.is_none()
    }

    /// The bound key, which a record that was made since the last rotation names.
    fn key(&self) -> Option<String> {
        if self.record.key.as_bytes() == self.route.key_bytes() {
            return Some(self.record.key.to_multibase());
        }
        self.route.key().map(|key| key.to_multibase()).ok()
    }

    fn json(&self) -> Value {
        let Self { route, record, standing, .. } = self;
        json!({
            "name": record.name.as_str(),
            "did": record.name.to_did(),
            "number": route.id,
            "key": self.key(),
            "fingerprint": route.fingerprint.to_string(),
            "status": status_word(route.status),
            "generation": route.version.generation,
            "seq": route.version.seq,
            "trust": standing.score,
            "zone": standing.zone.as_str(),
            "trust_source": standing.source.as_str(),
            "disputed": standing.disputed,
            "presence": presence_word(self.presence),
            "node": self.node.as_ref().map(Name::as_str),
            "last_seen": self.last_seen.map(|at| at.to_string()),
            "observed": self.observed.map(|address| address.to_string()),
            "behind_nat": route.behind_nat,
            "endpoints": record.endpoints.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "relays": record.relays.iter().map(Name::as_str).collect::<Vec<_>>(),
            "capabilities": record.capabilities.iter().map(|c| c.as_str()).collect::<Vec<_>>(),
            "registered_at": route.registered_at.to_string(),
            "expires_at": route.expires_at.to_string(),
        })
    }
}

fn presence_of(app: &App, route: &Route) -> PresenceState {
    u32::try_from(route.id).map_or(PresenceState::Unknown, |number| app.node.presence(number))
}

fn status_word(status: IdentityStatus) -> &'static str {
    match status {
        IdentityStatus::Active => "active",
        IdentityStatus::KeyRevoked => "key_revoked",
        IdentityStatus::NameRevoked => "name_revoked",
    }
}

fn presence_word(presence: PresenceState) -> &'static str {
    match presence {
        PresenceState::Online => "online",
        PresenceState::Gone => "gone",
        PresenceState::Unknown => "unknown",
    }
}

/// The query of a list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    after: Option<u32>,
    limit: Option<u64>,
    zone: Option<ZoneWord>,
    presence: Option<PresenceWord>,
    capability: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
enum ZoneWord {
    #[serde(rename = "GROEN")]
    Groen,
    #[serde(rename = "GEEL")]
    Geel,
    #[serde(rename = "ROOD")]
    Rood,
}

impl From<ZoneWord> for Zone {
    fn from(word: ZoneWord) -> Self {
        match word {
            ZoneWord::Groen => Self::Groen,
            ZoneWord::Geel => Self::Geel,
            ZoneWord::Rood => Self::Rood,
        }
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PresenceWord {
    Online,
    Gone,
    Unknown,
}

impl From<PresenceWord> for PresenceState {
    fn from(word: PresenceWord) -> Self {
        match word {
            PresenceWord::Online => Self::Online,
            PresenceWord::Gone => Self::Gone,
            PresenceWord::Unknown => Self::Unknown,
        }
    }
}

/// `GET /api/v1/identities`
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Params(query): Params<ListQuery>,
) -> Result<Json, Problem> {
    let limit = limit(query.limit)?;
    let after = query.after.unwrap_or(0);
    // Asking for what is rare costs the bound on what is looked at, and nothing else.
    let routes: Vec<Route> = match &query.capability {
        None => app.node.directory().after(after).take(MAX_LOOKED_AT).collect(),
        Some(text) => offering(&app, text, after, MAX_LOOKED_AT).await?,
    };
    let more = routes.len() == MAX_LOOKED_AT;
    let now = system::now();
    let (zone, presence) = (query.zone.map(Zone::from), query.presence.map(PresenceState::from));
    let mut page: Vec<Held> = Vec::new();
    let mut looked_at = None;
    let mut rest = routes.into_iter();
    // What others lend can lift a device into another zone; it is asked for at once for all that remain.
    while page.len() < limit {
        let some: Vec<Held> = rest
            .by_ref()
            .take(limit - page.len())
            .inspect(|route| looked_at = Some(route.id))
            // What can be told from the entry alone is told before its record is read.
            .filter(|route| {
                zone.is_none_or(|zone| route.vouches > 0 || route.own_standing(now).zone == zone)
                    && presence.is_none_or(|wanted| presence_of(&app, route) == wanted)
            })
            .filter_map(|route| Held::new(&app, route, now))
            .collect();
        if some.is_empty() && rest.len() == 0 {
            break;
        }
        page.extend(
            stand(&app, some)
                .await?
                .into_iter()
                .filter(|held| zone.is_none_or(|zone| held.standing.zone == zone)),
        );
    }
    let next = looked_at.filter(|_| more || rest.len() > 0);
    Ok(Json(json!({
        "schema": "tibet.http.identities",
        "version": 1,
        "identities": page.iter().map(Held::json).collect::<Vec<_>>(),
        "total": app.node.directory().len(),
        "next": next,
    })))
}

/// Adds what only the registry knows: to each standing what others lend, and the other nodes that devices are at.
async fn stand(app: &Arc<App>, mut page: Vec<Held>) -> Result<Vec<Held>, Problem> {
    let names = |wanted: &dyn Fn(&Held) -> bool| -> Vec<Name> {
        page.iter().filter(|held| wanted(held)).map(|held| held.record.name.clone()).collect()
    };
    let (lent, elsewhere) = (names(&|held| held.route.vouches > 0), names(&Held::is_elsewhere));
    if lent.is_empty() && elsewhere.is_empty() {
        return Ok(page);
    }
    let (standings, nodes) = app
        .look(move |registry, now| {
            let standing = |name: Name| Some((name.clone(), registry.standing(&name, now).ok()?));
            let node = |name: Name| {
                let noted = registry.presence(&name).ok()??;
                noted.online.then_some((name, noted.node))
            };
            let standings = lent.into_iter().filter_map(standing).collect::<HashMap<Name, Standing>>();
            (standings, elsewhere.into_iter().filter_map(node).collect::<HashMap<Name, Name>>())
        })
        .await?;
    for held in &mut page {
        if let Some(standing) = standings.get(&held.record.name) {
            held.standing = *standing;
        }
        if held.is_elsewhere() {
            held.node = nodes.get(&held.record.name).cloned();
        }
    }
    Ok(page)
}

/// `GET /api/v1/identities/{name}`
pub(super) async fn one(State(app): State<Arc<App>>, NamePart(name): NamePart) -> Result<Json, Problem> {
    let route = app.node.directory().route(name.as_str()).ok_or_else(Problem::unknown_name)?;
    let held = Held::new(&app, route, system::now()).ok_or_else(Problem::unknown_name)?;
    let held = stand(&app, vec![held]).await?;
    let mut json = held.first().map(Held::json).unwrap_or_default();
    json["schema"] = "tibet.http.identity".into();
    json["version"] = 1.into();
    Ok(Json(json))
}

/// `GET /api/v1/records/{name}`: all that is needed to verify where a device says it is.
pub(super) async fn record(State(app): State<Arc<App>>, NamePart(name): NamePart) -> Result<Json, Problem> {
    let route = app.node.directory().route(name.as_str()).ok_or_else(Problem::unknown_name)?;
    let signed = Signed::<Record>::decode(route.record_bytes()).map_err(|_| Problem::unknown_name())?;
    let record = signed.claims();
    let events: Vec<Value> = route
        .event_bytes()
        .map(|bytes| {
            let kind = match KeyEvent::decode(bytes) {
                Ok(KeyEvent::Inception(_)) => "inception",
                Ok(KeyEvent::Rotation(_)) => "rotation",
                Ok(KeyEvent::Revocation(_)) | Err(_) => "revocation",
            };
            json!({ "kind": kind, "base64": Base64::encode_string(bytes) })
        })
        .collect();
    Ok(Json(json!({
        "schema": "tibet.http.record",
        "version": 1,
        "name": record.name.as_str(),
        "status": status_word(route.status),
        "record": {
            "base64": Base64::encode_string(route.record_bytes()),
            "decoded": {
                "name": record.name.as_str(),
                "fingerprint": record.fingerprint.to_string(),
                "generation": record.version.generation,
                "seq": record.version.seq,
                "key": record.key.to_multibase(),
                "transport_key": record.transport_key.map(|key| key.to_multibase()),
                "issued_at": record.issued_at.to_string(),
                "ttl_seconds": record.ttl.as_secs(),
                "endpoints": record.endpoints.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "relays": record.relays.iter().map(Name::as_str).collect::<Vec<_>>(),
                "capabilities": record.capabilities.iter().map(|c| c.as_str()).collect::<Vec<_>>(),
                "status": match record.status { RecordStatus::Active => "active", RecordStatus::Away => "away" },
                "behind_nat": record.behind_nat,
            },
        },
        "key_events": events,
    })))
}

/// `GET /api/v1/capabilities`
pub(super) async fn capabilities(State(app): State<Arc<App>>) -> Json {
    let counted = census::capabilities(&app).await;
    let all: Vec<Value> = counted
        .iter()
        .map(|(capability, count)| json!({ "capability": capability.as_str(), "identities": count }))
        .collect();
    Json(json!({ "schema": "tibet.http.capabilities", "version": 1, "capabilities": all }))
}

/// The query of a page of names.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PageQuery {
    after: Option<u32>,
    limit: Option<u64>,
}

/// `GET /api/v1/capabilities/{capability}`
pub(super) async fn capability_names(
    State(app): State<Arc<App>>,
    Part(text): Part,
    Params(query): Params<PageQuery>,
) -> Result<Json, Problem> {
    let limit = limit(query.limit)?;
    let routes = offering(&app, &text, query.after.unwrap_or(0), limit).await?;
    let next = routes.last().filter(|_| routes.len() == limit).map(|route| route.id);
    let names: Vec<String> = routes
        .iter()
        .filter_map(|route| {
            Some(Signed::<Record>::decode(route.record_bytes()).ok()?.claims().name.to_string())
        })
        .collect();
    Ok(Json(json!({
        "schema": "tibet.http.capability",
        "version": 1,
        "capability": text,
        "names": names,
        "next": next,
    })))
}

/// Identities that offer a capability, from the store's index.
async fn offering(app: &Arc<App>, text: &str, after: u32, limit: usize) -> Result<Vec<Route>, Problem> {
    let capability = capability(text)?;
    let found =
        app.look(move |registry, _| registry.store().with_capability(&capability, after.into(), limit));
    let found = found.await?.map_err(|error| Problem::storage(&error))?;
    let directory = app.node.directory();
    Ok(found.into_iter().filter_map(|(number, _)| directory.route_of(u32::try_from(number).ok()?)).collect())
}
