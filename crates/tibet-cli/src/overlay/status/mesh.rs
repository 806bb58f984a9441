//! How the daemon is doing in the mesh.

use tibet_overlay::daemon::{ForwardStatus, MeshStatus, PeerReport, PortMappingReport};

use crate::output::{Outcome, mark, plain, zone_word};

/// In one line.
pub(super) fn summary(mesh: Option<&MeshStatus>) -> String {
    let Some(mesh) = mesh else { return "takes no part".to_owned() };
    let with = |wanted: fn(&&PeerReport) -> bool| mesh.peers.iter().filter(wanted).count();
    let direct = with(|peer| peer.direct);
    let relayed = with(|peer| peer.path.is_some() && !peer.direct);
    let ports = mesh.forwards.len() + mesh.exposes.len();
    let way = match &mesh.interface {
        Some(interface) => plain(interface),
        None => format!("{ports} {}", if ports == 1 { "port" } else { "ports" }),
    };
    let peers = mesh.peers.len();
    let noun = if peers == 1 { "peer" } else { "peers" };
    format!("{} ({way}), {peers} {noun}: {direct} direct, {relayed} over relays", plain(&mesh.address))
}

/// Whether the router lets peers in, in one line.
pub(super) fn port_mapping(mapping: &PortMappingReport) -> String {
    let text = |text: &Option<String>| text.as_deref().map_or_else(|| "?".to_owned(), plain);
    match (mapping.state.as_str(), &mapping.problem) {
        ("mapped", _) => {
            let until = text(&mapping.expires_at);
            format!("{} by {}, until {until}", text(&mapping.external), text(&mapping.protocol))
        }
        (state, Some(problem)) => format!("{}: {}", plain(state), plain(problem)),
        (state, None) => plain(state),
    }
}

/// All of it, for `--peers`.
pub(super) fn all(outcome: Outcome, mesh: &MeshStatus) -> Outcome {
    let or_none = |text: &Option<String>, none: &str| text.as_deref().map_or_else(|| none.to_owned(), plain);
    let mut outcome = outcome.line("").pairs(&[
        ("overlay address", plain(&mesh.address)),
        ("network", plain(&mesh.network)),
        ("interface", or_none(&mesh.interface, "none: programs use forward and expose")),
        ("DNS", or_none(&mesh.dns, "none")),
    ]);
    if !mesh.relays.is_empty() {
        let rows = mesh.relays.iter().map(|relay| {
            let rate = relay.bytes_per_second.map(|rate| format!("{}/s", bytes(rate)));
            vec![
                plain(&relay.node),
                mark(relay.health == "proven", plain(&relay.health)),
                millis(relay.rtt_ms),
                rate.unwrap_or_default(),
            ]
        });
        outcome = outcome.line("").table(&["RELAY", "STATE", "RTT", "PASSES ON"], rows.collect());
    }
    for (title, ports) in [("FORWARD", &mesh.forwards), ("EXPOSE", &mesh.exposes)] {
        if !ports.is_empty() {
            let rows = ports.iter().map(port).collect();
            outcome = outcome.line("").table(&[title, "TO", "CONNECTIONS", "SO FAR"], rows);
        }
    }
    if mesh.peers.is_empty() {
        return outcome.line("").line("no peers yet: a device is one once something is sent to it");
    }
    let rows = mesh.peers.iter().map(peer).collect();
    outcome.line("").table(&["NAME", "ZONE", "PATH", "RTT", "SENT", "RECEIVED", "HANDSHAKE"], rows)
}

fn port(port: &ForwardStatus) -> Vec<String> {
    vec![plain(&port.listen), plain(&port.to), port.connections.to_string(), port.total.to_string()]
}

fn peer(peer: &PeerReport) -> Vec<String> {
    vec![
        plain(&peer.name),
        zone_word(&peer.zone),
        peer.path.as_deref().map_or_else(|| "none".to_owned(), plain),
        millis(peer.rtt_ms),
        bytes(peer.sent),
        bytes(peer.received),
        peer.last_handshake_s.map_or_else(|| "never".to_owned(), |ago| format!("{ago} s ago")),
    ]
}

fn millis(time: Option<f64>) -> String {
    time.map_or_else(String::new, |time| format!("{time:.1} ms"))
}

/// In the largest unit that leaves a number of at least one.
fn bytes(count: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut size = count as f64;
    let mut unit = units[0];
    for larger in &units[1..] {
        if size < 1024.0 {
            break;
        }
        (size, unit) = (size / 1024.0, larger);
    }
    if unit == units[0] { format!("{count} {unit}") } else { format!("{size:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_in_units_that_fit() {
        let told = [0, 1023, 1024, 1536, 1 << 20, 5 << 30, u64::MAX].map(bytes);
        assert_eq!(told, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "5.0 GiB", "16777216.0 TiB"]);
    }

    #[test]
    fn a_mapping_is_told_with_its_end_and_the_lack_of_one_with_its_reason() {
        let told = |state: &str| port_mapping(&PortMappingReport { state: state.to_owned(), ..mapping() });
        fn mapping() -> PortMappingReport {
            PortMappingReport {
                external: Some("203.0.113.7:41641".to_owned()),
                protocol: Some("PCP".to_owned()),
                expires_at: Some("2026-11-22T17:00:00Z".to_owned()),
                ..PortMappingReport::default()
            }
        }
        assert_eq!(told("mapped"), "203.0.113.7:41641 by PCP, until 2026-11-22T17:00:00Z");
        assert_eq!(told("off"), "off");
        let problem = Some("the router refuses".to_owned());
        let none = PortMappingReport { state: "none".to_owned(), problem, ..PortMappingReport::default() };
        assert_eq!(port_mapping(&none), "none: the router refuses");
    }

    #[test]
    fn the_summary_counts_paths() {
        let peer = |path: Option<&str>| PeerReport {
            path: path.map(str::to_owned),
            direct: path.is_some_and(|path| path.starts_with("direct")),
            ..PeerReport::default()
        };
        let peers = vec![peer(Some("direct 203.0.113.5:1")), peer(Some("relay node.example")), peer(None)];
        let mesh = MeshStatus { address: "fd00::1".to_owned(), peers, ..MeshStatus::default() };
        assert_eq!(summary(Some(&mesh)), "fd00::1 (0 ports), 3 peers: 1 direct, 1 over relays");
        assert_eq!(summary(None), "takes no part");
    }
}
