//! Who pings whom in the benchmarks, and what.

use jis::{Name, PublicKey, SecretKey, UnixTime};
use tibet_core::{Zone, object};
use tibet_ping::{Decision, Fresh, Packet, Response, request_hash, sign_ping, sign_pong};

use super::devices::NOW;
use crate::Outcome;

/// A device with a key.
pub(crate) struct Sender {
    pub(crate) name: Name,
    pub(crate) key: SecretKey,
}

impl Sender {
    pub(crate) fn new(number: usize) -> Outcome<Self> {
        let mut seed = [0x33; 32];
        seed[..8].copy_from_slice(&(number as u64).to_be_bytes());
        let name = format!("jis:bench:sensor-{number:03}").parse()?;
        Ok(Self { name, key: SecretKey::from_seed(seed.into())? })
    }

    /// The name under which it speaks unsigned: one that has a key may not.
    pub(crate) fn legacy_name(&self) -> Outcome<Name> {
        Ok(format!("{}-legacy", self.name).parse()?)
    }

    pub(crate) fn public_key(&self) -> PublicKey {
        self.key.public_key()
    }
}

/// The device that is pinged.
pub(crate) fn hub() -> Outcome<Sender> {
    Ok(Sender { name: "jis:bench:hub".parse()?, ..Sender::new(999)? })
}

fn fresh(number: usize) -> Outcome<Fresh> {
    let mut nonce = [0xa7; 16];
    nonce[8..].copy_from_slice(&(number as u64).to_be_bytes());
    // Milliseconds that are not zero, as nearly all are.
    let now = UnixTime::from_millis(NOW.as_millis() + 1 + number as u64 % 999).ok_or("too late a time")?;
    Ok(Fresh { id: (number as u64).to_be_bytes(), nonce, now })
}

/// The typical request of a sender without a key.
pub(crate) fn unsigned_packet_of(sender: &Sender, number: usize) -> Outcome<Packet> {
    packet_from(&sender.legacy_name()?, number)
}

/// A reading of a sensor for the hub. Number `number` has its own id and nonce.
fn packet_from(sender: &Name, number: usize) -> Outcome<Packet> {
    let purpose = "Hourly reading of the greenhouse";
    let mut packet = Packet::intent(sender, &hub_name()?, "temperature.report", purpose, fresh(number)?);
    packet.payload = object! { "celsius" => 21.5, "battery" => 87, "unit" => "C", "ok" => true };
    Ok(packet)
}

/// The typical request, signed for the hub's key.
pub(crate) fn packet_of(sender: &Sender, number: usize) -> Outcome<Packet> {
    let mut packet = packet_from(&sender.name, number)?;
    let expires_at = UnixTime::from_secs(NOW.as_secs() + 30);
    sign_ping(&mut packet, &sender.key, 0, Some(hub()?.public_key()), expires_at)?;
    Ok(packet)
}

/// The hub's answer.
pub(crate) fn response_to(packet: &Packet, hub: &Sender) -> Outcome<Response> {
    let mut response = unsigned_response_to(packet, &hub.name)?;
    sign_pong(&mut response, &request_hash(packet), &hub.key, 0)?;
    Ok(response)
}

/// The hub's answer, unsigned.
pub(crate) fn unsigned_response_to(packet: &Packet, hub: &Name) -> Outcome<Response> {
    let mut response = Response::to(packet, hub, Decision::Accept, Zone::Groen, 0.9, fresh(1)?);
    response.rtt_ms = Some(0.125);
    response.capabilities = vec!["mqtt".into(), "coap".into()];
    Ok(response)
}

fn hub_name() -> Outcome<Name> {
    Ok(hub()?.name)
}
