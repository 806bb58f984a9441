//! Claiming a name, and changing what is said about it.

use std::sync::mpsc::sync_channel;
use std::thread;

use jis::{Record, Signed};
use tibet_registry::{Registry, Source, SqliteStore, Store};

use super::Bench;
use super::devices::{Device, LATER, NOW, in_memory, on_disk};
use super::limits::{REGISTRY_PRAGMAS, RawDatabase, SignedBytes, Signer};
use super::measure::{Cost, Row, Title, cost};
use crate::Outcome;

/// Requests waiting between the thread that checks and the one that writes.
const QUEUE: usize = 2_048;
/// Length of the token that is written for a registration, about.
const TOKEN_LINE: usize = 1_250;

/// Length of what is signed of a token.
const TOKEN_MESSAGE: usize = 89;

const ASKED: &str = "1 strict verify with key parsing + 1 row";
const SAME_WORK: &str = "2 strict verifies, 1 key parsed + 1 sign + 1 row + 1 token row";

pub(crate) fn rows(bench: &Bench) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    for group in [1, 64, 1024] {
        rows.push(register(bench, group, Limit::Asked)?);
        rows.push(register(bench, group, Limit::SameWork)?);
    }
    for group in [64, 1024] {
        rows.push(register_on_two_threads(bench, group, Limit::Asked)?);
        rows.push(register_on_two_threads(bench, group, Limit::SameWork)?);
    }
    rows.push(register_in_memory(bench)?);
    for group in [1, 64, 1024] {
        rows.push(update(bench, group, Limit::Asked)?);
        rows.push(update(bench, group, Limit::SameWork)?);
    }
    Ok(rows)
}

/// Against what a registration is measured.
#[derive(Clone, Copy)]
enum Limit {
    /// A device's one signature and one row.
    Asked,
    /// The signatures and rows that a registration of ours consists of.
    SameWork,
}

impl Limit {
    fn text(self) -> &'static str {
        match self {
            Self::Asked => ASKED,
            Self::SameWork => SAME_WORK,
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::Asked => "",
            Self::SameWork => ", against the same work",
        }
    }

    fn check(self, request: &RawRequest) -> Outcome<()> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(&request.record.key)?;
        request.record.verify(&key)?;
        if let Self::SameWork = self {
            request.inception.verify(&key)?;
        }
        Ok(())
    }

    fn write(self, database: &RawDatabase, signer: &Signer, request: &RawRequest) -> Outcome<()> {
        database.add_device(&request.name)?;
        self.tell(database, signer, request)
    }

    /// The signed token that every change of ours is told in.
    fn tell(self, database: &RawDatabase, signer: &Signer, request: &RawRequest) -> Outcome<()> {
        if let Self::SameWork = self {
            signer.sign(&[0; TOKEN_MESSAGE]);
            database.add_token(&request.token_id, &request.token_line)?;
        }
        Ok(())
    }
}

/// What the limit works on, made before the clock runs.
struct RawRequest {
    name: String,
    inception: SignedBytes,
    record: SignedBytes,
    token_id: String,
    token_line: String,
}

impl RawRequest {
    fn all(devices: &[Device]) -> Outcome<Vec<Self>> {
        let of = |(number, device): (usize, &Device)| {
            let name = device.identity.name.as_str().to_owned();
            Ok(Self {
                token_id: format!("tibet_20260601000000{number:06}_{}", &name[name.len() - 8..]),
                token_line: "x".repeat(TOKEN_LINE),
                inception: device.signed_bytes(&device.inception)?,
                record: device.signed_bytes(&device.record)?,
                name,
            })
        };
        devices.iter().enumerate().map(of).collect()
    }
}

/// Operations in a round.
fn per_round(bench: &Bench, group: usize) -> usize {
    if group == 1 { bench.scale.synced } else { bench.scale.operations }
}

fn title(group: usize) -> String {
    if group == 1 { "one by one".to_owned() } else { format!("groups of {group}") }
}

fn raw_signer() -> Outcome<Signer> {
    Signer::new(&super::devices::log_key()?.to_seed())
}

fn register(bench: &Bench, group: usize, limit: Limit) -> Outcome<Row> {
    let count = per_round(bench, group);
    let raw = RawDatabase::open(&bench.file()?, REGISTRY_PRAGMAS)?;
    let signer = raw_signer()?;
    let mut registry = on_disk(&bench.file()?)?;
    Title::new(format!("register, SQLite, {}{}", title(group), limit.suffix()), limit.text())
        .peer("register")
        .measure(
            bench.scale.rounds,
            |round| {
                let requests = RawRequest::all(bench.fleet.of_round(round, count))?;
                cost(count, || {
                    raw.in_groups(&requests, group, |raw, request| {
                        limit.check(request)?;
                        limit.write(raw, &signer, request)
                    })
                })
            },
            |round| register_all(&mut registry, bench.fleet.of_round(round, count), group),
        )
}

fn register_in_memory(bench: &Bench) -> Outcome<Row> {
    let count = bench.scale.operations;
    let mut registry = in_memory()?;
    Title::new("register, memory", "1 strict verify with key parsing").peer("register").measure(
        bench.scale.rounds,
        |round| {
            let requests = RawRequest::all(bench.fleet.of_round(round, count))?;
            cost(count, || requests.iter().try_for_each(|request| Limit::Asked.check(request)))
        },
        |round| register_all(&mut registry, bench.fleet.of_round(round, count), 1),
    )
}

fn register_all<S: Store>(registry: &mut Registry<S>, devices: &[Device], group: usize) -> Outcome<Cost> {
    let one = |registry: &mut Registry<S>, device: &Device| -> Outcome<()> {
        registry.register(device.registration()?, Source::Local, NOW)?;
        Ok(())
    };
    cost(devices.len(), || in_groups(registry, devices, group, one))
}

/// Does `one` for each item, in transactions of `group`; a group of one is no group.
pub(super) fn in_groups<S: Store, T>(
    registry: &mut Registry<S>,
    items: &[T],
    group: usize,
    mut one: impl FnMut(&mut Registry<S>, &T) -> Outcome<()>,
) -> Outcome<()> {
    if group == 1 {
        return items.iter().try_for_each(|item| one(registry, item));
    }
    for items in items.chunks(group) {
        registry.group(|registry| items.iter().try_for_each(|item| one(registry, item)))??;
    }
    Ok(())
}

/// One thread reads and checks requests, the other writes: what a registry on two cores does.
fn register_on_two_threads(bench: &Bench, group: usize, limit: Limit) -> Outcome<Row> {
    let count = per_round(bench, group);
    let raw = RawDatabase::open(&bench.file()?, REGISTRY_PRAGMAS)?;
    let signer = raw_signer()?;
    let mut registry = on_disk(&bench.file()?)?;
    Title::new(format!("register, SQLite, {}, two threads{}", title(group), limit.suffix()), limit.text())
        .peer("register")
        .measure(
            bench.scale.rounds,
            |round| {
                let requests = RawRequest::all(bench.fleet.of_round(round, count))?;
                cost(count, || {
                    two_threads(
                        requests,
                        |request| limit.check(&request).map(|()| request),
                        group,
                        |requests| {
                            raw.in_groups(&requests, group, |raw, request| limit.write(raw, &signer, request))
                        },
                    )
                })
            },
            |round| {
                let devices = bench.fleet.of_round(round, count).iter().collect();
                cost(count, || {
                    two_threads(
                        devices,
                        |device: &Device| Ok(device.registration()?.check()?),
                        group,
                        |checked| commit(&mut registry, checked),
                    )
                })
            },
        )
}

fn commit(
    registry: &mut Registry<SqliteStore>,
    checked: Vec<tibet_registry::CheckedRegistration>,
) -> Outcome<()> {
    registry.group(|registry| {
        checked
            .into_iter()
            .try_for_each(|checked| registry.register_checked(checked, Source::Local, NOW).map(|_| ()))
    })??;
    Ok(())
}

/// Sends every item through `check` on a thread of its own, and groups of them to `write` on this one.
fn two_threads<T: Send, U: Send>(
    items: Vec<T>,
    check: impl Fn(T) -> Outcome<U> + Send,
    group: usize,
    mut write: impl FnMut(Vec<U>) -> Outcome<()>,
) -> Outcome<()> {
    let (sender, receiver) = sync_channel(QUEUE);
    thread::scope(|scope| {
        scope.spawn(move || {
            // The receiver is gone only when writing has failed, which is reported below.
            items.into_iter().map(check).try_for_each(|checked| sender.send(checked))
        });
        let mut waiting = Vec::with_capacity(group);
        for checked in receiver {
            waiting.push(checked?);
            if waiting.len() == group {
                write(std::mem::replace(&mut waiting, Vec::with_capacity(group)))?;
            }
        }
        if waiting.is_empty() { Ok(()) } else { write(waiting) }
    })
}

fn update(bench: &Bench, group: usize, limit: Limit) -> Outcome<Row> {
    let count = per_round(bench, group);
    let signer = raw_signer()?;
    let raw = RawDatabase::open(&bench.file()?, REGISTRY_PRAGMAS)?;
    let mut registry = on_disk(&bench.file()?)?;
    let devices = &bench.fleet.devices[..count * (bench.scale.rounds + 1)];
    raw.in_groups(devices, 1_024, |raw, device| raw.add_device(device.identity.name.as_str()))?;
    register_all(&mut registry, devices, 1_024)?;
    let records: Vec<_> = devices.iter().map(Device::second_record).collect::<Result<_, _>>()?;
    let raw_records: Vec<_> = devices
        .iter()
        .zip(&records)
        .zip(RawRequest::all(devices)?)
        .map(|((device, record), first)| Ok(RawRequest { record: device.signed_bytes(record)?, ..first }))
        .collect::<Outcome<_>>()?;
    let part = |round: usize| round * count..(round + 1) * count;
    let limit_is = match limit {
        Limit::Asked => ASKED,
        Limit::SameWork => "1 strict verify with key parsing + 1 sign + 1 row + 1 token row",
    };
    Title::new(format!("update, SQLite, {}{}", title(group), limit.suffix()), limit_is)
        .peer("update")
        .measure(
            bench.scale.rounds,
            |round| {
                cost(count, || {
                    raw.in_groups(&raw_records[part(round)], group, |raw, request| {
                        request.record.verify_with_key_parsed()?;
                        raw.change_device(&request.name)?;
                        limit.tell(raw, &signer, request)
                    })
                })
            },
            |round| {
                cost(count, || {
                    in_groups(&mut registry, &records[part(round)], group, |registry, record| {
                        registry.update(Signed::<Record>::decode(record)?, LATER)?;
                        Ok(())
                    })
                })
            },
        )
}
