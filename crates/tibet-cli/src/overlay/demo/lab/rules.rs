//! What a router does with packets, as nftables rules.

use super::Nat;

/// Interface of a router towards the internet.
pub(super) const OUT: &str = "wan";

/// The rules of a router that translates `inside` to `outside`, and lets nothing in that was not asked for. `hairpin`: what comes from inside and is for
/// a port outside goes back inside.
///
/// What is for the router itself is dropped: an entry of the kernel for such a packet would take the port of a mapping that is about to be made.
pub(super) fn translate(nat: Nat, inside: &str, outside: &str, hairpin: bool) -> String {
    let masquerade = if nat == Nat::Symmetric { "masquerade random,fully-random" } else { "masquerade" };
    let to_mapping = format!("ip daddr {outside} meta l4proto udp dnat ip to udp dport map @mappings");
    let from_outside =
        if nat == Nat::FullCone { format!("iifname \"{OUT}\" {to_mapping}") } else { String::new() };
    let (from_inside, as_outside) = if hairpin {
        (
            format!("iifname != \"{OUT}\" {to_mapping}"),
            format!("ip saddr {inside} ip daddr {inside} ct status dnat snat to {outside}"),
        )
    } else {
        (String::new(), String::new())
    };
    format!(
        "table ip lab {{
            map mappings {{
                type inet_service : ipv4_addr . inet_service; flags dynamic,timeout; size 65535; timeout 300s
            }}
            chain arriving {{ type nat hook prerouting priority dstnat
                {from_outside}
                {from_inside}
            }}
            chain leaving {{ type nat hook postrouting priority srcnat
                {as_outside}
                oifname \"{OUT}\" {masquerade}
            }}
            chain noting {{ type filter hook postrouting priority srcnat + 10
                oifname \"{OUT}\" meta l4proto udp ct direction original update @mappings {{ udp sport timeout 300s : ct original ip saddr . ct original proto-src }}
            }}
            chain itself {{ type filter hook input priority filter
                iifname \"{OUT}\" ct state new drop
                meta l4proto udp drop
            }}
            chain through {{ type filter hook forward priority filter; policy drop
                ct state established,related accept
                ct status dnat accept
                ip saddr {inside} oifname \"{OUT}\" accept
            }}
        }}"
    )
}

/// The rules of an IPv6 router that lets nothing in that was not asked for.
pub(super) fn guard() -> String {
    format!(
        "table ip6 lab {{
            chain through {{ type filter hook forward priority filter; policy drop
                ct state established,related accept
                oifname \"{OUT}\" accept
            }}
        }}"
    )
}
