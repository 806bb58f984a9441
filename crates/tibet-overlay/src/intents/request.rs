//! What is asked.

use jis::{
    Capability, Challenge, ChallengePurpose, KeyEvent, Name, PublicKey, Punch, Query, Record, RelayOpen,
    Revocation, Signed, SignedRotation, TransportCertificate,
};
use tibet_registry::{MAX_EVENTS, Permission};

use super::members::{Reader, name, number, optional, time};
use super::{CHALLENGE, CONNECT, Malformed, PING, PUNCH};

/// A question to an overlay node, or from one to a device.
#[derive(Debug, Clone)]
pub enum OverlayRequest {
    /// Take a device in, or take note of where it is now.
    Register(Box<RegisterRequest>),
    /// Where is it?
    Resolve {
        /// Who.
        name: Name,
        /// Also key events, from this one on.
        events_from: Option<u8>,
    },
    /// Who offers this?
    Find {
        /// What.
        capability: Capability,
        /// The `next` of the page before; 0 for the first.
        after: u64,
    },
    /// Have a device prove who it is. Purpose *verify*, no channel.
    Challenge(Box<Challenge>),
    /// Pass a ping on to a device that nobody else gets through to.
    Ping {
        /// Which device.
        name: Name,
        /// The asker's own question to the device, see [`PingRequest`](super::PingRequest).
        ping: Box<Signed<Query>>,
    },
    /// Tell a device that we want a direct path to it, and where we may be looked for. Asked of a node, which passes it on as
    /// [`OverlayRequest::Punch`].
    Connect {
        /// Which device: whom the consent is given to.
        name: Name,
        /// The asker's consent, the first of the two.
        punch: Box<Signed<Punch>>,
    },
    /// Somebody wants a direct path: its consent, which the device answers with its own. Asked by a node, of a device.
    Punch(Box<Signed<Punch>>),
    /// Pass on what comes for us from others, and to others what comes from us. Asked of a node that relays.
    Relay(Box<Signed<RelayOpen>>),
    /// Move an identity to its next key.
    Rotate {
        /// The key event.
        rotation: Box<SignedRotation>,
        /// The first record under the new key.
        record: Box<Signed<Record>>,
    },
    /// End a key or a name.
    Revoke(Box<Signed<Revocation>>),
}

/// What a device registers with.
#[derive(Debug, Clone)]
pub struct RegisterRequest {
    /// Its current record.
    pub record: Signed<Record>,
    /// Its history; empty where the node knows it.
    pub events: Vec<KeyEvent>,
    /// The certificate of its transport key.
    pub transport: Option<Signed<TransportCertificate>>,
    /// What permits the claim.
    pub permission: Option<Permission>,
}

const GRANT: u8 = 1;
const TOKEN: u8 = 2;
/// No key events are asked for.
const NO_EVENTS: u8 = 255;

impl OverlayRequest {
    /// The intent: what a question's method says.
    #[must_use]
    pub const fn intent(&self) -> &'static str {
        match self {
            Self::Register(_) => "overlay.register",
            Self::Resolve { .. } => "overlay.resolve",
            Self::Find { .. } => "overlay.find",
            Self::Challenge(_) => CHALLENGE,
            Self::Ping { .. } => PING,
            Self::Connect { .. } => CONNECT,
            Self::Punch(_) => PUNCH,
            Self::Relay(_) => "overlay.relay",
            Self::Rotate { .. } => "overlay.rotate",
            Self::Revoke(_) => "overlay.revoke",
        }
    }

    /// What comes with it.
    #[must_use]
    pub fn arguments(&self) -> Vec<Vec<u8>> {
        match self {
            Self::Register(request) => request.arguments(),
            Self::Resolve { name: who, events_from } => {
                vec![name(who), vec![events_from.unwrap_or(NO_EVENTS)]]
            }
            Self::Find { capability, after } => vec![capability.as_str().into(), number(*after)],
            Self::Challenge(challenge) => {
                let Challenge {
                    prover, verifier, verifier_key, verifier_nonce, issued_at, expires_at, ..
                } = &**challenge;
                vec![
                    name(prover),
                    name(verifier),
                    verifier_key.as_bytes().to_vec(),
                    verifier_nonce.to_vec(),
                    time(*issued_at),
                    time(*expires_at),
                ]
            }
            Self::Ping { name: who, ping } => vec![name(who), ping.encode()],
            Self::Connect { name: who, punch } => vec![name(who), punch.encode()],
            Self::Punch(punch) => vec![punch.encode()],
            Self::Relay(open) => vec![open.encode()],
            Self::Rotate { rotation, record } => {
                vec![KeyEvent::Rotation((**rotation).clone()).encode(), record.encode()]
            }
            Self::Revoke(revocation) => vec![revocation.encode()],
        }
    }

    /// Reads what came with `intent`.
    ///
    /// # Errors
    /// [`Malformed`], naming `intent` where there is no such intent.
    pub fn read(intent: &str, arguments: &[Vec<u8>]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(arguments);
        let request = match intent {
            "overlay.register" => return RegisterRequest::read(reader).map(Box::new).map(Self::Register),
            "overlay.resolve" => {
                let name = reader.parsed("name")?;
                let [from] = reader.array("events_from")?;
                Self::Resolve { name, events_from: Some(from).filter(|from| *from != NO_EVENTS) }
            }
            "overlay.find" => {
                Self::Find { capability: reader.parsed("capability")?, after: reader.number("after")? }
            }
            CHALLENGE => Self::Challenge(Box::new(Challenge {
                purpose: ChallengePurpose::Verify,
                prover: reader.parsed("prover")?,
                verifier: reader.parsed("verifier")?,
                verifier_key: PublicKey::from_bytes(&reader.array("verifier_key")?)
                    .map_err(|_| Malformed("verifier_key"))?,
                verifier_nonce: reader.array("nonce")?,
                issued_at: reader.time("issued_at")?,
                expires_at: reader.time("expires_at")?,
                channel_binding: [0; 32],
            })),
            PING => Self::Ping { name: reader.parsed("name")?, ping: Box::new(reader.signed("ping")?) },
            CONNECT => {
                Self::Connect { name: reader.parsed("name")?, punch: Box::new(reader.signed("punch")?) }
            }
            PUNCH => Self::Punch(Box::new(reader.signed("punch")?)),
            "overlay.relay" => Self::Relay(Box::new(reader.signed("open")?)),
            "overlay.rotate" => {
                let Ok(KeyEvent::Rotation(rotation)) = KeyEvent::decode(reader.bytes("rotation")?) else {
                    return Err(Malformed("rotation"));
                };
                Self::Rotate { rotation: Box::new(rotation), record: Box::new(reader.signed("record")?) }
            }
            "overlay.revoke" => Self::Revoke(Box::new(reader.signed("revocation")?)),
            _ => return Err(Malformed("intent")),
        };
        reader.finish()?;
        Ok(request)
    }

    /// The name and key that the request speaks for by what is inside, where a sender may be one the node does not know yet.
    #[must_use]
    pub fn claimant(&self) -> Option<(&Name, &PublicKey)> {
        let record = match self {
            Self::Register(request) => &request.record,
            Self::Rotate { record, .. } => record,
            Self::Revoke(revocation) => {
                let claims = revocation.claims();
                return Some((&claims.name, &claims.signer));
            }
            Self::Resolve { .. }
            | Self::Find { .. }
            | Self::Challenge(_)
            | Self::Ping { .. }
            | Self::Connect { .. }
            | Self::Punch(_)
            | Self::Relay(_) => return None,
        };
        Some((&record.claims().name, &record.claims().key))
    }
}

impl RegisterRequest {
    fn arguments(&self) -> Vec<Vec<u8>> {
        let permission = match &self.permission {
            Some(Permission::Grant(grant)) => [&[GRANT][..], &grant.encode()].concat(),
            Some(Permission::Token(token)) => [&[TOKEN][..], &token.encode()].concat(),
            None => Vec::new(),
        };
        let transport = optional(self.transport.as_ref(), Signed::encode);
        let events = self.events.iter().map(KeyEvent::encode);
        [self.record.encode(), transport, permission].into_iter().chain(events).collect()
    }

    fn read(mut reader: Reader<'_>) -> Result<Self, Malformed> {
        let record = reader.signed("record")?;
        let certificate = |bytes| Signed::decode(bytes).map_err(|_| Malformed("transport"));
        let transport = reader.optional("transport", certificate)?;
        let permission = reader.optional("permission", |bytes| {
            let malformed = Malformed("permission");
            match bytes {
                [GRANT, grant @ ..] => Signed::decode(grant).map(Permission::Grant).map_err(|_| malformed),
                [TOKEN, token @ ..] => Signed::decode(token).map(Permission::Token).map_err(|_| malformed),
                _ => Err(malformed),
            }
        })?;
        let event = |bytes: &[u8]| KeyEvent::decode(bytes).map_err(|_| Malformed("events"));
        Ok(Self { record, events: reader.rest("events", MAX_EVENTS, event)?, transport, permission })
    }
}
