//! F5: the texts of jis-core's vectors, rows 22, 42, 43 and 46.

use crate::{cases, map, put, text, vectors};

const TARGET: &str = "f05_name";

pub(crate) fn write() {
    let file = vectors("reference/jis.json");
    for (n, case) in cases(map(&file, "cases"), "identifiers").enumerate() {
        put(TARGET, &format!("vector-{n:02}"), text(case, "text").as_bytes());
    }
    let key = tibet_fuzz::honest::key(0).public_key();
    let (of_key, hex) = (format!("jis:ed25519:{key}"), jis::hex::encode(key.as_bytes()));
    let (label, long_label) = (format!("jis:{}", "a".repeat(63)), format!("jis:{}", "a".repeat(64)));
    let long = ["a".repeat(60), "b".repeat(60), "c".repeat(60)].join(":");
    let (name_200, name_201) =
        (format!("jis:{long}:{}", "d".repeat(13)), format!("jis:{long}:{}", "d".repeat(14)));
    for (name, text) in [
        ("name-accepted", "jis:home:hub"),
        ("eight_labels-accepted", "jis:1:2:3:4:5:6:7:8"),
        ("label_of_63-accepted", &label),
        ("name_of_200-accepted", &name_200),
        ("self_certifying-accepted", &of_key),
        ("self_certifying_as_did-accepted", &format!("did:{of_key}")),
        ("self_certifying_in_hex-refused", &format!("jis:ed25519:f{hex}")),
        ("self_certifying_and_more-refused", &format!("{of_key}:x")),
        ("row_22_composed-refused", "jis:é"),
        ("row_22_decomposed-refused", "jis:e\u{301}"),
        ("row_22_cyrillic_a-refused", "jis:а"),
        ("row_22_zero_width_joiner-refused", "jis:a\u{200d}b"),
        ("row_22_bidi_override-refused", "jis:\u{202e}a"),
        ("row_42_empty-refused", ""),
        ("row_42_no_label-refused", "jis:"),
        ("row_42_empty_label-refused", "jis::a"),
        ("row_42_empty_last_label-refused", "jis:a:"),
        ("row_42_nine_labels-refused", "jis:1:2:3:4:5:6:7:8:9"),
        ("row_42_label_of_64-refused", &long_label),
        ("row_42_name_of_201-refused", &name_201),
        ("row_42_upper_case-refused", "jis:Alice"),
        ("row_42_upper_case_prefix-refused", "DID:JIS:a"),
        ("row_42_leading_dash-refused", "jis:-a"),
        ("row_42_trailing_underscore-refused", "jis:a_"),
        ("row_42_nul-refused", "jis:a\0"),
        ("row_43_did-accepted", "did:jis:home:hub"),
        ("row_43_aint-accepted", "home.aint"),
        ("row_43_did_aint-accepted", "did:jis:home.aint"),
        ("row_43_bare-accepted", "home:hub"),
        ("row_43_twice_jis-accepted", "jis:jis:a"),
        ("row_43_twice_did-refused", "did:did:jis:a"),
        ("row_43_twice_aint-refused", "a.aint.aint"),
        ("row_43_percent_encoded-refused", "jis:a%20"),
        ("row_43_fragment-refused", "did:jis:a#key-1"),
        ("row_43_query-refused", "jis:a?x"),
        ("row_43_another_method-refused", "did:web:hub"),
        ("row_46_exact-accepted", "jis:home:hub\njis:home:hub2"),
        ("row_46_children-accepted", "jis:home:*\njis:home:x:y"),
        ("row_46_children_of_another-accepted", "jis:home:*\njis:home2:x"),
        ("row_46_below-accepted", "jis:home:**\njis:home:x:y"),
        ("row_46_star_inside-refused", "jis:*:hub\njis:a:hub"),
        ("row_46_everything-refused", "jis:**\njis:a"),
    ] {
        put(TARGET, name, text.as_bytes());
    }
}
