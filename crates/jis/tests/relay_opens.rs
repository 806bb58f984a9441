//! Opening a relay: SECURITY R50, R10, R21, row 39.

mod common;

use common::{NOW, at, key, relay_open};
use jis::{DecodeError, RelayOpen, Signed, SignedObject};

#[test]
fn r10_a_request_counts_for_a_day_at_most_and_five_seconds_of_clocks_apart() {
    let open = relay_open();
    assert!([-5, 0, 24 * 3600].iter().all(|seconds| open.is_valid_at(at(*seconds))));
    assert!([-6, 24 * 3600 + 1].iter().all(|seconds| !open.is_valid_at(at(*seconds))));
    let until = |expires_at| RelayOpen { expires_at, ..open.clone() }.message();
    assert!(RelayOpen::from_message(&until(at(24 * 3600 + 1))).is_err());
    assert!(RelayOpen::from_message(&until(NOW)).is_err());
    assert!(RelayOpen::from_message(&until(at(1))).is_ok());
}

/// SECURITY 3.2 row 39: a session with a known secret is none.
#[test]
fn row_39_a_request_with_an_exchange_key_of_small_order_is_none() {
    let open = relay_open();
    let message = open.message();
    let exchange = open.exchange.as_bytes();
    let place = message.windows(32).position(|bytes| bytes == exchange).expect("exchange");
    let (mut zero, mut one) = (message.clone(), message);
    zero[place..place + 32].fill(0);
    one[place..place + 32].fill(0);
    one[place] = 1;
    for bad in [zero, one] {
        assert_eq!(RelayOpen::from_message(&bad), Err(DecodeError::Field("exchange")));
    }
}

/// SECURITY R50: a request for one relay is none for another, and only who asks can have made it.
#[test]
fn r50_a_request_is_for_one_relay_and_by_one_key() {
    let sealed = Signed::seal(relay_open(), &key(0)).expect("sealed");
    assert!(sealed.verify(&key(0).public_key()).is_ok());
    assert!(sealed.verify(&key(1).public_key()).is_err());
    let elsewhere = RelayOpen { relay: key(2).public_key(), ..relay_open() };
    let moved = [elsewhere.message(), sealed.signature().as_bytes().to_vec()].concat();
    assert!(Signed::<RelayOpen>::decode(&moved).is_ok_and(|open| open.verify(&key(0).public_key()).is_err()));
}
