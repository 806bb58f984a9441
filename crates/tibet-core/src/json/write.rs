//! The writer, which spells as Python's `json` module does.

use std::fmt::Write;

use super::{Object, Value, scan};

/// What stands between items, and between a name and its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Separators {
    /// `,` and `:`, the text that packets are signed over.
    Compact,
    /// `, ` and `: `, the text that tokens are hashed over and kept in.
    Spaced,
}

/// The order of the members of a map, at every level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// By Unicode code point of the name, which is the byte order of UTF-8 (and not that of UTF-16).
    Sorted,
    /// As they were added.
    Inserted,
}

/// Spells `value`, in ASCII only. Floats that are not finite become `NaN`, `Infinity` or `-Infinity` as in Python, which
/// nothing here reads back.
#[must_use]
pub fn write(value: &Value, separators: Separators, order: Order) -> String {
    let mut out = String::new();
    write_into(&mut out, value, separators, order);
    out
}

/// As [`write()`], appended to `out`.
pub fn write_into(out: &mut String, value: &Value, separators: Separators, order: Order) {
    Writer::one_line(out, separators, order).value(value, 0);
}

/// As [`write_into`], for a bare object.
pub fn write_object_into(out: &mut String, object: &Object, separators: Separators, order: Order) {
    Writer::one_line(out, separators, order).object(object, 0);
}

/// Spells `value` over several lines, two blanks per level, members as they were added.
#[must_use]
pub fn write_pretty(value: &Value) -> String {
    let mut out = String::new();
    Writer { out: &mut out, item: ",", name: ": ", order: Order::Inserted, indent: Some(2) }.value(value, 0);
    out
}

/// Appends `text` as a JSON string, quotes included.
pub fn write_text_into(out: &mut String, text: &str) {
    out.reserve(text.len() + 2);
    out.push('"');
    // Nearly all text is.
    if scan::is_plain(text.as_bytes()) {
        out.push_str(text);
    } else {
        write_escaped(out, text);
    }
    out.push('"');
}

/// Whether a byte stands in a string as it is.
fn is_plain(b: u8) -> bool {
    matches!(b, b' '..=b'~') && b != b'"' && b != b'\\'
}

fn write_escaped(out: &mut String, text: &str) {
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|b| !is_plain(b)) {
        // Everything before `at` is ASCII, so `at` is the start of a character.
        let (plain, special) = rest.split_at(at);
        out.push_str(plain);
        let mut characters = special.chars();
        if let Some(character) = characters.next() {
            write_escape(out, character);
        }
        rest = characters.as_str();
    }
    out.push_str(rest);
}

fn write_escape(out: &mut String, character: char) {
    match character {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        other => {
            for unit in other.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
}

struct Writer<'a> {
    out: &'a mut String,
    item: &'static str,
    name: &'static str,
    order: Order,
    /// Blanks per level; `None` keeps everything on one line.
    indent: Option<usize>,
}

impl<'a> Writer<'a> {
    fn one_line(out: &'a mut String, separators: Separators, order: Order) -> Self {
        let (item, name) = match separators {
            Separators::Compact => (",", ":"),
            Separators::Spaced => (", ", ": "),
        };
        Self { out, item, name, order, indent: None }
    }

    fn value(&mut self, value: &Value, level: usize) {
        match value {
            Value::Null => self.out.push_str("null"),
            Value::Bool(true) => self.out.push_str("true"),
            Value::Bool(false) => self.out.push_str("false"),
            Value::Integer(number) => write_integer_into(self.out, *number),
            Value::BigInteger(number) => self.out.push_str(number.as_str()),
            Value::Float(number) => write_float(self.out, *number),
            Value::Text(text) => write_text_into(self.out, text),
            Value::Array(items) => self.array(items, level),
            Value::Object(object) => self.object(object, level),
        }
    }

    fn array(&mut self, items: &[Value], level: usize) {
        self.out.push('[');
        for (n, item) in items.iter().enumerate() {
            self.start_item(n, level + 1);
            self.value(item, level + 1);
        }
        self.end_items(items.len(), level);
        self.out.push(']');
    }

    fn object(&mut self, object: &Object, level: usize) {
        self.out.push('{');
        match self.order {
            Order::Sorted if object.iter().is_sorted_by(|a, b| a.0 < b.0) => self.members(object, level),
            Order::Sorted => {
                let mut members: Vec<&(String, Value)> = object.iter().collect();
                members.sort_unstable_by(|a, b| a.0.cmp(&b.0));
                self.members(members, level);
            }
            Order::Inserted => self.members(object, level),
        }
        self.out.push('}');
    }

    fn members<'o>(&mut self, members: impl IntoIterator<Item = &'o (String, Value)>, level: usize) {
        let mut count = 0;
        for (name, value) in members {
            self.start_item(count, level + 1);
            write_text_into(self.out, name);
            self.out.push_str(self.name);
            self.value(value, level + 1);
            count += 1;
        }
        self.end_items(count, level);
    }

    fn start_item(&mut self, n: usize, level: usize) {
        if n > 0 {
            self.out.push_str(self.item);
        }
        self.new_line(level);
    }

    fn end_items(&mut self, count: usize, level: usize) {
        if count > 0 {
            self.new_line(level);
        }
    }

    fn new_line(&mut self, level: usize) {
        if let Some(indent) = self.indent {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(' ', indent * level));
        }
    }
}

/// Appends `number` in decimal.
pub fn write_integer_into(out: &mut String, number: i64) {
    if number < 0 {
        out.push('-');
    }
    let (mut digits, mut from, mut rest) = ([b'0'; 20], 20, number.unsigned_abs());
    loop {
        from -= 1;
        digits[from] += (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend(digits[from..].iter().map(|&digit| char::from(digit)));
}

/// Python's `repr(float)`.
///
/// The digits are those of `ryu`, which like Python takes the even one of two equally near shortest candidates; `format!`
/// takes the other. The layout is converted: Python writes `1e+16` and `1e-05` where ryu writes `1e16` and `1e-5`.
fn write_float(out: &mut String, number: f64) {
    if !number.is_finite() {
        out.push_str(match number {
            n if n.is_nan() => "NaN",
            n if n > 0.0 => "Infinity",
            _ => "-Infinity",
        });
        return;
    }
    if number.is_sign_negative() {
        out.push('-');
    }
    let mut buffer = ryu::Buffer::new();
    let text = buffer.format_finite(number.abs());
    // The two differ in exponents and below 0.0001 only, where ryu writes 0.00001 still.
    if number == 0.0 || number.abs() >= 0.0001 && !text.contains('e') {
        out.push_str(text);
        return;
    }
    let (digits, exponent) = significant_digits(text);
    lay_out(out, &digits, exponent);
}

/// Splits ryu's text (`12.5`, `0.001`, `1e16`, `1.5e-300`) into its significant digits and the decimal exponent of the
/// first one. Zero is the digit `0` with exponent 0.
fn significant_digits(text: &str) -> (String, i32) {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let leading = all.bytes().take_while(|&b| b == b'0').count();
    let digits = all.trim_matches('0');
    if digits.is_empty() {
        return ("0".to_owned(), 0);
    }
    // A double has at most 17 digits and an exponent of three: no conversion here can fail or overflow.
    let before_point = i32::try_from(whole.len()).unwrap_or(0);
    let leading = i32::try_from(leading).unwrap_or(0);
    (digits.to_owned(), exponent.parse().unwrap_or(0) + before_point - 1 - leading)
}

/// Positional from 0.0001 up to, not including, 1e16; scientific elsewhere, the exponent signed and of two digits or more.
fn lay_out(out: &mut String, digits: &str, exponent: i32) {
    let zeros = |count: i32| std::iter::repeat_n('0', usize::try_from(count).unwrap_or(0));
    let (first, rest) = digits.split_at(1);
    match exponent {
        -4..=-1 => {
            out.push_str("0.");
            out.extend(zeros(-exponent - 1));
            out.push_str(digits);
        }
        0..=15 => {
            let whole = usize::try_from(exponent).unwrap_or(0) + 1;
            if digits.len() <= whole {
                out.push_str(digits);
                out.extend(std::iter::repeat_n('0', whole - digits.len()));
                out.push_str(".0");
            } else {
                let (whole, fraction) = digits.split_at(whole);
                out.push_str(whole);
                out.push('.');
                out.push_str(fraction);
            }
        }
        _ => {
            out.push_str(first);
            if !rest.is_empty() {
                out.push('.');
                out.push_str(rest);
            }
            let sign = if exponent < 0 { '-' } else { '+' };
            let _ = write!(out, "e{sign}{:02}", exponent.unsigned_abs());
        }
    }
}
