//! F5: names, patterns and what users type for them. SECURITY R31 and 3.2 rows 22, 42, 43 and 46.
//!
//! - The grammar is written down a second time below, and agrees about every text.
//! - A name is spelled in one way. Every text that [`Name::from_input`] takes is one of the six spellings of the name it gives: so no text can be
//!   an alias of two names, and doing it twice changes nothing.
//! - The lower-case spelling that a refusal proposes is a name.
//! - A pattern is spelled in one way and matches what its labels say.
//!
//! The input is two texts, parted by the first line feed: the one that is read, and a name for patterns to match.

use jis::{Name, NameError, NamePattern, PublicKey};

use super::Verdict;

/// Checks two texts.
pub fn check(input: &[u8]) -> Verdict {
    let Ok(input) = std::str::from_utf8(input) else { return Verdict::Refused };
    let (text, other) = input.split_once('\n').unwrap_or((input, "jis:home:hub"));

    let name = text.parse::<Name>();
    assert_eq!(name.is_ok(), is_name(text), "{text:?}: {name:?}");
    if let Ok(name) = &name {
        name_holds(name, text);
    }
    let typed = Name::from_input(text);
    match &typed {
        Ok(found) => {
            let labels = found.as_str().strip_prefix("jis:").expect("canonical");
            let spellings = ["", "jis:", "did:jis:"]
                .map(|front| ["", ".aint"].map(|end| format!("{front}{labels}{end}")));
            assert!(
                spellings.iter().flatten().any(|spelling| spelling == text),
                "{text:?} is no spelling of {found}"
            );
            name_holds(found, found.as_str());
        }
        Err(NameError::UpperCase(proposed)) => {
            assert!(is_name(proposed), "{proposed:?} is proposed for {text:?}");
            assert_eq!(
                Name::from_input(&text.to_ascii_lowercase()).as_ref().map(Name::as_str),
                Ok(proposed.as_str())
            );
        }
        Err(_) => assert!(name.is_err(), "{text:?} is a name that cannot be typed"),
    }

    let pattern = text.parse::<NamePattern>();
    if let Ok(pattern) = &pattern {
        assert_eq!(pattern.to_string(), text);
        if let Ok(other) = other.parse::<Name>() {
            assert_eq!(pattern.matches(&other), matches(text, other.as_str()), "{text} and {other}");
        }
    }
    Verdict::of(name.is_ok() || typed.is_ok() || pattern.is_ok())
}

fn name_holds(name: &Name, text: &str) {
    assert_eq!((name.as_str(), name.to_string().as_str()), (text, text));
    assert_eq!(Name::from_input(text).as_ref(), Ok(name));
    assert_eq!(Name::from_input(&name.to_did()).as_ref(), Ok(name));
    let labels: Vec<&str> = name.labels().collect();
    assert_eq!(format!("jis:{}", labels.join(":")), text);
    match (name.certified_key(), name.parent()) {
        (Some(key), parent) => assert_eq!((Name::of_key(&key).as_str(), parent), (text, None)),
        (None, Some(parent)) => {
            assert!(is_name(parent.as_str()));
            assert_eq!(format!("{parent}:{}", labels[labels.len() - 1]), text);
        }
        (None, None) => assert_eq!(labels.len(), 1),
    }
}

/// `docs/spec/name.md`, as a list of conditions.
fn is_name(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("jis:") else { return false };
    let labels: Vec<&[u8]> = rest.as_bytes().split(|byte| *byte == b':').collect();
    if labels[0] == b"ed25519" {
        // z, and 47 digits of base 58: exactly a key's own spelling.
        let key = rest.strip_prefix("ed25519:").and_then(|key| Some((key, key.parse::<PublicKey>().ok()?)));
        return key.is_some_and(|(spelled, key)| key.to_multibase() == spelled);
    }
    let end = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9');
    let is_label = |label: &&[u8]| {
        (1..=63).contains(&label.len())
            && label.iter().all(|&byte| end(byte) || byte == b'-' || byte == b'_')
            && end(label[0])
            && end(label[label.len() - 1])
    };
    text.len() <= 200 && labels.len() <= 8 && labels.iter().all(is_label)
}

/// What a pattern matches, label by label.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<_>, Vec<_>) = (pattern.split(':').collect(), name.split(':').collect());
    let more = match pattern[pattern.len() - 1] {
        "*" => name.len() == pattern.len(),
        "**" => name.len() >= pattern.len(),
        _ => return pattern == name,
    };
    let base = &pattern[..pattern.len() - 1];
    more && name.starts_with(base)
}
