//! The node that `tibet-iot send` asks with.

use std::time::Duration;

use tibet_core::Zone;
use tibet_iot::{IotNode, Outcome as Came, TransportConfig};
use tibet_ping::{DEFAULT_PRIORITY, Decision, Event, Glob, PingType, Rule, RulePattern};
use tokio::time::{Instant, sleep_until, timeout};

use super::{Plan, Report};
use crate::error::CliError;
use crate::iot::Context;
use crate::iot::own::Own;
use crate::iot::stream::Closed;
use crate::output::Exit;

/// An answer that has not come by now may be longer than the question: then it waits there until we have shown that we are where we seem to be.
const SHOW_OURSELVES_AFTER: Duration = Duration::from_millis(300);

/// A node that asks one device.
pub(super) struct Asker<'a> {
    pub(super) node: IotNode,
    events: tibet_iot::Events,
    own: Own,
    plan: &'a Plan,
    report: Report<'a>,
    /// Whether we have shown that we are where we seem to be, or tried.
    shown: bool,
}

impl<'a> Asker<'a> {
    pub(super) fn new(
        context: &'a Context,
        own: Own,
        plan: &'a Plan,
        config: TransportConfig,
        audit: Option<tibet_iot::Audit>,
    ) -> Result<Self, CliError> {
        let (name, copy) = (own.identity.name.clone(), own.identity_copy()?);
        // The directory is not given to the node: its replay bound would keep a listener of this name waiting afterwards, and who only
        // asks takes in nothing that could be replayed.
        let node = IotNode::new(copy, config, None, audit)?;
        own.tell_known(&node)?;
        plan.setup.apply(&node)?;
        // Whoever is asked may ask back whether we are here, however little it is trusted otherwise.
        node.add_rule(Rule {
            id: "asked".to_owned(),
            name: "asked".to_owned(),
            pattern: RulePattern {
                source_did: Some(Glob::Exact(plan.ask.target.as_str().to_owned())),
                ping_type: Some(PingType::Heartbeat.as_str().to_owned()),
                ..RulePattern::default()
            },
            zone: Zone::Geel,
            decision: Decision::Accept,
            priority: DEFAULT_PRIORITY,
        })?;
        let (report, events) = (Report::new(plan, name, context.as_json), node.events());
        Ok(Self { node, events, own, plan, report, shown: false })
    }

    /// Whether all were accepted.
    pub(super) async fn ask_all(&mut self) -> Result<bool, Closed> {
        for _ in 0..self.plan.count {
            self.ask_once().await?;
        }
        if self.plan.count > 1 {
            self.report.sum_up()?;
        }
        Ok(self.report.all_accepted())
    }

    async fn ask_once(&mut self) -> Result<(), Closed> {
        let mut question = self.node.ask(self.plan.ask.clone()).map_err(CliError::from)?;
        self.report.asks();
        let show_ourselves = Instant::now() + SHOW_OURSELVES_AFTER;
        let mut pending = false;
        loop {
            tokio::select! {
                came = question.next() => match came {
                    Came::Answer(answered) => {
                        self.learn_what_is_left().await?;
                        self.report.answer(&answered)?;
                        if answered.last {
                            return Ok(());
                        }
                        pending = true;
                    }
                    Came::NoAnswer(ignored) => {
                        self.learn_what_is_left().await?;
                        return match pending {
                            true => self.report.undecided(),
                            false => self.report.no_answer(&ignored, &self.own),
                        };
                    }
                },
                Some(event) = self.events.next() => self.learn(&event)?,
                () = sleep_until(show_ourselves), if !self.shown && !self.plan.is_mesh() => {
                    self.shown = true;
                    // It sends a sign of life there; the question waits on, whatever becomes of that.
                    let _ = self.node.add_peer(self.plan.ask.target.clone(), self.plan.to);
                }
                failed = self.node.failed() => {
                    failed.map_err(CliError::from)?;
                    return Err(CliError::new(Exit::Unavailable, "the node has stopped").into());
                }
            }
        }
    }

    /// Takes in what the node has told of keys meanwhile.
    pub(super) async fn learn_what_is_left(&mut self) -> Result<(), Closed> {
        while let Ok(Some(event)) = timeout(Duration::ZERO, self.events.next()).await {
            self.learn(&event)?;
        }
        Ok(())
    }

    fn learn(&mut self, event: &Event) -> Result<(), Closed> {
        if let Event::ChangedKey { name, from } = event {
            self.report.changed_key(name, &from.to_string());
        }
        let Event::Pinned { binding, .. } = event else { return Ok(()) };
        let noted = self.own.remember(binding)?;
        self.report.learnt(&binding.name, &noted);
        Ok(())
    }
}
