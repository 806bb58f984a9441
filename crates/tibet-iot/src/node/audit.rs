//! Events as tokens.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use jis::SecretKey;
use tibet_core::json::Value;
use tibet_core::{
    Draft, FileStore, Head, MemoryStore, Minter, NetworkBridge, PingFacts, Provider, Query, ResponseFacts,
    SqliteStore, StoreError, Token, TokenStore, Zone, object,
};
use tibet_ping::{
    Answered, Decision, Discovered, Event, Packet, PendingSettled, PingSeen, Proof, TokenStamp,
};

/// A place for tokens that can say when they are on disk.
pub trait AuditStore: TokenStore + Send {
    /// Forces everything appended to disk.
    ///
    /// # Errors
    /// What the storage below reports.
    fn commit(&mut self) -> Result<(), StoreError>;
}

/// Nothing survives the process.
impl AuditStore for MemoryStore {
    fn commit(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// To be opened with [`tibet_core::Fsync::Never`]: one sync for a batch is enough.
impl AuditStore for FileStore {
    fn commit(&mut self) -> Result<(), StoreError> {
        self.sync()
    }
}

/// Each append is a transaction of its own.
impl AuditStore for SqliteStore {
    fn commit(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}

type Store = Box<dyn AuditStore>;

impl TokenStore for Store {
    fn append(&mut self, token: &Token) -> Result<u64, StoreError> {
        (**self).append(token)
    }

    fn len(&self) -> Result<u64, StoreError> {
        (**self).len()
    }

    fn at(&self, index: u64) -> Result<Option<Token>, StoreError> {
        (**self).at(index)
    }

    fn get(&self, token_id: &str) -> Result<Option<Token>, StoreError> {
        (**self).get(token_id)
    }

    fn head(&self) -> Result<Option<Head>, StoreError> {
        (**self).head()
    }

    fn find(&self, query: &Query) -> Result<Vec<Token>, StoreError> {
        (**self).find(query)
    }

    fn for_each(&self, from: u64, visit: &mut dyn FnMut(u64, Token)) -> Result<(), StoreError> {
        (**self).for_each(from, visit)
    }
}

/// Microseconds for each token of an unsigned ping, and how many may come at once.
const UNSIGNED_EVERY: u64 = 4_000_000;
const UNSIGNED_AT_ONCE: u64 = 60;

/// Where a node's tokens go: signed, linked, one for each event that somebody stands behind. What nobody signed is counted and summed up once
/// a minute, so that noise fills no disk (SECURITY R64).
pub struct Audit {
    bridge: NetworkBridge<Store>,
    /// Hearsay since the last summary: what was said of devices, and pings, that nobody signed and that have no token of their own.
    hearsay: u64,
    /// The time, in microseconds, at which as many tokens of unsigned pings may be made as at the start.
    unsigned_full_at: u64,
    /// Whether anything was appended since the last commit.
    dirty: bool,
}

impl Audit {
    /// Continues the log in `store`. `actor` is the node's name, `key` what its tokens are signed with: not the identity key (SECURITY R3).
    ///
    /// # Errors
    /// What the store reports when asked for its head.
    pub fn new(
        actor: &jis::Name,
        key: Arc<SecretKey>,
        store: impl AuditStore + 'static,
    ) -> Result<Self, StoreError> {
        let minter = Minter::new(actor.as_str()).signer(key);
        let store: Store = Box::new(store);
        Ok(Self {
            bridge: NetworkBridge::new(Provider::new(minter, store)?),
            hearsay: 0,
            unsigned_full_at: 0,
            dirty: false,
        })
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &dyn AuditStore {
        &**self.bridge.provider().store()
    }

    /// Makes the tokens of these events. They are on disk when this returns.
    pub(super) fn record(&mut self, events: &[Arc<Event>]) -> Result<(), StoreError> {
        for event in events {
            self.record_one(event)?;
        }
        if std::mem::take(&mut self.dirty) {
            self.bridge.provider_mut().store_mut().commit()?;
        }
        Ok(())
    }

    fn record_one(&mut self, event: &Event) -> Result<(), StoreError> {
        match event {
            // Nobody stands behind it; it is among what was dropped.
            Event::Ping(seen) if seen.proof == Proof::Unproven => Ok(()),
            Event::Ping(seen) | Event::Question { ping: seen, .. } if seen.proof == Proof::Unsigned => {
                self.record_unsigned(seen)
            }
            Event::Ping(seen) | Event::Question { ping: seen, .. } => self.record_seen(seen),
            Event::Answered(answered) => self.record_answered(answered),
            Event::Unanswered { packet, stamp, .. } => self.record_ping(packet, None, None, *stamp),
            Event::Settled(settled) => self.record_settled(settled),
            Event::Relayed { packet, to, stamp } => self.record_relayed(packet, to.first(), *stamp),
            Event::Discovered(device) if !device.verified => {
                self.hearsay += 1;
                Ok(())
            }
            Event::Discovered(device) => self.record_discovered(device),
            Event::PeerFound { name, address, stamp } => {
                self.record_sign(name.as_str(), Some(*address), "found", *stamp)
            }
            Event::PeerMoved { name, to, stamp, .. } => {
                self.record_sign(name.as_str(), Some(*to), "moved", *stamp)
            }
            Event::PeerGone { name, stamp } => self.record_sign(name.as_str(), None, "gone", *stamp),
            Event::TrustChanged { name, before, now, reason, stamp } => {
                let TokenStamp { at, random } = *stamp;
                self.dirty = true;
                self.bridge.record_trust_change(name.as_str(), *before, *now, reason, at, random).map(drop)
            }
            Event::Pinned { binding, stamp } => {
                let (name, key) = (binding.name.as_str(), binding.key.to_multibase());
                let draft = Draft::new("key_pinned")
                    .erin(object! { "did" => name, "public_key" => key, "generation" => binding.generation })
                    .eraan([name])
                    .erachter(format!("First contact with {name}: its key is remembered"));
                self.create(draft, *stamp)
            }
            Event::Vouched { vouch, stamp } => {
                let claims = vouch.claims();
                let (subject, voucher) = (claims.subject.as_str(), claims.voucher.as_str());
                let draft = Draft::new("vouch")
                    .erin(object! {
                        "subject" => subject,
                        "voucher" => voucher,
                        "factor" => claims.factor_permille as f64 / 1000.0,
                        "expires_at" => claims.expires_at.as_millis(),
                        "vouch" => jis::hex::encode(&vouch.encode()),
                    })
                    .eraan([voucher, subject])
                    .erachter(format!("{voucher} vouches for {subject}: {}", claims.reason));
                self.create(draft, *stamp)
            }
            Event::Dropped { counts, stamp } => self.record_dropped(counts, *stamp),
            // Counted with what was dropped: anybody can cause these.
            _ => Ok(()),
        }
    }

    /// The operator allows such pings, but anybody can make them: the first sixty have a token each, without what came with them, and after
    /// that one every four seconds, which is less than a mebibyte an hour.
    fn record_unsigned(&mut self, seen: &PingSeen) -> Result<(), StoreError> {
        let now = seen.stamp.at.as_micros();
        let full_at = self.unsigned_full_at.max(now) + UNSIGNED_EVERY;
        if full_at - now > UNSIGNED_AT_ONCE * UNSIGNED_EVERY {
            self.hearsay += 1;
            return Ok(());
        }
        self.unsigned_full_at = full_at;
        let packet = Packet { payload: object! {}, ..seen.packet.clone() };
        self.record_seen(&PingSeen { packet, ..seen.clone() })
    }

    fn record_seen(&mut self, seen: &PingSeen) -> Result<(), StoreError> {
        let response = ResponseFacts {
            decision: seen.decision.as_str(),
            trust_score: seen.trust.score,
            airlock_zone: seen.zone.as_str(),
        };
        self.record_ping(&seen.packet, Some(seen.proof), Some(&response), seen.stamp)
    }

    fn record_answered(&mut self, answered: &Answered) -> Result<(), StoreError> {
        let zone = zone_of(&answered.response.airlock_zone);
        let response = ResponseFacts {
            decision: answered.response.decision.as_str(),
            trust_score: answered.response.trust_score,
            airlock_zone: zone,
        };
        self.record_ping(&answered.packet, Some(answered.proof), Some(&response), answered.stamp)
    }

    fn record_ping(
        &mut self,
        packet: &Packet,
        proof: Option<Proof>,
        response: Option<&ResponseFacts<'_>>,
        TokenStamp { at, random }: TokenStamp,
    ) -> Result<(), StoreError> {
        let payload = (!packet.payload.is_empty()).then(|| Value::Object(packet.payload.clone()));
        let facts = PingFacts { payload: payload.as_ref(), proof: proof.map(word), ..facts(packet) };
        self.dirty = true;
        self.bridge.record_ping(&facts, response, at, random).map(drop)
    }

    fn record_settled(&mut self, settled: &PendingSettled) -> Result<(), StoreError> {
        let Packet { source_did, packet_id, intent, .. } = &settled.packet;
        let decision = settled.decision.map_or("expired", Decision::as_str);
        let draft = Draft::new("airlock_decision")
            .erin(object! {
                "packet_id" => packet_id.as_str(),
                "source_did" => source_did.as_str(),
                "intent" => intent.as_str(),
                "decision" => decision,
            })
            .eraan([source_did.as_str()])
            .erachter(format!("{intent} from {source_did}: {decision}"));
        self.create(draft, settled.stamp)
    }

    fn record_relayed(
        &mut self,
        packet: &Packet,
        to: Option<&SocketAddr>,
        TokenStamp { at, random }: TokenStamp,
    ) -> Result<(), StoreError> {
        let host = to.map(|to| to.ip().to_string());
        let to = host.as_deref().zip(to.map(SocketAddr::port));
        self.dirty = true;
        self.bridge.record_relay(&facts(packet), to, at, random).map(drop)
    }

    fn record_discovered(&mut self, device: &Discovered) -> Result<(), StoreError> {
        let (host, port) = (device.address.ip().to_string(), device.address.port());
        let decision = device.verdict.as_ref().map_or_else(|| "answered".to_owned(), ToString::to_string);
        let TokenStamp { at, random } = device.stamp;
        self.dirty = true;
        let name = device.name.as_str();
        self.bridge.record_discovery(name, (&host, port), &decision, at, random).map(drop)
    }

    fn record_sign(
        &mut self,
        name: &str,
        address: Option<SocketAddr>,
        status: &str,
        TokenStamp { at, random }: TokenStamp,
    ) -> Result<(), StoreError> {
        let host = address.map(|address| address.ip().to_string());
        let address = host.as_deref().zip(address.map(|address| address.port()));
        self.dirty = true;
        self.bridge.record_heartbeat(name, address, Some(status), at, random).map(drop)
    }

    fn record_dropped(
        &mut self,
        counts: &[(&'static str, u64)],
        stamp: TokenStamp,
    ) -> Result<(), StoreError> {
        let mut erin = object! {};
        for (reason, count) in counts {
            erin.insert(*reason, *count);
        }
        let hearsay = std::mem::take(&mut self.hearsay);
        if hearsay > 0 {
            erin.insert("hearsay", hearsay);
        }
        let total: u64 = counts.iter().map(|(_, count)| count).sum();
        let draft = Draft::new("dropped").erin(erin).erachter(format!("{total} datagrams led to nothing"));
        self.create(draft, stamp)
    }

    fn create(&mut self, draft: Draft, TokenStamp { at, random }: TokenStamp) -> Result<(), StoreError> {
        self.dirty = true;
        self.bridge.provider_mut().create(draft, at, random).map(drop)
    }
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audit")
            .field("actor", &self.bridge.provider().minter().actor())
            .finish_non_exhaustive()
    }
}

fn facts(packet: &Packet) -> PingFacts<'_> {
    PingFacts {
        ping_type: packet.ping_type.as_str(),
        source_did: &packet.source_did,
        target_did: &packet.target_did,
        intent: &packet.intent,
        purpose: &packet.purpose,
        routing_mode: packet.routing_mode.as_str(),
        hop_count: packet.hop_count.into(),
        pod_id: packet.pod_id.as_deref(),
        ..PingFacts::default()
    }
}

/// The zone a response names, which may be any text.
fn zone_of(text: &str) -> &'static str {
    let zones = [Zone::Groen, Zone::Geel, Zone::Rood];
    zones.into_iter().map(Zone::as_str).find(|zone| *zone == text).unwrap_or("unknown")
}

fn word(proof: Proof) -> &'static str {
    match proof {
        Proof::Verified => "verified",
        Proof::FirstContact => "first_contact",
        Proof::Sealed => "sealed",
        Proof::Unsigned | Proof::Unproven => "unauthenticated",
    }
}
