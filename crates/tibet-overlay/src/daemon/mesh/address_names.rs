//! Whose overlay address is whose, peer or not yet.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv6Addr;

use jis::Name;

/// Addresses whose names are remembered.
const MAX_NAMES: usize = 65_536;

/// The names behind overlay addresses.
#[derive(Debug, Default)]
pub(super) struct AddressNames {
    names: BTreeMap<Ipv6Addr, Name>,
    /// The addresses, the one noted first before all others.
    order: VecDeque<Ipv6Addr>,
}

impl AddressNames {
    pub(super) fn get(&self, address: Ipv6Addr) -> Option<&Name> {
        self.names.get(&address)
    }

    /// Notes whose address this is. When too many are known, the oldest is forgotten that is not `in_use`.
    pub(super) fn note(&mut self, address: Ipv6Addr, name: &Name, in_use: impl Fn(Ipv6Addr) -> bool) {
        if let Some(known) = self.names.get_mut(&address) {
            known.clone_from(name);
            return;
        }
        let mut left = self.order.len();
        while self.names.len() >= MAX_NAMES && left > 0 {
            left -= 1;
            let Some(oldest) = self.order.pop_front() else { break };
            if in_use(oldest) {
                self.order.push_back(oldest);
            } else {
                self.names.remove(&oldest);
            }
        }
        if self.names.len() < MAX_NAMES {
            self.names.insert(address, name.clone());
            self.order.push_back(address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_too_many_are_known_the_oldest_gives_way_that_nobody_uses() {
        let address = |number: usize| Ipv6Addr::from(number as u128);
        let (one, other): (Name, Name) =
            ("jis:one".parse().expect("a name"), "jis:other".parse().expect("a name"));
        let mut names = AddressNames::default();
        for number in 0..MAX_NAMES {
            names.note(address(number), &one, |_| false);
        }
        names.note(address(7), &other, |_| false);
        assert_eq!(
            (names.get(address(7)), names.get(address(0))),
            (Some(&other), Some(&one)),
            "one may change"
        );
        let in_use = |used: Ipv6Addr| used == address(0);
        names.note(address(MAX_NAMES), &other, in_use);
        assert_eq!(names.get(address(MAX_NAMES)), Some(&other));
        assert_eq!((names.get(address(0)), names.get(address(1))), (Some(&one), None));
        names.note(address(MAX_NAMES + 1), &other, |_| true);
        assert_eq!(
            (names.get(address(MAX_NAMES + 1)), names.get(address(2))),
            (None, Some(&one)),
            "all in use"
        );
        assert_eq!((names.names.len(), names.order.len()), (MAX_NAMES, MAX_NAMES));
    }
}
