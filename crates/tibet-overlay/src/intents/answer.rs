//! What is answered.

use std::net::SocketAddr;
use std::time::Duration;

use jis::{
    Answer, Fingerprint, KeyEvent, Name, Proof, Punch, Record, RecordVersion, RelayOpen, Signed,
    SignedObject, TransportKey, UnixTime,
};
use tibet_ping::KeepaliveToken;
use tibet_registry::{MAX_EVENTS, MAX_PAGE, Zone};

use super::Malformed;
use super::members::{Reader, address, name, number, optional, parse, time};

/// What a node answers a device it has taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisterAnswer {
    /// Whether anything changed.
    pub changed: bool,
    /// The version of the record now held.
    pub version: RecordVersion,
    /// The identity's fingerprint.
    pub fingerprint: Fingerprint,
    /// Since when the name is bound to it.
    pub registered_at: UnixTime,
    /// Until when the record holds.
    pub expires_at: UnixTime,
    /// Where the request came from.
    pub observed: SocketAddr,
    /// For keepalives from there.
    pub keepalive: KeepaliveToken,
    /// How often to send one, 5 to 120 s: a node cannot have a device send without end, nor never.
    pub keepalive_every: Duration,
}

/// Whether a device is there, as far as the node knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PresenceState {
    /// It was heard of late.
    Online,
    /// It was not.
    Gone,
    /// The node has begun anew and not heard of it yet.
    Unknown,
}

/// Where a device is, with what the node knows of it.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolveAnswer {
    /// The device's own record. To be verified with the key events.
    pub record: Signed<Record>,
    /// How many key events the identity has.
    pub event_count: u8,
    /// Key events, from the one asked for on.
    pub events: Vec<KeyEvent>,
    /// Whether it is there.
    pub presence: PresenceState,
    /// When it was last heard.
    pub last_seen: Option<UnixTime>,
    /// Where it was last heard from, while it is there.
    pub observed: Option<SocketAddr>,
    /// Since when the name is bound to it.
    pub registered_at: UnixTime,
    /// How far the node trusts it, 0 to 1.
    pub trust: f64,
}

/// A page of names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundNames {
    /// The names, in the order they registered.
    pub names: Vec<Name>,
    /// To be given as `after` for more; `None` at the end.
    pub next: Option<u64>,
}

/// A device's answer to a challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofAnswer {
    /// The proof. For the verifier to check.
    pub proof: Signed<Proof>,
    /// Where the node asked the device; `None` in the device's own answer.
    pub asked: Option<SocketAddr>,
    /// How long the device took.
    pub elapsed: Duration,
}

/// A device's answer to a ping that a node passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PongAnswer {
    /// The device's own answer to the asker's own question. For the asker to check.
    pub pong: Signed<Answer>,
    /// Where the node asked the device; `None` in the device's own answer.
    pub asked: Option<SocketAddr>,
    /// How long the device took.
    pub elapsed: Duration,
}

/// A device's answer to somebody who wants a direct path to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PunchAnswer {
    /// The device's own consent, which answers the asker's. For the asker to check.
    pub punch: Signed<Punch>,
    /// Where the node asked the device; `None` in the device's own answer.
    pub asked: Option<SocketAddr>,
    /// How long the device took.
    pub elapsed: Duration,
}

/// What a node answers a device that it relays for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayAnswer {
    /// Names the session in its frames.
    pub session: [u8; 8],
    /// The node's key for this session: its keys come from this and from the one in the request.
    pub exchange: TransportKey,
    /// How long the session lasts: whole seconds, 1 to [`RelayOpen::MAX_LIFETIME`].
    pub lifetime: Duration,
    /// How much the device may send in a second.
    pub bytes_per_second: u64,
}

/// Why a node does not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Failure {
    /// What kind of failure.
    pub code: FailureCode,
    /// In words, for a person; at most 400 characters.
    pub detail: String,
    /// When to ask again.
    pub retry_after: Option<Duration>,
}

/// The kinds of failure; `docs/spec/overlay.md` says what to do about each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureCode {
    /// Not registered here.
    Unknown,
    /// The key events are needed as well.
    HistoryNeeded,
    /// The request cannot be read.
    Malformed,
    /// The registry refused.
    Refused,
    /// Too many new names from there.
    Quota,
    /// A human has to decide.
    Waiting,
    /// A human has decided against it.
    Denied,
    /// The device is not there.
    Offline,
    /// The device did not answer.
    NoAnswer,
    /// Too much to do.
    Busy,
    /// Nothing can be written.
    Storage,
}

const CODES: [(FailureCode, &str); 11] = [
    (FailureCode::Unknown, "unknown"),
    (FailureCode::HistoryNeeded, "history_needed"),
    (FailureCode::Malformed, "malformed"),
    (FailureCode::Refused, "refused"),
    (FailureCode::Quota, "quota"),
    (FailureCode::Waiting, "waiting"),
    (FailureCode::Denied, "denied"),
    (FailureCode::Offline, "offline"),
    (FailureCode::NoAnswer, "no_answer"),
    (FailureCode::Busy, "busy"),
    (FailureCode::Storage, "storage"),
];

impl FailureCode {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        CODES.iter().find(|(code, _)| *code == self).map_or("refused", |(_, word)| word)
    }
}

impl Failure {
    /// A failure of this kind.
    #[must_use]
    pub fn new(code: FailureCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), retry_after: None }
    }

    /// The values of the answer.
    #[must_use]
    pub fn values(&self) -> Vec<Vec<u8>> {
        let seconds = self.retry_after.map(|after| after.as_secs());
        vec![
            self.code.as_str().into(),
            self.detail.as_bytes().into(),
            optional(seconds.as_ref(), |s| number(*s)),
        ]
    }

    /// Reads what went wrong. A word that is not known reads as [`FailureCode::Refused`]; what is said is a stranger's text, without controls.
    #[must_use]
    pub fn read(values: &[Vec<u8>]) -> Self {
        let text = |index: usize| String::from_utf8_lossy(values.get(index).map_or(&[], Vec::as_slice));
        let word = text(0);
        let code =
            CODES.iter().find(|(_, known)| **known == *word).map_or(FailureCode::Refused, |(code, _)| *code);
        let detail = text(1).chars().filter(|c| !c.is_control()).take(400).collect();
        let seconds =
            values.get(2).and_then(|bytes| bytes.as_slice().try_into().ok()).map(u64::from_be_bytes);
        Self { code, detail, retry_after: seconds.map(|seconds| Duration::from_secs(seconds.min(3600))) }
    }
}

impl RegisterAnswer {
    /// The values of the answer.
    #[must_use]
    pub fn values(&self) -> Vec<Vec<u8>> {
        vec![
            vec![self.changed.into()],
            number(self.version.generation),
            number(self.version.seq),
            self.fingerprint.as_bytes().to_vec(),
            time(self.registered_at),
            time(self.expires_at),
            address(self.observed),
            self.keepalive.to_vec(),
            number(self.keepalive_every.as_secs()),
        ]
    }

    /// Reads them.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn read(values: &[Vec<u8>]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(values);
        let answer = Self {
            changed: match reader.array("changed")? {
                [0] => false,
                [1] => true,
                _ => return Err(Malformed("changed")),
            },
            version: RecordVersion { generation: reader.number("generation")?, seq: reader.number("seq")? },
            fingerprint: Fingerprint::from_bytes(reader.array("fingerprint")?),
            registered_at: reader.time("registered_at")?,
            expires_at: reader.time("expires_at")?,
            observed: reader.address("observed")?,
            keepalive: reader.array("keepalive")?,
            keepalive_every: Duration::from_secs(reader.number("keepalive_s")?.clamp(5, 120)),
        };
        reader.finish()?;
        Ok(answer)
    }
}

impl ResolveAnswer {
    /// The zone the node's trust leads to.
    #[must_use]
    pub fn zone(&self) -> Zone {
        Zone::of(self.trust)
    }

    /// The values of the answer.
    #[must_use]
    pub fn values(&self) -> Vec<Vec<u8>> {
        let presence = match self.presence {
            PresenceState::Online => 1,
            PresenceState::Gone => 2,
            PresenceState::Unknown => 0,
        };
        let fixed = [
            self.record.encode(),
            vec![self.event_count],
            vec![presence],
            optional(self.last_seen.as_ref(), |seen| time(*seen)),
            optional(self.observed.as_ref(), |observed| address(*observed)),
            time(self.registered_at),
            number(self.trust.to_bits()),
        ];
        fixed.into_iter().chain(self.events.iter().map(KeyEvent::encode)).collect()
    }

    /// Reads them.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn read(values: &[Vec<u8>]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(values);
        let record = reader.signed("record")?;
        let [event_count] = reader.array("event_count")?;
        let presence = match reader.array("presence")? {
            [0] => PresenceState::Unknown,
            [1] => PresenceState::Online,
            [2] => PresenceState::Gone,
            _ => return Err(Malformed("presence")),
        };
        let last_seen = reader.optional("last_seen", |bytes| {
            let millis = bytes.try_into().ok().map(u64::from_be_bytes);
            millis.and_then(UnixTime::from_millis).ok_or(Malformed("last_seen"))
        })?;
        let observed = reader.optional("observed", |bytes| {
            bytes.try_into().map(tibet_ping::address_from).map_err(|_| Malformed("observed"))
        })?;
        let registered_at = reader.time("registered_at")?;
        let trust = f64::from_bits(reader.number("trust")?);
        if !(0.0..=1.0).contains(&trust) {
            return Err(Malformed("trust"));
        }
        let event = |bytes: &[u8]| KeyEvent::decode(bytes).map_err(|_| Malformed("events"));
        let events = reader.rest("events", MAX_EVENTS, event)?;
        Ok(Self { record, event_count, events, presence, last_seen, observed, registered_at, trust })
    }
}

impl FoundNames {
    /// The values of the answer.
    #[must_use]
    pub fn values(&self) -> Vec<Vec<u8>> {
        let next = optional(self.next.as_ref(), |next| number(*next));
        std::iter::once(next).chain(self.names.iter().map(name)).collect()
    }

    /// Reads them.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn read(values: &[Vec<u8>]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(values);
        let next = reader.optional("next", |bytes| {
            bytes.try_into().map(u64::from_be_bytes).map_err(|_| Malformed("next"))
        })?;
        Ok(Self { next, names: reader.rest("names", MAX_PAGE, |bytes| parse(bytes, "names"))? })
    }
}

impl ProofAnswer {
    /// The values of the answer.
    #[must_use]
    pub fn values(&self) -> Vec<Vec<u8>> {
        passed_on(self.proof.encode(), self.asked, self.elapsed)
    }

    /// Reads them.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn read(values: &[Vec<u8>]) -> Result<Self, Malformed> {
        read_passed_on(values, "proof").map(|(proof, asked, elapsed)| Self { proof, asked, elapsed })
    }
}

impl PongAnswer {
    /// The values of the answer.
    #[must_use]
    pub fn values(&self) -> Vec<Vec<u8>> {
        passed_on(self.pong.encode(), self.asked, self.elapsed)
    }

    /// Reads them.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn read(values: &[Vec<u8>]) -> Result<Self, Malformed> {
        read_passed_on(values, "pong").map(|(pong, asked, elapsed)| Self { pong, asked, elapsed })
    }
}

impl PunchAnswer {
    /// The values of the answer.
    #[must_use]
    pub fn values(&self) -> Vec<Vec<u8>> {
        passed_on(self.punch.encode(), self.asked, self.elapsed)
    }

    /// Reads them.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn read(values: &[Vec<u8>]) -> Result<Self, Malformed> {
        read_passed_on(values, "punch").map(|(punch, asked, elapsed)| Self { punch, asked, elapsed })
    }
}

impl RelayAnswer {
    /// The values of the answer.
    #[must_use]
    pub fn values(&self) -> Vec<Vec<u8>> {
        vec![
            self.session.to_vec(),
            self.exchange.as_bytes().to_vec(),
            number(self.lifetime.as_secs()),
            number(self.bytes_per_second),
        ]
    }

    /// Reads them.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn read(values: &[Vec<u8>]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(values);
        let session = reader.array("session")?;
        let exchange = TransportKey::from_bytes(&reader.array("exchange")?);
        let lifetime = Duration::from_secs(reader.number("lifetime_s")?);
        let bytes_per_second = reader.number("bytes_per_second")?;
        reader.finish()?;
        if lifetime.is_zero() || lifetime > RelayOpen::MAX_LIFETIME {
            return Err(Malformed("lifetime_s"));
        }
        let exchange = exchange.map_err(|_| Malformed("exchange"))?;
        Ok(Self { session, exchange, lifetime, bytes_per_second })
    }
}

/// What a device says to a question that a node passes on, signed by the device, with the node's word on the way there.
fn passed_on(signed: Vec<u8>, asked: Option<SocketAddr>, elapsed: Duration) -> Vec<Vec<u8>> {
    let asked = optional(asked.as_ref(), |asked| address(*asked));
    vec![signed, asked, number(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX))]
}

fn read_passed_on<T: SignedObject>(
    values: &[Vec<u8>],
    what: &'static str,
) -> Result<(Signed<T>, Option<SocketAddr>, Duration), Malformed> {
    let mut reader = Reader::new(values);
    let signed = reader.signed(what)?;
    let asked = reader.optional("asked", |bytes| {
        bytes.try_into().map(tibet_ping::address_from).map_err(|_| Malformed("asked"))
    })?;
    let elapsed = Duration::from_micros(reader.number("elapsed")?);
    reader.finish()?;
    Ok((signed, asked, elapsed))
}
