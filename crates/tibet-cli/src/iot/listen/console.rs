//! What is typed or piped in while a node listens.

use std::io::{BufRead as _, BufReader, IsTerminal as _, Read as _};
use std::thread;

use tokio::sync::mpsc;

/// Longest line, in bytes: the longest id has 4096.
const MAX_LINE: u64 = 8192;
/// Lines that wait to be obeyed.
const WAITING: usize = 64;

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// List what waits.
    Pending,
    /// Let this one in.
    Approve(String),
    /// Refuse this one.
    Deny(String),
    /// Something else.
    Unknown(String),
}

impl Order {
    fn parse(line: &str) -> Option<Self> {
        let line = line.trim();
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        Some(match (word, rest) {
            ("", _) => return None,
            ("pending", "") => Self::Pending,
            ("approve", id) if !id.is_empty() => Self::Approve(id.to_owned()),
            ("deny", id) if !id.is_empty() => Self::Deny(id.to_owned()),
            _ => Self::Unknown(line.to_owned()),
        })
    }
}

/// Standard input, read on a thread of its own that nobody waits for.
pub(super) struct Console {
    orders: mpsc::Receiver<Order>,
}

impl Console {
    pub(super) fn open() -> Self {
        let (sender, orders) = mpsc::channel(WAITING);
        if !is_in_background() {
            thread::spawn(move || read(&sender));
        }
        Self { orders }
    }

    /// The next order. The end of the input is not the end of listening.
    pub(super) async fn next(&mut self) -> Order {
        match self.orders.recv().await {
            Some(order) => order,
            None => std::future::pending().await,
        }
    }
}

/// A program in the background that reads from its terminal is stopped by it.
fn is_in_background() -> bool {
    let input = std::io::stdin();
    input.is_terminal() && rustix::termios::tcgetpgrp(&input).ok() != Some(rustix::process::getpgrp())
}

fn read(orders: &mpsc::Sender<Order>) {
    let mut input = BufReader::new(std::io::stdin());
    loop {
        let mut line = Vec::new();
        let read = (&mut input).take(MAX_LINE).read_until(b'\n', &mut line);
        // An endless line ends the reading: what its parts say was not meant.
        if !matches!(read, Ok(1..)) || line.len() as u64 == MAX_LINE {
            return;
        }
        let order = Order::parse(&String::from_utf8_lossy(&line));
        if order.is_some_and(|order| orders.blocking_send(order).is_err()) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_three_words() {
        assert_eq!(Order::parse(" pending \n"), Some(Order::Pending));
        assert_eq!(Order::parse("approve ping_1\r\n"), Some(Order::Approve("ping_1".to_owned())));
        assert_eq!(
            Order::parse("deny  an id with blanks"),
            Some(Order::Deny("an id with blanks".to_owned()))
        );
        assert_eq!(Order::parse(" \n"), None);
        for odd in ["approve", "deny ", "pending x", "Approve ping_1", "quit"] {
            assert!(matches!(Order::parse(odd), Some(Order::Unknown(_))), "{odd}");
        }
    }
}
