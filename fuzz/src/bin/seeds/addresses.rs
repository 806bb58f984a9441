//! F6: rows 11 and 55, in text, in bytes and with zones.

use std::net::{Ipv6Addr, SocketAddr};

use crate::put;

const TARGET: &str = "f06_endpoint";

pub(crate) fn write() {
    for (name, text) in [
        ("v4-accepted", "203.0.113.1:44321"),
        ("v4_private-accepted", "192.168.1.42:7150"),
        ("v4_shared-accepted", "100.64.0.9:7150"),
        ("v6-accepted", "[2001:db8::1]:7150"),
        ("v6_local-accepted", "[fd00::1]:1"),
        ("v6_long_spelling-accepted", "[2001:0db8:0000:0000:0000:0000:0000:0001]:7150"),
        ("row_11_port_0-refused", "203.0.113.1:0"),
        ("row_11_everybody-refused", "255.255.255.255:7150"),
        ("row_11_group-refused", "224.0.71.50:7150"),
        ("row_11_mapped_everybody-refused", "[::ffff:255.255.255.255]:7150"),
        ("row_11_mapped_group-refused", "[::ffff:224.0.71.50]:7150"),
        ("row_11_mapped_nobody-refused", "[::ffff:0.0.0.0]:7150"),
        ("row_55_loopback-refused", "127.0.0.1:7150"),
        ("row_55_unspecified-refused", "[::]:7150"),
        ("row_55_unspecified_v4-refused", "0.0.0.0:7150"),
        ("row_55_this_network-refused", "0.1.2.3:7150"),
        ("row_55_link_local-refused", "169.254.1.1:7150"),
        ("row_55_link_local_v6-refused", "[fe80::1]:7150"),
        ("row_55_group_v6-refused", "[ff02::1]:7150"),
        ("row_55_mapped-refused", "[::ffff:10.0.0.1]:7150"),
        ("row_55_mapped_loopback-refused", "[::ffff:127.0.0.1]:7150"),
        ("row_55_compatible-refused", "[::10.0.0.1]:7150"),
        ("row_55_nat64-refused", "[64:ff9b::a00:1]:7150"),
        ("row_55_nat64_local-refused", "[64:ff9b:1::a00:1]:7150"),
        ("row_55_6to4-refused", "[2002:a00:1::]:7150"),
        ("row_55_zone-refused", "[2001:db8::1%2]:7150"),
        ("row_55_zone_by_name-refused", "[fe80::1%eth0]:7150"),
        ("row_55_port_53-refused", "203.0.113.1:53"),
        ("row_55_port_11211-refused", "[2001:db8::1]:11211"),
        ("row_55_port_too_large-refused", "203.0.113.1:70000"),
        ("row_55_no_port-refused", "203.0.113.1"),
        ("row_55_host_name-refused", "host.example:7150"),
        ("row_55_octal-refused", "010.0.0.1:7150"),
        ("row_55_number-refused", "167772161:7150"),
    ] {
        put(TARGET, name, &[&[1], text.as_bytes()].concat());
        if let Ok(address) = text.parse::<SocketAddr>() {
            let (kind, ip) = match address {
                SocketAddr::V4(v4) => (0, v4.ip().octets().to_vec()),
                // With its zone, if it has one.
                SocketAddr::V6(v6) => (if v6.scope_id() == 0 { 0 } else { 2 }, v6.ip().octets().to_vec()),
            };
            let zone: &[u8] = if kind == 2 { &[0, 2] } else { &[] };
            put(
                TARGET,
                &format!("bytes_{name}"),
                &[&[kind], &ip[..], &address.port().to_be_bytes(), zone].concat(),
            );
        }
    }
    let flow =
        [&[2][..], &"2001:db8::1".parse::<Ipv6Addr>().expect("an address").octets(), &[0x1b, 0xee, 9, 0]]
            .concat();
    put(TARGET, "flow_label_is_dropped-accepted", &flow);
    put(TARGET, "bytes_seven-refused", &[0, 1, 1, 1, 1, 1, 1, 1]);
    put(TARGET, "bytes_none-refused", &[0]);
}
