//! The check is `tibet_fuzz::sealed::check`; see there.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let _ = tibet_fuzz::sealed::check(input);
});
