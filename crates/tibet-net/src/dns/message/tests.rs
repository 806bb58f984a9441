//! Bytes as resolvers send them; what is answered is read by a library that knows nothing of ours.

use proptest::prelude::*;
use simple_dns::rdata::RData;
use simple_dns::{CLASS, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};

use super::*;

/// `getent ahostsv6 hub.home.tibet.internal`: recursion desired, no extension.
const GETENT: &[u8] = b"\x9C\x11\x01\x00\0\x01\0\0\0\0\0\0\x03hub\x04home\x05tibet\x08internal\0\0\x1C\0\x01";
/// `dig AAAA Hub.home.tibet.internal`: also "authentic data", and an extension with a cookie.
const DIG: &[u8] = b"\x12\x34\x01\x20\0\x01\0\0\0\0\0\x01\x03Hub\x04home\x05tibet\x08internal\0\0\x1C\0\x01\
    \0\0\x29\x04\xD0\0\0\0\0\0\x0C\0\x0A\0\x08\x01\x02\x03\x04\x05\x06\x07\x08";

fn hub() -> Name {
    "jis:home:hub".parse().expect("name")
}

fn address() -> Ipv6Addr {
    "fd12:3456:789a::42".parse().expect("address")
}

fn ask(message: &[u8]) -> DnsQuery {
    match DnsQuery::read(message) {
        DnsRead::Ask(query) => query,
        other => panic!("{other:?}"),
    }
}

fn answered(message: &[u8]) -> Vec<u8> {
    match DnsQuery::read(message) {
        DnsRead::Answer(answer) => answer,
        other => panic!("{other:?}"),
    }
}

fn query(name: &str, kind: QTYPE) -> Vec<u8> {
    let mut packet = Packet::new_query(7);
    packet.questions.push(Question::new(
        name.try_into().expect("name"),
        kind,
        QCLASS::CLASS(CLASS::IN),
        false,
    ));
    packet.build_bytes_vec().expect("query")
}

fn code(answer: &[u8]) -> RCODE {
    Packet::parse(answer).expect("an answer").rcode()
}

/// The one record of an answer, and the seconds that nothing may be kept if it says so.
fn content(answer: &[u8]) -> (Option<String>, Option<u32>) {
    let packet = Packet::parse(answer).expect("an answer");
    assert!(packet.has_flags(PacketFlag::RESPONSE) && packet.answers.len() <= 1);
    let record = packet.answers.first().map(|record| match &record.rdata {
        RData::AAAA(found) => format!("{} {} {}", record.name, record.ttl, Ipv6Addr::from(found.address)),
        RData::PTR(found) => format!("{} {} {}", record.name, record.ttl, found.0),
        RData::SOA(found) => format!("{} {} {}", record.name, record.ttl, found.mname),
        other => panic!("{other:?}"),
    });
    let none = packet.name_servers.first().map(|record| match &record.rdata {
        RData::SOA(start) => {
            assert!(record.ttl == start.minimum && start.mname == record.name, "{record:?}");
            start.minimum
        }
        other => panic!("{other:?}"),
    });
    (record, none)
}

#[test]
fn an_address_is_answered_as_it_was_asked_for() {
    let query = ask(GETENT);
    assert_eq!(query.wanted(), &DnsWanted::Address(hub()));
    let answer = query.answer(&DnsFound::Address(address()));
    let mut expected = b"\x9C\x11\x85\x00\0\x01\0\x01\0\0\0\0".to_vec();
    expected.extend(&GETENT[12..]);
    expected.extend(b"\xC0\x0C\0\x1C\0\x01\0\0\0\x3C\0\x10");
    expected.extend(address().octets());
    assert_eq!(answer, expected);

    let query = ask(DIG);
    assert_eq!(query.wanted(), &DnsWanted::Address(hub()));
    let answer = query.answer(&DnsFound::Address(address()));
    assert_eq!(content(&answer), (Some("Hub.home.tibet.internal 60 fd12:3456:789a::42".into()), None));
    assert!(answer.ends_with(b"\0\0\x29\x04\xD0\0\0\0\0\0\0"), "its own extension, without the cookie");
}

#[test]
fn what_is_not_there_is_said_to_be_missing_for_five_seconds() {
    let query = |kind| ask(&query("hub.home.tibet.internal", QTYPE::TYPE(kind)));
    let unknown = query(TYPE::AAAA).answer(&DnsFound::Nothing);
    assert_eq!((code(&unknown), content(&unknown)), (RCODE::NameError, (None, Some(5))));
    for kind in [TYPE::A, TYPE::MX, TYPE::TXT, TYPE::Unknown(65)] {
        let other = query(kind).answer(&DnsFound::Address(address()));
        assert_eq!((code(&other), content(&other)), (RCODE::NoError, (None, Some(5))), "{kind:?}");
        assert_eq!(code(&query(kind).answer(&DnsFound::Nothing)), RCODE::NameError);
    }
    let failed = query(TYPE::AAAA).answer(&DnsFound::Failed);
    assert_eq!((code(&failed), content(&failed)), (RCODE::ServerFailure, (None, None)));
    let any = ask(&self::query("hub.home.tibet.internal", QTYPE::ANY)).answer(&DnsFound::Address(address()));
    assert!(content(&any).0.is_some());
}

/// SECURITY R73: an overlay name never leads to an address that is none of the overlay.
#[test]
fn r73_no_other_addresses_are_given_out() {
    for other in ["::1", "fe80::1", "::ffff:127.0.0.1", "fc00::1", "2001:db8::1"] {
        let answer = ask(GETENT).answer(&DnsFound::Address(other.parse().expect("address")));
        assert_eq!((code(&answer), content(&answer)), (RCODE::ServerFailure, (None, None)), "{other}");
    }
}

#[test]
fn the_zone_itself_is_there_and_everything_else_is_refused() {
    let soa = answered(&query("Tibet.internal", QTYPE::TYPE(TYPE::SOA)));
    assert_eq!(content(&soa), (Some("Tibet.internal 5 Tibet.internal".into()), None));
    for name in ["tibet.internal", "ed25519.tibet.internal"] {
        let nothing = answered(&query(name, QTYPE::TYPE(TYPE::AAAA)));
        assert_eq!((code(&nothing), content(&nothing)), (RCODE::NoError, (None, Some(5))), "{name}");
    }
    for name in [
        "-hub.tibet.internal",
        "_udp.tibet.internal",
        "i.h.g.f.e.d.c.b.a.tibet.internal",
        "x.ed25519.tibet.internal",
    ] {
        let none = answered(&query(name, QTYPE::TYPE(TYPE::AAAA)));
        assert_eq!((code(&none), content(&none)), (RCODE::NameError, (None, Some(5))), "{name}");
    }
    for name in [
        "example.org",
        "internal",
        "hub.tibet.internal.example",
        "nottibet.internal",
        "1.0.0.127.in-addr.arpa",
        "a.ip6.arpa",
    ] {
        let refused = answered(&query(name, QTYPE::TYPE(TYPE::AAAA)));
        assert_eq!((code(&refused), content(&refused)), (RCODE::Refused, (None, None)), "{name}");
        assert!(!Packet::parse(&refused).expect("answer").has_flags(PacketFlag::AUTHORITATIVE_ANSWER));
    }
    assert_eq!(code(&answered(&query("hub.tibet.internal", QTYPE::AXFR))), RCODE::Refused);
    let mut chaos = GETENT.to_vec();
    chaos[40] = 3;
    assert_eq!(code(&answered(&chaos)), RCODE::Refused);
}

#[test]
fn a_known_address_has_its_name_and_an_unknown_one_is_left_to_others() {
    let text = "2.4.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.A.9.8.7.6.5.4.3.2.1.d.f.ip6.arpa";
    let query = |kind| ask(&query(text, QTYPE::TYPE(kind)));
    assert_eq!(query(TYPE::PTR).wanted(), &DnsWanted::Name(address()));
    let found = query(TYPE::PTR).answer(&DnsFound::Name(hub()));
    assert_eq!(content(&found), (Some(format!("{text} 60 hub.home.tibet.internal")), None));
    let other = query(TYPE::TXT).answer(&DnsFound::Name(hub()));
    assert_eq!((code(&other), content(&other)), (RCODE::NoError, (None, Some(5))));
    let zone = Packet::parse(&other).expect("answer").name_servers[0].name.to_string();
    assert_eq!(zone, "A.9.8.7.6.5.4.3.2.1.d.f.ip6.arpa", "the network's /48");
    assert_eq!(code(&query(TYPE::PTR).answer(&DnsFound::Nothing)), RCODE::Refused);
    for elsewhere in [
        text.replace("d.f.ip6", "8.b.d.0.1.0.0.2.ip6"),
        text.replace("d.f.ip6", "0.2.ip6"),
        text.replace("2.4", "42"),
    ] {
        assert_eq!(code(&answered(&self::query(&elsewhere, QTYPE::TYPE(TYPE::PTR)))), RCODE::Refused);
    }
}

#[test]
fn what_is_no_single_query_is_answered_by_a_code_or_not_at_all() {
    for length in 0..HEADER {
        assert_eq!(DnsQuery::read(&GETENT[..length]), DnsRead::Silence, "too short to have a number");
    }
    for length in HEADER..GETENT.len() {
        assert_eq!(code(&answered(&GETENT[..length])), RCODE::FormatError, "{length}");
    }
    for length in GETENT.len()..DIG.len() {
        assert_eq!(code(&answered(&DIG[..length])), RCODE::FormatError, "{length}");
    }
    let with = |at: usize, byte: u8| {
        let mut message = DIG.to_vec();
        message[at] = byte;
        message
    };
    assert_eq!(DnsQuery::read(&with(2, 0x81)), DnsRead::Silence, "an answer");
    for opcode in 1..16 {
        assert_eq!(code(&answered(&with(2, opcode << 3))), RCODE::NotImplemented, "{opcode}");
    }
    for (at, what) in [(5, "two questions"), (7, "an answer"), (9, "an authority")] {
        assert_eq!(code(&answered(&with(at, 2))), RCODE::FormatError, "{what}");
    }
    assert_eq!(code(&answered(&with(5, 0))), RCODE::FormatError, "no question");
    assert_eq!(code(&answered(&with(12, 0xC0))), RCODE::FormatError, "a pointer");
    let own = b"\0\x07\0\0\0\x01\0\0\0\0\0\0\xC0\x0C\0\x1C\0\x01";
    assert_eq!(code(&answered(own)), RCODE::FormatError, "a pointer to itself");
    assert_eq!(code(&answered(&with(11, 255))), RCODE::FormatError, "records that are not there");
    // Version 1 of the extension: code 16, of which four bits stand in the header.
    let version = answered(&with(47, 1));
    assert_eq!(version[3] & 15, 0);
    assert!(version.ends_with(b"\0\0\x29\x04\xD0\x01\0\0\0\0\0"), "{version:?}");
    let mut two = with(11, 2);
    two.extend(&DIG[41..]);
    assert_eq!(code(&answered(&two)), RCODE::FormatError, "two extensions");
}

#[test]
fn the_longest_answers_need_no_more_than_512_bytes() {
    let labels =
        [&["a".repeat(63), "b".repeat(63), "c".repeat(62)][..], &["d".into(), "e".into(), "f".into()]]
            .concat();
    let name: Name = format!("jis:{}", labels.join(":")).parse().expect("the longest");
    assert_eq!(name.as_str().len(), 200);
    let mut message = query(&dns_name(&name), QTYPE::TYPE(TYPE::AAAA));
    message[11] = 1;
    message.extend(&DIG[41..]);
    let query = ask(&message);
    assert_eq!(query.wanted(), &DnsWanted::Address(name.clone()));
    for found in [DnsFound::Address(address()), DnsFound::Nothing, DnsFound::Failed] {
        assert!(query.answer(&found).len() <= 512);
    }
    // As long as a name in DNS can be: 255 bytes.
    let long = [&["a".repeat(63), "b".repeat(63), "c".repeat(63)][..], &["d".repeat(46)]].concat().join(".");
    let mut message = self::query(&format!("{long}.tibet.internal"), QTYPE::TYPE(TYPE::AAAA));
    assert_eq!(message.len(), 12 + 255 + 4);
    assert!(answered(&message).len() <= 512 && code(&answered(&message)) == RCODE::NameError);
    message.insert(13, b'a');
    message[12] += 1;
    assert_eq!(code(&answered(&message)), RCODE::FormatError, "a label of 64 bytes");
    let reverse = ask(&self::query(&format!("{}d.f.ip6.arpa", "0.".repeat(30)), QTYPE::TYPE(TYPE::PTR)));
    assert!(reverse.answer(&DnsFound::Name(name)).len() <= 512);
}

/// Everything that can be said to a message is a readable answer of at most 512 bytes.
fn check(message: &[u8]) {
    let answers = match DnsQuery::read(message) {
        DnsRead::Silence => return,
        DnsRead::Answer(answer) => vec![answer],
        DnsRead::Ask(query) => {
            let founds =
                [DnsFound::Address(address()), DnsFound::Name(hub()), DnsFound::Nothing, DnsFound::Failed];
            founds.iter().map(|found| query.answer(found)).collect()
        }
    };
    for answer in answers {
        assert!(answer.len() <= 512 && answer[..2] == message[..2] && answer[2] & 0x80 != 0);
        let question = Reader { message: &answer, at: HEADER }.name();
        assert!(answer[5] == 0 || question.is_some());
    }
}

proptest! {
    #[test]
    fn any_message_is_answered_shortly_or_not_at_all(message in prop::collection::vec(any::<u8>(), 0..400)) {
        check(&message);
    }

    #[test]
    fn any_change_to_a_query_is_answered_shortly_or_not_at_all(at in 0_usize..64, byte: u8, cut in 0_usize..70, more in prop::collection::vec(any::<u8>(), 0..20)) {
        let mut message = DIG.to_vec();
        message[at.min(DIG.len() - 1)] = byte;
        message.truncate(cut.max(12));
        message.extend(more);
        check(&message);
    }
}
