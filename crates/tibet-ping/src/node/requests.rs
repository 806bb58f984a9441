//! The requests of ours that wait for an answer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use jis::Name;

use crate::frame::Encoding;
use crate::node::event::{Ignored, RequestId, TokenStamp};
use crate::packet::Packet;
use crate::words::RoutingMode;

/// Requests that can wait at a time: some 1 KiB each, 4 MiB.
pub const MAX_REQUESTS: usize = 4096;
/// Of these, probes and so on, which come about by what others do: they may not crowd out what the owner asks.
const MAX_PROBES: usize = 1024;
/// Signatures looked at for one request whatever else there is to do. More answers to it than that are an attack by somebody who sees its traffic, and
/// wait in line.
const FREE_CHECKS: u8 = 16;
/// Devices told of for one search, so that answers sent again and again are told of once.
const MAX_FOUND: usize = 1024;

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Somebody asked for it. After `pending` the decision is waited for this long.
    Ask { decision_timeout: Duration },
    /// As before, and the answer was `pending`: a sign of life now and then keeps the way open.
    Decision,
    /// To see whether a peer is where it seems to be.
    Probe,
    /// A search for devices, which many may answer.
    Search,
}

#[derive(Debug)]
pub(super) struct Request {
    pub purpose: Purpose,
    pub packet: Packet,
    /// Who is to answer; `None` for whoever hears it.
    pub target: Option<Name>,
    /// Where it went.
    pub to: Vec<SocketAddr>,
    /// What the answer is bound to.
    pub hash: [u8; 32],
    /// Whether it went through the target's tunnel: then only what comes through it answers.
    pub sealed: bool,
    pub encoding: Encoding,
    pub sent_at: Duration,
    pub deadline: Duration,
    pub ignored: Ignored,
    pub stamp: TokenStamp,
    checks_left: u8,
    /// Who was found by it.
    found: BTreeSet<Name>,
}

impl Request {
    /// Not yet signed or sent.
    pub(super) fn new(
        purpose: Purpose,
        target: Option<Name>,
        packet: Packet,
        encoding: Encoding,
        stamp: TokenStamp,
    ) -> Self {
        Self {
            purpose,
            packet,
            target,
            to: Vec::new(),
            hash: [0; 32],
            sealed: false,
            encoding,
            sent_at: Duration::ZERO,
            deadline: Duration::ZERO,
            ignored: Ignored::default(),
            stamp,
            checks_left: FREE_CHECKS,
            found: BTreeSet::new(),
        }
    }

    fn probed(&self) -> Option<(Name, SocketAddr)> {
        let is_probe = self.purpose == Purpose::Probe;
        self.target.clone().zip(self.to.first().copied()).filter(|_| is_probe)
    }

    /// Whether another signature is looked at for it whatever else there is to do.
    pub(super) fn has_free_check(&mut self) -> bool {
        let left = self.checks_left.checked_sub(1);
        self.checks_left = left.unwrap_or(0);
        left.is_some()
    }

    /// Notes that a search has found a device; `false` if it had before, or has found too many.
    pub(super) fn finds(&mut self, name: &Name) -> bool {
        self.found.len() < MAX_FOUND && self.found.insert(name.clone())
    }
}

#[derive(Debug, Default)]
pub(super) struct Requests {
    /// Boxed: a map moves what lies in it at every turn.
    waiting: BTreeMap<RequestId, Box<Request>>,
    /// When each is given up.
    deadlines: BTreeSet<(Duration, RequestId)>,
    /// When those that wait for a decision give their next sign of life.
    signs: BTreeSet<(Duration, RequestId)>,
    /// Who is being probed where.
    probes: BTreeSet<(Name, SocketAddr)>,
}

impl Requests {
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= MAX_REQUESTS
    }

    /// Whether this id waits already.
    pub(super) fn contains(&self, id: RequestId) -> bool {
        self.waiting.contains_key(&id)
    }

    pub(super) fn insert(&mut self, id: RequestId, request: Request) {
        self.deadlines.insert((request.deadline, id));
        self.probes.extend(request.probed());
        self.waiting.insert(id, Box::new(request));
    }

    pub(super) fn get_mut(&mut self, id: RequestId) -> Option<&mut Request> {
        self.waiting.get_mut(&id).map(Box::as_mut)
    }

    pub(super) fn remove(&mut self, id: RequestId) -> Option<Request> {
        let request = self.waiting.remove(&id)?;
        self.deadlines.remove(&(request.deadline, id));
        if let Some(probed) = request.probed() {
            self.probes.remove(&probed);
        }
        Some(*request)
    }

    /// The answer was `pending`: the decision is waited for until `deadline`.
    pub(super) fn wait_for_decision(&mut self, id: RequestId, deadline: Duration, next_sign: Duration) {
        let Some(request) = self.waiting.get_mut(&id) else { return };
        self.deadlines.remove(&(request.deadline, id));
        (request.purpose, request.deadline) = (Purpose::Decision, deadline);
        let sealed = request.sealed;
        self.deadlines.insert((deadline, id));
        if !sealed {
            // A tunnel keeps its way open by itself.
            self.signs.insert((next_sign, id));
        }
    }

    /// One whose time is up.
    pub(super) fn expired(&mut self, now: Duration) -> Option<(RequestId, Request)> {
        let &(deadline, id) = self.deadlines.first()?;
        if deadline > now {
            return None;
        }
        self.remove(id).map(|request| (id, request))
    }

    /// Whether `name` may be probed at `address`: not while a probe is on its way there, nor while too many are elsewhere.
    pub(super) fn may_probe(&self, name: &Name, address: SocketAddr) -> bool {
        self.probes.len() < MAX_PROBES && !self.probes.contains(&(name.clone(), address))
    }

    /// One that waits for a decision and is due to give a sign of life: whom it is for, and where it is. The next one is due after `every`.
    pub(super) fn sign_due(&mut self, now: Duration, every: Duration) -> Option<(Name, SocketAddr)> {
        while let Some(&(due, id)) = self.signs.first()
            && due <= now
        {
            self.signs.pop_first();
            // Those that were settled meanwhile leave nothing but this, and a relay has no use for signs of life.
            let straight = |request: &&Request| request.packet.routing_mode == RoutingMode::Direct;
            if let Some(request) = self.waiting.get(&id).map(Box::as_ref).filter(straight) {
                self.signs.insert((now.saturating_add(every), id));
                return request.target.clone().zip(request.to.first().copied());
            }
        }
        None
    }

    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        let first = |set: &BTreeSet<(Duration, RequestId)>| set.first().map(|(due, _)| *due);
        first(&self.deadlines).into_iter().chain(first(&self.signs)).min()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}
