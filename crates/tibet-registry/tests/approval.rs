//! Names that a human decides on: rows 47–49 of the bad-input table with a policy that asks.

mod common;

use std::net::IpAddr;

use common::{Device, START, after, assert_untouched, issuer, key, name, register, token, tokens};
use jis::UnixTime;
use tibet_registry::{
    DENIAL, FirstCome, MAX_REQUESTS, MAX_REQUESTS_WAITING, NameRequest, Policy, Refusal, Registered,
    Registry, RequestState, Source, Store,
};

fn address(text: &str) -> IpAddr {
    text.parse().expect("address")
}

/// A closed registry whose operator is asked.
fn asks<S: Store>(registry: &mut Registry<S>) {
    let issuers = vec![issuer().public_key()];
    registry.set_policy(Policy {
        first_come: FirstCome::Closed,
        issuers,
        approval: true,
        ..Policy::default()
    });
}

fn claim<S: Store>(
    registry: &mut Registry<S>,
    device: &Device,
    from: &str,
    now: UnixTime,
) -> Result<Registered, Refusal> {
    registry.register(device.registration(), Source::Network(address(from)), now)
}

fn waits(device: &Device) -> Refusal {
    Refusal::WaitsForApproval(device.name().clone())
}

fn all<S: Store>(registry: &Registry<S>) -> Vec<NameRequest> {
    registry.requests(None, 1000).expect("read")
}

on_all_stores! {
    fn a_claim_waits_and_goes_through_once_it_was_approved(registry) {
        asks(registry);
        let device = Device::new("jis:a", 10);
        assert_eq!(claim(registry, &device, "192.0.2.1", START), Err(waits(&device)));
        let request = NameRequest {
            name: device.name().clone(),
            fingerprint: device.identity.fingerprint,
            key: device.identity.key,
            source: address("192.0.2.1"),
            since: START,
            state: RequestState::Waiting,
        };
        assert_eq!(all(registry), std::slice::from_ref(&request));
        // Asked again, from wherever, it is the same request.
        assert_eq!(claim(registry, &device, "198.51.100.1", after(1)), Err(waits(&device)));
        assert_eq!(all(registry), std::slice::from_ref(&request));
        assert_eq!(tokens(registry, "request").len(), 1);

        let approved = registry.approve(device.name(), "I know her", after(2)).expect("approved");
        assert_eq!(approved, NameRequest { state: RequestState::Approved { at: after(2) }, ..request });
        assert_eq!(registry.approve(device.name(), "again", after(3)), Ok(approved), "said twice is said once");
        let told = tokens(registry, "request_approved");
        assert_eq!(told.len(), 1);
        assert!(told[0].to_json_line().contains("I know her"));

        assert!(claim(registry, &device, "203.0.113.1", after(4)).expect("registered").changed);
        assert!(all(registry).is_empty(), "used in the same transaction");
        let told = tokens(registry, "register");
        assert!(told[0].to_json_line().contains("\"basis\": \"approval\""), "{}", told[0].to_json_line());
        assert!(!claim(registry, &device, "203.0.113.1", after(5)).expect("known").changed);
        assert_eq!(registry.approve(device.name(), "", after(6)), Err(Refusal::NoRequest(device.name().clone())));
    }

    fn a_denied_claim_stays_denied_for_a_day(registry) {
        asks(registry);
        let device = Device::new("jis:a", 10);
        let denied = Refusal::Denied(device.name().clone());
        claim(registry, &device, "192.0.2.1", START).expect_err("waits");
        registry.deny(device.name(), "never heard of it", after(1)).expect("denied");
        assert_eq!(tokens(registry, "request_denied").len(), 1);
        assert_eq!(claim(registry, &device, "192.0.2.1", after(2)), Err(denied.clone()));
        // The operator may think again, in both directions.
        registry.approve(device.name(), "", after(3)).expect("approved");
        registry.deny(device.name(), "", after(4)).expect("denied");
        let mut later = Device::new("jis:a", 10);
        let over = after(4).saturating_add(DENIAL);
        later.record.issued_at = over;
        let just_before = after(3).saturating_add(DENIAL);
        assert_eq!(claim(registry, &later, "192.0.2.1", just_before), Err(denied));
        assert_eq!(claim(registry, &later, "192.0.2.1", over), Err(waits(&later)), "then it may ask again");
    }

    /// Row 47: two keys ask for one name. The first waits, the second is told so; approval is for the first one's key only.
    fn row_47_the_second_key_does_not_get_what_the_first_asked_for(registry) {
        asks(registry);
        let (first, second) = (Device::new("jis:a", 10), Device::new("jis:a", 50));
        let asked = Refusal::AskedFor(first.name().clone());
        claim(registry, &first, "192.0.2.1", START).expect_err("waits");
        assert_eq!(assert_untouched(registry, |r| claim(r, &second, "198.51.100.1", after(1))), asked);
        registry.approve(first.name(), "", after(2)).expect("approved");
        assert_eq!(assert_untouched(registry, |r| claim(r, &second, "198.51.100.1", after(3))), asked);
        assert_eq!(all(registry)[0].fingerprint, first.identity.fingerprint);
        claim(registry, &first, "192.0.2.1", after(4)).expect("registered");
        let taken = Refusal::NameTaken(first.name().clone());
        assert_eq!(claim(registry, &second, "198.51.100.1", after(5)), Err(taken));
    }

    /// What was denied to one key may be asked by another.
    fn another_key_may_ask_for_a_name_that_was_denied(registry) {
        asks(registry);
        let (first, second) = (Device::new("jis:a", 10), Device::new("jis:a", 50));
        claim(registry, &first, "192.0.2.1", START).expect_err("waits");
        registry.deny(first.name(), "", after(1)).expect("denied");
        assert_eq!(claim(registry, &second, "192.0.2.1", after(2)), Err(waits(&second)));
        registry.approve(second.name(), "", after(3)).expect("approved");
        claim(registry, &second, "192.0.2.1", after(4)).expect("registered");
    }

    /// Row 48: an approval gives one registration. What comes after it is an owner's, or refused.
    fn row_48_a_thousand_claims_on_one_approval_give_one_name(registry) {
        asks(registry);
        let device = Device::new("jis:a", 10);
        claim(registry, &device, "192.0.2.1", START).expect_err("waits");
        registry.approve(device.name(), "", after(1)).expect("approved");
        let checked = device.registration().check().expect("its own");
        let mut changed = 0;
        for _ in 0..1000 {
            let source = Source::Network(address("192.0.2.1"));
            let done = registry.register_checked(checked.clone(), source, after(2)).expect("its own");
            changed += u32::from(done.changed);
        }
        assert_eq!((changed, tokens(registry, "register").len()), (1, 1));
    }

    /// Row 49: one network fills its own share, and no more.
    fn row_49_a_network_gets_sixteen_requests(registry) {
        asks(registry);
        for i in 0..3 * MAX_REQUESTS_WAITING {
            let device = Device::new(&format!("jis:n{i}"), 10 * i);
            let refusal = claim(registry, &device, &format!("192.0.2.{i}"), START).expect_err("waits");
            let busy = Refusal::Busy("requests for names from this network");
            assert_eq!(refusal, if i < MAX_REQUESTS_WAITING { waits(&device) } else { busy });
        }
        assert_eq!(all(registry).len() as u64, MAX_REQUESTS_WAITING);
        let other = Device::new("jis:other", 9000);
        assert_eq!(claim(registry, &other, "192.0.3.1", START), Err(waits(&other)));
        // Decided ones do not count.
        registry.deny(&name("jis:n0"), "", after(1)).expect("denied");
        let next = Device::new("jis:next", 9100);
        assert_eq!(claim(registry, &next, "192.0.2.1", after(2)), Err(waits(&next)));
    }

    /// Grants and tokens need nobody, and a request for a name that somebody else got this way is over.
    fn a_token_goes_before_an_approval(registry) {
        asks(registry);
        let (asking, holder) = (Device::new("jis:a", 10), Device::new("jis:a", 50));
        claim(registry, &asking, "192.0.2.1", START).expect_err("waits");
        let permission = token(1, "jis:a", registry.origin(), |_| ());
        let source = Source::Network(address("192.0.2.9"));
        registry.register(holder.asking(permission), source, after(1)).expect("registered");
        assert!(all(registry).is_empty());
        assert_eq!(registry.approve(asking.name(), "", after(2)), Err(Refusal::NoRequest(asking.name().clone())));
    }

    /// A permission that does not hold is refused as ever; nobody is asked.
    fn a_bad_permission_asks_nobody(registry) {
        asks(registry);
        let device = Device::new("jis:a", 10);
        let permission = token(1, "jis:b", registry.origin(), |_| ());
        let source = Source::Network(address("192.0.2.9"));
        let refusal = registry.register(device.asking(permission), source, START).expect_err("refused");
        assert!(matches!(refusal, Refusal::Permission(_)));
        assert!(all(registry).is_empty());
    }

    /// An open registry asks only where first come does not decide, and only about claims from the network.
    fn an_open_registry_asks_about_names_above_and_below(registry) {
        registry.set_policy(Policy { approval: true, ..Policy::default() });
        let (hub, lamp) = (Device::new("jis:hub", 10), Device::new("jis:hub:lamp", 20));
        claim(registry, &hub, "192.0.2.1", START).expect("first come");
        let local = registry.register(lamp.registration(), Source::Local, START).expect_err("refused");
        assert!(matches!(local, Refusal::PermissionNeeded { .. }));
        assert!(all(registry).is_empty());
        assert_eq!(claim(registry, &lamp, "192.0.2.1", START), Err(waits(&lamp)));
        registry.approve(lamp.name(), "", after(1)).expect("approved");
        claim(registry, &lamp, "192.0.2.1", after(2)).expect("registered");
        // Switched off, nobody is asked any more.
        registry.set_policy(Policy::default());
        let bulb = Device::new("jis:hub:bulb", 30);
        let refusal = claim(registry, &bulb, "192.0.2.1", after(3)).expect_err("refused");
        assert!(matches!(refusal, Refusal::PermissionNeeded { .. }));
        assert!(all(registry).is_empty());
    }

    /// The approval is for the identity: a rotation in between does not end it, and its history comes along.
    fn an_approved_identity_may_have_rotated(registry) {
        asks(registry);
        let mut device = Device::new("jis:a", 10);
        claim(registry, &device, "192.0.2.1", START).expect_err("waits");
        registry.approve(device.name(), "", after(1)).expect("approved");
        device.rotate(key(12), after(2));
        claim(registry, &device, "192.0.2.1", after(3)).expect("registered");
    }

    fn pages_of_requests(registry) {
        asks(registry);
        for i in 0..5u64 {
            let device = Device::new(&format!("jis:n{i}"), 10 * i);
            claim(registry, &device, "192.0.2.1", START).expect_err("waits");
        }
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let page = registry.requests(after.as_ref(), 2).expect("read");
            let Some(last) = page.last() else { break };
            after = Some(last.name.clone());
            found.extend(page.into_iter().map(|held| held.name.to_string()));
        }
        assert_eq!(found, ["jis:n0", "jis:n1", "jis:n2", "jis:n3", "jis:n4"]);
    }
}

/// Row 49: many networks fill the table, and then everybody waits until something was decided and is a day old.
#[test]
fn row_49_requests_are_bounded() {
    let mut registry = common::in_memory();
    asks(&mut registry);
    let from = |i: u64| format!("2001:db8:{i:x}::1");
    for i in 0..MAX_REQUESTS {
        let device = Device::new(&format!("jis:n{i}"), 10 * i);
        assert_eq!(claim(&mut registry, &device, &from(i), START), Err(waits(&device)));
    }
    let busy = Refusal::Busy("requests for names");
    let mut next = Device::new("jis:next", 900_000);
    assert_eq!(claim(&mut registry, &next, "192.0.2.1", START), Err(busy.clone()));
    registry.deny(&name("jis:n7"), "", START).expect("denied");
    assert_eq!(claim(&mut registry, &next, "192.0.2.1", after(60)), Err(busy));
    let later = after(61).saturating_add(DENIAL);
    next.record.issued_at = later;
    assert_eq!(claim(&mut registry, &next, "192.0.2.1", later), Err(waits(&next)));
    assert_eq!(registry.store().request(&name("jis:n7")), Ok(None), "forgotten, as room was needed");
    let (all, _) = registry.store().count_requests(std::net::Ipv6Addr::LOCALHOST).expect("counted");
    assert_eq!(all, MAX_REQUESTS);
    common::assert_clean(&registry);
}

/// Requests and decisions outlive the process.
#[test]
fn requests_are_kept_over_a_restart() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("registry.db");
    let device = Device::new("jis:a", 10);
    let mut registry = common::on_disk(&path);
    register(&mut registry, &Device::new("jis:b", 30));
    asks(&mut registry);
    claim(&mut registry, &device, "192.0.2.1", START).expect_err("waits");
    drop(registry);
    let mut registry = common::on_disk(&path);
    asks(&mut registry);
    registry.approve(device.name(), "", after(1)).expect("approved");
    drop(registry);
    let mut registry = common::on_disk(&path);
    asks(&mut registry);
    claim(&mut registry, &device, "192.0.2.1", after(2)).expect("registered");
    common::assert_clean(&registry);
}
