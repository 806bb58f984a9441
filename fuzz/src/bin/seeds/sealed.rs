//! F22: the examples of `docs/spec/sealed-ping.md`, and each of their bytes bent once.

use jis::hex;

use crate::{put, root};

const TARGET: &str = "f22_sealed";

pub(crate) fn write() {
    let page = std::fs::read_to_string(root().join("docs/spec/sealed-ping.md")).expect("the page");
    let examples = page.lines().filter_map(|line| line.strip_prefix("datagram = "));
    for (number, example) in examples.map(|text| hex::decode(text).expect("hex")).enumerate() {
        put(TARGET, &format!("example_{number}-accepted"), &example);
        put(TARGET, &format!("row_05_example_{number}_cut-refused"), &example[..example.len() - 1]);
        put(TARGET, &format!("row_06_example_{number}_and_more-refused"), &[&example[..], &[0]].concat());
        let bent = |at: usize, value: u8| {
            let mut bytes = example.clone();
            bytes[at] = value;
            bytes
        };
        put(TARGET, &format!("row_03_example_{number}_kind_34-refused"), &bent(3, 34));
        put(TARGET, &format!("example_{number}_flags_without_meaning-refused"), &bent(16, 0xff));
        put(TARGET, &format!("example_{number}_other_id-accepted"), &bent(8, 0xff));
    }
    let frame = |kind: u8, body: &[u8]| {
        let length = u32::try_from(body.len()).expect("short").to_be_bytes();
        [&[b'T', b'P', 2, kind][..], &length, body].concat()
    };
    let ping = |rest: &[u8]| frame(32, &[&[7; 8][..], &[6], rest].concat());
    put(TARGET, "intent_of_nothing-refused", &ping(&[0, 0]));
    put(TARGET, "intent_longer_than_the_rest-refused", &ping(&[64, b'a', 0]));
    put(TARGET, "row_20_purpose_not_utf8-refused", &ping(&[1, b'a', 1, 0xff]));
    put(TARGET, "row_20_purpose_with_controls-refused", &ping(&[1, b'a', 1, 7]));
    put(TARGET, "payload_of_nothing-refused", &ping(&[1, b'a', 0, 0x80]));
    put(
        TARGET,
        "row_25_payload_of_4_thousand_million-refused",
        &ping(&[1, b'a', 0, 0xdf, 0xff, 0xff, 0xff, 0xff]),
    );
    put(TARGET, "row_01_nothing-refused", &[]);
    put(TARGET, "row_08_too_long-refused", &frame(32, &[1; 1193]));
}
