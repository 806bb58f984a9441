//! F23: questions as resolvers ask them, and what is none.

use crate::put;

const TARGET: &str = "f23_dns";

fn question(name: &str, kind: u16, class: u16) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    let labels =
        labels.flat_map(|label| [&[u8::try_from(label.len()).expect("short")], label.as_bytes()].concat());
    let mut message = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0".to_vec();
    message.extend(labels);
    message.push(0);
    message.extend(kind.to_be_bytes());
    message.extend(class.to_be_bytes());
    message
}

pub(crate) fn write() {
    let hub = question("hub.home.tibet.internal", 28, 1);
    put(TARGET, "address-accepted", &hub);
    put(TARGET, "in_capitals-accepted", &question("HUB.Home.tibet.INTERNAL", 28, 1));
    put(TARGET, "of_any_kind-accepted", &question("hub.home.tibet.internal", 255, 255));
    put(TARGET, "ipv4-accepted", &question("hub.home.tibet.internal", 1, 1));
    let reverse = "2.4.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.a.9.8.7.6.5.4.3.2.1.d.f.ip6.arpa";
    put(TARGET, "name_of_an_address-accepted", &question(reverse, 12, 1));
    put(TARGET, "name_of_another_address-refused", &question(&reverse.replace("d.f.ip6", "0.2.ip6"), 12, 1));
    put(TARGET, "elsewhere-refused", &question("example.org", 28, 1));
    put(TARGET, "the_zone-refused", &question("tibet.internal", 6, 1));
    put(TARGET, "no_name-refused", &question("-.home.tibet.internal", 28, 1));
    put(TARGET, "transfer-refused", &question("tibet.internal", 252, 1));
    put(TARGET, "the_root-refused", &question("", 2, 1));
    let mut answer = hub.clone();
    answer[2] = 0x81;
    put(TARGET, "r16_an_answer-refused", &answer);
    let mut two = hub.clone();
    two[5] = 2;
    put(TARGET, "two_questions-refused", &two);
    put(TARGET, "cut_off-refused", &hub[..hub.len() - 1]);
    put(TARGET, "row_94_pointer_to_itself-refused", b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\xc0\x0c\0\x1c\0\x01");
    let mut extended = hub.clone();
    extended[11] = 1;
    extended.extend(b"\0\0\x29\x04\xd0\0\0\0\0\0\x0c\0\x0a\0\x08\x01\x02\x03\x04\x05\x06\x07\x08");
    put(TARGET, "with_an_extension-accepted", &extended);
    let claims_more = [&hub[..10], &[0xff, 0xff], &hub[12..]].concat();
    put(TARGET, "counts_that_are_not_there-refused", &claims_more);
    put(TARGET, "nothing-refused", &[]);
}
