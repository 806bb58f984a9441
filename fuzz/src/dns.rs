//! F23: a message to the DNS of the mesh. SECURITY R15, R16, R73.
//!
//! - What is answered has at most 512 bytes, repeats the id, and is an answer; an answer is answered by nothing.
//! - What is asked of us is in our zone: the name in the question, read the other way round, is the name that is looked up.
//! - No answer gives out an address outside `fd00::/8`, whoever found it.

use std::net::Ipv6Addr;

use tibet_net::{DnsFound, DnsQuery, DnsRead, DnsWanted, name_from_dns};

use super::Verdict;
use super::honest::name;

/// Checks one message. Accepted if something is looked up for it.
pub fn check(input: &[u8]) -> Verdict {
    let query = match DnsQuery::read(input) {
        DnsRead::Silence => return Verdict::Refused,
        DnsRead::Answer(answer) => {
            is_answer(input, &answer);
            return Verdict::Refused;
        }
        DnsRead::Ask(query) => query,
    };
    let labels = labels(input).expect("what is asked can be read");
    let asked = labels.join(".");
    match query.wanted() {
        DnsWanted::Address(wanted) => assert_eq!(name_from_dns(&asked).as_ref(), Some(wanted), "{asked}"),
        DnsWanted::Name(address) => {
            assert!(is_ours(*address) && labels.len() == 34, "{asked}");
            let nibbles: String = labels[..32].iter().rev().map(String::as_str).collect();
            assert_eq!(u128::from_str_radix(&nibbles, 16), Ok(address.to_bits()));
        }
    }
    let [inside, outside] =
        ["fd12:3456:789a::42", "2001:db8::1"].map(|text| text.parse().expect("an address"));
    for found in [
        DnsFound::Address(inside),
        DnsFound::Address(outside),
        DnsFound::Address(Ipv6Addr::LOCALHOST),
        DnsFound::Name(name("jis:home:hub")),
        DnsFound::Nothing,
        DnsFound::Failed,
    ] {
        let answer = query.answer(&found);
        is_answer(input, &answer);
        assert!(
            answer[12..]
                .starts_with(&input[12..12 + labels.iter().map(|label| label.len() + 1).sum::<usize>()])
        );
        if let DnsFound::Address(address) = found {
            let given = answer.windows(16).any(|bytes| bytes == address.octets());
            assert!(!given || is_ours(address), "{address} is given out");
        }
    }
    Verdict::Accepted
}

fn is_answer(message: &[u8], answer: &[u8]) {
    assert!((12..=512).contains(&answer.len()), "{} bytes", answer.len());
    assert!(answer[..2] == message[..2] && answer[2] & 0x80 != 0, "{answer:?}");
    assert_eq!(DnsQuery::read(answer), DnsRead::Silence);
}

fn is_ours(address: Ipv6Addr) -> bool {
    address.octets()[0] == 0xfd
}

/// The labels of the question.
fn labels(message: &[u8]) -> Option<Vec<String>> {
    let (mut rest, mut labels) = (message.get(12..)?, Vec::new());
    loop {
        let (length, more) = rest.split_first()?;
        if *length == 0 {
            return Some(labels);
        }
        labels.push(String::from_utf8(more.get(..usize::from(*length))?.to_vec()).ok()?);
        rest = &more[usize::from(*length)..];
    }
}
