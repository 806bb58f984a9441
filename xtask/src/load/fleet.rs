//! The devices: what each of them signs, made anew from its number whenever it is needed.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use jis::{
    Endpoint, Fingerprint, Inception, KeyEvent, Name, NextKeyCommitment, Query, Record, RecordStatus,
    RecordVersion, SecretKey, Signed, TransportCertificate, TransportSecret, UnixTime,
};
use sha2::{Digest as _, Sha256};
use tibet_overlay::intents::{OverlayRequest, RegisterRequest};
use tibet_ping::KeepaliveToken;

use super::socket::{Greeting, Socket};
use crate::Outcome;

pub(crate) struct Fleet {
    /// Drawn at the start, so that two runs have different keys.
    run: [u8; 16],
    /// Above all their names.
    above: &'static str,
    pub(crate) devices: u32,
    pub(crate) sockets: Vec<Socket>,
    /// By device; zeros until it has registered.
    pub(crate) tokens: Vec<KeepaliveToken>,
    since: UnixTime,
    /// Whether their records have transport keys, and name the node that they register with as their relay.
    in_mesh: bool,
}

impl Fleet {
    pub(crate) async fn connect(node: SocketAddr, devices: u32, sockets: u32) -> Outcome<Self> {
        let mut fleet = Self::unconnected("jis:load", devices)?;
        for _ in 0..sockets.min(devices.max(1)) {
            fleet.sockets.push(Socket::connect(node.ip(), node).await?);
        }
        Ok(fleet)
    }

    /// Devices without sockets.
    pub(crate) fn unconnected(above: &'static str, devices: u32) -> Outcome<Self> {
        let run = tibet_iot::system::random()?;
        let tokens = vec![[0; 16]; devices as usize];
        Ok(Self { run, above, devices, sockets: Vec::new(), tokens, since: now(), in_mesh: false })
    }

    /// Devices without sockets that take part in the mesh.
    pub(crate) fn in_mesh(above: &'static str, devices: u32) -> Outcome<Self> {
        Ok(Self { in_mesh: true, ..Self::unconnected(above, devices)? })
    }

    pub(crate) fn name(&self, device: u32) -> Name {
        format!("{}:d{device}", self.above).parse().expect("a name")
    }

    pub(crate) fn key(&self, device: u32) -> SecretKey {
        SecretKey::from_seed(self.seed(b"identity", device).into()).expect("a hash is a seed")
    }

    pub(crate) fn transport(&self, device: u32) -> TransportSecret {
        TransportSecret::from_bytes(self.seed(b"transport", device).into()).expect("a hash is a seed")
    }

    fn seed(&self, what_for: &[u8], device: u32) -> [u8; 32] {
        let hash = Sha256::new().chain_update(self.run).chain_update(what_for);
        hash.chain_update(device.to_be_bytes()).finalize().into()
    }

    /// Who a device is in the mesh.
    pub(crate) fn fingerprint(&self, device: u32) -> Fingerprint {
        Fingerprint::of_inception(self.inception(device, &self.key(device)).message())
    }

    fn inception(&self, device: u32, key: &SecretKey) -> Signed<Inception> {
        let inception = Inception {
            name: self.name(device),
            key: key.public_key(),
            next: NextKeyCommitment::from_bytes([7; 32]),
            created_at: self.since,
        };
        Signed::seal(inception, key).expect("sound")
    }

    /// The device's registration from where it was greeted: its record with this number, and its key event where that is `0`.
    pub(crate) fn registration(
        &self,
        device: u32,
        seq: u64,
        greeting: &Greeting,
        id: [u8; 8],
    ) -> Signed<Query> {
        let key = self.key(device);
        let inception = self.inception(device, &key);
        let transport = self.in_mesh.then(|| self.transport(device).public_key());
        let [_, b, c, d] = device.to_be_bytes();
        let record = Record {
            name: inception.claims().name.clone(),
            fingerprint: Fingerprint::of_inception(inception.message()),
            version: RecordVersion { generation: 0, seq },
            key: key.public_key(),
            transport_key: transport,
            issued_at: now(),
            ttl: Record::MAX_TTL,
            endpoints: vec![
                Endpoint::new(SocketAddr::from(([10, b, c, d], 7150 + seq as u16))).expect("private"),
            ],
            relays: self.in_mesh.then(|| Name::of_key(&greeting.node_key)).into_iter().collect(),
            capabilities: [format!("group-{}", device % 1000), "load".to_owned()]
                .map(|capability| capability.parse().expect("a word"))
                .into(),
            status: RecordStatus::Active,
            previous: [0; 32],
            next: NextKeyCommitment::from_bytes([7; 32]),
            behind_nat: true,
        };
        let record = Signed::seal(record, &key).expect("sound");
        let transport = transport.map(|transport_key| {
            let not_before = now();
            let certificate = TransportCertificate {
                name: self.name(device),
                generation: 0,
                key: key.public_key(),
                transport_key,
                not_before,
                not_after: not_before.saturating_add(TransportCertificate::MAX_LIFETIME),
            };
            Signed::seal(certificate, &key).expect("sound")
        });
        let events = if seq == 0 { vec![KeyEvent::Inception(inception)] } else { Vec::new() };
        let request = RegisterRequest { record, events, transport, permission: None };
        self.ask(device, &OverlayRequest::Register(Box::new(request)), greeting, id)
    }

    /// A question of a device.
    pub(crate) fn ask(
        &self,
        device: u32,
        request: &OverlayRequest,
        greeting: &Greeting,
        id: [u8; 8],
    ) -> Signed<Query> {
        question(self.name(device), &self.key(device), request, greeting, id)
    }
}

/// A question of whoever has this name and key.
pub(crate) fn question(
    source: Name,
    key: &SecretKey,
    request: &OverlayRequest,
    greeting: &Greeting,
    id: [u8; 8],
) -> Signed<Query> {
    let query = Query {
        id,
        cookie: greeting.cookie,
        source,
        key: key.public_key(),
        generation: 0,
        responder: greeting.node_key,
        method: request.intent().parse().expect("a method"),
        arguments: request.arguments(),
    };
    Signed::seal(query, key).expect("sound")
}

pub(crate) fn now() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixTime::from_millis(u64::try_from(since.as_millis()).unwrap_or(0)).expect("a time")
}
