//! Which of the paths to a peer its packets take: one function of what was measured.

use std::net::SocketAddr;
use std::time::Duration;

/// Which relay: numbered by whoever opened the way to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelayId(pub u32);

/// A way to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Path {
    /// Datagrams to this address.
    Direct(SocketAddr),
    /// Through a relay.
    Relayed(RelayId),
}

/// What is known of a path's working.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Health {
    /// An answer has come over it, and nothing since says that it is over.
    Proven,
    /// It has worked, and now something is missing: probes without answers, or the peer speaks from elsewhere.
    Suspect,
    /// It has not worked yet, or not for long.
    Unproven,
}

/// A path with what was measured of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// Which.
    pub path: Path,
    /// Whether it works.
    pub health: Health,
    /// How long there and back takes, where that was measured.
    pub rtt: Option<Duration>,
    /// A relay that the peer has spoken over and that its record, as far as we know it, does not name: it may pass nothing on to the peer.
    pub noted: bool,
}

/// A path must be faster by this much to be left for another of its kind: as a part of the present one's time, in percent…
const FASTER_PERCENT: u32 = 20;
/// … and in time. Below it there is only noise.
const FASTER_BY: Duration = Duration::from_millis(2);

/// The path to take.
///
/// | first | a direct path that is proven |
/// |---|---|
/// | then | a relay that is proven and that the peer's record names, one that the peer has only spoken over |
/// | then | a direct path that is suspect, a suspect relay of the one and of the other kind |
/// | never | one that has not worked |
///
/// Among equals the fastest; but the present one stays unless another is faster by a fifth and by 2 ms, so that two equal paths do not take turns.
#[must_use]
pub fn choose(present: Option<Path>, paths: &[Measured]) -> Option<Path> {
    let usable = || paths.iter().filter(|measured| measured.health != Health::Unproven);
    let class =
        |measured: &Measured| (measured.health, matches!(measured.path, Path::Relayed(_)), measured.noted);
    let rtt = |measured: &Measured| measured.rtt.unwrap_or(Duration::MAX);
    let best = usable().min_by_key(|measured| (class(measured), rtt(measured)))?;
    let stays = usable().find(|measured| Some(measured.path) == present).filter(|current| {
        let needed = (rtt(current) / 100).saturating_mul(100 - FASTER_PERCENT);
        let faster = rtt(best) < needed && rtt(best).saturating_add(FASTER_BY) < rtt(current);
        class(current) == class(best) && !faster
    });
    Some(stays.unwrap_or(best).path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Health::{Proven, Suspect, Unproven};

    const LAN: &str = "192.168.1.9:7150";
    const WAN: &str = "203.0.113.7:40000";

    fn direct(address: &str, health: Health, rtt_ms: u64) -> Measured {
        let path = Path::Direct(address.parse().expect("address"));
        Measured { path, health, rtt: (rtt_ms > 0).then(|| Duration::from_millis(rtt_ms)), noted: false }
    }

    fn relay(number: u32, health: Health, rtt_ms: u64) -> Measured {
        let rtt = (rtt_ms > 0).then(|| Duration::from_millis(rtt_ms));
        Measured { path: Path::Relayed(RelayId(number)), health, rtt, noted: false }
    }

    fn noted(number: u32, health: Health, rtt_ms: u64) -> Measured {
        Measured { noted: true, ..relay(number, health, rtt_ms) }
    }

    /// What, the present path, all paths, and which of them is taken.
    type Case = (&'static str, Option<usize>, Vec<Measured>, Option<usize>);

    #[test]
    fn the_table_of_choices() {
        let wan = |health, rtt| direct(WAN, health, rtt);
        let lan = |health, rtt| direct(LAN, health, rtt);
        let cases: &[Case] = &[
            ("nothing", None, vec![], None),
            ("nothing that has worked", None, vec![lan(Unproven, 0), relay(1, Unproven, 0)], None),
            ("the relay at first", None, vec![lan(Unproven, 0), relay(1, Proven, 0)], Some(1)),
            ("direct as soon as it is proven", Some(1), vec![lan(Proven, 5), relay(1, Proven, 1)], Some(0)),
            ("the faster of two", None, vec![wan(Proven, 30), lan(Proven, 1)], Some(1)),
            ("the present one of two alike", Some(0), vec![wan(Proven, 10), lan(Proven, 9)], Some(0)),
            ("a fifth, but not 2 ms", Some(0), vec![wan(Proven, 3), lan(Proven, 2)], Some(0)),
            ("2 ms, but not a fifth", Some(0), vec![wan(Proven, 100), lan(Proven, 90)], Some(0)),
            ("a fifth and 2 ms", Some(0), vec![wan(Proven, 100), lan(Proven, 79)], Some(1)),
            ("measured before unmeasured", Some(0), vec![wan(Proven, 0), lan(Proven, 50)], Some(1)),
            ("a relay before a suspect path", Some(0), vec![wan(Suspect, 1), relay(1, Proven, 90)], Some(1)),
            (
                "a suspect path before a suspect relay",
                None,
                vec![relay(1, Suspect, 1), wan(Suspect, 90)],
                Some(1),
            ),
            ("a suspect path before none", Some(0), vec![wan(Suspect, 1), lan(Unproven, 0)], Some(0)),
            ("the other relay", Some(0), vec![relay(1, Suspect, 1), relay(2, Proven, 50)], Some(1)),
            (
                "a relay of the record before a faster one",
                Some(1),
                vec![relay(1, Proven, 90), noted(2, Proven, 1)],
                Some(0),
            ),
            (
                "any proven relay before a suspect one",
                Some(0),
                vec![relay(1, Suspect, 1), noted(2, Proven, 90)],
                Some(1),
            ),
            ("the present one is gone", Some(9), vec![wan(Proven, 1)], Some(0)),
        ];
        for (what, present, paths, expected) in cases {
            let present = present.map(|at| match paths.get(at) {
                Some(measured) => measured.path,
                None => Path::Relayed(RelayId(99)),
            });
            assert_eq!(choose(present, paths), expected.map(|at| paths[at].path), "{what}");
        }
    }

    #[test]
    fn whatever_was_chosen_is_chosen_again() {
        let paths =
            [direct(WAN, Proven, 10), direct(LAN, Proven, 7), relay(1, Proven, 1), relay(2, Suspect, 0)];
        for present in std::iter::once(None).chain(paths.iter().map(|measured| Some(measured.path))) {
            let chosen = choose(present, &paths);
            assert_eq!(choose(chosen, &paths), chosen);
        }
    }
}
