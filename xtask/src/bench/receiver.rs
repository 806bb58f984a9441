//! A device that answers packets, put together of tibet-ping's parts in the order its documentation gives.

use jis::{Name, UnixTime};
use tibet_core::Zone;
use tibet_ping::{
    Decision, Encoding, Expected, FirstContact, Frame, Fresh, KeyBook, KeySource, Kind, Now, Packet,
    ReplayCache, ReplayConfig, Response, RestartBound, Sender as NonceOf, sign_pong, verify_ping,
};

use super::senders::{Sender, hub};
use crate::Outcome;

/// How many datagrams came to which end.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Outcomes {
    /// Signed, verified, and answered with a signature.
    pub(crate) answered: usize,
    /// Taken without a signature, and remembered.
    pub(crate) unsigned: usize,
    /// Without effect.
    pub(crate) dropped: usize,
}

pub(crate) struct Receiver {
    own: Sender,
    keys: KeyBook,
    bound: RestartBound,
    replay: ReplayCache,
    outcomes: Outcomes,
}

/// What a datagram asks for.
enum Accepted {
    Answer(Vec<u8>),
    Unsigned,
}

impl Receiver {
    /// Knows the key of each of `senders`, and takes unsigned packets from other names of theirs.
    pub(crate) fn new(senders: &[Sender], now: Now) -> Outcome<Self> {
        let mut keys = KeyBook::new(FirstContact::Refuse);
        for sender in senders {
            let binding =
                tibet_ping::Binding { name: sender.name.clone(), key: sender.public_key(), generation: 0 };
            keys.bind(binding, KeySource::Record)?;
            keys.allow_unsigned(sender.legacy_name()?)?;
        }
        let mut bound = RestartBound::new(None);
        bound.handle_persisted(UnixTime::from_secs(now.wall.as_secs() + 15));
        let replay = ReplayCache::new(ReplayConfig::default(), [7; 16], now);
        Ok(Self { own: hub()?, keys, bound, replay, outcomes: Outcomes::default() })
    }

    /// Gives the answer, if there is one.
    pub(crate) fn handle(&mut self, datagram: &[u8], now: Now) -> Option<Vec<u8>> {
        match self.accept(datagram, now) {
            Some(Accepted::Answer(answer)) => {
                self.outcomes.answered += 1;
                Some(answer)
            }
            Some(Accepted::Unsigned) => {
                self.outcomes.unsigned += 1;
                None
            }
            None => {
                self.outcomes.dropped += 1;
                None
            }
        }
    }

    pub(crate) fn outcomes(&self) -> Outcomes {
        self.outcomes
    }

    fn accept(&mut self, datagram: &[u8], now: Now) -> Option<Accepted> {
        let Frame::Version1 { kind: Kind::Packet, encoding, body } = Frame::read(datagram).ok()? else {
            return None;
        };
        let packet = Packet::decode(encoding, body).ok()?;
        let key = packet.claim.map(|claim| claim.public_key);
        let sender = key.as_ref().map_or(NonceOf::Unsigned(&packet.source_did), NonceOf::Key);
        let expires_at = packet.claim.map(|claim| claim.expires_at);
        let time = self.replay.check(sender, &packet.nonce, &packet.timestamp, expires_at, now).ok()?;
        self.bound.check(time).ok()?;
        let answer = match self.keys.expected(&packet).ok()? {
            Expected::Bound(key) | Expected::FirstContact(key) => {
                let ping = verify_ping(&packet, &key).ok()?;
                ping.check_audience(&self.own.name, &self.own.public_key()).ok()?;
                Some(ping.hash())
            }
            Expected::Unsigned => None,
        };
        self.replay.insert(sender, &packet.nonce, &packet.timestamp, expires_at, now).ok()?;
        match answer {
            Some(request) => self.answer(&packet, &request, encoding, now).map(Accepted::Answer),
            None => Some(Accepted::Unsigned),
        }
    }

    fn answer(&self, packet: &Packet, request: &[u8; 32], encoding: Encoding, now: Now) -> Option<Vec<u8>> {
        let name: &Name = &self.own.name;
        let fresh = Fresh { id: [3; 8], nonce: [4; 16], now: now.wall };
        let mut response = Response::to(packet, name, Decision::Accept, Zone::Groen, 0.9, fresh);
        sign_pong(&mut response, request, &self.own.key, 0).ok()?;
        response.encode(encoding).ok()
    }
}
