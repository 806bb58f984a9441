//! The words and numbers that members of packets and responses are limited to.

use std::fmt;

/// Makes an enum of words as they stand on the wire.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant),+
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }

            /// Reads the word on the wire: exactly, in its own case.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

words! {
    /// What a ping is for.
    PingType {
        /// Who is there.
        Discover = "discover",
        /// A request to do or tell something.
        Intent = "intent",
        /// A sign of life.
        Heartbeat = "heartbeat",
        /// Passing something on. The Python packages know the word and treat it as an intent.
        Relay = "relay",
    }
}

words! {
    /// How a ping travels.
    RoutingMode {
        /// Straight to the target.
        Direct = "direct",
        /// Over other nodes if need be.
        Mesh = "mesh",
        /// To everybody on the network.
        Broadcast = "broadcast",
    }
}

words! {
    /// What became of a ping.
    Decision {
        /// Done, or let in.
        Accept = "accept",
        /// A human or a rule decides later.
        Pending = "pending",
        /// Refused. Only ever sent to somebody who was told `pending` before.
        Reject = "reject",
    }
}

/// How urgent a ping is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Priority {
    /// 1: whenever there is time.
    Lazy,
    /// 2: the usual.
    #[default]
    Normal,
    /// 3: before all others.
    Urgent,
}

impl Priority {
    /// The number on the wire: 1 to 3.
    #[must_use]
    pub const fn as_number(self) -> u8 {
        match self {
            Self::Lazy => 1,
            Self::Normal => 2,
            Self::Urgent => 3,
        }
    }

    /// Reads the number on the wire. Python takes `2.0` and `true` for numbers too; here only integers come this far.
    #[must_use]
    pub const fn from_number(number: i64) -> Option<Self> {
        match number {
            1 => Some(Self::Lazy),
            2 => Some(Self::Normal),
            3 => Some(Self::Urgent),
            _ => None,
        }
    }
}
