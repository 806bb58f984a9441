//! What the operator decides: keys, trust, vouches, rules, peers.

use std::net::SocketAddr;
use std::time::Duration;

use jis::{Fingerprint, Name, PublicKey, Remark, Signed, UnixTime, Vouch};
use tibet_core::Zone;

use super::PingNode;
use super::event::Event;
use crate::airlock::{Rule, TooManyRules};
use crate::keys::{KeyBookFull, KeySource};
use crate::now::Now;
use crate::packet::Packet;
use crate::peers::can_be_answered;
use crate::trust::{Trust, TrustError};
use crate::vouching::{Binding, VouchId, VouchRefusal};

/// Patterns of intents that the application can claim.
pub const MAX_CLAIMS: usize = 256;
/// How long a vouch of ours counts.
const VOUCH_LIFETIME: Duration = Vouch::MAX_LIFETIME;

/// Why the node did not do what its operator asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OperatorError {
    /// The score is none.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// No room for another key.
    #[error(transparent)]
    Keys(#[from] KeyBookFull),
    /// No room for another rule.
    #[error(transparent)]
    Rules(#[from] TooManyRules),
    /// The vouch does not count.
    #[error("the vouch does not count: {0}")]
    Vouch(#[from] VouchRefusal),
    /// Nobody vouches for itself.
    #[error("nobody vouches for itself")]
    OwnVouch,
    /// The voucher's key is not known.
    #[error("the key of {0} is not known")]
    UnknownKey(Name),
    /// Which identity holds the name is not known: nothing signed by it was heard.
    #[error("nothing was heard of {0} that says which identity it is")]
    UnknownIdentity(Name),
    /// What was said cannot be signed.
    #[error("this cannot be signed")]
    Unsignable,
    /// Nothing can be sent there.
    #[error("{0} is no address of a device")]
    Address(SocketAddr),
    /// No room for another peer.
    #[error("no room for another peer")]
    Peers,
    /// The system gives no random bytes.
    #[error("no randomness")]
    NoRandomness,
}

impl PingNode {
    /// Sets how far a name is trusted, brought into 0 to 1, and returns what it was. `reason` is for the token.
    ///
    /// # Errors
    /// [`OperatorError::Trust`].
    pub fn set_trust(
        &mut self,
        name: Name,
        score: f64,
        reason: &str,
        now: Now,
    ) -> Result<Trust, OperatorError> {
        let before = self.trust_in(&name, now.wall);
        let score = self.trust.set(name.clone(), score)?;
        if self.zone_of(&name, now) == Zone::Rood {
            // No sign of life goes to whom nothing goes to.
            self.peers.forget(&name);
        }
        if before.score != score
            && let Ok(stamp) = self.stamp(now)
        {
            let (before, now, reason) = (before.score, score, reason.to_owned());
            self.tell(Event::TrustChanged { name, before, now, reason, stamp });
        }
        Ok(before)
    }

    /// How far a name is trusted.
    #[must_use]
    pub fn trust_in(&self, name: &Name, now: UnixTime) -> Trust {
        self.trust.lookup(name, &self.vouches, now)
    }

    pub(super) fn zone_of(&self, name: &Name, now: Now) -> Zone {
        self.config.thresholds.zone(self.trust_in(name, now.wall).score)
    }

    /// Binds a name to a key: the operator's own word, a verified record's, or a pin of an earlier run. Whether it is bound so now.
    ///
    /// # Errors
    /// [`OperatorError::Keys`].
    pub fn bind_key(&mut self, binding: Binding, source: KeySource) -> Result<bool, OperatorError> {
        Ok(self.keys.bind(binding, source)?)
    }

    /// Forgets a name's key, so that its next signed packet is a first contact again: the operator accepts that it has changed.
    pub fn forget_key(&mut self, name: &Name) -> bool {
        self.vouches.revoke_all_by(name);
        self.peers.forget(name);
        self.keys.forget(name)
    }

    /// The key a name is bound to.
    #[must_use]
    pub fn key_of(&self, name: &Name) -> Option<PublicKey> {
        self.keys.key(name)
    }

    /// Lets a name speak without a signature, for as long as it has no key (SECURITY R72).
    ///
    /// # Errors
    /// [`OperatorError::Keys`].
    pub fn allow_unsigned(&mut self, name: Name) -> Result<(), OperatorError> {
        Ok(self.keys.allow_unsigned(name)?)
    }

    /// Adds a rule to the airlock.
    ///
    /// # Errors
    /// [`OperatorError::Rules`].
    pub fn add_rule(&mut self, rule: Rule) -> Result<(), OperatorError> {
        Ok(self.airlock.add_rule(rule)?)
    }

    /// Removes the rules with this id; how many there were.
    pub fn remove_rule(&mut self, id: &str) -> usize {
        self.airlock.remove_rule(id)
    }

    /// Enters a peer and shows ourselves to it. It stays a peer however long it is silent.
    ///
    /// # Errors
    /// [`OperatorError::Address`], [`OperatorError::Peers`].
    pub fn add_peer(&mut self, name: Name, address: SocketAddr, now: Now) -> Result<(), OperatorError> {
        if !can_be_answered(address) {
            return Err(OperatorError::Address(address));
        }
        if !self.peers.insert_fixed(name, address, now) {
            return Err(OperatorError::Peers);
        }
        let (fresh, _) = self.draw(now).map_err(|_| OperatorError::NoRandomness)?;
        let packet = Packet::heartbeat(&self.identity.name, fresh);
        if let Some(bytes) = self.sealed(packet, now) {
            self.transmit(address, bytes);
        }
        Ok(())
    }

    /// Vouches for a device that was heard on the network: lends it seven tenths of our trust for 30 days, which is never enough to be let in
    /// by itself.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub fn vouch(&mut self, subject: &Name, reason: &str, now: Now) -> Result<VouchId, OperatorError> {
        let seen = self.beacons.iter().find(|seen| seen.verified && seen.beacon.name == *subject);
        let unknown = || OperatorError::UnknownIdentity(subject.clone());
        let fingerprint = seen.map(|seen| seen.beacon.fingerprint).ok_or_else(unknown)?;
        self.vouch_for(subject, &fingerprint, reason, now)
    }

    /// Vouches for the identity with this fingerprint, as [`vouch`](Self::vouch).
    ///
    /// # Errors
    /// [`OperatorError`].
    pub fn vouch_for(
        &mut self,
        subject: &Name,
        fingerprint: &Fingerprint,
        reason: &str,
        now: Now,
    ) -> Result<VouchId, OperatorError> {
        if *subject == self.identity.name {
            return Err(OperatorError::OwnVouch);
        }
        let (fresh, stamp) = self.draw(now).map_err(|_| OperatorError::NoRandomness)?;
        let own = self.own_binding();
        let vouch = Vouch {
            id: fresh.nonce,
            voucher: own.name.clone(),
            voucher_generation: own.generation,
            voucher_key: own.key,
            subject: subject.clone(),
            subject_fingerprint: *fingerprint,
            factor_permille: Vouch::DEFAULT_FACTOR_PERMILLE,
            reason: reason.parse::<Remark>().map_err(|_| OperatorError::Unsignable)?,
            issued_at: now.wall,
            expires_at: now.wall.saturating_add(VOUCH_LIFETIME),
        };
        let vouch = Signed::seal(vouch, &self.identity.key).map_err(|_| OperatorError::Unsignable)?;
        let id = self.vouches.handle_vouch(&vouch, &own, fingerprint, now.wall)?;
        self.tell(Event::Vouched { vouch: Box::new(vouch), stamp });
        Ok(id)
    }

    /// Takes in a vouch that another gave, for the identity with this fingerprint. It lends what the operator trusts the voucher.
    ///
    /// # Errors
    /// [`OperatorError::UnknownKey`], [`OperatorError::Vouch`].
    pub fn add_vouch(
        &mut self,
        vouch: &Signed<Vouch>,
        subject: &Fingerprint,
        now: Now,
    ) -> Result<VouchId, OperatorError> {
        let voucher = &vouch.claims().voucher;
        let bound = self.keys.binding(voucher).map(|(binding, _)| binding.clone());
        let bound = bound.ok_or_else(|| OperatorError::UnknownKey(voucher.clone()))?;
        Ok(self.vouches.handle_vouch(vouch, &bound, subject, now.wall)?)
    }

    /// Takes a vouch back; whether it was there.
    pub fn revoke_vouch(&mut self, id: &VouchId) -> bool {
        self.vouches.revoke(id)
    }

    fn own_binding(&self) -> Binding {
        let (name, generation) = (self.identity.name.clone(), self.identity.generation);
        Binding { name, key: self.public_key, generation }
    }
}
