//! The nodes on the internet: a rendezvous that passes consents on, and relays.

use std::collections::BTreeMap;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::LazyLock;
use std::time::Duration;

use jis::{Fingerprint, TransportSecret};
use tibet_mesh::{RelayClient, RelayConfig, RelayKeys, RelayOpening, RelayServer};

/// How long a session with a relay lasts, so that some end within a run.
pub const LIFETIME: Duration = Duration::from_secs(600);

/// What goes between hosts and nodes beside the mesh, standing for signed frames of the overlay.
#[derive(Debug, Clone)]
pub enum Control {
    /// A host to the rendezvous: here I am.
    Hello(usize),
    /// Its answer: I see you there.
    Seen(SocketAddr),
    /// A consent, on its way to its receiver.
    Consent(Consent),
    /// A host to a relay: open a session.
    Open {
        /// Whose.
        host: usize,
        /// Which of its requests.
        request: u64,
    },
    /// Its answer.
    Opened {
        /// Which relay.
        relay: usize,
        /// Whose request.
        request: u64,
        /// The session.
        session: [u8; 8],
    },
}

/// The consent to probes.
#[derive(Debug, Clone)]
pub struct Consent {
    /// Whose.
    pub from: usize,
    /// With whom.
    pub to: usize,
    /// Its number.
    pub nonce: [u8; 16],
    /// The number of the one that it answers.
    pub answers: Option<[u8; 16]>,
    /// Where it may be looked for.
    pub candidates: Vec<SocketAddr>,
}

/// The transport secret with this number.
#[must_use]
pub fn secret(number: usize) -> TransportSecret {
    let mut bytes = [number as u8 + 1; 32];
    bytes[0] ^= 1;
    TransportSecret::from_bytes(bytes.into()).expect("a secret")
}

/// Most hosts of a run.
const HOSTS: usize = 8;

static IDENTITIES: LazyLock<[(Fingerprint, Ipv6Addr); HOSTS]> = LazyLock::new(|| {
    std::array::from_fn(|host| {
        let identity = Fingerprint::of_inception(&host.to_be_bytes());
        (identity, identity.overlay_address("tibet"))
    })
});

/// The identity of the host with this number.
#[must_use]
pub fn identity(host: usize) -> Fingerprint {
    IDENTITIES[host].0
}

/// Its overlay address.
#[must_use]
pub fn address(host: usize) -> Ipv6Addr {
    IDENTITIES[host].1
}

const RELAY_SECRETS: usize = 100;

fn request_hash(host: usize, relay: usize, request: u64) -> [u8; 32] {
    *blake3::hash(format!("{host} {relay} {request}").as_bytes()).as_bytes()
}

/// A host's end of a session.
#[must_use]
pub fn client(
    host: usize,
    relay: usize,
    request: u64,
    session: [u8; 8],
    address: SocketAddr,
    now: Duration,
) -> RelayClient {
    let public = secret(RELAY_SECRETS + relay).public_key();
    let hash = request_hash(host, relay, request);
    let keys = RelayKeys::for_device(&secret(host), &public, &hash).expect("keys");
    RelayClient::new(keys, session, address, LIFETIME, now)
}

/// A relay.
#[derive(Debug)]
pub struct Relay {
    number: usize,
    starts: u8,
    /// What passes on.
    pub server: RelayServer,
    /// Whether it is there.
    pub up: bool,
    /// The newest request of each host, and its answer. Times in requests say which is newest, so a restart forgets none.
    requests: BTreeMap<usize, (u64, Option<[u8; 8]>)>,
}

impl Relay {
    /// The relay with this number.
    #[must_use]
    pub fn new(number: usize) -> Self {
        let server = RelayServer::new(RelayConfig::default(), [number as u8; 32]);
        Self { number, starts: 0, server, up: true, requests: BTreeMap::new() }
    }

    /// It goes away, and has forgotten its sessions when it is back.
    pub fn stop(&mut self) {
        self.up = false;
        self.starts += 1;
        let mut secret = [self.number as u8; 32];
        secret[1] = self.starts;
        self.server = RelayServer::new(RelayConfig::default(), secret);
        self.requests.values_mut().for_each(|(_, session)| *session = None);
    }

    /// A host asks for a session: the answer.
    pub fn open(&mut self, host: usize, request: u64, from: SocketAddr, now: Duration) -> Option<Control> {
        let answer = |session| Control::Opened { relay: self.number, request, session };
        match self.requests.get(&host) {
            Some((newest, _)) if *newest > request => return None,
            Some((newest, Some(session))) if *newest == request => return Some(answer(*session)),
            _ => {}
        }
        let hash = request_hash(host, self.number, request);
        let keys =
            RelayKeys::for_relay(&secret(RELAY_SECRETS + self.number), &secret(host).public_key(), &hash);
        let (owner, address) = (identity(host), address(host));
        let opening = RelayOpening {
            owner,
            address,
            keys: keys.expect("keys"),
            from,
            accepts: true,
            lifetime: LIFETIME,
        };
        let session = self.server.open(opening, now).ok()?;
        self.requests.insert(host, (request, Some(session)));
        Some(answer(session))
    }
}

/// Who passes consents on.
#[derive(Debug)]
pub struct Rendezvous {
    /// Whether it is there.
    pub up: bool,
    /// Where hosts were seen last.
    pub seen: BTreeMap<usize, SocketAddr>,
}
