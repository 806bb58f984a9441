//! Network events as tokens.

use crate::draft::{Draft, Parent};
use crate::facts::{PingFacts, ResponseFacts, Zone};
use crate::json::Object;
use crate::object;
use crate::provider::{Provider, heartbeat_draft, or_else, ping_draft};
use crate::store::{StoreError, TokenStore};
use crate::time::Micros;
use crate::token::Token;

/// Records what happens on the network in a chain of its own within the provider's log: each record follows the previous
/// record of the bridge, the first one the provider's last token.
///
/// After a ping the provider goes on from where it was before; after the other records it goes on from them. That is what
/// the Python package does, and other programs read its chains.
#[derive(Debug)]
pub struct NetworkBridge<S> {
    provider: Provider<S>,
    /// The last record; [`Parent::Auto`] before the first.
    previous: Parent,
}

impl<S: TokenStore> NetworkBridge<S> {
    /// A bridge that records through `provider`.
    #[must_use]
    pub fn new(provider: Provider<S>) -> Self {
        Self { provider, previous: Parent::Auto }
    }

    /// Records a ping, and the answer to it if there is one.
    ///
    /// # Errors
    /// What the store reports.
    pub fn record_ping(
        &mut self,
        ping: &PingFacts<'_>,
        response: Option<&ResponseFacts<'_>>,
        now: Micros,
        random: [u8; 4],
    ) -> Result<Token, StoreError> {
        let before = self.provider.last().clone();
        let token = self.record(ping_draft(ping, response), now, random)?;
        self.provider.set_last(before);
        Ok(token)
    }

    /// Records a sign of life, from `address` if it is known.
    ///
    /// # Errors
    /// What the store reports.
    pub fn record_heartbeat(
        &mut self,
        did: &str,
        address: Option<(&str, u16)>,
        status: Option<&str>,
        now: Micros,
        random: [u8; 4],
    ) -> Result<Token, StoreError> {
        let eromheen = address.map_or_else(Object::new, host_and_port);
        self.record(heartbeat_draft(did, status).eromheen(eromheen), now, random)
    }

    /// Records that a device was found at `address`, and what was decided about it.
    ///
    /// # Errors
    /// What the store reports.
    pub fn record_discovery(
        &mut self,
        did: &str,
        address: (&str, u16),
        decision: &str,
        now: Micros,
        random: [u8; 4],
    ) -> Result<Token, StoreError> {
        let (host, port) = address;
        let draft = Draft::new("discovery")
            .erin(object! { "discovered_did" => did, "decision" => decision })
            .eraan([did])
            .eromheen(host_and_port(address))
            .erachter(format!("Discovered {did} at {host}:{port} — {decision}"));
        self.record(draft, now, random)
    }

    /// Records that a packet was passed on, to `forwarded_to` if it is known.
    ///
    /// # Errors
    /// What the store reports.
    pub fn record_relay(
        &mut self,
        ping: &PingFacts<'_>,
        forwarded_to: Option<(&str, u16)>,
        now: Micros,
        random: [u8; 4],
    ) -> Result<Token, StoreError> {
        let (source, target, hops) = (ping.source_did, ping.target_did, ping.hop_count);
        let mut eromheen = object! { "hop_count" => hops };
        if let Some((host, port)) = forwarded_to {
            eromheen.insert("forwarded_host", host);
            eromheen.insert("forwarded_port", port);
        }
        let draft = Draft::new("relay")
            .erin(object! { "source_did" => source, "target_did" => target, "hop_count" => hops })
            .eraan([source, target])
            .eromheen(eromheen)
            .erachter(format!("Relaying packet from {source} to {target} (hop {hops})"));
        self.record(draft, now, random)
    }

    /// Records that trust in `did` changed, both values between 0 and 1. `reason` is replaced by a default when empty.
    ///
    /// # Errors
    /// What the store reports; a trust that is no finite number is refused.
    pub fn record_trust_change(
        &mut self,
        did: &str,
        old: f64,
        new: f64,
        reason: &str,
        now: Micros,
        random: [u8; 4],
    ) -> Result<Token, StoreError> {
        let (old_zone, new_zone) = (Zone::of(old), Zone::of(new));
        let (old_name, new_name) = (old_zone.as_str(), new_zone.as_str());
        let mut erachter = or_else(reason, || format!("Trust change for {did}: {old:.2} -> {new:.2}"));
        if old_zone != new_zone {
            erachter.push_str(&format!(" (zone: {old_name} -> {new_name})"));
        }
        let draft = Draft::new("trust_change")
            .erin(object! {
                "did" => did,
                "old_trust" => old,
                "new_trust" => new,
                "old_zone" => old_name,
                "new_zone" => new_name,
            })
            .eraan([did])
            .eromheen(object! { "zone_changed" => old_zone != new_zone })
            .erachter(erachter);
        self.record(draft, now, random)
    }

    /// The provider, for tokens of its own.
    pub fn provider_mut(&mut self) -> &mut Provider<S> {
        &mut self.provider
    }

    /// The provider.
    #[must_use]
    pub fn provider(&self) -> &Provider<S> {
        &self.provider
    }

    /// The provider, the bridge being done with.
    #[must_use]
    pub fn into_provider(self) -> Provider<S> {
        self.provider
    }

    fn record(&mut self, draft: Draft, now: Micros, random: [u8; 4]) -> Result<Token, StoreError> {
        let token = self.provider.create(draft.parent(self.previous.clone()), now, random)?;
        self.previous = Parent::of(&token);
        Ok(token)
    }
}

fn host_and_port((host, port): (&str, u16)) -> Object {
    object! { "host" => host, "port" => port }
}
