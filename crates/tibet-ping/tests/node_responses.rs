//! Answers that are not true change nothing (SECURITY R11, 3.2 row 10).

mod common;
mod harness;

use common::{fresh, key, name};
use harness::{Net, elsewhere, quiet};
use tibet_core::Zone;
use tibet_ping::{
    Binding, Decision, Encoding, Event, Frame, KeySource, Kind, Packet, Proof, RequestId, Response, sign_pong,
};

const PAIR: [&str; 2] = ["jis:home:sensor", "jis:home:hub"];

/// The sensor has asked the hub, whose key it knows, and the question is on its way.
fn asked(seed: u64) -> (Net, RequestId, Packet) {
    let mut net = Net::of(seed, &PAIR, &quiet());
    net.trust(1, 0, 0.9);
    let binding = Binding { name: name(PAIR[1]), key: key(1).public_key(), generation: 0 };
    net.with(0, |node, _| node.bind_key(binding, KeySource::Operator)).expect("room");
    let id = net.ask(0, 1);
    let packet = last_packet(&net);
    (net, id, packet)
}

fn last_packet(net: &Net) -> Packet {
    let sent = &net.captures.last().expect("sent").bytes;
    match Frame::read(sent) {
        Ok(Frame::Version1 { kind: Kind::Packet, encoding, body }) => Packet::decode(encoding, body),
        other => panic!("{other:?}"),
    }
    .expect("a packet")
}

fn response(net: &Net, packet: &Packet, responder: &str) -> Response {
    let fresh = fresh(99, net.time().wall);
    Response::to(packet, &name(responder), Decision::Accept, Zone::Groen, 1.0, fresh)
}

fn frame(mut response: Response, hash: [u8; 32], n: usize) -> Vec<u8> {
    sign_pong(&mut response, &hash, &key(n), 0).expect("signed");
    response.encode(Encoding::Json).expect("encoded")
}

fn completes(net: &mut Net, id: RequestId) {
    net.seconds(1.0);
    let [answer] = net.answers(0)[..] else { panic!("the true answer completes it: {:?}", net.node(0)) };
    assert_eq!((answer.request, answer.proof), (id, Proof::Verified));
}

/// Row 10.
#[test]
fn row_10_false_answers_leave_the_request_as_it_was_and_the_true_one_completes_it() {
    let (mut net, id, packet) = asked(1);
    let hash = tibet_ping::request_hash(&packet);
    let honest = || response(&net, &packet, PAIR[1]);
    let other_request = Packet { purpose: "other".into(), ..packet.clone() };
    let altered = {
        let mut response = honest();
        sign_pong(&mut response, &hash, &key(1), 0).expect("signed");
        response.decision = Decision::Reject;
        response.encode(Encoding::Json).expect("encoded")
    };
    let cases = [
        ("wrong key", frame(honest(), hash, 5), "wrong_key"),
        ("wrong request", frame(honest(), tibet_ping::request_hash(&other_request), 1), "false_answer"),
        ("somebody else", frame(response(&net, &packet, "jis:home:evil"), hash, 5), "false_answer"),
        ("under our name", frame(response(&net, &packet, PAIR[0]), hash, 0), "false_answer"),
        ("altered", altered, "false_answer"),
        ("unsigned", honest().encode(Encoding::Json).expect("encoded"), "unsigned"),
        (
            "nobody asked",
            frame(Response { in_response_to: "ping_00000000000000aa".into(), ..honest() }, hash, 1),
            "unasked",
        ),
        ("no id", frame(Response { in_response_to: "x".into(), ..honest() }, hash, 1), "unasked"),
    ];
    let (hub, sent) = (net.hosts[1].address, net.captures.len());
    for (what, bytes, reason) in &cases {
        for from in [hub, elsewhere(1)] {
            let before = net.dropped(0, reason);
            net.throw(from, 0, bytes);
            assert_eq!(net.dropped(0, reason), before + 1, "row 10: {what} from {from}");
        }
    }
    assert_eq!(net.captures.len(), sent, "row 10: nothing is sent");
    assert_eq!(net.node(0).stats().requests, 1);
    completes(&mut net, id);
    // And a second time the true answer is an answer to nothing.
    let before = net.dropped(0, "unasked");
    let again = net.captures.last().expect("the answer").bytes.clone();
    net.throw(hub, 0, &again);
    assert_eq!((net.dropped(0, "unasked"), net.answers(0).len()), (before + 1, 1));
}

/// R11: who reads along but cannot hold datagrams back floods the asker with false answers. The true one still counts.
#[test]
fn any_number_of_false_answers_does_not_keep_the_true_one_from_counting() {
    let (mut net, id, packet) = asked(2);
    let hub = net.hosts[1].address;
    let mut response = response(&net, &packet, PAIR[1]);
    sign_pong(&mut response, &[7; 32], &key(1), 0).expect("signed");
    for n in 0..200 {
        let response = Response { response_id: format!("resp_{n}"), ..response.clone() };
        net.throw(hub, 0, &response.encode(Encoding::Json).expect("encoded"));
    }
    completes(&mut net, id);
}

#[test]
fn what_was_not_believed_is_told_when_a_request_is_given_up() {
    let (mut net, id, packet) = asked(3);
    net.cut(0, 1);
    net.run(std::time::Duration::ZERO);
    net.hosts.swap_remove(1);
    let bytes = frame(response(&net, &packet, PAIR[1]), [0; 32], 1);
    net.throw(elsewhere(1), 0, &bytes);
    net.seconds(11.0);
    let given_up = net.hosts[0].events.iter().find_map(|event| match event {
        Event::Unanswered { request, ignored, .. } => Some((*request, *ignored)),
        _ => None,
    });
    assert_eq!(given_up.map(|(request, ignored)| (request, ignored.false_answers)), Some((id, 1)));
}

/// A response elicits nothing, whatever it says (R16), and a node that got no question sends nobody anything.
#[test]
fn row_13_two_nodes_never_answer_each_others_responses() {
    let mut net = Net::of(4, &PAIR, &quiet());
    net.trust_all(0.9);
    for n in 0..50 {
        let packet = net.packet(PAIR[n % 2], 1 - n % 2);
        let bytes = frame(response(&net, &packet, PAIR[n % 2]), [n as u8; 32], n % 2);
        let from = net.hosts[n % 2].address;
        net.throw(from, 1 - n % 2, &bytes);
    }
    net.seconds(30.0);
    assert_eq!(net.captures.len(), 0, "row 13");
}

#[test]
fn a_cancelled_request_is_not_waited_for() {
    let (mut net, id, _) = asked(5);
    assert!(net.with(0, |node, _| node.cancel(id)));
    assert!(!net.with(0, |node, _| node.cancel(id)));
    net.seconds(20.0);
    assert_eq!((net.answers(0).len(), net.dropped(0, "unasked")), (0, 1));
    assert_eq!(net.count(0, |event| matches!(event, Event::Unanswered { .. })), 0);
}
