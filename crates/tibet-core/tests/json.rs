//! The reader and the writer of JSON.
#![allow(clippy::unwrap_used, reason = "helpers outside #[test] functions")]

mod common;

use proptest::prelude::*;
use tibet_core::json::{
    JsonErrorKind, MAX_DEPTH, MAX_INTEGER_DIGITS, Object, Order, Separators, Value, parse, parse_bytes,
    write, write_pretty,
};
use tibet_core::object;

fn spelled(text: &str) -> String {
    write(&parse(text).unwrap(), Separators::Compact, Order::Sorted)
}

#[test]
fn numbers_are_spelled_as_python_spells_them() {
    let cases = [
        ("-0", "0"),
        ("-0.0", "-0.0"),
        ("0e5", "0.0"),
        ("1.0", "1.0"),
        ("1e2", "100.0"),
        ("100000.0", "100000.0"),
        ("0.0001", "0.0001"),
        ("0.00001", "1e-05"),
        ("9999999999999998.0", "9999999999999998.0"),
        ("1e16", "1e+16"),
        ("12345678901234567000.0", "1.2345678901234567e+19"),
        ("1.5e300", "1.5e+300"),
        ("5e-324", "5e-324"),
        ("-2.5e-7", "-2.5e-07"),
        ("1743746592103460.25", "1743746592103460.2"),
        ("9223372036854775807", "9223372036854775807"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("9223372036854775808", "9223372036854775808"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
    ];
    for (read, written) in cases {
        assert_eq!(spelled(read), written, "{read}");
    }
    let nan = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY].map(Value::from).to_vec();
    assert_eq!(write(&nan.into(), Separators::Compact, Order::Sorted), "[NaN,Infinity,-Infinity]");
}

#[test]
fn integers_and_floats_stay_apart() {
    assert_eq!(parse("1").unwrap(), Value::Integer(1));
    assert_eq!(parse("1.0").unwrap(), Value::Float(1.0));
    assert_eq!(Value::from(u64::MAX), parse("18446744073709551615").unwrap());
    assert_eq!(Value::from(7u64), Value::Integer(7));
}

#[test]
fn text_is_escaped_to_ascii() {
    let text = "\"\\/\n\r\t\u{8}\u{c}\u{0}\u{1f} ~\u{7f}é温💡\u{ffff}";
    let written = write(&text.into(), Separators::Compact, Order::Sorted);
    let expected = concat!(r#""\"\\/\n\r\t\b\f\u0000\u001f ~\u007f"#, r#"\u00e9\u6e29\ud83d\udca1\uffff""#);
    assert_eq!(written, expected);
    assert_eq!(parse(&written).unwrap(), Value::from(text));
    assert_eq!(parse(&format!("\"{}\"", "é温💡\u{7f}")).unwrap(), "é温💡\u{7f}".into(), "raw is read too");
}

#[test]
fn members_are_sorted_by_code_point_and_not_by_utf_16() {
    let value: Value = object! { "\u{ffff}" => 1, "💡" => 2, "b" => object! { "z" => 1, "a" => 2 } }.into();
    assert_eq!(
        write(&value, Separators::Spaced, Order::Sorted),
        r#"{"b": {"a": 2, "z": 1}, "\uffff": 1, "\ud83d\udca1": 2}"#
    );
    assert_eq!(
        write(&value, Separators::Compact, Order::Inserted),
        r#"{"\uffff":1,"\ud83d\udca1":2,"b":{"z":1,"a":2}}"#
    );
}

#[test]
fn pretty_text_is_that_of_python() {
    let value: Value =
        object! { "a" => vec![1, 2], "b" => Object::new(), "c" => Value::Array(vec![]) }.into();
    let expected = "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\": {},\n  \"c\": []\n}";
    assert_eq!(write_pretty(&value), expected);
}

#[test]
fn what_is_no_strict_json_is_refused_with_its_place() {
    use JsonErrorKind::*;
    let nines = "9".repeat(MAX_INTEGER_DIGITS + 1);
    let deep = "[".repeat(MAX_DEPTH + 1);
    let cases: &[(&str, usize, JsonErrorKind)] = &[
        ("", 0, UnexpectedEnd),
        ("  ", 2, UnexpectedEnd),
        ("{\"a\": 1", 7, UnexpectedEnd),
        ("\"\\ud83d", 7, UnexpectedEnd),
        ("-", 1, UnexpectedEnd),
        ("1.", 2, UnexpectedEnd),
        ("nul", 3, UnexpectedEnd),
        ("1 2", 2, Trailing),
        ("01", 1, Trailing),
        ("{\"a\": 1,}", 8, UnexpectedByte),
        ("[1,]", 3, UnexpectedByte),
        ("{a: 1}", 1, UnexpectedByte),
        ("+1", 0, UnexpectedByte),
        (".5", 0, UnexpectedByte),
        ("1.e5", 2, UnexpectedByte),
        ("NaN", 0, UnexpectedByte),
        ("Infinity", 0, UnexpectedByte),
        ("-Infinity", 1, UnexpectedByte),
        ("'a'", 0, UnexpectedByte),
        ("\"\n\"", 1, UnexpectedByte),
        ("\"\\x\"", 2, UnexpectedByte),
        ("\"\\u00g0\"", 5, UnexpectedByte),
        ("\u{feff}1", 0, UnexpectedByte),
        ("1e400", 0, NotFinite),
        ("[-1e400]", 1, NotFinite),
        ("\"\\ud83d\"", 1, LoneSurrogate),
        ("\"\\udca1\"", 1, LoneSurrogate),
        ("\"\\ud83d\\u0041\"", 1, LoneSurrogate),
        ("[{\"a\": 1, \"b\": 2, \"\\u0061\": 3}]", 1, DuplicateMember),
        (&nines, 0, IntegerTooLong),
        (&deep, MAX_DEPTH, TooDeep),
    ];
    for (text, offset, kind) in cases {
        let error = parse(text).unwrap_err();
        assert_eq!((error.offset, error.kind), (*offset, *kind), "{text:.40}");
    }
    let error = parse_bytes(b"\"a\xff\"").unwrap_err();
    assert_eq!((error.offset, error.kind), (2, NotUtf8));
}

#[test]
fn the_limits_themselves_are_allowed() {
    let nines = "9".repeat(MAX_INTEGER_DIGITS);
    assert_eq!(spelled(&nines), nines);
    assert_eq!(spelled(&format!("-{nines}")), format!("-{nines}"));
    let deep = format!("{}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
    assert_eq!(spelled(&deep), deep);
}

#[test]
fn a_million_open_brackets_are_no_danger() {
    assert_eq!(parse(&"[".repeat(1_000_000)).unwrap_err().kind, JsonErrorKind::TooDeep);
    let wide: String = (0..50_000).map(|n| format!("\"{n}\":0,")).collect();
    assert_eq!(parse(&format!("{{{wide}\"x\":0}}")).unwrap().as_object().unwrap().len(), 50_001);
}

#[test]
fn inserting_twice_keeps_the_place_and_takes_the_value() {
    let object = object! { "a" => 1, "b" => 2, "a" => 3 };
    assert_eq!(write(&object.into(), Separators::Compact, Order::Inserted), r#"{"a":3,"b":2}"#);
}

/// Any value that has a spelling.
fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        "-?[1-9][0-9]{20,60}".prop_map(|digits| parse(&digits).unwrap()),
        any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..6)
                .prop_map(|members| Value::from(members.into_iter().collect::<Object>())),
        ]
    })
}

proptest! {
    #[test]
    fn reading_any_bytes_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_bytes(&bytes);
    }

    #[test]
    fn reading_nearly_json_never_panics(text in r#"[\[\]{}",:\\u0-9a-f.eE+\- tnlrs]{0,60}"#) {
        let _ = parse(&text);
    }

    #[test]
    fn what_is_written_is_read_back(value in values()) {
        for separators in [Separators::Compact, Separators::Spaced] {
            let text = write(&value, separators, Order::Inserted);
            prop_assert!(text.is_ascii());
            prop_assert_eq!(&parse(&text).unwrap(), &value);
        }
        prop_assert_eq!(&parse(&write_pretty(&value)).unwrap(), &value);
        let sorted = write(&value, Separators::Spaced, Order::Sorted);
        prop_assert_eq!(write(&parse(&sorted).unwrap(), Separators::Spaced, Order::Inserted), sorted);
    }

    /// The standard library reads the same double back, and needs no more digits than are there.
    #[test]
    fn floats_are_exact_and_short(number in any::<f64>().prop_filter("finite", |n| n.is_finite())) {
        let text = write(&number.into(), Separators::Compact, Order::Sorted);
        prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), number.to_bits());
        let significant = |text: &str| {
            let mantissa = text.split('e').next().unwrap().replace(['-', '.'], "");
            mantissa.trim_matches('0').len()
        };
        prop_assert_eq!(significant(&text), significant(&format!("{number:e}")));
    }
}
