//! Who is a peer: whoever has a verified record with a transport key, and is trusted (GROEN); and whom somebody here has asked for, unless it is in ROOD.
//!
//! A peer is looked at again and again: its trust twice a second, its record the more often the more it speaks. Its tunnel ends, and a token says why (SECURITY
//! R20f, R54, 3.2 row 40), when
//!
//! | it | by |
//! |---|---|
//! | falls to ROOD, or to GEEL while nobody here has asked for it | what is known of it here |
//! | is revoked, or is another identity now | its key events |
//! | names no transport key any more | its newest record |
//! | is not registered any more | the word of all nodes: one that is silent may be the one that has it |
//! | has let its record expire | the record, when a node was there to have a newer one; a day later, when none was |

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jis::{Fingerprint, Identity, Name, PublicKey, Record, RecordTimeError, Signed, TransportKey, UnixTime};
use tibet_mesh::{MeshEvent, Path, PeerError, PeerStatus, RelayId};
use tibet_registry::Zone;
use tokio::time::{MissedTickBehavior, interval};

use super::MeshNode;
use super::address_names::AddressNames;
use super::journal::Reason;
use crate::client::{ResolveError, Route};
use crate::daemon::answers::trust_in;
use crate::daemon::shared::Core;
use crate::system;

/// How often the trust of all peers is looked at.
const TRUST: Duration = Duration::from_millis(500);
/// How old what is known of a peer may be that speaks with us, and of one that does not.
const SPEAKING: Duration = Duration::from_secs(5);
const SILENT: Duration = Duration::from_secs(60);
/// How long a peer is kept whose record has expired while no node is there to be asked for the next.
const GRACE: Duration = Duration::from_secs(24 * 3600);
/// Records that are looked up in one round.
const AT_ONCE: usize = 64;

/// A peer.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) name: Name,
    pub(super) fingerprint: Fingerprint,
    /// Its identity key, which signs consents.
    pub(super) key: PublicKey,
    pub(super) transport: TransportKey,
    pub(super) address: Ipv6Addr,
    pub(super) zone: Zone,
    /// Whether somebody here has spoken to it, and not only it to us.
    pub(super) wanted: bool,
    looked_up: Instant,
}

/// Who is known.
#[derive(Debug, Default)]
pub(super) struct Book {
    peers: BTreeMap<Fingerprint, Peer>,
    names: AddressNames,
}

/// Why somebody is no peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AdmitError {
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    #[error(
        "{0} has no transport key in its record: it does not take part in the mesh; there: tibet-overlay up --mesh"
    )]
    NoTransportKey(Name),
    #[error("{0}: {1}")]
    Untimely(Name, RecordTimeError),
    /// For good, as far as one can tell.
    #[error("the record of {0} has expired, and there is no newer one")]
    Expired(Name),
    #[error("{0} is not trusted here (ROOD)")]
    Distrusted(Name),
    #[error("{0} is in GEEL here, and nobody here has asked for it; --trust {0}=0.7 lets it in")]
    Waiting(Name),
    #[error("{0} is known here by another key than the one that its node shows")]
    OtherKey(Name),
    #[error("{0} is this device itself")]
    Own(Name),
    #[error("{0}: {1}")]
    Peer(Name, PeerError),
}

impl AdmitError {
    /// Why a peer that meets this is none any more; `None` where it stays what it was.
    fn ends(&self) -> Option<Reason> {
        match self {
            Self::Resolve(ResolveError::Revoked { .. }) => Some(Reason::Revoked),
            Self::Resolve(ResolveError::Unknown { .. }) => Some(Reason::Unknown),
            Self::NoTransportKey(_) => Some(Reason::NoTransportKey),
            Self::Expired(_) => Some(Reason::Expired),
            Self::Distrusted(_) => Some(Reason::Distrusted),
            Self::Waiting(_) => Some(Reason::Waiting),
            Self::Resolve(_) | Self::Untimely(..) | Self::OtherKey(_) | Self::Own(_) | Self::Peer(..) => None,
        }
    }
}

/// What a route says of a peer: who it is, its record, its transport key.
fn judge(
    name: &Name,
    route: Route,
    now: UnixTime,
) -> Result<(Identity, Signed<Record>, TransportKey), AdmitError> {
    if let Some(nodes) = route.disowned_by() {
        return Err(ResolveError::Unknown { name: name.clone(), nodes }.into());
    }
    let is_answered = route.is_answered();
    let (Some(identity), Some(record)) = (route.identity, route.record) else {
        return Err(AdmitError::NoTransportKey(name.clone()));
    };
    let claims = record.claims();
    if let Err(error) = claims.check_time(now) {
        let is_over = is_answered || now > claims.expires_at().saturating_add(GRACE);
        return Err(match error {
            RecordTimeError::Expired if is_over => AdmitError::Expired(name.clone()),
            _ => AdmitError::Untimely(name.clone(), error),
        });
    }
    match claims.transport_key {
        Some(transport) => Ok((identity, record, transport)),
        None => Err(AdmitError::NoTransportKey(name.clone())),
    }
}

impl MeshNode {
    /// The peer with this name, if it is one.
    pub(super) fn peer(&self, name: &Name) -> Option<Peer> {
        self.book().peers.values().find(|peer| peer.name == *name).cloned()
    }

    pub(super) fn peer_of(&self, fingerprint: &Fingerprint) -> Option<Peer> {
        self.book().peers.get(fingerprint).cloned()
    }

    /// All peers, by name.
    pub(super) fn peers(&self) -> Vec<Peer> {
        let mut peers: Vec<Peer> = self.book().peers.values().cloned().collect();
        peers.sort_by(|one, other| one.name.cmp(&other.name));
        peers
    }

    /// The name behind an overlay address, where it was seen before.
    pub(super) fn name_at(&self, address: Ipv6Addr) -> Option<Name> {
        self.book().names.get(address).cloned()
    }

    pub(super) fn status_of(&self, peer: &Fingerprint) -> Option<PeerStatus> {
        self.engine.with(|mesh, now| mesh.status(peer, now))
    }

    /// Notes whose address this is. It makes nobody a peer.
    pub(super) fn note_name(&self, fingerprint: &Fingerprint, name: &Name) -> Ipv6Addr {
        let address = fingerprint.overlay_address(&self.network);
        let in_use = |address| self.engine.with(|mesh, _| mesh.has_peer(address));
        self.book().names.note(address, name, in_use);
        address
    }

    /// Ends everything with a peer, and writes down why.
    fn dismiss(&self, peer: &Peer, reason: &Reason) {
        self.engine.with(|mesh, _| mesh.remove_peer(&peer.fingerprint));
        self.engine.pings().remove(peer);
        self.book().peers.remove(&peer.fingerprint);
        tracing::warn!(peer = %peer.name, %reason, "no peer any more");
        self.journal.note(&peer.name, reason);
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    /// Has a device as a peer, from its verified record. `wanted` says that somebody here speaks to it.
    pub(super) async fn admit(&self, mesh: &MeshNode, name: &Name, wanted: bool) -> Result<Peer, AdmitError> {
        if *name == self.device.identity().name {
            return Err(AdmitError::Own(name.clone()));
        }
        if let Some(mut peer) = mesh.peer(name).filter(|peer| peer.looked_up.elapsed() < SPEAKING) {
            peer.wanted |= wanted;
            mesh.book().peers.insert(peer.fingerprint, peer.clone());
            return Ok(peer);
        }
        self.look_up(mesh, name, wanted).await
    }

    /// Looks a device's record up, and goes by what that says now.
    pub(super) async fn look_up(
        &self,
        mesh: &MeshNode,
        name: &Name,
        wanted: bool,
    ) -> Result<Peer, AdmitError> {
        let looked_up = self.admit_anew(mesh, name, wanted).await;
        if let Err(error) = &looked_up
            && let Some(reason) = error.ends()
            && let Some(before) = mesh.peer(name)
        {
            mesh.dismiss(&before, &reason);
        }
        looked_up
    }

    async fn admit_anew(&self, mesh: &MeshNode, name: &Name, wanted: bool) -> Result<Peer, AdmitError> {
        let before = mesh.peer(name);
        let route = self.remote.client().resolve(name, || None).await?;
        let (identity, record, transport) = judge(name, route, system::now())?;
        let record = record.claims();
        // Whom the node of our socket knows by another key is another (SECURITY R5, R39).
        self.remote.learn_key(name).await.map_err(|_| AdmitError::OtherKey(name.clone()))?;
        let zone = trust_in(self, name, &identity.key).await.map_or(Zone::Rood, Zone::of);
        if zone == Zone::Rood {
            return Err(AdmitError::Distrusted(name.clone()));
        }
        let wanted = wanted || before.as_ref().is_some_and(|before| before.wanted);
        if zone == Zone::Geel && !wanted {
            return Err(AdmitError::Waiting(name.clone()));
        }
        // Another identity under the same name is another peer.
        if let Some(before) = before.as_ref().filter(|before| before.fingerprint != identity.fingerprint) {
            mesh.dismiss(before, &Reason::OtherIdentity);
        }
        let relays = self.relay_ids(&record.relays);
        let fingerprint = identity.fingerprint;
        let admitted = mesh.engine.with(|machine, now| {
            let address = machine.set_peer(fingerprint, transport)?;
            machine.set_relays(&fingerprint, relays, now);
            machine.set_answers_only(&fingerprint, zone != Zone::Groen);
            Ok(address)
        });
        let address = admitted.map_err(|error| AdmitError::Peer(name.clone(), error))?;
        mesh.note_name(&fingerprint, name);
        let peer = Peer {
            name: name.clone(),
            fingerprint,
            key: identity.key,
            transport,
            address,
            zone,
            wanted,
            looked_up: Instant::now(),
        };
        mesh.engine.pings().add(&peer);
        if mesh.book().peers.insert(fingerprint, peer.clone()).is_none() {
            tracing::info!(peer = %name, %address, zone = zone.as_str(), "peer");
            mesh.journal.note(name, &Reason::Admitted(zone));
        }
        mesh.engine.release(address);
        Ok(peer)
    }

    /// The relays with these names that we have sessions with, or may have.
    fn relay_ids(&self, relays: &[Name]) -> Vec<RelayId> {
        let nodes = self.node_names().into_iter().enumerate();
        let named = nodes.filter(|(_, node)| node.as_ref().is_some_and(|node| relays.contains(node)));
        named.filter_map(|(index, _)| u32::try_from(index).ok().map(RelayId)).collect()
    }

    /// Somebody here sends to an address: whoever that is becomes a peer, if it is known who that is.
    pub(super) async fn reach(&self, mesh: &MeshNode, address: Ipv6Addr) {
        let Some(name) = mesh.name_at(address) else {
            return tracing::debug!(%address, "nobody is known at this address; look its name up first");
        };
        if let Err(error) = self.admit(mesh, &name, true).await {
            tracing::info!(%name, %error, "no peer");
        }
    }
}

/// Looks at the peers, without end. Those named have tunnels before they ask for them.
pub(super) async fn run(core: Arc<Core>, mesh: Arc<MeshNode>) {
    let mut ticks = interval(TRUST);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut trusted_at: Option<Instant> = None;
    loop {
        ticks.tick().await;
        for peer in mesh.peers() {
            let zone = core.zone_of(&peer).await;
            if zone == Zone::Rood {
                mesh.dismiss(&peer, &Reason::Distrusted);
            } else if zone == Zone::Geel && !peer.wanted {
                mesh.dismiss(&peer, &Reason::Waiting);
            } else if zone != peer.zone {
                let changed = Peer { zone, ..peer };
                let answers_only = zone != Zone::Groen;
                mesh.engine.with(|mesh, _| mesh.set_answers_only(&changed.fingerprint, answers_only));
                mesh.book().peers.insert(changed.fingerprint, changed);
            }
        }
        if trusted_at.is_none_or(|at| at.elapsed() >= SPEAKING) && core.is_registered() {
            trusted_at = Some(Instant::now());
            for (name, score) in &core.config.trust {
                if Zone::of(*score) == Zone::Groen && mesh.peer(name).is_none() {
                    let _ = core.look_up(&mesh, name, false).await;
                }
            }
        }
        let due = mesh.peers().into_iter().filter(|peer| {
            let age = peer.looked_up.elapsed();
            age >= SILENT || age >= SPEAKING && mesh.is_active(peer)
        });
        for peer in due.take(AT_ONCE).collect::<Vec<_>>() {
            if let Err(error) = core.look_up(&mesh, &peer.name, false).await {
                tracing::debug!(peer = %peer.name, %error, "its record");
                // Nobody could be asked: it stays what it was, and is looked up again.
                if let Some(known) = mesh.book().peers.get_mut(&peer.fingerprint) {
                    known.looked_up = Instant::now();
                }
            }
        }
    }
}

impl MeshNode {
    fn is_active(&self, peer: &Peer) -> bool {
        self.engine.with(|mesh, now| mesh.is_active(&peer.fingerprint, now))
    }

    /// Notes what the machine says of a peer.
    pub(super) fn heard(&self, event: &MeshEvent) {
        if let MeshEvent::PathChosen(peer, path) = event {
            let name = self.peer_of(peer).map_or_else(|| peer.to_string(), |peer| peer.name.to_string());
            match path {
                Some(Path::Direct(address)) => tracing::info!(peer = name, %address, "direct path"),
                Some(Path::Relayed(_)) => tracing::info!(peer = name, "path over a relay"),
                None => tracing::info!(peer = name, "no path"),
            }
            self.paths.send_modify(|count| *count += 1);
        }
    }
}

impl Core {
    /// Where a peer stands now.
    async fn zone_of(&self, peer: &Peer) -> Zone {
        let name = peer.name.clone();
        let Some(trust) = self.remote.socket().with(move |node| node.trust_in(&name)).await else {
            return peer.zone;
        };
        if trust.source == tibet_ping::TrustSource::Unknown { peer.zone } else { Zone::of(trust.score) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{QueryError, RouteNote, RouteOrigin};
    use crate::device::{LocalDevice, Presence};

    /// SECURITY R54, 3.2 row 40: what nodes said decides whether an expired record is the last one.
    #[test]
    fn row_40_an_expired_peer_is_kept_for_a_day_while_no_node_is_there_and_not_at_all_when_one_is() {
        let start = UnixTime::from_secs(1_800_000_000);
        let name: Name = "jis:hub".parse().expect("a name");
        let mut device = LocalDevice::create(name.clone(), start).expect("keys");
        let ttl = Duration::from_secs(600);
        let record = device.publish(Presence { ttl, ..Presence::default() }, start).expect("signed");
        let silent = || RouteNote::Query(QueryError::NoAnswer { node: "one".to_owned() });
        let unknown = || RouteNote::Unknown { node: "other".to_owned() };
        let expired = || RouteNote::Expired { node: "other".to_owned() };
        let judged = |after: u64, origin: RouteOrigin, notes: Vec<RouteNote>| {
            let (record, identity) = (Some(record.clone()), Some(device.identity().clone()));
            let route = Route { record, identity, endpoints: Vec::new(), origin, notes };
            judge(&name, route, start.saturating_add(Duration::from_secs(after))).map(|_| ())
        };
        let ends = |after, origin, notes| judged(after, origin, notes).map_err(|error| error.ends());
        let day = 24 * 3600;
        for (after, origin, notes, result) in [
            (0, RouteOrigin::Node("one".to_owned()), vec![], Ok(())),
            (0, RouteOrigin::Node("one".to_owned()), vec![unknown()], Ok(())),
            (0, RouteOrigin::Cache, vec![silent(), silent()], Ok(())),
            (0, RouteOrigin::Cache, vec![silent(), unknown()], Ok(())),
            (0, RouteOrigin::Cache, vec![unknown(), unknown()], Err(Some(Reason::Unknown))),
            (601, RouteOrigin::LastKnown, vec![silent(), silent()], Err(None)),
            (601 + day, RouteOrigin::LastKnown, vec![silent(), silent()], Err(Some(Reason::Expired))),
            (601, RouteOrigin::LastKnown, vec![silent(), unknown()], Err(Some(Reason::Expired))),
            (601, RouteOrigin::LastKnown, vec![silent(), expired()], Err(Some(Reason::Expired))),
            (601, RouteOrigin::LastKnown, vec![unknown()], Err(Some(Reason::Unknown))),
        ] {
            let told = format!("{after} s, {origin:?}, {notes:?}");
            assert_eq!(ends(after, origin, notes), result, "{told}");
        }
    }
}
