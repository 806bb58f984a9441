//! Somebody who overhears what travels on the internet, and sends what he likes from whatever address he likes.
//!
//! He does not pass on what was sent to an address of his own: whoever does so in both directions is a path, and that is no fault of the mesh.

use std::net::SocketAddr;

use bytes::Bytes;

use crate::random::Random;

/// Datagrams that he remembers.
const MEMORY: usize = 256;

/// What he has overheard: it reached whom it was for.
#[derive(Debug, Clone)]
pub struct Overheard {
    /// Where it came from.
    pub from: SocketAddr,
    /// Where it went.
    pub to: SocketAddr,
    /// All of it.
    pub bytes: Bytes,
}

/// The attacker.
#[derive(Debug)]
pub struct Attacker {
    random: Random,
    memory: Vec<Overheard>,
}

impl Attacker {
    /// One who has heard nothing yet.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { random: Random::new(seed, 3), memory: Vec::new() }
    }

    /// Whether an address is his.
    #[must_use]
    pub fn owns(address: SocketAddr) -> bool {
        matches!(address, SocketAddr::V4(v4) if v4.ip().octets()[..3] == [198, 51, 100] && v4.ip().octets()[3] >= 200)
    }

    fn address(&mut self) -> SocketAddr {
        let last = self.random.range(200, 230) as u8;
        SocketAddr::from(([198, 51, 100, last], self.random.range(1024, 65_000) as u16))
    }

    /// Remembers what travels. At times he is faster than it: what arrives before it, from an address of his.
    pub fn overhear(&mut self, overheard: Overheard) -> Option<Overheard> {
        let first =
            self.random.permille(150).then(|| Overheard { from: self.address(), ..overheard.clone() });
        if self.memory.len() < MEMORY {
            self.memory.push(overheard);
        } else {
            let place = self.random.index(MEMORY);
            self.memory[place] = overheard;
        }
        first
    }

    fn recall(&mut self) -> Option<Overheard> {
        if self.memory.is_empty() {
            return None;
        }
        // What is new is worth more.
        let length = self.memory.len();
        let place = if self.random.permille(500) { length - 1 } else { self.random.index(length) };
        Some(self.memory[place].clone())
    }

    /// What he sends next.
    pub fn make(&mut self) -> Option<Overheard> {
        let mut made = self.recall()?;
        let mut other = self.recall()?;
        match self.random.below(7) {
            // Once more.
            0 => {}
            // From elsewhere.
            1 => made.from = self.address(),
            2 => made.from = other.from,
            // To somebody else.
            3 => made.to = other.to,
            4 => (made.from, made.to) = (self.address(), other.to),
            // Altered.
            5 => {
                let mut bytes = made.bytes.to_vec();
                for _ in 0..self.random.range(1, 3) {
                    let at = self.random.index(bytes.len());
                    bytes[at] ^= 1 << self.random.below(8);
                }
                if self.random.permille(300) {
                    bytes.truncate(self.random.range(1, bytes.len() as u64) as usize);
                }
                made.bytes = bytes.into();
            }
            // Anything.
            _ => {
                other.bytes = self.anything();
                made = other;
            }
        }
        Some(made)
    }

    fn anything(&mut self) -> Bytes {
        let length = match self.random.below(6) {
            0 => 148,
            1 => 92,
            2 => 64,
            3 => 48,
            4 => 40,
            _ => self.random.range(1, 300) as usize,
        };
        let mut bytes: Vec<u8> = (0..length).map(|_| self.random.draw() as u8).collect();
        if self.random.permille(500) && length >= 8 {
            bytes[..3].copy_from_slice(b"TP\x02");
            bytes[3] = self.random.range(14, 24) as u8;
            bytes[4..8].copy_from_slice(&(length as u32 - 8).to_be_bytes());
        } else if length >= 4 {
            bytes[..4].copy_from_slice(&[self.random.range(0, 5) as u8, 0, 0, 0]);
        }
        bytes.into()
    }
}
