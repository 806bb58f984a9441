//! What a node drops, and why.

use std::collections::BTreeMap;

use crate::keys::KeyRefusal;
use crate::reject::Reject;
use crate::relay::RelayDrop;
use crate::replay::ReplayRefusal;
use crate::signing::VerifyError;

/// Why a datagram led to nothing. Nobody is told but a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dropped {
    Bytes(Reject),
    Replay(ReplayRefusal),
    Key(KeyRefusal),
    Signature(VerifyError),
    Relay(RelayDrop),
    /// From an address that cannot be answered, or from our own.
    Source,
    /// Our own packet, come back.
    Own,
    /// For everybody, though only one can be meant.
    Broadcast,
    /// The target is no name.
    BadTarget,
    /// From a name that is not trusted.
    Rood,
    /// More signatures by unknown keys, or from unknown places, than are looked at.
    Budget,
    /// A response to nothing that was asked or passed on.
    Unasked,
    /// A response to a request of ours that is not believed.
    FalseAnswer,
    /// On the multicast port, but no search for devices from a neighbour.
    NotDiscovery,
    /// A beacon that leads to nothing.
    Beacon,
    /// No room for a ping to wait, or one like it waits.
    Waiting,
    /// An answer for which no address has been proven and more would go out than came in.
    Amplification,
    /// No randomness.
    NoRandomness,
    /// More datagrams or events than are kept for the owner, who does not fetch them.
    Overflow,
    /// The application did not answer in time.
    NotAnswered,
    /// What was to be sent cannot be written.
    Unwritable,
}

impl Dropped {
    /// The reason in words fit for a counter: one of a fixed few, whatever a peer sends.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Bytes(reject) => reject.as_str(),
            Self::Replay(refusal) => match refusal {
                ReplayRefusal::NoTime => "no_time",
                ReplayRefusal::TooOld => "too_old",
                ReplayRefusal::TooNew => "too_new",
                ReplayRefusal::Expired => "expired",
                ReplayRefusal::BeforeRestart => "before_restart",
                ReplayRefusal::BeyondBound => "beyond_bound",
                ReplayRefusal::Seen => "replayed",
                ReplayRefusal::SenderFull => "sender_full",
                ReplayRefusal::Full => "replay_memory_full",
            },
            Self::Key(refusal) => match refusal {
                KeyRefusal::BadName => "bad_name",
                KeyRefusal::ChangedKey => "wrong_key",
                KeyRefusal::UnknownName => "unknown_name",
                KeyRefusal::Unsigned => "unsigned",
                KeyRefusal::Downgrade => "downgrade",
            },
            Self::Signature(error) => match error {
                VerifyError::Unsigned => "unsigned",
                VerifyError::WrongKey => "wrong_key",
                VerifyError::NotForUs => "not_for_us",
                VerifyError::Malformed(_) => "malformed",
                VerifyError::WrongRequest => "wrong_request",
                VerifyError::BadSignature => "bad_signature",
            },
            Self::Relay(reason) => match reason {
                RelayDrop::NotMesh => "not_for_us",
                RelayDrop::Own => "own",
                RelayDrop::Seen => "relayed_before",
                RelayDrop::HopLimit => "hop_limit",
                RelayDrop::Rate => "relay_rate",
                RelayDrop::Full => "relay_full",
                RelayDrop::IdTaken => "relay_id_taken",
                RelayDrop::NoWay => "no_way",
            },
            Self::Source => "bad_source_address",
            Self::Own => "own",
            Self::Broadcast => "broadcast",
            Self::BadTarget => "bad_name",
            Self::Rood => "rood",
            Self::Budget => "signature_budget",
            Self::Unasked => "unasked",
            Self::FalseAnswer => "false_answer",
            Self::NotDiscovery => "not_discovery",
            Self::Beacon => "beacon",
            Self::Waiting => "queue_full",
            Self::Amplification => "amplification",
            Self::NoRandomness => "no_randomness",
            Self::Overflow => "overflow",
            Self::NotAnswered => "not_answered",
            Self::Unwritable => "unwritable",
        }
    }
}

impl From<Reject> for Dropped {
    fn from(reject: Reject) -> Self {
        Self::Bytes(reject)
    }
}

impl From<ReplayRefusal> for Dropped {
    fn from(refusal: ReplayRefusal) -> Self {
        Self::Replay(refusal)
    }
}

impl From<KeyRefusal> for Dropped {
    fn from(refusal: KeyRefusal) -> Self {
        Self::Key(refusal)
    }
}

impl From<VerifyError> for Dropped {
    fn from(error: VerifyError) -> Self {
        Self::Signature(error)
    }
}

/// How often what was dropped, by the words of [`Dropped::as_str`], of which there are some fifty.
#[derive(Debug, Default)]
pub(super) struct Drops {
    counts: BTreeMap<&'static str, u64>,
    /// The counts at the last summary.
    told: BTreeMap<&'static str, u64>,
}

impl Drops {
    pub(super) fn count(&mut self, dropped: Dropped) {
        let count = self.counts.entry(dropped.as_str()).or_default();
        *count = count.saturating_add(1);
    }

    /// By reason.
    pub(super) fn counts(&self) -> &BTreeMap<&'static str, u64> {
        &self.counts
    }

    /// What came since the last summary.
    pub(super) fn summary(&mut self) -> Vec<(&'static str, u64)> {
        let told = std::mem::replace(&mut self.told, self.counts.clone());
        let since = |(reason, count): (&&'static str, &u64)| {
            let new = count - told.get(reason).copied().unwrap_or(0);
            (new > 0).then_some((*reason, new))
        };
        self.counts.iter().filter_map(since).collect()
    }
}
