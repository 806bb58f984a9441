//! F19: the honest question and its answer, and rows 29 to 34.

use jis::{Answer, AnswerOutcome, Query, Signed, SignedObject};
use tibet_fuzz::honest::{key, name};
use tibet_fuzz::question::{honest_answer, honest_question};

use crate::put;

const TARGET: &str = "f19_question";

pub(crate) fn write() {
    let (question, answer) = (honest_question(), honest_answer());
    both(0, &question.encode(), "question");
    both(1, &answer.encode(), "answer");
    put(TARGET, "question_taken_for_an_answer-refused", &[&[1], &question.encode()[..]].concat());

    let asked = question.claims();
    let changed = |claims: Query| [&[0], &claims.message()[..], question.signature().as_bytes()].concat();
    for (name, claims) in [
        ("another_cookie", Query { cookie: [3; 16], ..asked.clone() }),
        ("row_35_another_responder", Query { responder: key(2).public_key(), ..asked.clone() }),
        ("row_33_another_source", Query { source: name("jis:home:gate"), ..asked.clone() }),
        ("row_33_another_key", Query { key: key(2).public_key(), ..asked.clone() }),
        ("another_generation", Query { generation: u64::MAX, ..asked.clone() }),
        ("another_method", Query { method: "overlay.revoke".parse().expect("a method"), ..asked.clone() }),
        (
            "arguments_split_elsewhere",
            Query { arguments: vec![b"jis:home:gate\xff".to_vec()], ..asked.clone() },
        ),
        ("no_arguments", Query { arguments: Vec::new(), ..asked.clone() }),
        ("64_arguments", Query { arguments: vec![Vec::new(); 64], ..asked.clone() }),
        ("65_arguments", Query { arguments: vec![Vec::new(); 65], ..asked.clone() }),
        ("too_long", Query { arguments: vec![vec![0; jis::MAX_MESSAGE]], ..asked.clone() }),
    ] {
        put(TARGET, &format!("{name}-refused"), &changed(claims));
    }

    let told = answer.claims();
    let changed = |claims: Answer| [&[1], &claims.message()[..], answer.signature().as_bytes()].concat();
    for (name, claims) in [
        ("to_another_question", Answer { request: [7; 32], ..told.clone() }),
        ("by_another_key", Answer { key: key(2).public_key(), ..told.clone() }),
        ("yes_for_no", Answer { outcome: AnswerOutcome::Yes, ..told.clone() }),
        ("1024_values", Answer { values: vec![Vec::new(); 1024], ..told.clone() }),
        ("1025_values", Answer { values: vec![Vec::new(); 1025], ..told.clone() }),
    ] {
        put(TARGET, &format!("{name}-refused"), &changed(claims));
    }
    // Genuine, by somebody whose key the check does not ask for.
    let others = Query { source: name("jis:home:gate"), key: key(2).public_key(), ..asked.clone() };
    let others = Signed::seal(others, &key(2)).expect("can be signed").encode();
    put(TARGET, "row_33_signed_by_another_key-refused", &[&[0], &others[..]].concat());
}

/// As it was signed, cut, with more, and with a bit changed in each of its parts.
fn both(kind: u8, bytes: &[u8], name: &str) {
    let input = [&[kind], bytes].concat();
    put(TARGET, &format!("{name}-accepted"), &input);
    put(TARGET, &format!("{name}_cut-refused"), &input[..input.len() - 1]);
    put(TARGET, &format!("{name}_and_more-refused"), &[&input[..], &[0]].concat());
    let unsigned = &input[..input.len() - 64];
    put(TARGET, &format!("{name}_unsigned-refused"), unsigned);
    put(TARGET, &format!("row_29_{name}_signature_of_zeros-refused"), &[unsigned, &[0; 64]].concat());
    for (part, at) in
        [("tag", 1), ("fields", 12), ("length", 16), ("middle", input.len() / 2), ("end", input.len() - 1)]
    {
        let mut damaged = input.clone();
        damaged[at] ^= 1;
        put(TARGET, &format!("{name}_damaged_{part}-refused"), &damaged);
    }
}
