//! How many new names a network may claim by first come (SECURITY R35).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use jis::UnixTime;

/// New names per network and hour, unless the policy says otherwise.
pub const NAMES_PER_HOUR: u32 = 16;
/// Networks remembered. When all are taken and fresh, further networks have to wait: bounded memory comes before openness, and
/// tokens and grants are not affected.
pub const MAX_NETWORKS: usize = 65_536;

const WINDOW: Duration = Duration::from_secs(3600);
const SWEEP: Duration = Duration::from_secs(60);

/// Counts first-come claims per network: IPv4 by /24, IPv6 by /48.
#[derive(Debug, Default)]
pub(crate) struct FirstComeQuota {
    windows: HashMap<Ipv6Addr, Window>,
    /// When the table was last swept. Looking through all of it at every claim would be work for an attacker to ask for.
    swept_at: Option<UnixTime>,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    begins: UnixTime,
    claims: u32,
}

impl Window {
    /// Over, or begun by a clock that has been set back since.
    fn is_over(&self, now: UnixTime) -> bool {
        now < self.begins || now.saturating_since(self.begins) >= WINDOW
    }
}

impl FirstComeQuota {
    /// Whether one more name may go to `source`, of `most` an hour.
    ///
    /// # Errors
    /// The time at which to try again.
    pub(crate) fn check(&mut self, source: IpAddr, most: u32, now: UnixTime) -> Result<(), UnixTime> {
        let network = network(source);
        match self.windows.get(&network) {
            Some(window) if !window.is_over(now) && window.claims >= most => {
                return Err(window.begins.saturating_add(WINDOW));
            }
            Some(_) => return Ok(()),
            None => {}
        }
        if self.windows.len() >= MAX_NETWORKS
            && self.swept_at.is_none_or(|at| now < at || now.saturating_since(at) >= SWEEP)
        {
            self.windows.retain(|_, window| !window.is_over(now));
            self.swept_at = Some(now);
        }
        if self.windows.len() >= MAX_NETWORKS { Err(now.saturating_add(WINDOW)) } else { Ok(()) }
    }

    /// Counts a name that went to `source`. To be called after [`FirstComeQuota::check`] allowed it.
    pub(crate) fn count(&mut self, source: IpAddr, now: UnixTime) {
        let window = self.windows.entry(network(source)).or_insert(Window { begins: now, claims: 0 });
        if window.is_over(now) {
            *window = Window { begins: now, claims: 0 };
        }
        window.claims = window.claims.saturating_add(1);
    }
}

/// The network of an address: IPv4 by /24, IPv6 by /48.
pub(crate) fn network(source: IpAddr) -> Ipv6Addr {
    match source.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            std::net::Ipv4Addr::new(a, b, c, 0).to_ipv6_mapped()
        }
        IpAddr::V6(ip) => {
            let [a, b, c, ..] = ip.segments();
            Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SECURITY 3.2 row 49: a flood of names from one network ends at the quota, and many networks end at the bound.
    #[test]
    fn row_49_claims_and_memory_are_bounded() {
        let mut quota = FirstComeQuota::default();
        let now = UnixTime::from_secs(1_800_000_000);
        let mut granted = 0;
        for i in 0..100_000u32 {
            // 2001:db8:7::/48, another address each time.
            let source = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, (i >> 16) as u16, i as u16));
            if quota.check(source, NAMES_PER_HOUR, now).is_ok() {
                quota.count(source, now);
                granted += 1;
            }
        }
        assert_eq!(granted, NAMES_PER_HOUR);
        for i in 0..100_000u32 {
            let source = IpAddr::V6(Ipv6Addr::new(0x2001, (i >> 16) as u16, i as u16, 0, 0, 0, 0, 1));
            if quota.check(source, NAMES_PER_HOUR, now).is_ok() {
                quota.count(source, now);
            }
        }
        assert_eq!(quota.windows.len(), MAX_NETWORKS);
        let later = now.saturating_add(WINDOW);
        assert!(quota.check("198.51.100.1".parse().expect("address"), NAMES_PER_HOUR, later).is_ok());
        assert!(quota.windows.is_empty());
    }

    #[test]
    fn an_ipv4_mapped_address_is_its_ipv4_network() {
        assert_eq!(
            network("::ffff:203.0.113.9".parse().expect("address")),
            network("203.0.113.77".parse().expect("address"))
        );
    }
}
