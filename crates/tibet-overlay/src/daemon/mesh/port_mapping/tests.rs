//! Against a router on the loopback interface that says what a test has it say.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{Instant, advance, pause, resume, timeout};

use super::router::{LIFETIME, Mapping, Protocol, Reason, Router, Way};
use super::{AT_LEAST, GOODBYE, Here, PortMapping, State, aim, renewal};

const OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));
const PORT: NonZeroU16 = NonZeroU16::new(7150).expect("not zero");
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

type Says = Box<dyn FnMut(&[u8]) -> Option<Vec<u8>> + Send>;

/// A router. What it is asked can be looked at, with the time of the test's clock.
struct FakeRouter {
    at: Ipv4Addr,
    asked: mpsc::UnboundedReceiver<(Instant, Vec<u8>)>,
    says: Arc<Mutex<Says>>,
}

impl FakeRouter {
    async fn that(says: impl FnMut(&[u8]) -> Option<Vec<u8>> + Send + 'static) -> Self {
        // Tests run at the same time, in other processes too, and the port is what it is.
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = std::process::id().wrapping_mul(64) + NUMBER.fetch_add(1, Ordering::Relaxed);
        let at = Ipv4Addr::from_bits(0x7f80_0000 | number & 0x7f_ffff);
        let socket = UdpSocket::bind((at, crab_nat::GATEWAY_PORT)).await.expect("bound");
        let (tell, asked) = mpsc::unbounded_channel();
        let says: Arc<Mutex<Says>> = Arc::new(Mutex::new(Box::new(says)));
        let saying = Arc::clone(&says);
        tokio::spawn(async move {
            let mut buffer = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let _ = tell.send((Instant::now(), buffer[..length].to_vec()));
                let answer = (saying.lock().expect("no panic"))(&buffer[..length]);
                if let Some(answer) = answer {
                    let _ = socket.send_to(&answer, from).await;
                }
            }
        });
        Self { at, asked, says }
    }

    fn says(&self, says: impl FnMut(&[u8]) -> Option<Vec<u8>> + Send + 'static) {
        *self.says.lock().expect("no panic") = Box::new(says);
    }

    fn way(&self) -> Way {
        Way { gateway: self.at, address: Ipv4Addr::LOCALHOST, port: PORT }
    }

    async fn asked(&mut self) -> (Instant, Vec<u8>) {
        timeout(PATIENCE, self.asked.recv()).await.expect("asked in time").expect("it runs")
    }

    /// What it is asked once the clock has gone on, in steps of 10 s. The clock stands while all that follows from a step is done: there is always something to do.
    async fn asked_later(&mut self) -> (Instant, Vec<u8>) {
        pause();
        for _ in 0..1000 {
            advance(Duration::from_secs(10)).await;
            for _ in 0..500 {
                if let Ok(asked) = self.asked.try_recv() {
                    resume();
                    return asked;
                }
                yield_now().await;
            }
        }
        panic!("not asked within 10 000 s")
    }
}

/// An answer to a MAP of PCP (RFC 6887, 11.1).
fn pcp(request: &[u8], result: u8, lifetime: u32, external: SocketAddr) -> Option<Vec<u8>> {
    let (nonce_and_protocol, inner) = (request.get(24..40)?, request.get(40..42)?);
    let address = match external.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let lifetime = lifetime.to_be_bytes();
    let port = external.port().to_be_bytes();
    let parts =
        [&[2, 0x81, 0, result][..], &lifetime, &[0, 0, 0, 9], &[0; 12], nonce_and_protocol, inner, &port];
    Some([&parts.concat()[..], &address.octets()].concat())
}

/// What a router does that maps every port to itself by PCP, and deletes what it is to delete.
fn obliging(lifetime: u32) -> impl FnMut(&[u8]) -> Option<Vec<u8>> {
    move |request| {
        let [2, 1, _, _, a, b, c, d, ..] = request[..] else { return None };
        let granted = if [a, b, c, d] == [0; 4] { 0 } else { lifetime };
        let port = u16::from_be_bytes([request[42], request[43]]);
        pcp(request, 0, granted, SocketAddr::new(OUTSIDE, port))
    }
}

/// What one does that speaks NAT-PMP only (RFC 6886).
fn older(address: Ipv4Addr, result: u8) -> impl FnMut(&[u8]) -> Option<Vec<u8>> {
    move |request| match request {
        [0, 0] => Some([&[0, 128, 0, 0, 0, 0, 0, 9][..], &address.octets()].concat()),
        [0, 1, 0, 0, inner @ .., _, _, _, _, _, _] => {
            let lifetime = if request[8..] == [0; 4] { [0; 4] } else { 3600_u32.to_be_bytes() };
            let port = if lifetime == [0; 4] { 0 } else { 41_641_u16 };
            let head = [0, 129, 0, result, 0, 0, 0, 9];
            Some([&head[..], inner, &port.to_be_bytes(), &lifetime].concat())
        }
        [2, ..] => Some(vec![0, 129, 0, 1, 0, 0, 0, 9]),
        _ => None,
    }
}

/// The task, with its surroundings.
struct Keeper {
    mapping: Arc<PortMapping>,
    here: Arc<Mutex<Here>>,
    moved: watch::Sender<u64>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Keeper {
    fn start(way: Way) -> Self {
        let here = Arc::new(Mutex::new(Here { way: Ok(way), behind_nat: Some(true) }));
        let mapping = Arc::new(PortMapping::new(true));
        let (moved, moves) = watch::channel(0);
        let (stop, stopping) = watch::channel(false);
        let (kept, seen) = (Arc::clone(&mapping), Arc::clone(&here));
        let task = tokio::spawn(async move {
            kept.run(move || seen.lock().expect("no panic").clone(), moves, stopping).await;
        });
        Self { mapping, here, moved, stop, task }
    }

    async fn until(&self, wanted: impl FnMut(&State) -> bool) -> State {
        self.within(PATIENCE, wanted).await
    }

    async fn within(&self, longest: Duration, wanted: impl FnMut(&State) -> bool) -> State {
        let mut states = self.mapping.state.subscribe();
        let state = timeout(longest, states.wait_for(wanted)).await;
        match state {
            Ok(state) => state.expect("it is there").clone(),
            Err(_) => panic!("it stays {:?}", self.mapping.state.borrow()),
        }
    }

    async fn mapped(&self) -> Mapping {
        match self.until(|state| matches!(state, State::Mapped(..))).await {
            State::Mapped(mapping, _) => mapping,
            other => panic!("{other:?}"),
        }
    }

    async fn none(&self) -> Reason {
        match self.until(|state| matches!(state, State::None(_))).await {
            State::None(reason) => reason,
            other => panic!("{other:?}"),
        }
    }

    fn at(&self, here: Here) {
        *self.here.lock().expect("no panic") = here;
    }
}

#[tokio::test]
async fn a_router_that_speaks_pcp_is_asked_for_our_own_udp_port_and_for_nothing_else() {
    let mut router = FakeRouter::that(obliging(7200)).await;
    let keeper = Keeper::start(router.way());
    let mapping = keeper.mapped().await;
    assert_eq!(
        (mapping.protocol, mapping.external.to_string()),
        (Protocol::Pcp, "203.0.113.7:7150".to_owned())
    );
    assert_eq!(keeper.mapping.candidate(), Some(mapping.external));
    let report = keeper.mapping.report();
    assert_eq!((report.state.as_str(), report.protocol.as_deref()), ("mapped", Some("PCP")));
    assert!(report.external.is_some() && report.expires_at.is_some() && report.problem.is_none());

    let (_, request) = router.asked().await;
    // A MAP without options, so for nobody else; 7200 s; from us; UDP; our port.
    assert_eq!((request.len(), &request[..2]), (60, &[2, 1][..]));
    assert_eq!(request[4..8], 7200_u32.to_be_bytes());
    assert_eq!(request[8..24], Ipv4Addr::LOCALHOST.to_ipv6_mapped().octets());
    assert_eq!((request[36], &request[40..44]), (17, &[7150_u16.to_be_bytes(); 2].concat()[..]));
    assert!(router.asked.try_recv().is_err(), "one question is enough");
}

#[tokio::test]
async fn a_router_that_speaks_nat_pmp_only_is_asked_by_that() {
    let mut router = FakeRouter::that(older(Ipv4Addr::new(203, 0, 113, 7), 0)).await;
    let keeper = Keeper::start(router.way());
    let mapping = keeper.mapped().await;
    let told = (mapping.protocol, mapping.external.to_string(), mapping.lifetime);
    assert_eq!(told, (Protocol::NatPmp, "203.0.113.7:41641".to_owned(), Duration::from_secs(3600)));
    let asked = [router.asked().await.1, router.asked().await.1, router.asked().await.1];
    assert_eq!((asked[0][0], &asked[1][..]), (2, &[0, 0][..]));
    assert_eq!(
        asked[2],
        [&[0, 1, 0, 0][..], &[7150_u16.to_be_bytes(); 2].concat(), &7200_u32.to_be_bytes()].concat()
    );

    // What spoke it before is asked by it at once, for the same port.
    let (_, again) = router.asked_later().await;
    assert_eq!(again, [0, 0]);
    assert_eq!(router.asked().await.1[6..8], 41_641_u16.to_be_bytes());
    // And it is deleted by it.
    keeper.until(|state| matches!(state, State::Mapped(..))).await;
    keeper.stop.send_replace(true);
    keeper.task.await.expect("ended");
    let (_, last) = router.asked().await;
    assert_eq!((&last[..2], &last[4..]), (&[0, 1][..], &[&7150_u16.to_be_bytes()[..], &[0; 6]].concat()[..]));
}

#[tokio::test]
async fn a_mapping_is_asked_for_again_before_half_of_its_time_and_keeps_its_port() {
    for lifetime in [600, 7200, u32::MAX] {
        let mut router = FakeRouter::that(obliging(lifetime)).await;
        let keeper = Keeper::start(router.way());
        let first = keeper.mapped().await;
        assert!(first.lifetime <= LIFETIME, "no router is believed to keep it longer than it was asked to");
        let (begun, request) = router.asked().await;
        router.says(|request| pcp(request, 0, 600, SocketAddr::new(OUTSIDE, 40_000)));
        let (later, again) = router.asked_later().await;
        let passed = later - begun;
        assert!(
            passed >= renewal(first.lifetime) && passed < first.lifetime / 2,
            "{passed:?} of {lifetime} s"
        );
        assert_eq!(again[24..44], request[24..44], "the same nonce and port");
        // Where the router gives another port, that is the candidate.
        keeper.until(|state| matches!(state, State::Mapped(now, _) if now.external != first.external)).await;
        assert_eq!(keeper.mapping.candidate().expect("mapped").address().port(), 40_000);
    }
    for seconds in [60, 3600, 7200, 100_000] {
        let lifetime = Duration::from_secs(seconds);
        assert!(renewal(lifetime) < lifetime / 2 && renewal(lifetime) > Duration::from_secs(20));
    }
}

#[tokio::test]
async fn a_router_that_says_no_has_no_candidate_and_is_asked_again_later_and_later() {
    let mut router = FakeRouter::that(obliging(600)).await;
    let keeper = Keeper::start(router.way());
    keeper.mapped().await;
    router.asked().await;
    router.says(|request| pcp(request, 2, 86_400, SocketAddr::new(OUTSIDE, 7150)));
    let (mut before, _) = router.asked_later().await;
    assert_eq!(keeper.none().await, Reason::Refused("not authorised"));
    assert_eq!(keeper.mapping.candidate(), None);
    assert!(keeper.mapping.report().problem.expect("a reason").contains("not authorised"));
    let mut waited = Duration::ZERO;
    for _ in 0..3 {
        let (asked, _) = router.asked_later().await;
        assert!(asked - before > waited, "{:?} after {waited:?}", asked - before);
        (waited, before) = (asked - before, asked);
    }
    router.says(obliging(600));
    router.asked_later().await;
    keeper.mapped().await;
}

#[tokio::test]
async fn a_router_that_falls_silent_has_no_candidate_any_more() {
    let mut router = FakeRouter::that(obliging(600)).await;
    let keeper = Keeper::start(router.way());
    keeper.mapped().await;
    router.asked().await;
    router.says(|_| None);
    // The clock goes on by itself whenever all wait.
    pause();
    let half = Duration::from_secs(300);
    let state = keeper.within(half, |state| !matches!(state, State::Mapped(..))).await;
    assert_eq!(state, State::None(Reason::Silent));
    assert_eq!(keeper.mapping.candidate(), None);
    // Four questions each by PCP and NAT-PMP, and no more.
    yield_now().await;
    assert!((1..=8).contains(&router.asked.len()), "{}", router.asked.len());
}

/// SECURITY R12: whatever a router sends, nothing is believed that is not whole and of use.
#[tokio::test]
async fn garbage_is_no_mapping_and_no_end_of_the_daemon() {
    let good = SocketAddr::new(OUTSIDE, 41_641);
    let mut router = FakeRouter::that(|_| None).await;
    let asking = Router::new();
    let mut taken = 0;
    for length in 0..60_usize {
        router.says(move |request| {
            let answer = if request[0] == 2 { pcp(request, 0, 600, good)? } else { vec![0, 128] };
            Some(answer[..length.min(answer.len())].to_vec())
        });
        let answer = asking.map(router.way(), None).await;
        assert!(matches!(answer, Err(Reason::Garbled | Reason::Silent)), "{length}: {answer:?}");
    }
    for byte in 0..60_usize {
        for flipped in [0x01, 0x80, 0xff] {
            router.says(move |request| {
                let mut answer = if request[0] == 2 { pcp(request, 0, 600, good)? } else { vec![0xff; 16] };
                if let Some(byte) = answer.get_mut(byte) {
                    *byte ^= flipped;
                }
                Some(answer)
            });
            if let Ok(mapping) = asking.map(router.way(), None).await {
                taken += 1;
                let harmless = matches!(byte, 2 | 4..=23 | 37..=39 | 42..=43 | 56..=59);
                assert!(harmless && mapping.lifetime <= LIFETIME, "byte {byte} ^ {flipped}: {mapping:?}");
            }
        }
    }
    assert!(taken > 60, "some bytes may be anything: {taken}");
    while router.asked.try_recv().is_ok() {}
    // As NAT-PMP, and far too long.
    for junk in [vec![0; 16], vec![0xff; 1400], [&[0, 128, 0, 0, 0, 0, 0, 9][..], &[9; 1000]].concat()] {
        let said = junk.clone();
        router.says(move |_| Some(said.clone()));
        let answer = asking.map(router.way(), None).await;
        assert!(answer.is_err(), "{junk:?}: {answer:?}");
    }
}

/// SECURITY R48: an address that is no stranger's way to us is no candidate, whoever names it.
#[tokio::test]
async fn an_address_that_leads_nowhere_is_refused_and_the_mapping_deleted() {
    let inside = ["10.0.0.1", "172.16.3.4", "192.168.0.2", "100.64.1.2", "100.127.255.255", "192.0.0.2"];
    let useless = [
        "127.0.0.1",
        "0.0.0.0",
        "0.1.2.3",
        "224.0.0.1",
        "239.9.9.9",
        "240.0.0.1",
        "255.255.255.255",
        "169.254.0.9",
    ];
    let mut router = FakeRouter::that(|_| None).await;
    let asking = Router::new();
    for (text, double) in inside.map(|text| (text, true)).into_iter().chain(useless.map(|text| (text, false)))
    {
        let address: Ipv4Addr = text.parse().expect("an address");
        let reason = if double { Reason::DoubleNat(address.into()) } else { Reason::Useless(address.into()) };
        router.says(move |request| {
            let lifetime = if request[4..8] == [0; 4] { 0 } else { 600 };
            pcp(request, 0, lifetime, SocketAddr::new(address.into(), 41_641))
        });
        assert_eq!(asking.map(router.way(), None).await, Err(reason.clone()));
        let (first, second) = (router.asked().await.1, router.asked().await.1);
        assert_eq!((&second[4..8], &second[24..42]), (&[0; 4][..], &first[24..42]), "{text}: deleted again");
        router.says(older(address, 0));
        assert_eq!(asking.map(router.way(), None).await, Err(reason));
        assert_eq!((router.asked().await.1[0], router.asked().await.1), (2, vec![0, 0]));
        assert!(router.asked.try_recv().is_err(), "{text}: nothing is mapped in vain");
    }
    for (external, reason) in [
        (SocketAddr::new(Ipv6Addr::LOCALHOST.into(), 1), Reason::Useless(Ipv6Addr::LOCALHOST.into())),
        (SocketAddr::new(OUTSIDE, 53), Reason::Port(53)),
    ] {
        router.says(move |request| pcp(request, 0, 600, external));
        assert_eq!(asking.map(router.way(), None).await, Err(reason));
    }
    for lifetime in [0, 59] {
        router.says(move |request| pcp(request, 0, lifetime, SocketAddr::new(OUTSIDE, 41_641)));
        let reason = Reason::Short(Duration::from_secs(lifetime.into()));
        assert_eq!(asking.map(router.way(), None).await, Err(reason));
    }
}

#[tokio::test]
async fn at_the_end_the_router_is_told_to_forget_it() {
    let mut router = FakeRouter::that(obliging(600)).await;
    let keeper = Keeper::start(router.way());
    keeper.mapped().await;
    let (_, request) = router.asked().await;
    keeper.stop.send_replace(true);
    keeper.mapping.gone().await;
    assert_eq!(*keeper.mapping.state.borrow(), State::Gone);
    let (_, last) = router.asked().await;
    assert_eq!((&last[4..8], &last[24..42]), (&[0; 4][..], &request[24..42]));
    assert_eq!((keeper.mapping.candidate(), keeper.mapping.report().state), (None, "off".to_owned()));
    keeper.task.await.expect("ended");
}

#[tokio::test]
async fn a_router_that_does_not_listen_at_the_end_holds_nobody_up_for_more_than_a_second() {
    let mut router = FakeRouter::that(obliging(600)).await;
    let keeper = Keeper::start(router.way());
    keeper.mapped().await;
    router.asked().await;
    router.says(|_| None);
    pause();
    let begun = Instant::now();
    keeper.stop.send_replace(true);
    keeper.mapping.gone().await;
    keeper.task.await.expect("ended");
    assert!(begun.elapsed() <= GOODBYE + Duration::from_millis(10), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn one_that_has_mapped_nothing_is_told_nothing_at_the_end_and_nobody_waits_for_it() {
    let mut router = FakeRouter::that(|_| None).await;
    let keeper = Keeper::start(router.way());
    pause();
    keeper.none().await;
    let begun = Instant::now();
    while router.asked.try_recv().is_ok() {}
    keeper.stop.send_replace(true);
    keeper.mapping.gone().await;
    assert!(begun.elapsed() < Duration::from_millis(10) && router.asked.try_recv().is_err());
    PortMapping::new(false).gone().await;
}

/// The answer may be on its way when all ends.
#[tokio::test]
async fn what_a_router_may_have_mapped_without_our_hearing_of_it_is_deleted_too() {
    let mut router = FakeRouter::that(|_| None).await;
    let keeper = Keeper::start(router.way());
    router.asked().await;
    router.says(obliging(600));
    keeper.stop.send_replace(true);
    keeper.task.await.expect("ended");
    loop {
        let (_, request) = router.asked().await;
        if request[4..8] == [0; 4] {
            return;
        }
    }
}

#[tokio::test]
async fn another_router_or_another_own_address_is_asked_at_once() {
    let mut first = FakeRouter::that(obliging(7200)).await;
    let mut second = FakeRouter::that(older(Ipv4Addr::new(203, 0, 113, 9), 0)).await;
    let keeper = Keeper::start(first.way());
    let before = keeper.mapped().await;
    keeper.at(Here { way: Ok(second.way()), behind_nat: Some(true) });
    second.asked().await;
    keeper.until(|state| matches!(state, State::Mapped(now, _) if now.external != before.external)).await;
    let own = Way { address: Ipv4Addr::new(127, 0, 0, 2), ..first.way() };
    first.asked().await;
    keeper.at(Here { way: Ok(own), behind_nat: Some(true) });
    let (_, request) = first.asked().await;
    assert_eq!(request[8..24], own.address.to_ipv6_mapped().octets());
    // Without any router there is nobody to ask, and nothing to tell peers.
    keeper.at(Here { way: Err(Reason::NoRouter), behind_nat: Some(true) });
    assert_eq!(keeper.none().await, Reason::NoRouter);
    assert_eq!(keeper.mapping.candidate(), None);
}

#[tokio::test]
async fn where_nodes_see_us_elsewhere_the_same_router_is_asked_again_and_not_more_often_than_it_can_bear() {
    let mut router = FakeRouter::that(obliging(7200)).await;
    let keeper = Keeper::start(router.way());
    keeper.mapped().await;
    let (mut before, _) = router.asked().await;
    for _ in 0..3 {
        keeper.moved.send_modify(|count| *count += 1);
        let (asked, _) = router.asked_later().await;
        assert!(asked - before >= AT_LEAST && asked - before < AT_LEAST * 3, "{:?}", asked - before);
        assert!(keeper.mapping.candidate().is_some(), "meanwhile it stays what it was");
        before = asked;
        keeper.until(|state| matches!(state, State::Mapped(..))).await;
    }
}

/// SECURITY R24: nodes say whether there is a NAT, and what a node says ends nothing.
#[test]
fn who_is_behind_no_nat_asks_nobody() {
    let way =
        Way { gateway: Ipv4Addr::new(192, 168, 1, 1), address: Ipv4Addr::new(192, 168, 1, 5), port: PORT };
    let here = |behind_nat| Here { way: Ok(way), behind_nat };
    assert_eq!(aim(here(None), None), Err(Reason::NotSeen));
    assert_eq!(aim(here(Some(false)), None), Err(Reason::NoNat));
    assert_eq!(aim(here(Some(true)), None), Ok(way));
    for said in [None, Some(false), Some(true)] {
        assert_eq!(aim(here(said), Some(way)), Ok(way));
        let other = Way { address: Ipv4Addr::new(192, 168, 1, 6), ..way };
        assert_eq!(aim(here(said), Some(other)), aim(here(said), None));
        let nowhere = Here { way: Err(Reason::NoRouter), behind_nat: said };
        assert_eq!(aim(nowhere, Some(way)), Err(Reason::NoRouter));
    }
}
