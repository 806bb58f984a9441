//! What a signed object says in a few of its fields, at a glance: nothing is verified, no key is read, and little is copied.
//!
//! For questions before anything of them is believed, and for records that were verified when they were taken.

use jis::{MessageReader, Query, Record, SignedObject as _, Tag};

/// Bytes of a signature, behind M.
const SIGNATURE: usize = 64;
/// Arguments of a registration before its key events.
const BEFORE_EVENTS: usize = 3;

/// What a question says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QueryGlance<'a> {
    /// Who asks, by its own word.
    pub(super) source: &'a str,
    /// What it costs to check: 1, and 2 for each key event that comes along.
    pub(super) weight: u32,
}

impl<'a> QueryGlance<'a> {
    /// Looks at `M ‖ signature`; `None` for what is no question.
    pub(super) fn of(signed: &'a [u8]) -> Option<Self> {
        let mut fields = open(signed, Tag::Query, Query::FIELDS)?;
        fields.bytes().ok()?;
        let source = std::str::from_utf8(fields.bytes().ok()?).ok()?;
        for _key_generation_responder in 0..3 {
            fields.bytes().ok()?;
        }
        let method = fields.bytes().ok()?;
        let arguments = fields.list("arguments", Query::MAX_ARGUMENTS).ok()?.len();
        let events = match method {
            b"overlay.register" => arguments.saturating_sub(BEFORE_EVENTS),
            b"overlay.rotate" | b"overlay.revoke" => 1,
            _ => 0,
        };
        Some(Self { source, weight: 1 + 2 * u32::try_from(events).ok()? })
    }
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RecordGlance<'a> {
    pub(super) name: &'a str,
    pub(super) capabilities: Vec<&'a str>,
    /// Whether it is a goodbye.
    pub(super) away: bool,
}

impl<'a> RecordGlance<'a> {
    /// Looks at `M ‖ signature`; `None` for what is no record.
    pub(super) fn of(signed: &'a [u8]) -> Option<Self> {
        let mut fields = open(signed, Tag::Record, Record::FIELDS)?;
        let name = std::str::from_utf8(fields.bytes().ok()?).ok()?;
        for _fingerprint_to_relays in 0..9 {
            fields.bytes().ok()?;
        }
        let capabilities = fields.list("capabilities", Record::MAX_CAPABILITIES).ok()?;
        let capabilities =
            capabilities.into_iter().map(std::str::from_utf8).collect::<Result<_, _>>().ok()?;
        let away = fields.integer("status").ok()? == AWAY;
        Some(Self { name, capabilities, away })
    }
}

/// Whether a record, verified when it was taken, says that its device may be found through this relay: it names it, and is no goodbye (SECURITY R50).
pub(super) fn accepts_from(signed: &[u8], relay: &str) -> bool {
    let look = || {
        let mut fields = open(signed, Tag::Record, Record::FIELDS)?;
        for _name_to_endpoints in 0..9 {
            fields.bytes().ok()?;
        }
        let relays = fields.list("relays", Record::MAX_RELAYS).ok()?;
        fields.bytes().ok()?;
        Some(relays.contains(&relay.as_bytes()) && fields.integer("status").ok()? != AWAY)
    };
    look().unwrap_or(false)
}

/// The status of a goodbye (`docs/spec/record.md`).
const AWAY: u64 = 2;

fn open(signed: &[u8], tag: Tag, fields: u16) -> Option<MessageReader<'_>> {
    let message = signed.get(..signed.len().checked_sub(SIGNATURE)?)?;
    MessageReader::open(message, tag, fields).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::{self, random};
    use crate::{LocalDevice, Presence};
    use jis::{RecordStatus, SecretKey, Signed};

    fn record(status: RecordStatus) -> Signed<Record> {
        let mut device = LocalDevice::create("jis:a".parse().expect("name"), system::now()).expect("keys");
        let capabilities = ["mqtt", "light"].map(|word| word.parse().expect("word"));
        let presence = Presence { capabilities: capabilities.into(), status, ..Presence::default() };
        device.publish(presence, system::now()).expect("signed");
        device.record().expect("published").clone()
    }

    #[test]
    fn a_glance_at_a_record_sees_what_the_record_says() {
        for (status, away) in [(RecordStatus::Active, false), (RecordStatus::Away, true)] {
            let bytes = record(status).encode();
            let seen = RecordGlance::of(&bytes).expect("a record");
            assert_eq!(seen, RecordGlance { name: "jis:a", capabilities: vec!["light", "mqtt"], away });
            // Cut before its status, it says nothing, and nothing breaks.
            assert!((0..bytes.len() - 200).all(|length| RecordGlance::of(&bytes[..length]).is_none()));
        }
    }

    /// SECURITY R18: what it costs to check is known before anything is checked.
    #[test]
    fn a_question_weighs_as_much_as_it_has_key_events() {
        let key = SecretKey::from_seed(random().expect("random").into()).expect("key");
        let query = |method: &str, arguments: usize| {
            let query = Query {
                id: [1; 8],
                cookie: [2; 16],
                source: "jis:a".parse().expect("name"),
                key: key.public_key(),
                generation: 0,
                responder: key.public_key(),
                method: method.parse().expect("word"),
                arguments: vec![vec![7; 3]; arguments],
            };
            Signed::seal(query, &key).expect("signed").encode()
        };
        for (method, arguments, weight) in [
            ("overlay.resolve", 2, 1),
            ("overlay.register", 0, 1),
            ("overlay.register", 3, 1),
            ("overlay.register", 4, 3),
            ("overlay.register", 45, 85),
            ("overlay.rotate", 2, 3),
            ("overlay.revoke", 1, 3),
        ] {
            let bytes = query(method, arguments);
            let seen = QueryGlance::of(&bytes);
            assert_eq!(seen, Some(QueryGlance { source: "jis:a", weight }), "{method} with {arguments}");
        }
        assert_eq!(QueryGlance::of(&[0; 300]), None);
        assert_eq!(QueryGlance::of(&[0; 3]), None);
        assert_eq!(QueryGlance::of(&record(RecordStatus::Active).encode()), None);
    }
}
