//! Names in two notations.
//!
//! DNS has the general part last and does not tell upper case from lower, so labels are reversed, and the key in a self-certifying name, which base58
//! writes in both cases, is written in base32.

use jis::{Name, PublicKey};

/// The zone, its labels as DNS orders them.
pub(super) const ZONE: [&str; 2] = ["tibet", "internal"];
/// First label of a self-certifying name, which no other name has.
const CERTIFYING: &str = "ed25519";
/// Multicodec prefix of an Ed25519 public key, as in the name itself.
const MULTICODEC: [u8; 2] = [0xED, 0x01];
/// RFC 4648 §6 in lower case, without padding: multibase `b`.
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const MULTIBASE: char = 'b';

/// What a name is called in DNS, without a dot at the end: `hub.home.tibet.internal` for `jis:home:hub`.
///
/// Every name has such a name, of at most 211 bytes, with labels of at most 63. That of a self-certifying name is the key in multibase `b`:
/// `b5ua….ed25519.tibet.internal`.
///
/// ```
/// let name = "jis:home:hub".parse()?;
/// assert_eq!(tibet_net::dns_name(&name), "hub.home.tibet.internal");
/// assert_eq!(tibet_net::name_from_dns("HUB.home.tibet.internal."), Some(name));
/// # Ok::<(), jis::NameError>(())
/// ```
#[must_use]
pub fn dns_name(name: &Name) -> String {
    let own = match name.certified_key() {
        Some(key) => format!("{}.{CERTIFYING}", write_key(&key)),
        None => name.labels().rev().collect::<Vec<_>>().join("."),
    };
    format!("{own}.{}", ZONE.join("."))
}

/// The name that is so called in DNS; `None` for what is not below `tibet.internal` or follows no name's grammar. A dot at the end may stand there or not,
/// and case does not matter.
#[must_use]
pub fn name_from_dns(text: &str) -> Option<Name> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let labels: Vec<&[u8]> = text.split('.').map(str::as_bytes).collect();
    name_of(below_zone(&labels)?)
}

/// The labels before those of the zone; `None` for a name elsewhere.
pub(super) fn below_zone<'a, 'b>(labels: &'a [&'b [u8]]) -> Option<&'a [&'b [u8]]> {
    let (own, zone) = labels.split_at_checked(labels.len().checked_sub(ZONE.len())?)?;
    zone.iter().zip(ZONE).all(|(label, zone)| label.eq_ignore_ascii_case(zone.as_bytes())).then_some(own)
}

/// The name with these labels below the zone.
pub(super) fn name_of(own: &[&[u8]]) -> Option<Name> {
    let labels: Option<Vec<String>> =
        own.iter().rev().map(|label| Some(std::str::from_utf8(label).ok()?.to_ascii_lowercase())).collect();
    match &labels?[..] {
        [first, key] if first == CERTIFYING => read_key(key).map(|key| Name::of_key(&key)),
        [first, ..] if first == CERTIFYING => None,
        // A colon within a label would become one between two.
        labels if labels.iter().any(|label| label.contains(':')) => None,
        labels => format!("jis:{}", labels.join(":")).parse().ok(),
    }
}

/// Whether these labels are only the beginning of names: there is something below, and nothing here.
pub(super) fn is_between(own: &[&[u8]]) -> bool {
    matches!(own, [first] if first.eq_ignore_ascii_case(CERTIFYING.as_bytes()))
}

fn write_key(key: &PublicKey) -> String {
    let mut text = String::from(MULTIBASE);
    let (mut bits, mut number) = (0_u32, 0_u32);
    for byte in MULTICODEC.iter().chain(key.as_bytes()) {
        number = (number << 8 | u32::from(*byte)) & 0xFFFF;
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(digit(number >> bits));
        }
    }
    // 34 bytes are 54 digits and two bits.
    text.push(digit(number << (5 - bits)));
    text
}

fn digit(value: u32) -> char {
    char::from(BASE32[(value & 31) as usize])
}

fn read_key(text: &str) -> Option<PublicKey> {
    let mut bytes = Vec::with_capacity(34);
    let (mut bits, mut number) = (0_u32, 0_u32);
    for digit in text.strip_prefix(MULTIBASE)?.bytes() {
        let value = BASE32.iter().position(|known| *known == digit)?;
        number = (number << 5 | u32::try_from(value).ok()?) & 0xFFFF;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push(((number >> bits) & 0xFF) as u8);
        }
    }
    let key = PublicKey::from_bytes(bytes.strip_prefix(&MULTICODEC)?.try_into().ok()?).ok()?;
    // One spelling each: what is left over in the last digit must be nothing.
    (write_key(&key) == text).then_some(key)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "jis:ed25519:z6MkehRgf7yJbgaGfYsdoAsKdBPE3dj2CYhowQdcjqSJgvVd";

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    #[test]
    fn labels_are_reversed_and_come_back() {
        for (jis, dns) in [
            ("jis:hub", "hub.tibet.internal"),
            ("jis:home:hub", "hub.home.tibet.internal"),
            ("jis:a:b:c:d:e:f:g:h", "h.g.f.e.d.c.b.a.tibet.internal"),
            ("jis:home:sensor_01-b", "sensor_01-b.home.tibet.internal"),
            ("jis:tibet:internal", "internal.tibet.tibet.internal"),
        ] {
            assert_eq!(dns_name(&name(jis)), dns);
            assert_eq!(name_from_dns(dns), Some(name(jis)));
            assert_eq!(
                name_from_dns(&format!("{}.", dns.to_uppercase())),
                Some(name(jis)),
                "DNS knows no case"
            );
        }
    }

    #[test]
    fn a_key_is_written_in_base32_and_comes_back_in_any_case() {
        let dns = dns_name(&name(KEY));
        assert_eq!(dns, "b5uaqhiihx7z44ef6dvyn2ghhjpajsz7e2yyjxjinl4o5zbtecjktdoa.ed25519.tibet.internal");
        assert_eq!(name_from_dns(&dns.to_uppercase()), Some(name(KEY)));
        // Another last digit with the same bytes; another multicodec; base58; a digit that is none; one digit more; another label more.
        let (label, rest) = dns.split_once('.').expect("labels");
        let (digits, _) = label.split_at(label.len() - 1);
        for wrong in [
            format!("{digits}j.{rest}"),
            format!("b4{}.{rest}", &label[2..]),
            format!("{}.{rest}", &KEY["jis:ed25519:".len()..]),
            format!("{digits}1.{rest}"),
            format!("{label}a.{rest}"),
            format!("x.{dns}"),
            rest.to_owned(),
            format!("b.{rest}"),
        ] {
            assert_eq!(name_from_dns(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_no_name_of_ours_is_none() {
        for text in [
            "",
            ".",
            "tibet.internal",
            "internal",
            "hub.tibet.internal.example",
            "hub.tibet-internal",
            "hub",
            "hub.local",
            "-hub.tibet.internal",
            "hub..tibet.internal",
            "h ub.tibet.internal",
            "hüb.tibet.internal",
            "a:b.tibet.internal",
            "i.h.g.f.e.d.c.b.a.tibet.internal",
            "_dns-sd._udp.tibet.internal",
        ] {
            assert_eq!(name_from_dns(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_name_comes_back(labels in prop::collection::vec("[a-z0-9]([a-z0-9_-]{0,20}[a-z0-9])?", 1..=8)) {
            prop_assume!(labels[0] != CERTIFYING);
            let name = name(&format!("jis:{}", labels.join(":")));
            let dns = dns_name(&name);
            prop_assert!(dns.len() <= 211);
            prop_assert_eq!(name_from_dns(&dns), Some(name));
        }

        #[test]
        fn any_text_is_a_name_or_none(text in ".{0,60}(\\.ed25519)?(\\.tibet\\.internal)?") {
            if let Some(name) = name_from_dns(&text) {
                let text = text.strip_suffix('.').unwrap_or(&text).to_ascii_lowercase();
                prop_assert_eq!(dns_name(&name), text);
            }
        }
    }
}
