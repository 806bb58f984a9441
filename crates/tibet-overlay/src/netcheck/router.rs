//! Which protocols for port mapping the router speaks. Only asked whether; nothing is mapped.
//!
//! | protocol | asked with | answer |
//! |---|---|---|
//! | NAT-PMP (RFC 6886, 3.2) | two zeros to port 5351 | version 0, opcode 128, the router's address outside |
//! | PCP (RFC 6887, 14.1) | ANNOUNCE to port 5351 | version 2, opcode 128, result 0 |
//! | UPnP IGD | an SSDP search, to the group and to the router | an HTTP response from the router |
//!
//! What answers is the router, or whoever is on the local network and says so: it is told to people, and followed nowhere.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use super::report::PortMapping;

const NAT_PMP_PORT: u16 = 5351;
const SSDP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(239, 255, 255, 250)), 1900);
const SEARCH: &[u8] =
    b"M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\n\
ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\r\n";
/// When it is asked again, and how long after that answers are waited for.
const WAITS: [Duration; 3] =
    [Duration::from_millis(250), Duration::from_millis(500), Duration::from_millis(750)];

/// Asks the router.
pub(super) async fn port_mapping() -> PortMapping {
    let Some(gateway) = gateway() else { return PortMapping::default() };
    ask(gateway).await
}

/// The router that this machine sends to whoever is elsewhere by, as its routes have it now.
pub(crate) fn gateway() -> Option<Ipv4Addr> {
    default_gateway(&std::fs::read_to_string("/proc/net/route").unwrap_or_default())
}

async fn ask(gateway: Ipv4Addr) -> PortMapping {
    let mut found = PortMapping { gateway: Some(gateway.into()), ..PortMapping::default() };
    let control = SocketAddr::from((gateway, NAT_PMP_PORT));
    let Some((socket, own)) = open(control).await else { return found };
    let mut buffer = [0; 2048];
    for wait in WAITS {
        for (to, question) in [
            (control, &[0, 0][..]),
            (control, &announce(own)),
            (SSDP, SEARCH),
            (SocketAddr::from((gateway, SSDP.port())), SEARCH),
        ] {
            // A machine without a way to the group, and so on: then nothing answers.
            let _ = socket.send_to(question, to).await;
        }
        let until = Instant::now() + wait;
        while !(found.pcp && found.nat_pmp && found.upnp)
            && let Ok(Ok((length, from))) = timeout_at(until, socket.recv_from(&mut buffer)).await
        {
            if let Some(answer) = buffer.get(..length).filter(|_| from.ip() == gateway) {
                take(&mut found, from.port(), answer);
            }
        }
    }
    found
}

/// A socket, and the address that it speaks to the router from.
async fn open(control: SocketAddr) -> Option<(UdpSocket, Ipv4Addr)> {
    let any = (Ipv4Addr::UNSPECIFIED, 0);
    let towards = UdpSocket::bind(any).await.ok()?;
    towards.connect(control).await.ok()?;
    let IpAddr::V4(own) = towards.local_addr().ok()?.ip() else { return None };
    Some((UdpSocket::bind(any).await.ok()?, own))
}

fn take(found: &mut PortMapping, port: u16, answer: &[u8]) {
    match (port, answer) {
        // Result 0; then four bytes of time, then the address.
        (NAT_PMP_PORT, [0, 128, 0, 0, _, _, _, _, a, b, c, d]) => {
            found.nat_pmp = true;
            found.external = Some(Ipv4Addr::new(*a, *b, *c, *d).into());
        }
        (NAT_PMP_PORT, [2, 128, _, 0, rest @ ..]) if rest.len() >= 20 => found.pcp = true,
        (_, [b'H', b'T', b'T', b'P', b'/', ..]) if port != NAT_PMP_PORT => {
            let text = String::from_utf8_lossy(answer);
            found.upnp |= text.contains(" 200 ") && text.contains("InternetGatewayDevice");
        }
        _ => {}
    }
}

/// PCP's ANNOUNCE: version 2, opcode 0, lifetime 0, and who asks.
fn announce(own: Ipv4Addr) -> [u8; 24] {
    let mut request = [0; 24];
    request[0] = 2;
    request[8..].copy_from_slice(&own.to_ipv6_mapped().octets());
    request
}

/// The gateway of the default route with the smallest metric, from the kernel's table (proc_net(5)): numbers are hex, addresses as they lie in memory.
fn default_gateway(table: &str) -> Option<Ipv4Addr> {
    let route = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, to, gateway, flags, _, _, metric, ..] = fields[..] else { return None };
        let number = |text| u32::from_str_radix(text, 16).ok();
        let up_by_gateway = number(flags)? & 3 == 3;
        let gateway = Ipv4Addr::from(number(gateway)?.to_ne_bytes());
        (number(to)? == 0 && up_by_gateway).then_some((metric.parse::<u32>().ok()?, gateway))
    };
    table.lines().filter_map(route).min().map(|(_, gateway)| gateway)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn the_gateway_is_that_of_the_best_default_route() {
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
            wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
            eth0\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
            tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n\
            eth0\t0000000A\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n";
        assert_eq!(default_gateway(table), Some(Ipv4Addr::new(10, 0, 0, 1)));
        for nothing in ["", "x", "eth0 zz zz 0003 0 0 0 0", "eth0 00000000 0100000A"] {
            assert_eq!(default_gateway(nothing), None, "{nothing:?}");
        }
    }

    /// SECURITY R12: what a router sends is as hostile as anything.
    #[test]
    fn only_whole_answers_of_each_protocol_count() {
        let mut found = PortMapping::default();
        let nat_pmp = [0, 128, 0, 0, 0, 0, 0, 9, 203, 0, 113, 9];
        let pcp = [&[2, 128, 0, 0][..], &[0; 20]].concat();
        let upnp = b"HTTP/1.1 200 OK\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\r\n";
        for length in 0..12 {
            take(&mut found, NAT_PMP_PORT, &nat_pmp[..length]);
        }
        for length in 0..24 {
            take(&mut found, NAT_PMP_PORT, &pcp[..length]);
        }
        take(&mut found, NAT_PMP_PORT, &[0, 128, 0, 3, 0, 0, 0, 9, 203, 0, 113, 9]);
        take(&mut found, NAT_PMP_PORT, &[&[2, 128, 0, 2][..], &[0; 20]].concat());
        take(&mut found, NAT_PMP_PORT, upnp);
        take(&mut found, 1900, &nat_pmp);
        take(&mut found, 1900, &[0xff; 64]);
        take(&mut found, 1900, b"HTTP/1.1 404 InternetGatewayDevice");
        assert_eq!(found, PortMapping::default());
        take(&mut found, NAT_PMP_PORT, &nat_pmp);
        take(&mut found, NAT_PMP_PORT, &pcp);
        take(&mut found, 1900, upnp);
        assert!(found.pcp && found.nat_pmp && found.upnp);
        assert_eq!(found.external, Some(Ipv4Addr::new(203, 0, 113, 9).into()));
    }
}
