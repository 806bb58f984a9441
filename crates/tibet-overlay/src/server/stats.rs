//! What a node has done, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    (own { $($(#[$doc:meta])* $name:ident),+ $(,)? } relay { $($(#[$relay_doc:meta])* $relay:ident),+ $(,)? }) => {
        /// Counters of a running node.
        #[derive(Debug, Default)]
        pub(super) struct Counters { $(pub(super) $name: Counter,)+ }

        /// What a node has done since it began.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct OverlayStats { $($(#[$doc])* pub $name: u64,)+ $($(#[$relay_doc])* pub $relay: u64,)+ }

        impl Counters {
            /// The relay counts for itself.
            pub(super) fn read(&self) -> OverlayStats {
                OverlayStats { $($name: self.$name.0.load(Ordering::Relaxed),)+ $($relay: 0,)+ }
            }
        }

        impl OverlayStats {
            /// All of them by name, for metrics.
            #[must_use]
            pub fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)+ $((stringify!($relay), self.$relay),)+]
            }
        }
    };
}

/// Counts up.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

counters! {
    own {
    /// Cookies given.
    welcomed,
    /// Questions that were answered from both ports.
    elsewhere,
    /// Keepalives taken.
    keepalives,
    /// Keepalives with a token that is not good, or not from there.
    keepalives_refused,
    /// Look-ups that found a record.
    lookups,
    /// Look-ups of names that are not there.
    lookups_unknown,
    /// Questions with a cookie that does not hold, or is from before the device moved.
    stale_cookies,
    /// Frames that are none.
    malformed,
    /// Questions read.
    queries,
    /// Questions dropped because too many wait, of strangers earlier than of devices that are there.
    queries_overflow,
    /// Questions dropped because too many came from that network, or too many bad ones.
    queries_limited,
    /// Questions by nobody this node knows.
    queries_unknown_sender,
    /// Questions by somebody it does not talk to.
    queries_rood,
    /// Questions whose signature does not verify.
    queries_bad_signature,
    /// Questions for another node.
    queries_misdirected,
    /// Records taken: first ones and newer ones.
    registrations,
    /// Registrations with what was held already.
    registrations_repeated,
    /// Requests that the registry refused.
    refusals,
    /// Changes that could not be written.
    storage_failures,
    /// Questions passed on to devices.
    forwarded,
    /// Of these, answered.
    forwarded_answered,
    /// Answers by nobody who was asked.
    answers_unasked,
    /// Devices that came, or came back.
    appeared,
    /// Devices that fell silent or said goodbye.
    disappeared,
    /// Identities whose key was seen at two places in turn.
    torn,
    /// Sessions with the relay opened.
    relays_opened,
    }
    relay {
    /// Datagrams that the relay has handed out for delivery.
    relay_delivered,
    /// Their bytes.
    relay_delivered_bytes,
    /// Devices that asked whether their session is alive, and were told.
    relay_calls,
    /// Times that the deliveries of a session went to another address.
    relay_moved,
    /// Frames to the relay that are none, of no session, seen before, or not what a relay carries.
    relay_refused,
    /// Frames beyond what an identity, or all of them together, may send.
    relay_over_quota,
    /// Frames for somebody who has no session, has not named this relay, or is silent. Their senders cannot tell which (SECURITY R20).
    relay_undeliverable,
    /// Frames that newer ones for the same device have taken the place of.
    relay_overflow,
    }
}
