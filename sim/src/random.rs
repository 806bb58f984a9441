//! Numbers that come from a seed.

use std::time::Duration;

/// A source of numbers: the same for the same seed.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Begins with `seed`; `purpose` keeps those of one seed apart.
    #[must_use]
    pub fn new(seed: u64, purpose: u64) -> Self {
        let mut state = seed.rotate_left(32) ^ purpose;
        random03::step(&mut state);
        Self(state)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        random03::step(&mut self.0)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound
    }

    /// A number from `from` to `to`, both counted in.
    pub fn range(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }

    /// An index into something of this length, which is not 0.
    pub fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    /// True so many times in a thousand.
    pub fn permille(&mut self, times: u64) -> bool {
        self.below(1000) < times
    }

    /// A time between these two, in milliseconds.
    pub fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.range(from, to))
    }
}
