//! Between what two devices have to find each other, and whether theory lets them.

use std::fmt;

/// How a router translates addresses (RFC 4787).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nat {
    /// There is no router: the device itself stands where its outer side would.
    None,
    /// One port outside for a port inside, whoever is spoken to; lets in who was spoken to, from that very port.
    Cone,
    /// Another port for each that is spoken to; lets in likewise.
    Symmetric,
    /// One port outside for a port inside; lets in everybody.
    FullCone,
}

/// What is between the homes and the internet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Nothing: the homes have public addresses.
    Public,
    /// A carrier's NAT for each.
    Separate,
    /// One carrier's NAT for both, which sends nothing back inside.
    Shared,
    /// One carrier's NAT for both, which sends back inside what is for its own outer side (RFC 4787 REQ-9).
    Hairpin,
    /// Both devices in one home, behind a carrier's NAT.
    OneHome,
    /// No IPv4 at all; the homes have networks of their own and let nothing in that was not asked for.
    Ipv6,
}

/// Two devices, `a` and `b`, and what is between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topology {
    /// What is between the homes and the internet.
    pub layout: Layout,
    /// The routers of the homes.
    pub homes: [Nat; 2],
    /// The carriers' routers, where there are some.
    pub carrier: Nat,
    /// Whether both devices have the very same address at home.
    pub same_address: bool,
}

impl Topology {
    /// With different addresses at home.
    #[must_use]
    pub const fn new(layout: Layout, homes: [Nat; 2], carrier: Nat) -> Self {
        Self { layout, homes, carrier, same_address: false }
    }

    /// With the very same address at home.
    #[must_use]
    pub const fn same_address(self) -> Self {
        Self { same_address: true, ..self }
    }

    /// Whether the two can find a direct path, by what their routers translate and let in.
    #[must_use]
    pub fn direct(&self) -> bool {
        let [a, b] = self.homes.map(|home| self.seen_from_outside(home));
        match self.layout {
            Layout::OneHome | Layout::Ipv6 => true,
            Layout::Shared => false,
            Layout::Public | Layout::Separate | Layout::Hairpin => match (a.symmetric, b.symmetric) {
                (false, false) => true,
                (true, false) => b.open,
                (false, true) => a.open,
                (true, true) => false,
            },
        }
    }

    /// All routers of one side as one.
    fn seen_from_outside(&self, home: Nat) -> Side {
        // A carrier that sends back inside lets in all its own customers.
        let carrier = match self.layout {
            Layout::Separate => self.carrier,
            Layout::Hairpin => Nat::FullCone,
            _ => Nat::None,
        };
        let both = [home, carrier];
        Side {
            symmetric: both.contains(&Nat::Symmetric),
            open: both.iter().all(|nat| matches!(nat, Nat::None | Nat::FullCone)),
        }
    }
}

struct Side {
    symmetric: bool,
    open: bool,
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b] = self.homes;
        write!(f, "{:?} homes {a:?}/{b:?}", self.layout)?;
        if !matches!(self.layout, Layout::Public | Layout::Ipv6) {
            write!(f, " carrier {:?}", self.carrier)?;
        }
        f.write_str(if self.same_address { " same address" } else { "" })
    }
}
