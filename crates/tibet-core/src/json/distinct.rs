//! Maps name each member once.

/// Maps of up to so many members are searched for a name that repeats, larger ones sorted: a hostile map costs n log n and not n².
const FEW: usize = 64;

/// The name is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("two members with the same name")]
pub struct Repeated;

/// Tells new names from those that have to be looked for: one bit for each of 256 classes of names. A name of a class not seen before is
/// new; of two dozen names about one has to be looked for.
#[derive(Debug, Clone, Default)]
pub struct NameFilter([u64; 4]);

impl NameFilter {
    /// Adds `name` to those seen. `is_there` looks for it, and is asked only if it may be among them.
    ///
    /// # Errors
    /// [`Repeated`], when it is.
    pub fn add(&mut self, name: &str, is_there: impl FnOnce() -> bool) -> Result<(), Repeated> {
        let class = class(name.as_bytes());
        let (word, bit) = (&mut self.0[usize::from(class >> 6)], 1 << (class & 63));
        let may_repeat = *word & bit != 0;
        *word |= bit;
        if may_repeat && is_there() { Err(Repeated) } else { Ok(()) }
    }
}

/// Made of the length and three bytes, which tell the names of a record apart.
#[inline]
fn class(name: &[u8]) -> u8 {
    let byte = |at: usize| u32::from(name.get(at).copied().unwrap_or(0));
    let last = name.len().saturating_sub(1);
    let mixed = byte(0) | byte(last / 2) << 8 | byte(last) << 16 | (name.len() as u32) << 24;
    (mixed.wrapping_mul(0x9e37_79b1) >> 24) as u8
}

/// Whether each of `names` is there once.
pub(super) fn check_distinct<'n>(
    names: impl ExactSizeIterator<Item = &'n str> + Clone,
) -> Result<(), Repeated> {
    if names.len() <= FEW {
        let mut filter = NameFilter::default();
        let mut all = names.clone().enumerate();
        return all.try_for_each(|(at, name)| {
            filter.add(name, || names.clone().take(at).any(|earlier| earlier == name))
        });
    }
    let mut sorted: Vec<&str> = names.collect();
    sorted.sort_unstable();
    if sorted.windows(2).any(|pair| pair[0] == pair[1]) { Err(Repeated) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_repeats_is_found_wherever_it_stands() {
        for count in [3, 4, 24, FEW, FEW + 1, 300] {
            let names: Vec<String> = (0..count).map(|n| format!("member{n}")).collect();
            let check = |names: &[String]| check_distinct(names.iter().map(String::as_str));
            assert_eq!(check(&names), Ok(()), "{count}");
            for (first, second) in [(0, count - 1), (count / 2, count - 1), (0, 1)] {
                let mut names = names.clone();
                names[second] = names[first].clone();
                assert_eq!(check(&names), Err(Repeated), "{first} and {second} of {count}");
            }
        }
    }

    /// Names that differ only where the class does not look.
    #[test]
    fn names_of_one_class_are_told_apart() {
        assert_eq!(class(b"abcde"), class(b"axcye"));
        assert_eq!(check_distinct(["abcde", "axcye"].into_iter()), Ok(()));
        assert_eq!(check_distinct(["abcde", "axcye", "axcye"].into_iter()), Err(Repeated));
    }
}
