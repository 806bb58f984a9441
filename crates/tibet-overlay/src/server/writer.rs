//! The one thread that changes the registry: many changes in one transaction, and nothing is answered before it is on the disk.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockWriteGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jis::{Name, UnixTime};
use tibet_registry::{Registry, Store, StoreError};
use tokio::sync::{oneshot, watch};

use super::directory::Directory;
use super::neighbours::Neighbours;
use super::relay::Relay;
use super::sessions::Sessions;
use super::shared::lock;
use crate::system;

/// A registry over any store.
pub type AnyRegistry = Registry<Box<dyn Store + Send>>;

/// Changes that wait for the writer. Each is a signed object of some kilobytes at most.
const MAX_WAITING: usize = 8192;
/// Changes in one transaction.
const MAX_GROUP: usize = 1024;
/// How often the log is looked at for what others have written.
const WATCH: Duration = Duration::from_millis(250);

/// How often at most what is noted of all devices is read anew: a million of them take a second.
const READ_ALL_PRESENCE: Duration = Duration::from_secs(30);

/// What follows once a change is on the disk, or was not made.
type Finish = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
/// A change, given the registry in an open transaction: gives the names it touched. Given an error instead, because no transaction could be
/// opened, it tells whoever waits for it.
type Job =
    Box<dyn FnOnce(Result<(&mut AnyRegistry, UnixTime), StoreError>) -> Option<(Vec<Name>, Finish)> + Send>;

/// Hands changes to the writer.
#[derive(Clone)]
pub struct RegistryHandle {
    jobs: SyncSender<Job>,
    stopping: Arc<AtomicBool>,
}

/// Why a change was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandleError {
    /// Too many wait.
    #[error("the registry has too much to do; try again in a second")]
    Busy,
    /// The store failed: nothing of the change is kept.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The node is stopping, or the change panicked.
    #[error("the registry does not answer")]
    Gone,
}

impl RegistryHandle {
    /// Makes a change. `change` gives its result and the names it touched; `finish` gets the result once it is on the disk, in the writer's
    /// thread.
    ///
    /// # Errors
    /// [`HandleError::Busy`], [`HandleError::Gone`]; then neither is called.
    pub fn submit<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut AnyRegistry, UnixTime) -> (T, Vec<Name>) + Send + 'static,
        finish: impl FnOnce(Result<T, StoreError>) + Send + 'static,
    ) -> Result<(), HandleError> {
        let job: Job = Box::new(move |opened| match opened {
            Ok((registry, now)) => {
                let (out, names) = change(registry, now);
                let finish: Finish = Box::new(move |committed| finish(committed.map(|()| out)));
                Some((names, finish))
            }
            Err(error) => {
                finish(Err(error));
                None
            }
        });
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => HandleError::Busy,
            TrySendError::Disconnected(_) => HandleError::Gone,
        })
    }

    /// Makes a change and waits for it.
    ///
    /// # Errors
    /// [`HandleError`].
    pub async fn call<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut AnyRegistry, UnixTime) -> (T, Vec<Name>) + Send + 'static,
    ) -> Result<T, HandleError> {
        let (sender, receiver) = oneshot::channel();
        self.submit(change, move |result| {
            // Whoever asked may have gone.
            let _ = sender.send(result);
        })?;
        receiver.await.map_err(|_| HandleError::Gone)?.map_err(HandleError::Store)
    }
}

impl RegistryHandle {
    /// Has the writer finish what was handed to it, and end. What is handed to it later is refused.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        // So that it looks.
        let _ = self.submit(|_, _| ((), Vec::new()), |_| {});
    }
}

impl std::fmt::Debug for RegistryHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistryHandle").finish_non_exhaustive()
    }
}

/// A registry that runs in a thread of its own.
pub(super) struct Running {
    pub(super) handle: RegistryHandle,
    pub(super) thread: WriterThread,
    /// Says when the directory is filled.
    pub(super) ready: oneshot::Receiver<Result<(), StoreError>>,
}

/// The thread of a registry. When this is dropped, the registry is dropped there.
pub(super) struct WriterThread {
    thread: JoinHandle<()>,
    /// Without room: the registry is given from hand to hand, or stays where it is.
    returned: Mutex<Receiver<AnyRegistry>>,
    /// Why the thread has ended by itself, if it has.
    failed: watch::Receiver<Option<String>>,
}

impl WriterThread {
    /// Waits until the thread has ended, which it must have been told to, and gives its registry back unless it has failed. Blocks.
    pub(super) fn join(self) -> Option<AnyRegistry> {
        let returned = self.returned.into_inner().unwrap_or_else(PoisonError::into_inner);
        let registry = returned.recv().ok();
        // What it has to say it has said.
        let _ = self.thread.join();
        registry
    }

    /// Waits until it ends by itself, and gives the reason.
    pub(super) async fn failed(&mut self) -> String {
        let reason = self.failed.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        match reason {
            Some(reason) => reason,
            // It has ended because it was told to.
            None => std::future::pending().await,
        }
    }
}

/// Runs a registry in a thread of its own, which ends when it is told to or the last handle is gone. Everything that asks the store happens there, and
/// unless it is given back the registry is dropped there: the client of PostgreSQL may not be used where a runtime runs.
pub(super) fn spawn(
    registry: AnyRegistry,
    directory: Arc<RwLock<Directory>>,
    sessions: Arc<Mutex<Sessions>>,
    relay: Option<Arc<Relay>>,
    neighbours: Neighbours,
) -> std::io::Result<Running> {
    let (jobs, waiting) = sync_channel(MAX_WAITING);
    let stopping = Arc::new(AtomicBool::new(false));
    let (filled, ready) = oneshot::channel();
    let (give, returned) = sync_channel(0);
    let (fail, failed) = watch::channel(None);
    // The registry goes over once the thread is there: of one that cannot be made it would be dropped here.
    let (hand_over, handed_over) = sync_channel::<Writer>(1);
    let thread = std::thread::Builder::new().name("registry".into()).spawn(move || {
        let Ok(mut writer) = handed_over.recv() else { return };
        let loaded = writer.load();
        let go_on = loaded.is_ok();
        // Whoever waits may have gone.
        let _ = filled.send(loaded);
        if !go_on {
            return;
        }
        // Whoever waits for a change hears that its channel is closed (SECURITY R29).
        let ended = catch_unwind(AssertUnwindSafe(|| writer.run()));
        match ended
            .unwrap_or_else(|_| Err("a part of the program that writes to the registry panicked".into()))
        {
            Ok(()) => {
                // Nobody may want it back.
                let _ = give.send(writer.registry);
            }
            Err(reason) => {
                tracing::error!(%reason, "the registry can no longer be changed");
                let _ = fail.send(Some(reason));
            }
        }
    });
    let writer = Writer {
        registry,
        directory,
        sessions,
        relay,
        neighbours,
        known: 0,
        waiting,
        stopping: Arc::clone(&stopping),
        all_presence: AllPresence::default(),
        owed: false,
    };
    match thread {
        Ok(thread) => {
            // It waits for just this.
            let _ = hand_over.send(writer);
            let thread = WriterThread { thread, returned: Mutex::new(returned), failed };
            Ok(Running { handle: RegistryHandle { jobs, stopping }, thread, ready })
        }
        Err(error) => {
            // There is no thread to drop it in, and the program ends for want of one.
            std::mem::forget(writer);
            Err(error)
        }
    }
}

struct Writer {
    registry: AnyRegistry,
    directory: Arc<RwLock<Directory>>,
    sessions: Arc<Mutex<Sessions>>,
    relay: Option<Arc<Relay>>,
    neighbours: Neighbours,
    /// Tokens of the log that the directory knows of.
    known: u64,
    waiting: Receiver<Job>,
    stopping: Arc<AtomicBool>,
    all_presence: AllPresence,
    /// Whether everything is to be read anew.
    owed: bool,
}

/// When what other nodes have noted of all devices was read, and whether it is to be read again.
#[derive(Default)]
struct AllPresence {
    read_at: Option<Instant>,
    due: bool,
}

impl Writer {
    fn load(&mut self) -> Result<(), StoreError> {
        // Until all of it was read this is owed: what cannot be read now must not be taken for read.
        (self.owed, self.all_presence.due) = (true, true);
        // Before the entries are read: what is written meanwhile is read once more.
        let head = self.registry.head()?.map_or(0, |head| head.count);
        let directory = Directory::load(&self.registry)?;
        *self.directory() = directory;
        let directory = self.directory.read().unwrap_or_else(PoisonError::into_inner);
        lock(&self.sessions).set_keys(|number| directory.key_of(number));
        if let Some(relay) = &self.relay {
            relay.look_at_all(&directory);
        }
        drop(directory);
        self.read_all_presence()?;
        (self.known, self.owed) = (head, false);
        Ok(())
    }

    /// # Errors
    /// Why it cannot go on.
    fn run(&mut self) -> Result<(), String> {
        loop {
            self.watch();
            match self.waiting.recv_timeout(WATCH) {
                Ok(first) => self.write(first)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.follow();
            if self.stopping.load(Ordering::Acquire) {
                while let Ok(next) = self.waiting.try_recv() {
                    self.write(next)?;
                }
                break;
            }
        }
        let _ = self.registry.flush(system::now());
        Ok(())
    }

    fn directory(&self) -> RwLockWriteGuard<'_, Directory> {
        self.directory.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn head(&self) -> u64 {
        self.registry.head().ok().flatten().map_or(self.known, |head| head.count)
    }

    /// # Errors
    /// Why nothing can be written any more until the registry is opened again.
    fn write(&mut self, first: Job) -> Result<(), String> {
        let mut jobs = vec![first];
        jobs.extend(self.waiting.try_iter().take(MAX_GROUP - 1));
        let now = system::now();
        let known = self.known;
        let mut head = known;
        let mut done: Vec<(Vec<Name>, Finish)> = Vec::with_capacity(jobs.len());
        let registry = &mut self.registry;
        let group = catch_unwind(AssertUnwindSafe(|| {
            registry.group(|registry| {
                // Within the transaction: nobody else writes from here on.
                head = registry.head().ok().flatten().map_or(0, |head| head.count);
                done.extend(jobs.drain(..).filter_map(|job| job(Ok((registry, now)))));
            })
        }));
        let committed = match group {
            Ok(committed) => committed,
            // Its registry has rolled back and goes on; whoever waits hears that their channel is closed (SECURITY R29).
            Err(_) => return Ok(()),
        };
        if committed.is_ok() {
            let read = self.read(done.iter().flat_map(|(names, _)| names));
            // What others wrote before is not among it; nor is what could not be read.
            if head == known && read.is_ok() {
                self.known = self.head();
            } else if head < known {
                // It went back before these changes, and may be ahead again with them: `follow` reads it.
                self.owed = true;
            }
        }
        for (_, finish) in done {
            finish(committed.clone());
        }
        // No transaction could be opened: none of them was tried.
        let Err(error) = committed else { return Ok(()) };
        jobs.into_iter().for_each(|job| drop(job(Err(error.clone()))));
        if passes(&error) {
            return Ok(());
        }
        // Whether that was the request's fault or the store is of no more use, a transaction without any request shows (SECURITY R70).
        match self.registry.group(|_| ()) {
            Err(error) if !passes(&error) => Err(error.to_string()),
            _ => Ok(()),
        }
    }

    /// Reads what other processes and nodes have written: the audit log tells of all of it.
    fn follow(&mut self) {
        if self.head() < self.known {
            tracing::warn!("the registry has gone back, as from a backup; everything is read anew");
            self.owed = true;
        }
        // What cannot be read is read the next time.
        if self.owed && self.load().is_err() {
            return;
        }
        let recently = self.all_presence.read_at.is_some_and(|at| at.elapsed() < READ_ALL_PRESENCE);
        if self.all_presence.due && !recently {
            // Likewise.
            let _ = self.read_all_presence();
        }
        while self.head() > self.known {
            match self.registry.changes_since(self.known) {
                Ok(changes) => {
                    // The log does not name them all; they are read before long.
                    self.all_presence.due |= changes.all_presence;
                    let read = self.read(changes.names.iter());
                    let read = read.and_then(|()| self.read_presence(changes.presence.iter()));
                    // What could not be read is read the next time: a revocation must not be missed.
                    if read.is_err() {
                        break;
                    }
                    self.known = changes.read_to;
                    if !changes.more {
                        break;
                    }
                }
                // Nobody can say what it told: everything is read anew.
                Err(StoreError::Unreadable { index, .. }) => {
                    if self.load().is_err() {
                        break;
                    }
                    self.known = self.known.max(index.saturating_add(1));
                }
                Err(_) => break,
            }
        }
    }

    /// Looks which other nodes are alive, and shows them that this one is.
    fn watch(&mut self) {
        if !self.neighbours.is_due(Instant::now()) {
            return;
        }
        // A store that is away is asked again at once; as long as it is, nobody has been looked at.
        let Ok(signs) = self.registry.node_signs() else { return };
        self.neighbours.look(&signs, Instant::now());
        self.directory().set_silent_nodes(self.neighbours.silent());
        let Some(sign) = self.neighbours.sign() else { return };
        match self.registry.leave_sign(&sign) {
            Ok(()) => self.neighbours.signed(),
            Err(error) => {
                self.neighbours.not_signed();
                tracing::warn!(%error, "the sign that this node is alive could not be written");
            }
        }
    }

    /// What other nodes have noted of all devices.
    fn read_all_presence(&mut self) -> Result<(), StoreError> {
        let mut elsewhere = HashMap::new();
        let Self { registry, neighbours, .. } = self;
        registry.for_each_presence(&mut |number, presence| {
            elsewhere.extend(u32::try_from(number).ok().zip(neighbours.of(&presence)));
        })?;
        let mut directory = self.directory();
        directory.replace_elsewhere(elsewhere);
        directory.set_silent_nodes(self.neighbours.silent());
        drop(directory);
        self.all_presence = AllPresence { read_at: Some(Instant::now()), due: false };
        Ok(())
    }

    /// What other nodes have noted of devices.
    fn read_presence<'a>(&mut self, names: impl Iterator<Item = &'a Name>) -> Result<(), StoreError> {
        for name in names {
            let store = self.registry.store();
            let Some(entry) = store.entry(name)? else { continue };
            let node = store.presence(entry.id)?.and_then(|presence| self.neighbours.of(&presence));
            self.directory().set_elsewhere(entry.id, node);
        }
        Ok(())
    }

    fn read<'a>(&self, names: impl Iterator<Item = &'a Name>) -> Result<(), StoreError> {
        let mut entries = Vec::new();
        for name in names {
            entries.extend(self.registry.store().entry(name)?.map(|entry| (name, entry)));
        }
        let mut directory = self.directory();
        let mut keys = Vec::with_capacity(entries.len());
        for (name, entry) in entries {
            directory.insert(entry.id, name, entry.bytes);
            let number = u32::try_from(entry.id).ok();
            keys.extend(number.map(|number| (number, directory.key_of(number))));
        }
        if let Some(relay) = &self.relay {
            relay.look_again(&directory, keys.iter().map(|(number, _)| *number));
        }
        drop(directory);
        let mut sessions = lock(&self.sessions);
        for (number, key) in keys {
            sessions.set_key(number, key.as_ref());
        }
        Ok(())
    }
}

/// Whether a failure may pass by itself, so that the same process can go on: there is room again, the database is back, somebody else is done.
fn passes(error: &StoreError) -> bool {
    // What is added later does not pass until somebody has thought of it.
    matches!(
        error,
        StoreError::Full
            | StoreError::ReadOnly
            | StoreError::Busy
            | StoreError::Unavailable(_)
            | StoreError::Uncertain(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LocalDevice;
    use crate::intents::PresenceState;
    use crate::system::random;
    use jis::SecretKey;
    use std::net::SocketAddr;
    use tibet_registry::{MemoryStore, NodeSign, Opening, Policy, PresenceChange, Source};

    use super::super::GONE_AFTER;
    use super::super::sessions::Comer;

    const NODE: &str = "jis:node";

    /// A writer whose thread is the test's, with `jis:a` registered.
    fn writer() -> Writer {
        let log_key = Arc::new(SecretKey::from_seed(random().expect("random").into()).expect("key"));
        let secret = random().expect("random");
        let opening = Opening { log_key, origin: None, policy: Policy::default(), secret };
        let store: Box<dyn Store + Send> = Box::new(MemoryStore::new());
        let mut registry = Registry::open(store, opening).expect("opened");
        let now = system::now();
        let mut device = LocalDevice::create("jis:a".parse().expect("name"), now).expect("keys");
        device.publish(crate::Presence::default(), now).expect("signed");
        let registration = device.registration(None, now).expect("signed");
        registry.register(registration, Source::Local, now).expect("registered");
        let (_, waiting) = sync_channel(1);
        let mut writer = Writer {
            registry,
            directory: Arc::default(),
            sessions: Arc::new(Mutex::new(Sessions::new(GONE_AFTER))),
            relay: None,
            neighbours: Neighbours::new(NODE.parse().expect("name"), GONE_AFTER, 0),
            known: 0,
            waiting,
            stopping: Arc::default(),
            all_presence: AllPresence::default(),
            owed: false,
        };
        writer.load().expect("loaded");
        writer
    }

    /// A database that was restored from a backup knows less than this node, and another key.
    #[test]
    fn a_registry_that_went_back_is_read_anew() {
        let mut writer = writer();
        let key = writer.directory().key_of(1).expect("registered");
        let lost: Name = "jis:lost".parse().expect("name");
        let name = "jis:a".parse().expect("name");
        let entry = writer.registry.store().entry(&name).expect("read").expect("an entry");
        writer.directory().insert(2, &lost, entry.bytes);
        let address: SocketAddr = "203.0.113.1:1".parse().expect("address");
        for (number, key) in [(1, key), (2, key)] {
            let comer = Comer { number, key: &key, address, shown: Duration::ZERO };
            lock(&writer.sessions).register(comer, Duration::from_secs(1));
        }
        let head = writer.known;
        writer.follow();
        assert_eq!(writer.directory().number("jis:lost"), Some(2), "nothing has changed yet");
        writer.known = head + 5;
        writer.follow();
        assert_eq!((writer.known, writer.directory().number("jis:lost")), (head, None));
        assert_eq!((writer.directory().number("jis:a"), lock(&writer.sessions).online()), (Some(1), 1));
    }

    /// However often crowds come and go elsewhere, all of what is noted is read once in a while.
    #[test]
    fn what_is_noted_of_all_devices_is_read_once_in_a_while() {
        let mut writer = writer();
        writer.all_presence.due = true;
        writer.follow();
        assert!(writer.all_presence.due, "it was read just now");
        writer.all_presence.read_at = Instant::now().checked_sub(READ_ALL_PRESENCE);
        writer.follow();
        assert!(!writer.all_presence.due);
    }

    /// A node that is dead leaves its devices where they were; what it noted is not touched, for it may come back.
    #[test]
    fn devices_of_a_node_that_is_silent_are_gone_until_it_signs_again() {
        let mut writer = writer();
        let there: Name = "jis:there".parse().expect("name");
        let came = PresenceChange {
            name: "jis:a".parse().expect("name"),
            node: there.clone(),
            online: true,
            at: system::now(),
        };
        assert_eq!(writer.registry.note_presence(&[came]), Ok(1));
        writer.follow();
        let elsewhere = |writer: &Writer| writer.directory().elsewhere(1);
        assert_eq!(elsewhere(&writer), Some(PresenceState::Online));
        let mut sign = NodeSign { node: there, value: 1, patience: GONE_AFTER };
        // This node looks as if it were time.
        let look = |writer: &mut Writer, sign: &NodeSign| {
            writer.registry.leave_sign(sign).expect("left");
            writer.neighbours.hurry();
            writer.watch();
        };
        look(&mut writer, &sign);
        let head = writer.head();
        for looks in 1..=4 {
            assert_eq!(elsewhere(&writer), Some(PresenceState::Online), "{looks}");
            look(&mut writer, &sign);
        }
        assert_eq!(elsewhere(&writer), Some(PresenceState::Gone));
        // Whatever is read anew, it stays so.
        writer.load().expect("read");
        assert_eq!(elsewhere(&writer), Some(PresenceState::Gone));
        sign.value = 2;
        look(&mut writer, &sign);
        assert_eq!(elsewhere(&writer), Some(PresenceState::Online));
        assert_eq!(writer.head(), head, "no sign is an event");
        let own =
            writer.registry.node_signs().expect("read").into_iter().find(|sign| sign.node.as_str() == NODE);
        assert!(own.is_some(), "this one has signed as well");
    }

    /// SECURITY R70: what passes by itself, as on a full disk, ends no node.
    #[test]
    fn only_what_does_not_pass_ends_the_node() {
        let why = || "why".to_owned();
        for error in [StoreError::Full, StoreError::ReadOnly, StoreError::Busy] {
            assert!(passes(&error), "{error}");
        }
        assert!(passes(&StoreError::Unavailable(why())) && passes(&StoreError::Uncertain(why())));
        for error in [StoreError::Failed(why()), StoreError::Damaged(why()), StoreError::Foreign(why())] {
            assert!(!passes(&error), "{error}");
        }
    }
}
