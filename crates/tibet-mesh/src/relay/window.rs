//! No frame counts twice.

/// Which counters have been seen: the newest, and the 1024 up to it (SECURITY R53).
#[derive(Debug, Default)]
pub(super) struct Window {
    newest: u64,
    /// A ring of bits, one word more than the window has, so that no bit stands for two counters of it.
    seen: [u64; WINDOW_WORDS],
}

const WINDOW: u64 = 1024;
const WINDOW_WORDS: usize = 17;

impl Window {
    /// Whether a genuine frame's counter is new; if so, it counts from now on. Zero is no counter.
    pub(super) fn take(&mut self, counter: u64) -> bool {
        if counter == 0 || self.newest.saturating_sub(counter) >= WINDOW {
            return false;
        }
        let words = WINDOW_WORDS as u64;
        let (word, newest) = (counter / 64, self.newest / 64);
        for skipped in newest.saturating_add(1)..=word.min(newest.saturating_add(words)) {
            self.seen[(skipped % words) as usize] = 0;
        }
        self.newest = self.newest.max(counter);
        let (place, bit) = (&mut self.seen[(word % words) as usize], 1 << (counter % 64));
        let new = *place & bit == 0;
        *place |= bit;
        new
    }
}
