//! F2: a JSON body. SECURITY R12, R46 and 3.2 rows 14 to 22.
//!
//! - Packets and responses that are read are within all bounds, and are written and read again as they are ([`bodies`](super::bodies)).
//! - A second reader, `serde_json`, reads whatever ours reads and finds the same values in it: nobody who believes RFC 8259 can be told
//!   something else with the same bytes. What it reads and ours does not is nested too deep or has a name twice.

use serde_json::Value as Other;
use tibet_core::json::{self, JsonErrorKind, Value};
use tibet_ping::{Encoding, Packet, Reject, Response};

use super::Verdict;
use super::bodies::{packet_holds, response_holds};

/// Checks one body, as a packet and as a response.
pub fn check(body: &[u8]) -> Verdict {
    let value = json::parse_bytes(body);
    let other = serde_json::from_slice::<Other>(body);
    match (&value, &other) {
        (Ok(value), Ok(other)) => assert!(is_same(value, other), "{value:?} is {other:?} to others"),
        (Ok(value), Err(error)) => {
            // Its numbers end where doubles do, or a little before; our integers go on as digits, and a body's end at 64 bits.
            assert!(error.to_string().starts_with("number out of range"), "{error}");
            assert!(is_finite(value), "{value:?}");
        }
        (Err(error), Ok(_)) => {
            let stricter = [JsonErrorKind::TooDeep, JsonErrorKind::DuplicateMember];
            assert!(stricter.contains(&error.kind), "others read it: {error}");
        }
        (Err(_), Err(_)) => {}
    }

    let packet = Packet::decode(Encoding::Json, body);
    let response = Response::decode(Encoding::Json, body);
    match &value {
        Ok(Value::Object(_)) => {
            assert!(![packet.as_ref().err(), response.as_ref().err()].contains(&Some(&Reject::NotAMap)))
        }
        Ok(_) => {
            // A list can also be too deep.
            let class = packet.as_ref().err();
            assert!(
                [Some(&Reject::NotAMap), Some(&Reject::TooComplex), Some(&Reject::BadJson)].contains(&class)
            );
        }
        Err(error) => {
            let class = match error.kind {
                JsonErrorKind::NotUtf8 => Reject::BadUtf8,
                JsonErrorKind::TooDeep => Reject::TooComplex,
                _ => Reject::BadJson,
            };
            assert_eq!(packet.as_ref().err(), Some(&class));
            assert_eq!(response.as_ref().err(), Some(&class));
        }
    }
    if let Ok(packet) = &packet {
        packet_holds(packet, Encoding::Json, body.len());
    }
    if let Ok(response) = &response {
        response_holds(response, Encoding::Json, body.len());
    }
    Verdict::of(packet.is_ok() || response.is_ok())
}

fn is_finite(value: &Value) -> bool {
    match value {
        Value::Float(number) => number.is_finite(),
        Value::Array(items) => items.iter().all(is_finite),
        Value::Object(object) => object.iter().all(|(_, value)| is_finite(value)),
        _ => true,
    }
}

fn is_same(value: &Value, other: &Other) -> bool {
    match (value, other) {
        (Value::Null, Other::Null) => true,
        (Value::Bool(a), Other::Bool(b)) => a == b,
        (Value::Text(a), Other::String(b)) => a == b,
        (Value::Integer(a), Other::Number(b)) => {
            b.as_i64() == Some(*a) || *a == 0 && b.as_f64() == Some(0.0) // −0
        }
        // Beyond 64 bits it only has a double.
        (Value::BigInteger(a), Other::Number(b)) => match b.as_u64() {
            Some(b) => a.as_str() == b.to_string(),
            None => b.is_f64(),
        },
        (Value::Float(a), Other::Number(b)) => {
            // It rounds a little otherwise in its usual setting.
            let close = |b: f64| a == &b || (a - b).abs() <= a.abs() * 1e-14 || (a - b).abs() < 1e-300;
            b.as_f64().is_some_and(close)
        }
        (Value::Array(a), Other::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b))
        }
        (Value::Object(a), Other::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| is_same(a, b)))
        }
        _ => false,
    }
}
