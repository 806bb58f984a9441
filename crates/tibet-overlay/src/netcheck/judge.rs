//! What follows from what was seen (RFC 4787). Pure: nothing here is sent or read.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::Serialize;

use super::report::{FamilyFinding, NodeFinding, PortMapping};

/// How a NAT gives addresses (RFC 4787, section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mapping {
    /// Nobody answered.
    Unknown,
    /// Nodes see the address that this machine has.
    None,
    /// Only one address, at one port, answered.
    Nat,
    /// The same at both ports of one address. Whether other addresses see another is not known with one.
    SameForOneAddress,
    /// The same for everybody.
    EndpointIndependent,
    /// Another for each address that is spoken to. Where no node answered at its second port, it may also be another for each port.
    AddressDependent,
    /// Another for each address and port: a symmetric NAT.
    AddressAndPortDependent,
}

impl Mapping {
    /// Whether an address that a node sees is of no use to others.
    #[must_use]
    pub fn is_symmetric(self) -> bool {
        matches!(self, Self::AddressDependent | Self::AddressAndPortDependent)
    }

    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Unknown => "not known",
            Self::None => "no NAT",
            Self::Nat => "NAT, of which kind is not known",
            Self::SameForOneAddress => {
                "NAT, the same for both ports of a node; for others it is not known with one node address"
            }
            Self::EndpointIndependent => "NAT, endpoint-independent: the same for everybody",
            Self::AddressDependent => "NAT, address-dependent: another for each address",
            Self::AddressAndPortDependent => "NAT, address-and-port-dependent (symmetric): another for each",
        }
    }
}

/// What gets in from outside (RFC 4787, section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Filtering {
    /// No node could tell.
    Unknown,
    /// What comes from another port of an address that was spoken to. Whether anybody else gets in is not known.
    OtherPortsGetIn,
    /// Only what comes from an address and port that was spoken to.
    AddressAndPortDependent,
}

impl Filtering {
    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Unknown => "not known",
            Self::OtherPortsGetIn => {
                "other ports of a node get in; whether everybody does is not known with one node address"
            }
            Self::AddressAndPortDependent => "address-and-port-dependent: only who was spoken to gets in",
        }
    }
}

/// What all nodes of a family say together.
pub(super) fn family(family: &'static str, nodes: &[&NodeFinding], hairpin: Option<bool>) -> FamilyFinding {
    let best = nodes.iter().filter(|node| node.reachable);
    let best = best.min_by(|a, b| a.rtt_ms.unwrap_or(f64::MAX).total_cmp(&b.rtt_ms.unwrap_or(f64::MAX)));
    FamilyFinding {
        family,
        reachable: best.is_some(),
        observed: best.and_then(|node| node.observed),
        mapping: mapping(nodes),
        filtering: filtering(nodes),
        hairpin,
        carrier_nat: None,
    }
}

/// What the same socket was seen as from different places.
pub(super) fn mapping(nodes: &[&NodeFinding]) -> Mapping {
    let seen = || nodes.iter().filter_map(|node| Some((node.address?, node.local?, node.observed?)));
    let Some((_, _, first)) = seen().next() else { return Mapping::Unknown };
    let second = |node: &&NodeFinding| Some((node.observed?, node.observed_at_second_port?));
    let ports: Vec<bool> = nodes.iter().filter_map(second).map(|(one, other)| one == other).collect();
    let differs_by_port = ports.contains(&false);
    let differs_by_address = seen().any(|(_, _, observed)| observed != first);
    let one_address = seen().all(|(to, ..)| Some(to.ip()) == seen().next().map(|(to, ..)| to.ip()));
    if differs_by_port {
        Mapping::AddressAndPortDependent
    } else if seen().all(|(_, local, observed)| local == observed) {
        Mapping::None
    } else if differs_by_address {
        // Two nodes at one address are two ports of it.
        if one_address { Mapping::AddressAndPortDependent } else { Mapping::AddressDependent }
    } else if !one_address {
        Mapping::EndpointIndependent
    } else if ports.is_empty() {
        Mapping::Nat
    } else {
        Mapping::SameForOneAddress
    }
}

fn filtering(nodes: &[&NodeFinding]) -> Filtering {
    let got_in = || nodes.iter().filter_map(|node| node.second_port_got_in);
    if got_in().any(|got_in| got_in) {
        Filtering::OtherPortsGetIn
    } else if got_in().next().is_some() {
        Filtering::AddressAndPortDependent
    } else {
        Filtering::Unknown
    }
}

/// Why there seems to be a NAT beyond the router, which its owner has no say in.
pub(super) fn carrier_nat(nodes: &[&NodeFinding], router: &PortMapping) -> Option<String> {
    let shared = |address: Option<SocketAddr>| address.map(|at| at.ip()).filter(is_shared);
    if let Some(own) = nodes.iter().find_map(|node| shared(node.local)) {
        return Some(format!("this machine's own address {own} is of a carrier's shared space (RFC 6598)"));
    }
    if let Some(seen) = nodes.iter().find_map(|node| shared(node.observed)) {
        return Some(format!("the node sees {seen}, of a carrier's shared space (RFC 6598)"));
    }
    let external = router.external.filter(IpAddr::is_ipv4)?;
    if is_inside(&external) {
        return Some(format!("the router's address outside is {external}, which is not a public one"));
    }
    let seen = nodes.iter().find_map(|node| node.observed).map(|observed| observed.ip())?;
    (seen != external)
        .then(|| format!("the router's address outside is {external}, and the node sees {seen}"))
}

/// Whether an address that a router has outside is one behind another NAT: a private one, a carrier's, or none at all.
pub(crate) fn is_inside(ip: &IpAddr) -> bool {
    is_shared(ip) || is_private(ip)
}

/// 100.64.0.0/10.
fn is_shared(ip: &IpAddr) -> bool {
    matches!(ip, IpAddr::V4(ip) if ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64)
}

fn is_private(ip: &IpAddr) -> bool {
    matches!(ip, IpAddr::V4(ip) if ip.is_private() || ip.is_link_local() || *ip == Ipv4Addr::UNSPECIFIED)
}

/// What it comes to. The family with the better way counts: a device has both.
pub(super) fn advice(families: &[FamilyFinding], router: &PortMapping) -> String {
    let reachable = || families.iter().filter(|family| family.reachable);
    let Some(best) =
        reachable().min_by_key(|family| (family.mapping.is_symmetric(), family.mapping != Mapping::None))
    else {
        return "no node answered: UDP is blocked here, or no node is there; ask whoever runs the network to let UDP port 7150 out"
            .to_owned();
    };
    let open = best.filtering == Filtering::OtherPortsGetIn;
    match best.mapping {
        Mapping::None if open => {
            "this machine is reachable from outside: direct paths work with everybody".to_owned()
        }
        Mapping::None => "no NAT, and at most a firewall: direct paths work with everybody".to_owned(),
        mapping if !mapping.is_symmetric() && open => {
            "the NAT is open: direct paths work with everybody".to_owned()
        }
        mapping if !mapping.is_symmetric() => {
            "direct paths work with everybody but devices behind symmetric NATs; with those, traffic goes over the relay"
                .to_owned()
        }
        _ if router.found() && best.carrier_nat.is_none() => {
            "symmetric NAT: direct paths work only with devices that are open to everybody, else traffic goes over the relay; the router offers port mapping, which helps"
                .to_owned()
        }
        _ => "symmetric NAT: direct paths work only with devices that are open to everybody, else traffic goes over the relay; open UDP 7150, or turn on port mapping in the router"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn finding(address: &str, observed: &str, second: Option<&str>) -> NodeFinding {
        NodeFinding {
            node: address.to_owned(),
            address: Some(at(address)),
            reachable: true,
            key: None,
            rtt_ms: Some(1.0),
            local: Some(at("192.168.1.5:4000")),
            observed: Some(at(observed)),
            second_port: None,
            observed_at_second_port: second.map(at),
            second_port_got_in: None,
            path_mtu: None,
            problem: None,
        }
    }

    /// RFC 4787, section 4.1, from what can be seen.
    #[test]
    fn a_mapping_is_named_only_as_far_as_it_was_seen() {
        let own = "192.168.1.5:4000";
        let (out, other) = ("203.0.113.9:4000", "203.0.113.9:4001");
        let one = |observed, second| finding("198.51.100.1:7150", observed, second);
        let two = |observed| finding("198.51.100.2:7150", observed, None);
        let of = |nodes: &[NodeFinding]| mapping(&nodes.iter().collect::<Vec<_>>());
        assert_eq!(of(&[]), Mapping::Unknown);
        assert_eq!(of(&[one(own, Some(own))]), Mapping::None);
        assert_eq!(of(&[one(out, None)]), Mapping::Nat);
        assert_eq!(of(&[one(out, Some(out))]), Mapping::SameForOneAddress);
        assert_eq!(of(&[one(out, Some(other))]), Mapping::AddressAndPortDependent);
        assert_eq!(of(&[one(out, Some(out)), two(out)]), Mapping::EndpointIndependent);
        assert_eq!(of(&[one(out, Some(out)), two(other)]), Mapping::AddressDependent);
        assert_eq!(of(&[one(out, None), two(other)]), Mapping::AddressDependent);
        let beside = finding("198.51.100.1:7151", other, None);
        assert_eq!(of(&[one(out, None), beside]), Mapping::AddressAndPortDependent);
    }

    #[test]
    fn a_carriers_nat_is_told_by_its_addresses_or_by_the_routers() {
        let home = finding("198.51.100.1:7150", "203.0.113.9:4000", None);
        let router = |external: &str| PortMapping {
            external: Some(external.parse().expect("an address")),
            ..PortMapping::default()
        };
        let none = PortMapping::default();
        assert_eq!(carrier_nat(&[&home], &none), None);
        assert_eq!(carrier_nat(&[&home], &router("203.0.113.9")), None);
        for beyond in ["203.0.113.77", "100.64.3.4", "100.127.255.255", "10.1.1.1", "192.168.0.2"] {
            assert!(carrier_nat(&[&home], &router(beyond)).is_some(), "{beyond}");
        }
        let mut inside = home;
        inside.local = Some(at("100.64.1.2:4000"));
        assert!(carrier_nat(&[&inside], &none).is_some());
        inside.local = Some(at("100.128.1.2:4000"));
        assert!(carrier_nat(&[&inside], &none).is_none(), "beside the shared space");
    }

    #[test]
    fn the_advice_is_that_of_the_better_family() {
        let family = |mapping, filtering| FamilyFinding {
            family: "ipv4",
            reachable: mapping != Mapping::Unknown,
            observed: None,
            mapping,
            filtering,
            hairpin: None,
            carrier_nat: None,
        };
        let none = PortMapping::default();
        let symmetric = family(Mapping::AddressAndPortDependent, Filtering::AddressAndPortDependent);
        let cone = family(Mapping::EndpointIndependent, Filtering::AddressAndPortDependent);
        let direct = family(Mapping::None, Filtering::OtherPortsGetIn);
        let says = |families: &[FamilyFinding], router: &PortMapping, text: &str| {
            let advice = advice(families, router);
            assert!(advice.contains(text), "{advice}");
        };
        says(&[family(Mapping::Unknown, Filtering::Unknown)], &none, "UDP is blocked");
        says(std::slice::from_ref(&symmetric), &none, "open UDP 7150");
        says(&[symmetric.clone(), cone.clone()], &none, "but devices behind symmetric NATs");
        says(&[cone, direct], &none, "reachable from outside");
        let router = PortMapping { nat_pmp: true, ..none };
        says(&[symmetric], &router, "offers port mapping");
    }
}
