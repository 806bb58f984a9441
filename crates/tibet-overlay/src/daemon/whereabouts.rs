//! Where the device is, as this machine and its nodes see it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use jis::{Endpoint, Record};

/// What is seen of the device on the way to each node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Whereabouts {
    seen: Vec<Option<Seen>>,
}

/// On the way to one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    /// The address datagrams leave this machine from.
    local: SocketAddr,
    /// The address they reach the node from.
    observed: SocketAddr,
    /// The address they would have left from when this was looked at last.
    source: Option<SocketAddr>,
    /// When the node last said anything.
    heard: Instant,
}

impl Whereabouts {
    pub(super) fn new(nodes: usize) -> Self {
        Self { seen: vec![None; nodes] }
    }

    /// Notes what is seen on the way to the node with this index.
    pub(super) fn set(&mut self, node: usize, local: SocketAddr, observed: SocketAddr, heard: Instant) {
        if let Some(seen) = self.seen.get_mut(node) {
            *seen = Some(Seen { local, observed, source: None, heard });
        }
    }

    /// Notes that the node has said something.
    pub(super) fn heard(&mut self, node: usize, now: Instant) {
        if let Some(Some(seen)) = self.seen.get_mut(node) {
            seen.heard = now;
        }
    }

    /// Forgets what is seen on the way to nodes that have said nothing for longer than `life`: a NAT has long given that address to somebody else. Whether
    /// there were any.
    pub(super) fn forget_unheard(&mut self, now: Instant, life: Duration) -> bool {
        let mut any = false;
        for seen in &mut self.seen {
            let old = seen.is_some_and(|seen| now.saturating_duration_since(seen.heard) > life);
            any |= old;
            seen.take_if(|_| old);
        }
        any
    }

    /// Forgets everything.
    pub(super) fn forget(&mut self) {
        self.seen.fill(None);
    }

    /// Whether nothing is seen on the way to any node.
    pub(super) fn is_empty(&self) -> bool {
        self.seen.iter().all(Option::is_none)
    }

    /// Whether it is news that datagrams to this node would now leave from `source`, and not from where they left when it was last spoken to.
    pub(super) fn is_news(&mut self, node: usize, source: SocketAddr) -> bool {
        let Some(Some(seen)) = self.seen.get_mut(node) else { return false };
        seen.source.replace(source) != Some(source) && seen.local != source
    }

    /// Whether a node sees another address than this machine has.
    pub(super) fn behind_nat(&self) -> bool {
        self.seen.iter().flatten().any(|seen| seen.local != seen.observed)
    }

    /// What a record may say of it: this machine's own addresses, for whoever is near, then the one at which the router lets everybody in, then those it is seen at.
    pub(super) fn endpoints(&self, mapped: Option<Endpoint>) -> Vec<Endpoint> {
        let seen = || self.seen.iter().flatten();
        let own = seen().filter_map(|seen| Endpoint::new(seen.local).ok());
        let observed = seen().filter_map(|seen| Endpoint::new(seen.observed).ok());
        let mut endpoints: Vec<Endpoint> = Vec::new();
        for endpoint in own.chain(mapped).chain(observed) {
            if !endpoints.contains(&endpoint) {
                endpoints.push(endpoint);
            }
        }
        endpoints.truncate(Record::MAX_ENDPOINTS);
        endpoints
    }
}

/// The address from which datagrams would leave for `to` now, by the system's routes. Nothing is sent. A socket that is bound to one address
/// sends from there.
pub(crate) fn source_towards(to: SocketAddr, bound: SocketAddr) -> Option<SocketAddr> {
    if !bound.ip().to_canonical().is_unspecified() {
        return Some(SocketAddr::new(bound.ip().to_canonical(), bound.port()));
    }
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(to).ok()?;
    let source = socket.local_addr().ok()?.ip().to_canonical();
    Some(SocketAddr::new(source, bound.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_record_names_own_addresses_first_each_once_and_none_that_leads_nowhere() {
        let mut whereabouts = Whereabouts::new(3);
        assert!(whereabouts.endpoints(None).is_empty() && !whereabouts.behind_nat());
        whereabouts.set(0, at("192.168.1.5:7150"), at("203.0.113.9:40000"), Instant::now());
        whereabouts.set(1, at("192.168.1.5:7150"), at("203.0.113.9:40001"), Instant::now());
        whereabouts.set(2, at("127.0.0.1:7150"), at("127.0.0.1:7150"), Instant::now());
        let endpoints: Vec<String> = whereabouts.endpoints(None).iter().map(ToString::to_string).collect();
        assert_eq!(endpoints, ["192.168.1.5:7150", "203.0.113.9:40000", "203.0.113.9:40001"]);
        assert!(whereabouts.behind_nat());
        let mapped = Endpoint::new(at("203.0.113.9:7150")).ok();
        let endpoints: Vec<String> = whereabouts.endpoints(mapped).iter().map(ToString::to_string).collect();
        let all = ["192.168.1.5:7150", "203.0.113.9:7150", "203.0.113.9:40000", "203.0.113.9:40001"];
        assert_eq!(endpoints, all);
        let seen = Endpoint::new(at("203.0.113.9:40000")).ok();
        assert_eq!(whereabouts.endpoints(seen).len(), 3, "each once");
        whereabouts.set(9, at("192.168.1.5:7150"), at("203.0.113.9:40000"), Instant::now());
    }

    #[test]
    fn a_move_is_news_once_and_also_when_it_came_before_the_first_look() {
        let mut whereabouts = Whereabouts::new(1);
        let (here, there, node) = (at("192.168.1.5:7150"), at("192.168.1.77:7150"), at("203.0.113.9:40000"));
        assert!(!whereabouts.is_news(0, here), "nobody was told anything yet");
        whereabouts.set(0, here, node, Instant::now());
        assert!(whereabouts.is_news(0, there) && !whereabouts.is_news(0, there));
        assert!(!whereabouts.is_news(0, here), "back where the node has it");
        assert!(whereabouts.is_news(0, there));
        whereabouts.set(0, there, node, Instant::now());
        assert!(!whereabouts.is_news(0, there) && whereabouts.is_news(0, here));
    }

    #[test]
    fn where_a_node_saw_us_before_it_went_away_for_longer_than_a_record_lives_is_forgotten() {
        let (mut whereabouts, start, life) = (Whereabouts::new(2), Instant::now(), Duration::from_secs(3600));
        let later = |minutes: u64| start + Duration::from_secs(60 * minutes);
        whereabouts.set(0, at("192.168.1.5:7150"), at("203.0.113.9:40000"), start);
        whereabouts.set(1, at("192.168.1.5:7150"), at("203.0.113.9:40001"), start);
        whereabouts.heard(1, later(40));
        assert!(!whereabouts.forget_unheard(later(60), life));
        assert!(whereabouts.forget_unheard(later(61), life) && !whereabouts.forget_unheard(later(61), life));
        let endpoints: Vec<String> = whereabouts.endpoints(None).iter().map(ToString::to_string).collect();
        assert_eq!(endpoints, ["192.168.1.5:7150", "203.0.113.9:40001"]);
        assert!(!whereabouts.is_empty());
        whereabouts.forget();
        assert!(whereabouts.is_empty() && whereabouts.endpoints(None).is_empty());
    }

    #[test]
    fn no_more_endpoints_than_a_record_has() {
        let mut whereabouts = Whereabouts::new(20);
        for node in 0..20_u8 {
            let address = SocketAddr::from(([203, 0, 113, node], 7150));
            whereabouts.set(node.into(), address, address, Instant::now());
        }
        assert_eq!(whereabouts.endpoints(None).len(), Record::MAX_ENDPOINTS);
        assert!(!whereabouts.behind_nat());
    }

    #[test]
    fn a_bound_socket_sends_from_where_it_is_bound() {
        let node = at("127.0.0.1:9");
        assert_eq!(source_towards(node, at("[::ffff:127.0.0.7]:5")), Some(at("127.0.0.7:5")));
        assert_eq!(source_towards(node, at("[::]:5")), Some(at("127.0.0.1:5")));
    }
}
