//! A node that answers packets, without a socket.

use std::net::SocketAddr;

use jis::Fingerprint;
use tibet_ping::{Binding, FirstContact, KeySource, NodeConfig, NodeIdentity, Now, PingNode, RandomSource};

use super::senders::{Sender, hub};
use crate::Outcome;

/// How many datagrams came to which end.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Outcomes {
    /// Verified if signed, and answered.
    pub(crate) answered: usize,
    /// Without effect.
    pub(crate) dropped: usize,
}

pub(crate) struct Receiver {
    node: PingNode,
    outcomes: Outcomes,
}

impl Receiver {
    /// Knows the key of each of `senders`, takes unsigned packets from other names of theirs, and trusts all of them.
    pub(crate) fn new(senders: &[Sender], now: Now) -> Outcome<Self> {
        let own = hub()?;
        let identity = NodeIdentity {
            name: own.name.clone(),
            key: own.key,
            generation: 0,
            fingerprint: Fingerprint::from_bytes([1; 32]),
        };
        let config = NodeConfig { first_contact: FirstContact::Refuse, ..NodeConfig::default() };
        let mut node = PingNode::new(identity, config, counter(), [7; 16], now);
        for sender in senders {
            let binding = Binding { name: sender.name.clone(), key: sender.public_key(), generation: 0 };
            node.bind_key(binding, KeySource::Record)?;
            node.set_trust(sender.name.clone(), 0.9, "", now)?;
            node.allow_unsigned(sender.legacy_name()?)?;
            node.set_trust(sender.legacy_name()?, 0.9, "", now)?;
        }
        while node.poll_event().is_some() {}
        Ok(Self { node, outcomes: Outcomes::default() })
    }

    /// Gives the answer, if there is one. The nth datagram comes from the address of the nth sender.
    pub(crate) fn handle(&mut self, datagram: &[u8], nth: usize, now: Now) -> Option<Vec<u8>> {
        let port = u16::try_from(nth).unwrap_or(u16::MAX).saturating_add(1);
        self.node.handle_datagram(SocketAddr::from(([192, 0, 2, 1], port)), datagram, now);
        while self.node.poll_event().is_some() {}
        let answer = self.node.poll_transmit().map(|transmit| transmit.bytes);
        match answer {
            Some(_) => self.outcomes.answered += 1,
            None => self.outcomes.dropped += 1,
        }
        answer
    }

    pub(crate) fn outcomes(&self) -> Outcomes {
        self.outcomes
    }
}

/// Bytes that never repeat, for as little as possible.
fn counter() -> RandomSource {
    let mut count = 0_u64;
    Box::new(move || {
        count += 1;
        let mut bytes = [0; 32];
        bytes.chunks_exact_mut(8).for_each(|chunk| chunk.copy_from_slice(&count.to_be_bytes()));
        Some(bytes)
    })
}
