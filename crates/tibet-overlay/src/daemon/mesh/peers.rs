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

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jis::{Fingerprint, Identity, Name, Record, RecordTimeError, Signed, TransportKey, UnixTime};
use tibet_mesh::{MeshEvent, Path, PeerError, PeerStatus, RelayId};
use tibet_ping::TrustSource;
use tibet_registry::Zone;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::MeshNode;
use super::book::{Book, Peer};
use super::journal::Reason;
use super::turns::{Turns, Wanted};
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
    #[error("{0} has ceased to be a peer meanwhile")]
    Dismissed(Name),
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
            Self::Resolve(_)
            | Self::Untimely(..)
            | Self::OtherKey(_)
            | Self::Own(_)
            | Self::Dismissed(_)
            | Self::Peer(..) => None,
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
        self.book().named(name).cloned()
    }

    pub(super) fn peer_of(&self, fingerprint: &Fingerprint) -> Option<Peer> {
        self.book().get(fingerprint).cloned()
    }

    /// All peers, by name.
    pub(super) fn peers(&self) -> Vec<Peer> {
        let mut peers: Vec<Peer> = self.book().all().cloned().collect();
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
    fn dismiss(&self, peer: &Fingerprint, reason: &Reason) {
        self.end(&mut self.book(), peer, reason);
    }

    fn end(&self, book: &mut Book, peer: &Fingerprint, reason: &Reason) {
        // Somebody else may have been first.
        let Some(peer) = book.remove(peer) else { return };
        self.engine.with(|mesh, _| mesh.remove_peer(&peer.fingerprint));
        self.engine.pings().remove(&peer);
        tracing::warn!(peer = %peer.name, %reason, "no peer any more");
        self.journal.note(&peer.name, reason);
    }

    /// Goes by where a peer stands now.
    fn set_zone(&self, peer: &Fingerprint, zone: Zone) {
        let mut book = self.book();
        let Some(known) = book.get_mut(peer) else { return };
        match zone {
            Zone::Rood => self.end(&mut book, peer, &Reason::Distrusted),
            Zone::Geel if !known.wanted => self.end(&mut book, peer, &Reason::Waiting),
            _ if zone != known.zone => {
                known.zone = zone;
                self.engine.with(|mesh, _| mesh.set_answers_only(peer, zone != Zone::Groen));
            }
            _ => {}
        }
    }

    /// Takes a peer on, or what is new of it. `was_peer` says that it was one when it was looked up: whoever has dismissed it since knows more.
    fn take_on(&self, mut peer: Peer, relays: Vec<RelayId>, was_peer: bool) -> Result<Peer, AdmitError> {
        let mut book = self.book();
        let held = book.get(&peer.fingerprint);
        if was_peer && held.is_none() {
            return Err(AdmitError::Dismissed(peer.name));
        }
        let is_new = held.is_none();
        peer.wanted |= held.is_some_and(|held| held.wanted);
        let taken = self.engine.with(|machine, now| {
            peer.address = machine.set_peer(peer.fingerprint, peer.transport)?;
            machine.set_relays(&peer.fingerprint, relays, now);
            machine.set_answers_only(&peer.fingerprint, peer.zone != Zone::Groen);
            Ok(())
        });
        taken.map_err(|error| AdmitError::Peer(peer.name.clone(), error))?;
        // Two look-ups of one name may have found two identities, and both be here only now.
        let other = book.named(&peer.name).map(|other| other.fingerprint);
        if let Some(other) = other.filter(|other| *other != peer.fingerprint) {
            self.end(&mut book, &other, &Reason::OtherIdentity);
        }
        self.engine.pings().add(&peer);
        book.insert(peer.clone());
        if is_new {
            tracing::info!(peer = %peer.name, address = %peer.address, zone = peer.zone.as_str(), "peer");
            self.journal.note(&peer.name, &Reason::Admitted(peer.zone));
        }
        drop(book);
        self.engine.release(peer.address);
        Ok(peer)
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
        if let Some(peer) = mesh.book().want(name, wanted, SPEAKING) {
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
            mesh.dismiss(&before.fingerprint, &reason);
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
        let was_peer = before.as_ref().is_some_and(|before| before.fingerprint == identity.fingerprint);
        if let Some(other) = before.filter(|_| !was_peer) {
            mesh.dismiss(&other.fingerprint, &Reason::OtherIdentity);
        }
        let peer = Peer {
            name: name.clone(),
            fingerprint: identity.fingerprint,
            key: identity.key,
            transport,
            address: mesh.note_name(&identity.fingerprint, name),
            zone,
            wanted,
            looked_up: Instant::now(),
        };
        mesh.take_on(peer, self.relay_ids(&record.relays), was_peer)
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

/// Looks at the trust in all peers, without end. It waits for no node.
pub(super) async fn watch_trust(core: Arc<Core>, mesh: Arc<MeshNode>) {
    let mut ticks = interval(TRUST);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let peers: Vec<(Fingerprint, Name)> =
            mesh.book().all().map(|peer| (peer.fingerprint, peer.name.clone())).collect();
        for (peer, zone) in core.zones_of(peers).await {
            mesh.set_zone(&peer, zone);
        }
    }
}

/// Looks the records of peers up, without end, and of those whom the operator trusts: they have tunnels before they ask for them.
pub(super) async fn watch_records(core: Arc<Core>, mesh: Arc<MeshNode>) {
    let mut ticks = interval(TRUST);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut turns, mut looking) = (Turns::default(), JoinSet::new());
    loop {
        tokio::select! {
            _ = ticks.tick() => turns.set(core.records_wanted(&mesh), Instant::now()),
            Some(Ok(name)) = looking.join_next() => turns.end(name, Instant::now()),
        }
        while let Some(name) = turns.begin() {
            let (core, mesh) = (Arc::clone(&core), Arc::clone(&mesh));
            looking.spawn(async move {
                if let Err(error) = core.look_up(&mesh, &name, false).await {
                    tracing::debug!(peer = %name, %error, "its record");
                    // Nobody could be asked: it stays what it was, and is looked up again.
                    mesh.book().note_look(&name);
                }
                name
            });
        }
    }
}

impl MeshNode {
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
    /// Whose records are to be known, and how new.
    fn records_wanted(&self, mesh: &MeshNode) -> Vec<Wanted> {
        let peers = mesh.peers();
        let active: Vec<bool> = mesh.engine.with(|machine, now| {
            peers.iter().map(|peer| machine.is_active(&peer.fingerprint, now)).collect()
        });
        let known: BTreeSet<&Name> = peers.iter().map(|peer| &peer.name).collect();
        let trusted = self.config.trust.iter().filter(|(name, score)| {
            Zone::of(*score) == Zone::Groen && !known.contains(name) && self.is_registered()
        });
        let trusted = trusted
            .map(|(name, _)| Wanted { name: name.clone(), looked_up: None, may_age: SPEAKING })
            .collect::<Vec<_>>();
        let wanted = |(peer, active): (Peer, bool)| Wanted {
            may_age: if active { SPEAKING } else { SILENT },
            looked_up: Some(peer.looked_up),
            name: peer.name,
        };
        trusted.into_iter().chain(peers.into_iter().zip(active).map(wanted)).collect()
    }

    /// Where those of these peers stand now of whom anything is known.
    async fn zones_of(&self, peers: Vec<(Fingerprint, Name)>) -> Vec<(Fingerprint, Zone)> {
        let zones = self.remote.socket().with(move |node| {
            let zone = |(peer, name): (Fingerprint, Name)| {
                let trust = node.trust_in(&name);
                (trust.source != TrustSource::Unknown).then(|| (peer, Zone::of(trust.score)))
            };
            peers.into_iter().filter_map(zone).collect()
        });
        zones.await.unwrap_or_default()
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
