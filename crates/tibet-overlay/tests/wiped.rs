//! No secret key stays in the heap after it was dropped (rule R26). Copies that the compiler leaves on the stack when it moves a value are
//! outside of what a library can wipe; they last until the stack is used again.
#![cfg(target_os = "linux")]

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

use jis::SecretKey;
use zeroize::Zeroizing;

/// Hides the bytes that are searched for, or the search would find itself.
const MASK: u8 = 0xa5;

/// How often the bytes that XOR with [`MASK`] to `masked` stand in the writable memory of this process, its stacks left out.
fn copies_in_heap(masked: &[u8; 32]) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    let mut memory = File::open("/proc/self/mem").expect("mem");
    let here = std::ptr::from_ref(masked) as u64;
    let mut found = 0;
    for line in maps.lines() {
        let mut parts = line.split_whitespace();
        let (range, mode) = (parts.next().expect("range"), parts.next().expect("mode"));
        let (from, to) = range.split_once('-').expect("range");
        let from = u64::from_str_radix(from, 16).expect("hex");
        let to = u64::from_str_radix(to, 16).expect("hex");
        let is_stack = line.ends_with("[stack]") || (from..to).contains(&here);
        if !mode.starts_with("rw") || is_stack {
            continue;
        }
        let mut bytes = vec![0; usize::try_from(to - from).expect("size")];
        memory.seek(SeekFrom::Start(from)).expect("seek");
        if memory.read_exact(&mut bytes).is_ok() {
            let is_copy =
                |window: &[u8]| window.iter().zip(masked).all(|(byte, masked)| byte ^ MASK == *masked);
            found += bytes.windows(32).filter(|window| is_copy(window)).count();
        }
        // The next region may be the one this buffer lies in.
        bytes.fill(0);
    }
    found
}

#[test]
fn a_dropped_key_leaves_nothing_in_the_heap() {
    let seed: Zeroizing<[u8; 32]> = Zeroizing::new(tibet_overlay::system::random().expect("random"));
    let masked = seed.map(|byte| byte ^ MASK);
    let key = Box::new(SecretKey::from_seed(seed).expect("key"));
    let _ = key.sign(b"something");
    assert!(copies_in_heap(&masked) > 0, "the search finds a key that is there");
    drop(key);
    assert_eq!(copies_in_heap(&masked), 0);
}
