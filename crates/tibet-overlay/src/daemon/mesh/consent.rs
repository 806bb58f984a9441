//! Consents to direct paths, through a node (`docs/spec/punch.md`).
//!
//! Whoever wants a path signs first, with the addresses it may be looked for at; the other answers with its own. Only then either probes (SECURITY R58).

use std::collections::VecDeque;
use std::sync::{MutexGuard, PoisonError};
use std::time::Instant;

use jis::{Endpoint, Fingerprint, Punch, Signed, UnixTime};
use tibet_mesh::{ProbeKeys, Role};

use super::MeshNode;
use super::book::Peer;
use super::elsewhere::{Elsewhere, is_elsewhere};
use super::peers::AdmitError;
use crate::daemon::shared::Core;
use crate::intents::{Failure, FailureCode};
use crate::system;

/// Consents that are remembered so that none counts twice: more than can be answered while they hold.
const MAX_SEEN: usize = 8192;

/// The consents that still hold, and what was answered: a question whose answer got lost is asked again, and nothing begins twice.
#[derive(Debug, Default)]
pub(super) struct Answered {
    answers: VecDeque<(UnixTime, [u8; 16], Option<Signed<Punch>>)>,
}

/// Whether a consent was there before.
enum Begun {
    First,
    /// With what was answered to it, if that is known yet.
    Before(Option<Box<Signed<Punch>>>),
}

impl Answered {
    /// Whether a consent comes for the first time. When too many are remembered, none does.
    fn begin(&mut self, punch: &Punch, now: UnixTime) -> Begun {
        self.answers.retain(|(until, ..)| *until >= now);
        if let Some((.., answer)) = self.answers.iter().find(|(_, nonce, _)| *nonce == punch.nonce) {
            return Begun::Before(answer.clone().map(Box::new));
        }
        if self.answers.len() >= MAX_SEEN {
            return Begun::Before(None);
        }
        let until = punch.expires_at.saturating_add(Punch::MAX_CLOCK_SKEW);
        self.answers.push_back((until, punch.nonce, None));
        Begun::First
    }

    fn note(&mut self, nonce: &[u8; 16], answer: &Signed<Punch>) {
        if let Some((.., held)) = self.answers.iter_mut().find(|(_, known, _)| known == nonce) {
            *held = Some(answer.clone());
        }
    }
}

impl MeshNode {
    fn answered(&self) -> MutexGuard<'_, Answered> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn elsewhere(&self) -> MutexGuard<'_, Elsewhere> {
        self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    /// Asks a peer for its consent, and begins to look for paths with it.
    pub(super) async fn seek_path(&self, mesh: &MeshNode, peer: Fingerprint) {
        let Some(peer) = mesh.peer_of(&peer) else { return };
        let Some(first) = self.consent(&peer, Punch::FIRST) else { return };
        let ask = async {
            match self.remote.client().connect(&peer.name, &first).await {
                Ok(connected) => {
                    let answer = connected.punch.claims();
                    self.begin(mesh, &peer, [&first.claims().nonce, &answer.nonce], Role::Asked, answer);
                }
                Err(error) => tracing::info!(peer = %peer.name, %error, "no consent to a direct path"),
            }
        };
        // A node that does not answer delays nobody but itself.
        tokio::join!(ask, self.look_where_we_are(mesh), self.look_for_relays(mesh, &peer));
    }

    /// A peer without any path: what is known of it may be from before it had a relay.
    async fn look_for_relays(&self, mesh: &MeshNode, peer: &Peer) {
        if mesh.status_of(&peer.fingerprint).is_some_and(|status| status.chosen.is_none())
            && let Err(error) = self.look_up(mesh, &peer.name, false).await
        {
            tracing::debug!(peer = %peer.name, %error, "its record");
        }
    }

    /// Has the nodes say where they see us now. A router that has started anew tells nobody, and that a path is gone is its first sign: what we are seen at,
    /// what a consent says, and where relays send to us are all to be made anew.
    async fn look_where_we_are(&self, mesh: &MeshNode) {
        for (index, node) in self.remote.client().nodes().iter().enumerate() {
            let Some(before) = self.session(index) else { continue };
            if let Ok(now) = node.hello().await
                && is_elsewhere(&before, &now)
                && mesh.elsewhere().counts(index, Instant::now())
            {
                tracing::info!(node = self.link(index).node, observed = %now.observed, "seen elsewhere");
                self.met(index, now, now.observed);
                return self.tell_moved();
            }
        }
    }

    /// Answers a peer's consent with ours, and begins to look for paths with it. `None` for silence.
    pub(in crate::daemon) async fn answer_consent(
        &self,
        mesh: &MeshNode,
        punch: &Signed<Punch>,
    ) -> Option<Result<Signed<Punch>, Failure>> {
        let claims = punch.claims();
        let (own, now) = (self.device.identity(), system::now());
        let for_us = (&claims.to, &claims.to_key) == (&own.name, &own.key) && claims.answers == Punch::FIRST;
        if !for_us || !claims.is_valid_at(now) {
            return None;
        }
        punch.verify(&claims.key).ok()?;
        let begun = mesh.answered().begin(claims, now);
        if let Begun::Before(answer) = begun {
            return answer.map(|answer| Ok(*answer));
        }
        let peer = match self.admit(mesh, &claims.from, false).await {
            Ok(peer) => peer,
            // It is no stranger that it would have to be hidden from: a node that it is registered with has brought its question.
            Err(error @ AdmitError::Waiting(_)) => {
                return Some(Err(Failure::new(FailureCode::Waiting, error.to_string())));
            }
            Err(error) => {
                tracing::info!(from = %claims.from, %error, "a consent was not answered");
                return None;
            }
        };
        // The record says which key speaks for the name (SECURITY R5).
        if peer.key != claims.key {
            return None;
        }
        let answer = self.consent(&peer, claims.nonce)?;
        mesh.answered().note(&claims.nonce, &answer);
        self.begin(mesh, &peer, [&claims.nonce, &answer.claims().nonce], Role::Answered, claims);
        Some(Ok(answer))
    }

    fn begin(&self, mesh: &MeshNode, peer: &Peer, nonces: [&[u8; 16]; 2], role: Role, theirs: &Punch) {
        let keys = ProbeKeys::agree(&mesh.secret, &peer.transport, nonces[0], nonces[1], role);
        let candidates = elsewhere(&theirs.candidates, &self.presence().endpoints);
        mesh.engine.with(|machine, now| machine.begin(&peer.fingerprint, keys, &candidates, now));
    }

    fn consent(&self, peer: &Peer, answers: [u8; 16]) -> Option<Signed<Punch>> {
        let identity = self.asker.identity();
        let issued_at = system::now();
        let mut candidates = self.presence().endpoints;
        candidates.truncate(Punch::MAX_CANDIDATES);
        let punch = Punch {
            from: identity.name.clone(),
            key: identity.key.public_key(),
            generation: identity.generation,
            to: peer.name.clone(),
            to_key: peer.key,
            nonce: system::random().ok()?,
            answers,
            issued_at,
            expires_at: issued_at.saturating_add(Punch::MAX_LIFETIME),
            candidates,
        };
        Signed::seal(punch, &identity.key).ok()
    }
}

/// What of `named` is not where we are ourselves: no peer is there (SECURITY R58, 3.2 row 55), not even one in another home with the very same address.
fn elsewhere(named: &[Endpoint], own: &[Endpoint]) -> Vec<Endpoint> {
    named.iter().filter(|endpoint| !own.contains(endpoint)).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SECURITY 3.2 row 55, R58.
    #[test]
    fn row_55_our_own_addresses_are_not_looked_for_in_a_peers_consent() {
        let endpoints = |texts: &[&str]| -> Vec<Endpoint> {
            texts.iter().map(|text| text.parse().expect("endpoint")).collect()
        };
        let own = endpoints(&["192.168.1.10:7150", "203.0.113.1:40001", "[2001:db8::1]:7150"]);
        let named =
            endpoints(&["203.0.113.1:40001", "192.168.1.10:7151", "192.168.1.10:7150", "[2001:db8::1]:7150"]);
        assert_eq!(elsewhere(&named, &own), endpoints(&["192.168.1.10:7151"]));
    }
}
