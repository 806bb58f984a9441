//! What becomes of a datagram on one core, without the socket: honest packets, and those that only cost time.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::time::Duration;

use ed25519_dalek::VerifyingKey;
use jis::UnixTime;
use tibet_ping::{Encoding, Packet};

use super::Bench;
use super::devices::NOW;
use super::limits::{SignedBytes, Signer};
use super::measure::{Cost, Row, Title, cost};
use super::receiver::{Outcomes, Receiver};
use super::senders::{Sender, hub, packet_of, unsigned_packet_of};
use crate::Outcome;

/// Devices that speak in turn, more than the public keys a thread remembers as checked. Each sends fewer packets a round than a sender may.
const SENDERS: usize = 64;
/// Bytes of a message about as long as what a packet's signature covers.
const SIGNED_LENGTH: usize = 430;
/// A datagram of no kind.
const NOISE: usize = 512;

pub(crate) fn rows(bench: &Bench) -> Outcome<Vec<Row>> {
    let traffic = Traffic::new(bench.scale.operations)?;
    let raw = Raw::new(&traffic)?;
    let cut = |frame: &[u8]| {
        // The last bytes of the body are blank, which is seen only when all before is read.
        let mut frame = frame.to_vec();
        let end = frame.len();
        frame[end - 4..].fill(b' ');
        frame
    };
    let version = |frame: &[u8]| [&frame[..2], &[9], &frame[3..]].concat();
    let noise = |frame: &[u8]| frame.iter().cycle().skip(8).take(NOISE).map(|byte| byte ^ 0x5a).collect();
    Ok(vec![
        legacy(bench, &traffic)?,
        answered(bench, &traffic, &raw)?,
        refused(bench, &traffic, &raw, "wrong signature", &wrong_signatures(&traffic)?)?,
        refused(bench, &traffic, &raw, "no frame at all", &changed(&traffic.signed, noise))?,
        refused(bench, &traffic, &raw, "bad header", &changed(&traffic.signed, version))?,
        refused(bench, &traffic, &raw, "good header, bad body", &changed(&traffic.signed, cut))?,
    ])
}

/// Datagrams of a round.
struct Traffic {
    senders: Vec<Sender>,
    packets: Vec<Packet>,
    signed: Vec<Vec<u8>>,
    unsigned: Vec<Vec<u8>>,
}

impl Traffic {
    fn new(count: usize) -> Outcome<Self> {
        let senders: Vec<_> = (0..SENDERS).map(Sender::new).collect::<Outcome<_>>()?;
        let of = |number: usize| (&senders[number % SENDERS], number);
        let packets: Vec<_> =
            (0..count).map(of).map(|(sender, number)| packet_of(sender, number)).collect::<Outcome<_>>()?;
        let unsigned = (0..count)
            .map(of)
            .map(|(sender, number)| Ok(unsigned_packet_of(sender, number)?.encode(Encoding::Json)?));
        let unsigned = unsigned.collect::<Outcome<_>>()?;
        let signed =
            packets.iter().map(|packet| Ok(packet.encode(Encoding::Json)?)).collect::<Outcome<_>>()?;
        Ok(Self { senders, packets, signed, unsigned })
    }
}

fn changed(frames: &[Vec<u8>], change: impl Fn(&[u8]) -> Vec<u8>) -> Vec<Vec<u8>> {
    frames.iter().map(|frame| change(frame)).collect()
}

/// Each packet with the signature of another one of the same sender: as well made as any, and wrong.
fn wrong_signatures(traffic: &Traffic) -> Outcome<Vec<Vec<u8>>> {
    let others = traffic.packets.iter().cycle().skip(SENDERS);
    let swapped = traffic.packets.iter().zip(others).map(|(packet, other)| {
        let signature =
            if traffic.packets.len() > SENDERS { other.signature.clone() } else { "0".repeat(128) };
        Ok(Packet { signature, ..packet.clone() }.encode(Encoding::Json)?)
    });
    swapped.collect()
}

/// The libraries underneath.
struct Raw {
    signed: Vec<(VerifyingKey, SignedBytes)>,
    signer: Signer,
}

impl Raw {
    fn new(traffic: &Traffic) -> Outcome<Self> {
        let one = |(number, sender): (usize, &Sender)| {
            let message = vec![number as u8; SIGNED_LENGTH];
            let key = *sender.public_key().as_bytes();
            let signature = *sender.key.sign(&message).as_bytes();
            Ok((VerifyingKey::from_bytes(&key)?, SignedBytes { message, signature, key }))
        };
        let signed = traffic.senders.iter().enumerate().map(one).collect::<Outcome<_>>()?;
        Ok(Self { signed, signer: Signer::new(&hub()?.key.to_seed())? })
    }

    fn verify(&self, count: usize, mut then: impl FnMut(&SignedBytes)) -> Outcome<Cost> {
        cost(count, || {
            self.signed.iter().cycle().take(count).try_for_each(|(key, bytes)| {
                black_box(bytes).verify(key)?;
                then(bytes);
                Ok(())
            })
        })
    }
}

/// A second after the packets were made.
fn now() -> tibet_ping::Now {
    tibet_ping::Now { wall: UnixTime::from_secs(NOW.as_secs() + 1), mono: Duration::from_secs(1000) }
}

/// Gives every datagram to a receiver that has seen none of them, and sees that all fare the same.
fn receive(traffic: &Traffic, datagrams: &[Vec<u8>], expected: Outcomes) -> Outcome<Cost> {
    let mut receiver = Receiver::new(&traffic.senders, now())?;
    let cost = cost(datagrams.len(), || {
        for (number, datagram) in datagrams.iter().enumerate() {
            black_box(receiver.handle(black_box(datagram), number % SENDERS, now()));
        }
        Ok(())
    })?;
    let came = receiver.outcomes();
    if came == expected { Ok(cost) } else { Err(format!("not {expected:?} but {came:?}").into()) }
}

fn legacy(bench: &Bench, traffic: &Traffic) -> Outcome<Row> {
    let count = traffic.unsigned.len();
    let limit_is = "serde_json into its own values + 1 nonce in an ordered set";
    Title::new("a node, unsigned packet, answered", limit_is).measure(
        bench.scale.rounds,
        |_| {
            let mut seen = BTreeSet::new();
            cost(count, || {
                traffic.unsigned.iter().try_for_each(|frame| {
                    let body: serde_json::Value = serde_json::from_slice(&black_box(frame)[8..])?;
                    seen.insert(body["nonce"].as_str().unwrap_or_default().to_owned());
                    black_box(body);
                    Ok(())
                })
            })
        },
        |_| receive(traffic, &traffic.unsigned, Outcomes { answered: count, ..Outcomes::default() }),
    )
}

fn answered(bench: &Bench, traffic: &Traffic, raw: &Raw) -> Outcome<Row> {
    let count = traffic.signed.len();
    Title::new("a node, signed packet by a known key, answered", "1 strict verify + 1 sign").measure(
        bench.scale.rounds,
        |_| raw.verify(count, |bytes| raw.signer.sign(&bytes.message)),
        |_| receive(traffic, &traffic.signed, Outcomes { answered: count, ..Outcomes::default() }),
    )
}

fn refused(bench: &Bench, traffic: &Traffic, raw: &Raw, what: &str, datagrams: &[Vec<u8>]) -> Outcome<Row> {
    let count = datagrams.len();
    Title::new(format!("a node, dropped: {what}"), "1 strict verify").measure(
        bench.scale.rounds,
        |_| raw.verify(count, |_| ()),
        |_| receive(traffic, datagrams, Outcomes { dropped: count, ..Outcomes::default() }),
    )
}
