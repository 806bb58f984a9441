//! How many probes an address may get from us, whoever named it.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use jis::Fingerprint;

/// Probes to one address in a minute, over all peers that name it (SECURITY R58): the owner of an address that is named by many notices nothing.
pub const PROBES_PER_ADDRESS: usize = 20;
/// Those of them for one peer: behind one address there may be others, whom nobody is to take the probes from by naming its ports.
pub const PROBES_PER_PEER: usize = PROBES_PER_ADDRESS / 2;
/// How long they count.
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses remembered at once.
const MOST: usize = 4096;

/// Counts the probes to addresses that have not answered yet.
#[derive(Debug, Default)]
pub struct ProbeBudget {
    /// When those of the last minute were sent, and for whom, the oldest first: no minute, wherever it begins, has more.
    sent: BTreeMap<IpAddr, VecDeque<(Duration, Fingerprint)>>,
}

impl ProbeBudget {
    /// Whether one more may be sent to `address` for `peer`; if so, it counts. When too many addresses are being probed at once, no further one is: to be
    /// late is better than to be a flood.
    pub fn take(&mut self, address: IpAddr, peer: &Fingerprint, now: Duration) -> bool {
        if !self.sent.contains_key(&address) && self.sent.len() >= MOST {
            self.sent
                .retain(|_, sent| sent.back().is_some_and(|(last, _)| now.saturating_sub(*last) < WINDOW));
            if self.sent.len() >= MOST {
                return false;
            }
        }
        let sent = self.sent.entry(address).or_default();
        while sent.front().is_some_and(|(first, _)| now.saturating_sub(*first) >= WINDOW) {
            sent.pop_front();
        }
        let for_peer = sent.iter().filter(|(_, other)| other == peer).count();
        let room = sent.len() < PROBES_PER_ADDRESS && for_peer < PROBES_PER_PEER;
        if room {
            sent.push_back((now, *peer));
        }
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u8) -> Fingerprint {
        Fingerprint::of_inception(&[number])
    }

    /// SECURITY R58.
    #[test]
    fn r58_an_address_gets_no_more_than_twenty_a_minute_whoever_names_it() {
        let mut budget = ProbeBudget::default();
        let address: IpAddr = "203.0.113.7".parse().expect("address");
        let start = Duration::from_secs(1000);
        let sent = (0..100_u8)
            .filter(|i| budget.take(address, &peer(*i), start + Duration::from_millis(u64::from(*i) * 500)))
            .count();
        assert_eq!(sent, 20);
        assert!(budget.take("203.0.113.8".parse().expect("address"), &peer(0), start), "another has its own");
        assert!(budget.take(address, &peer(0), start + WINDOW));
    }

    /// One that names many ports of an address leaves probes for whoever else is there.
    #[test]
    fn one_peer_gets_half_of_an_addresss_probes_at_most() {
        let mut budget = ProbeBudget::default();
        let address: IpAddr = "203.0.113.7".parse().expect("address");
        let start = Duration::from_secs(1000);
        let mut sent =
            |number, at| (0..50).filter(|_| budget.take(address, &peer(number), start + at)).count();
        assert_eq!([sent(1, Duration::ZERO), sent(2, Duration::ZERO), sent(3, Duration::ZERO)], [10, 10, 0]);
        assert_eq!([sent(1, WINDOW), sent(3, WINDOW)], [10, 10]);
    }

    /// SECURITY R58: not forty around the moment at which a minute ends.
    #[test]
    fn r58_no_minute_has_more_wherever_it_begins() {
        let mut budget = ProbeBudget::default();
        let address: IpAddr = "203.0.113.7".parse().expect("address");
        let start = Duration::from_secs(1000);
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        assert!(budget.take(address, &peer(0), at(0)));
        let mut take = |second| (0..50).filter(|i| budget.take(address, &peer(*i), at(second))).count();
        assert_eq!([take(59), take(60), take(118), take(119)], [19, 1, 0, 19]);
    }

    #[test]
    fn memory_has_an_end_and_is_free_again_a_minute_later() {
        let mut budget = ProbeBudget::default();
        let start = Duration::from_secs(1000);
        let address = |number: u32| IpAddr::from(number.to_be_bytes());
        assert_eq!((0..10_000).filter(|number| budget.take(address(*number), &peer(0), start)).count(), MOST);
        assert!(budget.take(address(0), &peer(0), start), "one that is known goes on");
        assert!(budget.take(address(9_999), &peer(0), start + WINDOW));
        assert!(budget.sent.len() <= MOST);
    }
}
