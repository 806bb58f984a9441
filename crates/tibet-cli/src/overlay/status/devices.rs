//! The devices of a registry, and what they are together.

use std::collections::BTreeSet;

use jis::{Capability, Endpoint, IdentityStatus, Name, Signed};
use serde_json::{Value, json};
use tibet_overlay::server::AnyRegistry;
use tibet_overlay::system;
use tibet_registry::{Standing, Zone};

use crate::error::CliError;
use crate::output::in_zone_colour;

/// One device in the list.
pub(super) struct Device {
    name: Name,
    endpoint: Option<Endpoint>,
    behind_nat: bool,
    capabilities: BTreeSet<Capability>,
    standing: Standing,
    status: IdentityStatus,
    stale: bool,
}

/// Every registered device. Takes time and memory in proportion to their number.
pub(super) fn all(registry: &AnyRegistry) -> Result<Vec<Device>, CliError> {
    let mut names = Vec::new();
    registry.for_each(&mut |_, name, _| names.push(name.clone()))?;
    let now = system::now();
    let mut devices = Vec::with_capacity(names.len());
    for name in names {
        let Some(known) = registry.peek(&name, now)? else { continue };
        let record = known.route.record().ok();
        let claims = record.as_ref().map(Signed::claims);
        devices.push(Device {
            name,
            endpoint: claims.and_then(|record| record.endpoints.first().copied()),
            behind_nat: known.route.behind_nat,
            capabilities: claims.map(|record| record.capabilities.clone()).unwrap_or_default(),
            standing: known.standing,
            status: known.route.status,
            stale: now > known.route.expires_at,
        });
    }
    Ok(devices)
}

impl Device {
    pub(super) fn json(&self) -> Value {
        json!({
            "name": self.name.as_str(),
            "endpoint": self.endpoint.map(|endpoint| endpoint.to_string()),
            "behind_nat": self.behind_nat,
            "trust_score": self.standing.score,
            "zone": self.standing.zone.as_str(),
            "stale": self.stale,
        })
    }

    pub(super) fn row(&self) -> Vec<String> {
        let notes = [
            (self.behind_nat, "nat"),
            (self.stale, "expired"),
            (self.status != IdentityStatus::Active, "revoked"),
            (self.standing.disputed, "disputed"),
        ];
        vec![
            self.name.to_string(),
            self.endpoint.map(|endpoint| endpoint.to_string()).unwrap_or_default(),
            in_zone_colour(self.standing.zone, self.standing.zone),
            format!("{:.2}", self.standing.score),
            notes.iter().filter(|(holds, _)| *holds).map(|(_, note)| *note).collect::<Vec<_>>().join(" "),
        ]
    }
}

/// What they are together.
pub(super) struct Summary {
    pub(super) behind_nat_percent: usize,
    pub(super) average_trust: f64,
    pub(super) groen: usize,
    pub(super) geel: usize,
    pub(super) rood: usize,
    pub(super) revoked: usize,
    pub(super) capabilities: BTreeSet<Capability>,
}

impl Summary {
    pub(super) fn of(devices: &[Device]) -> Self {
        let count = |test: &dyn Fn(&Device) -> bool| devices.iter().filter(|device| test(device)).count();
        let in_zone = |zone| count(&|device| device.standing.zone == zone);
        let total = devices.len();
        let behind_nat = count(&|device| device.behind_nat);
        let scores: f64 = devices.iter().map(|device| device.standing.score).sum();
        Self {
            behind_nat_percent: (behind_nat * 100 + total / 2).checked_div(total).unwrap_or(0),
            average_trust: if total == 0 { 0.0 } else { scores / total as f64 },
            groen: in_zone(Zone::Groen),
            geel: in_zone(Zone::Geel),
            rood: in_zone(Zone::Rood),
            revoked: count(&|device| device.status != IdentityStatus::Active),
            capabilities: devices.iter().flat_map(|device| device.capabilities.iter().cloned()).collect(),
        }
    }
}
