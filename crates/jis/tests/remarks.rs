//! Free text in signed objects: rules R46 and R49.

use jis::{Remark, TextError};

#[test]
fn r49_characters_that_forge_or_hide_text_are_refused() {
    // Controls; then the code points Unicode lists as Bidi_Control; then invisible ones.
    let controls = ['\0', '\n', '\r', '\t', '\u{1b}', '\u{7f}', '\u{85}', '\u{9b}'];
    let bidi = [
        '\u{61c}', '\u{200e}', '\u{200f}', '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}', '\u{202e}',
        '\u{2066}', '\u{2067}', '\u{2068}', '\u{2069}',
    ];
    let invisible = [
        '\u{ad}',
        '\u{180e}',
        '\u{200b}',
        '\u{200c}',
        '\u{200d}',
        '\u{2028}',
        '\u{2029}',
        '\u{2060}',
        '\u{206a}',
        '\u{feff}',
        '\u{fff9}',
        '\u{e0001}',
        '\u{e0041}',
        '\u{e007f}',
    ];
    for c in controls.into_iter().chain(bidi).chain(invisible) {
        assert_eq!(format!("a{c}b").parse::<Remark>(), Err(TextError::Control), "{c:?}");
    }
    for text in ["", "lost in the post", "Gerät überprüft – 温度 💡"] {
        assert_eq!(text.parse::<Remark>().map(|remark| remark.to_string()), Ok(text.to_owned()));
    }
}

#[test]
fn a_remark_has_200_bytes_at_most() {
    assert!("a".repeat(200).parse::<Remark>().is_ok());
    assert_eq!("a".repeat(201).parse::<Remark>(), Err(TextError::TooLong));
    assert_eq!("é".repeat(101).parse::<Remark>(), Err(TextError::TooLong));
}
