//! Every kind of router in every layout.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::{alone, lab};
use tibet_cli::overlay::lab::{Echo, Layout, Nat, Pair, Server, Topology};

use Layout::{Hairpin, Ipv6, OneHome, Public, Separate, Shared};
use Nat::{Cone, FullCone, None, Symmetric};

/// Kinds of the two homes.
const HOMES: [[Nat; 2]; 9] = [
    [Cone, Cone],
    [Cone, Symmetric],
    [Symmetric, Symmetric],
    [FullCone, Cone],
    [FullCone, Symmetric],
    [FullCone, FullCone],
    [None, Cone],
    [None, Symmetric],
    [Symmetric, Cone],
];

/// At once: each has three programs, and the machine may have two cores.
const AT_ONCE: usize = 3;
/// In which the first datagram has to come back, over the relay at least. One datagram: what gets lost is not sent again.
const FIRST: Duration = Duration::from_secs(5);
/// In which a direct path has to be there where there can be one.
const DIRECT: Duration = Duration::from_secs(10);
/// How long it is looked whether one comes where there can be none: more than a round of probes takes.
const NEVER: Duration = Duration::from_secs(3);

/// The table: 30 topologies. Every second one has the very same address in both homes.
fn topologies() -> Vec<Topology> {
    let public = HOMES.map(|homes| Topology::new(Public, homes, None));
    let separate = HOMES.map(|homes| Topology::new(Separate, homes, Cone));
    let carriers = [
        Topology::new(Separate, [Cone; 2], Symmetric),
        Topology::new(Separate, [Cone; 2], FullCone),
        Topology::new(Separate, [FullCone; 2], FullCone),
        Topology::new(Separate, [None; 2], Cone),
        Topology::new(Separate, [None, Cone], Symmetric),
    ];
    let shared = [
        Topology::new(Shared, [Cone; 2], Cone),
        Topology::new(Shared, [Symmetric; 2], Cone),
        Topology::new(Hairpin, [Cone; 2], Cone),
        Topology::new(Hairpin, [Cone, Symmetric], Cone),
        Topology::new(Hairpin, [None, Cone], Cone),
    ];
    let others = [
        Topology::new(OneHome, [Cone; 2], Cone),
        Topology::new(OneHome, [Symmetric; 2], Symmetric),
        Topology::new(Ipv6, [None; 2], None),
    ];
    let all = public.into_iter().chain(separate).chain(carriers).chain(shared).chain(others);
    all.enumerate()
        .map(|(at, topology)| {
            let may_share = !matches!(topology.layout, OneHome | Ipv6);
            if at % 2 == 0 && may_share { topology.same_address() } else { topology }
        })
        .collect()
}

/// What happened, or what went wrong.
fn try_out(topology: Topology) -> Result<String, String> {
    let Some(lab) = lab(topology) else { return Ok("SKIPPED".to_owned()) };
    let pair = Pair::start(lab, Pair::TUN).map_err(|error| error.to_string())?;
    connect(&pair, topology).map_err(|error| format!("{error}\n{}", pair.said()))
}

fn connect(pair: &Pair, topology: Topology) -> Result<String, String> {
    let words = |error: tibet_cli::overlay::lab::LabError| error.to_string();
    let [_, b] = pair.ready().map_err(words)?;
    let _server = Server::start(&pair.lab, "b", b).map_err(words)?;
    let mut echo = Echo::start(&pair.lab, "a", b).map_err(words)?;
    let begun = Instant::now();
    let first = echo.once(FIRST).ok_or("the first datagram got lost")?;
    let wait = if topology.direct() { DIRECT } else { NEVER };
    let direct = loop {
        let direct = [0, 1].map(|at| pair.peer(at).is_some_and(|peer| peer.direct));
        if direct == [true; 2] {
            break true;
        }
        if begun.elapsed() > wait {
            if direct != [false; 2] {
                return Err(format!("the two do not agree: direct {direct:?}"));
            }
            break false;
        }
        let _ = echo.once(Duration::from_millis(100));
    };
    if direct != topology.direct() {
        return Err(format!("direct: {direct}, in theory {}", topology.direct()));
    }
    let took = begun.elapsed().as_millis();
    let now = echo.once(FIRST).ok_or("nothing comes back any more")?;
    let path = if direct { format!("direct after {took} ms") } else { "over the relay".to_owned() };
    Ok(format!("first answer after {} ms, {path}, now {:.1} ms", first.as_millis(), now.as_secs_f64() * 1e3))
}

#[test]
fn t7_over_the_relay_always_and_direct_wherever_theory_lets_them() {
    let _alone = alone();
    let all = topologies();
    assert!(all.len() >= 24);
    let (begun, count) = (Instant::now(), all.len());
    let (left, failed) = (Mutex::new(all.into_iter()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = left.lock().expect("no panic").next();
                    let Some(topology) = next else { return };
                    match try_out(topology) {
                        Ok(happened) => println!("{topology}: {happened}"),
                        Err(error) => failed.lock().expect("no panic").push(format!("{topology}: {error}")),
                    }
                }
            });
        }
    });
    println!("{count} topologies in {:.1} s", begun.elapsed().as_secs_f64());
    let failed = failed.into_inner().expect("no panic");
    assert!(failed.is_empty(), "{} of {count}:\n{}", failed.len(), failed.join("\n\n"));
}
