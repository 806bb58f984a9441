//! A device of the mesh under handshakes (SECURITY T12d): `cargo xtask flood mesh`.
//!
//! Two devices on machines of their own ping each other through their tunnel, on a direct path, fifty times a second. A third machine sends one of them handshake
//! initiations: noise of their shape; genuine ones of strangers, who know the key from its record, so that their MAC1 holds; and the same from as many
//! addresses as there are. Before, during and after each it is looked at what becomes of the pings. Needs root, `ip` and `nft`.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use jis::{Fingerprint, TransportKey, TransportSecret};
use nix::libc;
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg};
use tibet_cli::overlay::lab::{Echo, Lab, LabError, Layout, Nat, Pair, Server, Topology};
use tibet_mesh::Tunnels;
use tibet_overlay::StateDir;

use super::{Served, resident};
use crate::Outcome;
use crate::load::node::processor_time;

/// Between two pings.
const EVERY: Duration = Duration::from_millis(20);
/// An answer later than this counts as lost.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long it is watched before the first flood, and after each.
const CALM: Duration = Duration::from_secs(5);
/// So many prompt answers in a row are full service.
const IN_A_ROW: usize = 20;
const PROMPT: Duration = Duration::from_millis(50);
const SOON: Duration = Duration::from_secs(15);
/// How often the device's memory is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// Different initiations, which are sent in turn.
const KINDS: u8 = 200;
const INITIATION: usize = 148;
/// The machine that the flood comes from, and the addresses that it sends from: 131 072 of them.
const ATTACKER: &str = "node";
const ADDRESSES: [u8; 2] = [10, 64];
const SOURCES: u32 = 1 << 17;
/// The device that is flooded.
const VICTIM: usize = 1;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The program that runs on the machines
    #[arg(long, default_value = "target/release/tibet-overlay")]
    program: PathBuf,
    /// Initiations a second [default: as many as one thread can send]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
}

#[derive(Clone, Copy)]
enum Wave {
    Noise,
    Strangers,
    Spoofed,
}

impl Wave {
    const ALL: [(Self, &str); 3] = [
        (Self::Noise, "noise of the shape of initiations, from 131 072 addresses"),
        (Self::Strangers, "strangers' initiations with a good MAC1, from one address"),
        (Self::Spoofed, "strangers' initiations with a good MAC1, from 131 072 addresses"),
    ];
}

pub(super) fn run(options: &Options, seconds: u64) -> Outcome<()> {
    let program = options.program.canonicalize().map_err(|error| {
        format!("{}: {error}; cargo build --release --bin tibet-overlay makes it", options.program.display())
    })?;
    let topology = Topology::new(Layout::Public, [Nat::None; 2], Nat::None);
    let pair = Pair::start(Lab::new(&program, topology, &Arc::default())?, Pair::TUN)?;
    let [_, overlay] = pair.ready()?;
    let _server = Server::start(&pair.lab, "b", overlay)?;
    let mut echo = Echo::start(&pair.lab, "a", overlay)?;
    pair.lab.wait("a direct path", SOON, || {
        let _ = echo.once(LOOK);
        pair.peer(0).is_some_and(|peer| peer.direct).then_some(())
    })?;
    let target = Target::of(&pair)?;
    let pings = Pings::start(echo);
    thread::sleep(CALM);
    println!("before: {}", pings.take().served());
    for (wave, title) in Wave::ALL {
        let datagrams = target.datagrams(wave)?;
        let from_many = !matches!(wave, Wave::Strangers);
        let (id, before) = (pair.device(VICTIM).id(), resident(pair.device(VICTIM).id())?);
        let (spent, begun) = (processor_time(id)?, Instant::now());
        let dropped = target.dropped(&pair.lab)?;
        let flood = Flood::start(&pair.lab, target.at, datagrams, from_many, options.rate)?;
        let mut most = before;
        while begun.elapsed() < Duration::from_secs(seconds) {
            thread::sleep(LOOK);
            most = most.max(resident(id)?);
        }
        let sent = flood.stop()?;
        let lasted = begun.elapsed().as_secs_f64();
        let share = 100.0 * (processor_time(id)? - spent).as_secs_f64() / lasted;
        let during = pings.take();
        let dropped = target.dropped(&pair.lab)? - dropped;
        let ended = Instant::now();
        thread::sleep(CALM);
        let after = pings.take();
        println!("{title}: {sent} in {lasted:.0} s, {:.0}/s", sent as f64 / lasted);
        println!("  {dropped} datagrams found no room in the device's socket");
        println!(
            "  device: {share:.0} % of a processor; {before} KiB before, {most} at most, {} after",
            resident(id)?
        );
        println!("  during: {}", during.served());
        println!("  after:  {}", after.served());
        match after.back_after(ended) {
            Some(time) => println!("  full service {:.2} s after the end", time.as_secs_f64()),
            None => println!("  full service did not come back within {} s", CALM.as_secs()),
        }
    }
    let direct = pair.peer(0).is_some_and(|peer| peer.direct);
    println!("the path is {} at the end", if direct { "direct" } else { "not direct" });
    Ok(())
}

/// The device that is flooded.
struct Target {
    at: SocketAddrV4,
    key: TransportKey,
}

impl Target {
    fn of(pair: &Pair) -> Outcome<Self> {
        let status = pair.status(VICTIM).ok_or("the device does not answer")?;
        let observed = status.nodes.first().and_then(|node| node.observed.as_deref());
        let SocketAddr::V4(at) = observed.ok_or("the device is not registered")?.parse()? else {
            return Err("the device is not seen at an IPv4 address".into());
        };
        let state = StateDir::new(pair.lab.state(Pair::MACHINES[VICTIM]));
        let device = state.identity(&Pair::NAMES[VICTIM].parse()?, None).open()?;
        let key = device.record().and_then(|record| record.claims().transport_key);
        let key = key.ok_or("the device's record has no transport key")?;
        // All those addresses are the attacker's, so that what is answered goes somewhere.
        let [a, b] = ADDRESSES;
        pair.lab.shell(ATTACKER, &format!("ip route add local {a}.{b}.0.0/15 dev lo"))?;
        let here = tibet_cli::overlay::lab::NODE.rsplit_once(':').ok_or("an address")?.0;
        pair.lab.shell(Pair::MACHINES[VICTIM], &format!("ip route add {a}.{b}.0.0/15 via {here}"))?;
        Ok(Self { at, key })
    }

    fn datagrams(&self, wave: Wave) -> Outcome<Vec<Vec<u8>>> {
        let target = Fingerprint::from_bytes([1; 32]);
        let one = |number: u8| -> Outcome<Vec<u8>> {
            if matches!(wave, Wave::Noise) {
                let mut noise = vec![number; INITIATION];
                noise[..4].copy_from_slice(&[1, 0, 0, 0]);
                return Ok(noise);
            }
            let mut seed = [number; 32];
            seed[0] ^= 1;
            let mut stranger = Tunnels::new(&TransportSecret::from_bytes(seed.into())?, 1280);
            stranger.set(target, self.key);
            let begun = stranger.seal(&target, b"flood"[..].into(), Duration::from_secs(1));
            Ok(begun.ok_or("no initiation")?.to_vec())
        };
        (1..=KINDS).map(one).collect()
    }

    /// Datagrams that the kernel had no room for on that machine.
    fn dropped(&self, lab: &Lab) -> Outcome<u64> {
        let counts = lab.shell(Pair::MACHINES[VICTIM], "grep ^Udp: /proc/net/snmp")?;
        let mut lines = counts.lines().map(str::split_whitespace);
        let (Some(names), Some(values)) = (lines.next(), lines.next()) else {
            return Err("no counts".into());
        };
        let found = names.zip(values).find(|(name, _)| *name == "RcvbufErrors");
        Ok(found.ok_or("no RcvbufErrors")?.1.parse()?)
    }
}

/// Pings all the time, on a thread of its own.
struct Pings {
    pinged: Arc<std::sync::Mutex<Vec<Pinged>>>,
}

#[derive(Clone, Copy)]
struct Pinged {
    at: Instant,
    took: Option<Duration>,
}

/// The pings of a while.
struct While(Vec<Pinged>);

impl Pings {
    fn start(mut echo: Echo) -> Self {
        let pinged = Arc::new(std::sync::Mutex::new(Vec::new()));
        let weak = Arc::downgrade(&pinged);
        thread::spawn(move || {
            while let Some(pinged) = weak.upgrade() {
                let at = Instant::now();
                let took = echo.once(PATIENCE);
                if let Ok(mut pinged) = pinged.lock() {
                    pinged.push(Pinged { at, took });
                }
                thread::sleep(EVERY.saturating_sub(at.elapsed()));
            }
        });
        Self { pinged }
    }

    fn take(&self) -> While {
        While(self.pinged.lock().map(|mut pinged| std::mem::take(&mut *pinged)).unwrap_or_default())
    }
}

impl While {
    fn served(&self) -> Served {
        let mut answered: Vec<Duration> = self.0.iter().filter_map(|pinged| pinged.took).collect();
        answered.sort();
        Served { sent: self.0.len(), answered }
    }

    fn back_after(&self, ended: Instant) -> Option<Duration> {
        let after: Vec<&Pinged> = self.0.iter().filter(|pinged| pinged.at >= ended).collect();
        let prompt = |pinged: &&Pinged| pinged.took.is_some_and(|took| took <= PROMPT);
        let row = after.windows(IN_A_ROW).find(|row| row.iter().all(prompt))?;
        Some(row[0].at - ended)
    }
}

/// As many initiations as one thread can send, or as many as it may.
struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: JoinHandle<std::io::Result<()>>,
}

impl Flood {
    fn start(
        lab: &Lab,
        to: SocketAddrV4,
        datagrams: Vec<Vec<u8>>,
        from_many: bool,
        rate: Option<u32>,
    ) -> Result<Self, LabError> {
        let socket = lab.within(ATTACKER, move || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))?;
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = thread::spawn(move || {
            let begun = Instant::now();
            for (number, datagram) in (0_u32..).zip(datagrams.iter().cycle()) {
                if number % 64 == 0 {
                    if stopped.load(Ordering::Relaxed) {
                        break;
                    }
                    let due = rate.map_or(0.0, |rate| f64::from(number) / f64::from(rate));
                    thread::sleep(Duration::from_secs_f64(due).saturating_sub(begun.elapsed()));
                }
                send(&socket, datagram, to, from_many.then_some(number))?;
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
        Ok(Self { stop, sent, thread })
    }

    fn stop(self) -> Outcome<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the flood panicked")??;
        Ok(self.sent.load(Ordering::Relaxed))
    }
}

/// Sends a datagram from the address with this number, or from the machine's own. What finds no room is lost.
fn send(socket: &UdpSocket, datagram: &[u8], to: SocketAddrV4, from: Option<u32>) -> std::io::Result<()> {
    let Some(number) = from else {
        return match socket.send_to(datagram, to) {
            Err(error) if !lost(&error) => Err(error),
            _ => Ok(()),
        };
    };
    let [a, b] = ADDRESSES;
    // Not one after the other: neighbours share what is kept by prefix.
    let [_, high, middle, low] = (number.wrapping_mul(40_503) % SOURCES).to_be_bytes();
    let source = libc::in_addr { s_addr: u32::from_ne_bytes([a, b + high, middle, low]) };
    let nowhere = libc::in_addr { s_addr: 0 };
    let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: source, ipi_addr: nowhere };
    let (iov, control) = ([std::io::IoSlice::new(datagram)], [ControlMessage::Ipv4PacketInfo(&info)]);
    let to = SockaddrIn::from(to);
    match sendmsg(socket.as_raw_fd(), &iov, &control, MsgFlags::empty(), Some(&to)) {
        Ok(_) => Ok(()),
        Err(error) => {
            let error = std::io::Error::from(error);
            if lost(&error) { Ok(()) } else { Err(error) }
        }
    }
}

/// Whether the system only has no room, or says what it heard of an earlier datagram.
fn lost(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionRefused, WouldBlock};
    matches!(error.kind(), ConnectionRefused | WouldBlock) || error.raw_os_error() == Some(libc::ENOBUFS)
}
