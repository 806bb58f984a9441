//! What an overlay holds, in numbers.

use std::collections::BTreeSet;

use jis::{Capability, Endpoint, IdentityStatus, Name};
use tibet_registry::{Standing, Store, Zone};

use super::{IdentityOverlay, OverlayError};
use crate::system;

/// One device in a list.
#[derive(Debug, Clone)]
pub struct NodeSummary {
    /// Its name.
    pub did: Name,
    /// Its best endpoint, if it told of one.
    pub endpoint: Option<Endpoint>,
    /// Whether it sits behind a NAT.
    pub behind_nat: bool,
    /// What it offers.
    pub capabilities: BTreeSet<Capability>,
    /// Its standing.
    pub standing: Standing,
    /// Whether it may speak.
    pub status: IdentityStatus,
    /// Whether its record's time has run out.
    pub stale: bool,
}

/// The overlay in numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct OverlayStatus {
    /// Registered identities.
    pub total_devices: u64,
    /// Of them, behind a NAT, in percent, rounded.
    pub behind_nat_percent: u64,
    /// Mean of the scores, 0 when there are no devices.
    pub average_trust: f64,
    /// Devices in each zone.
    pub groen: u64,
    /// Devices in each zone.
    pub geel: u64,
    /// Devices in each zone.
    pub rood: u64,
    /// Identities whose key or name is revoked.
    pub revoked: u64,
    /// All capabilities offered.
    pub capabilities: BTreeSet<Capability>,
    /// Tokens in the audit log.
    pub tokens: u64,
}

impl<S: Store> IdentityOverlay<S> {
    /// Every registered device. Takes time and memory in proportion to their number.
    ///
    /// # Errors
    /// [`OverlayError`].
    pub fn connected_nodes(&self) -> Result<Vec<NodeSummary>, OverlayError> {
        let mut names = Vec::new();
        self.registry.store().for_each_entry(&mut |_, name, _| names.push(name.clone()))?;
        let now = system::now();
        let mut nodes = Vec::with_capacity(names.len());
        for did in names {
            let Some(known) = self.registry.peek(&did, now)? else { continue };
            let record = known.route.record().ok();
            let claims = record.as_ref().map(jis::Signed::claims);
            nodes.push(NodeSummary {
                endpoint: claims.and_then(|record| record.endpoints.first().copied()),
                behind_nat: known.route.behind_nat,
                capabilities: claims.map(|record| record.capabilities.clone()).unwrap_or_default(),
                standing: known.standing,
                status: known.route.status,
                stale: now > known.route.expires_at,
                did,
            });
        }
        Ok(nodes)
    }

    /// The overlay in numbers. Looks at every device.
    ///
    /// # Errors
    /// [`OverlayError`].
    pub fn status(&self) -> Result<OverlayStatus, OverlayError> {
        self.status_with(&self.connected_nodes()?)
    }

    /// The overlay in numbers, for whoever has the list of [`connected_nodes`](Self::connected_nodes) already.
    ///
    /// # Errors
    /// [`OverlayError`].
    pub fn status_with(&self, nodes: &[NodeSummary]) -> Result<OverlayStatus, OverlayError> {
        let count =
            |test: &dyn Fn(&NodeSummary) -> bool| nodes.iter().filter(|node| test(node)).count() as u64;
        let in_zone = |zone| count(&|node| node.standing.zone == zone);
        let total = nodes.len() as u64;
        let behind_nat = count(&|node| node.behind_nat);
        let scores: f64 = nodes.iter().map(|node| node.standing.score).sum();
        Ok(OverlayStatus {
            total_devices: total,
            behind_nat_percent: (behind_nat * 100 + total / 2).checked_div(total).unwrap_or(0),
            average_trust: if total == 0 { 0.0 } else { scores / total as f64 },
            groen: in_zone(Zone::Groen),
            geel: in_zone(Zone::Geel),
            rood: in_zone(Zone::Rood),
            revoked: count(&|node| node.status != IdentityStatus::Active),
            capabilities: nodes.iter().flat_map(|node| node.capabilities.iter().cloned()).collect(),
            tokens: self.registry.head()?.map_or(0, |head| head.count),
        })
    }
}
