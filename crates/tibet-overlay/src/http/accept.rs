//! Which representation a client wants: RFC 9110, section 12.5.1.

use axum::http::{HeaderMap, header};

/// Most media ranges that are looked at.
const MAX_RANGES: usize = 32;

/// One media range of an `Accept`.
struct Range<'a> {
    kind: &'a str,
    subtype: &'a str,
    /// Parameters before `q`, as they stand.
    parameters: Vec<&'a str>,
    /// Thousandths.
    quality: u16,
}

/// Picks the best of `offered`, which are in the server's order of preference: `type/subtype`, or `type/subtype;parameter` that has to be asked for.
/// Without an `Accept` it is the first. `None` when none is wanted.
pub(super) fn choose(headers: &HeaderMap, offered: &[&'static str]) -> Option<&'static str> {
    let values: Vec<&str> =
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let ranges: Vec<Range<'_>> =
        values.iter().flat_map(|value| split(value, ',')).take(MAX_RANGES).filter_map(read).collect();
    if !headers.contains_key(header::ACCEPT) {
        return offered.first().copied();
    }
    let mut best: Option<(&'static str, (u16, bool))> = None;
    for offer in offered {
        let quality = quality_of(offer, &ranges);
        if quality.0 > 0 && best.is_none_or(|(_, held)| quality > held) {
            best = Some((offer, quality));
        }
    }
    best.map(|(offer, _)| offer)
}

/// The quality of the most specific range that matches, and whether that asks for the offer's parameter.
fn quality_of(offer: &str, ranges: &[Range<'_>]) -> (u16, bool) {
    let (media, parameter) = offer.split_once(';').map_or((offer, None), |(media, rest)| (media, Some(rest)));
    let (kind, subtype) = media.split_once('/').unwrap_or((media, ""));
    let specificity = |range: &Range<'_>| -> Option<u8> {
        let exact = range.kind.eq_ignore_ascii_case(kind) && range.subtype.eq_ignore_ascii_case(subtype);
        match parameter {
            Some(parameter) => (exact && range.parameters.contains(&parameter)).then_some(4),
            None if exact => Some(if range.parameters.is_empty() { 3 } else { 2 }),
            None if range.subtype == "*" && range.kind.eq_ignore_ascii_case(kind) => Some(1),
            None if range.subtype == "*" && range.kind == "*" => Some(0),
            None => None,
        }
    };
    let best = ranges.iter().filter_map(|range| Some((specificity(range)?, range.quality))).max();
    best.map_or((0, false), |(specificity, quality)| (quality, specificity == 4))
}

fn read(text: &str) -> Option<Range<'_>> {
    let mut parts = split(text, ';').map(str::trim);
    let (kind, subtype) = parts.next()?.split_once('/')?;
    let mut range =
        Range { kind: kind.trim(), subtype: subtype.trim(), parameters: Vec::new(), quality: 1000 };
    for part in parts {
        match part.split_once('=') {
            Some((name, value)) if name.trim().eq_ignore_ascii_case("q") => {
                range.quality = quality(value.trim())?
            }
            _ => range.parameters.push(part),
        }
    }
    Some(range)
}

/// `0`, `0.5`, `1.000`: at most three digits. What is none makes its range count for nothing.
fn quality(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let fraction: u16 = format!("{fraction:0<3}").parse().ok()?;
    match whole {
        "0" => Some(fraction),
        "1" if fraction == 0 => Some(1000),
        _ => None,
    }
}

/// Parts between separators that do not stand in quotes.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c: char| {
        if escaped {
            escaped = false;
            return false;
        }
        match c {
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => return c == separator && !quoted,
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFERED: &[&str] = &[
        "application/did",
        "application/did+json",
        "application/ld+json",
        "application/ld+json;profile=\"p,;q\"",
    ];

    fn chosen(accept: &str) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().expect("a value"));
        choose(&headers, OFFERED)
    }

    #[test]
    fn the_best_is_what_the_client_wants_most_and_then_what_the_server_lists_first() {
        assert_eq!(choose(&HeaderMap::new(), OFFERED), Some("application/did"));
        for (accept, best) in [
            ("*/*", Some("application/did")),
            ("application/*", Some("application/did")),
            ("text/html, application/did+json;q=0.9, */*;q=0.1", Some("application/did+json")),
            ("application/did;q=0.2, application/did+json;q=0.8", Some("application/did+json")),
            ("application/did;q=0, */*", Some("application/did+json")),
            ("APPLICATION/DID+JSON", Some("application/did+json")),
            ("application/ld+json", Some("application/ld+json")),
            ("application/ld+json;profile=\"p,;q\"", Some("application/ld+json;profile=\"p,;q\"")),
            ("application/ld+json;q=1;profile=\"p,;q\"", Some("application/ld+json;profile=\"p,;q\"")),
            ("text/html", None),
            ("application/did;q=0", None),
            ("application/did;q=2", None),
            ("application/did;q=0.0001", None),
            ("", None),
            (";;;,,,\"", None),
        ] {
            assert_eq!(chosen(accept), best, "{accept}");
        }
    }
}
