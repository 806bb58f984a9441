//! Looking names up, and searching for what devices offer.

use std::collections::{BTreeSet, HashMap};
use std::hint::black_box;
use std::sync::Arc;

use jis::{Capability, Name};
use tibet_registry::{Registry, Source, Store};

use super::Bench;
use super::devices::{Device, Fleet, NOW, WANTED, in_memory, on_disk};
use super::limits::{DEVICE_ROW, REGISTRY_PRAGMAS, RawDatabase};
use super::measure::{Row, Title, cost};
use crate::Outcome;

/// Devices made and registered at a time.
const BATCH: usize = 1_024;
/// Names in a page of a search.
const PAGE: usize = 100;
/// Names that are looked up in turn, from all over the registry.
const ASKED_FOR: usize = 4_000;

pub(crate) fn rows(bench: &Bench) -> Outcome<Vec<Row>> {
    eprintln!("registering {} devices to search among", bench.scale.searched);
    let mut memory = in_memory()?;
    let mut disk = on_disk(&bench.file()?)?;
    let raw = RawDatabase::open(&bench.file()?, REGISTRY_PRAGMAS)?;
    let mut names = Vec::with_capacity(bench.scale.searched);
    while names.len() < bench.scale.searched {
        let devices = Fleet::some(names.len()..(names.len() + BATCH).min(bench.scale.searched))?;
        register(&mut memory, &devices)?;
        register(&mut disk, &devices)?;
        raw.in_groups(&devices, BATCH, |raw, device| raw.add_device(device.identity.name.as_str()))?;
        names.extend(devices.into_iter().map(|device| device.identity.name));
    }
    raw.list_every_fifth()?;
    Ok(vec![
        resolve_in_memory(bench, &mut memory, &names)?,
        resolve_on_disk(bench, &mut disk, &raw, &names)?,
        find_in_memory(bench, &mut memory, &names)?,
        find_on_disk(bench, &mut disk, &raw)?,
    ])
}

fn register<S: Store>(registry: &mut Registry<S>, devices: &[Device]) -> Outcome<()> {
    let checked: Vec<_> =
        devices.iter().map(|device| Ok(device.registration()?.check()?)).collect::<Outcome<_>>()?;
    registry.group(|registry| {
        checked.into_iter().try_for_each(|one| registry.register_checked(one, Source::Local, NOW).map(|_| ()))
    })??;
    Ok(())
}

fn asked_for(names: &[Name]) -> Vec<&Name> {
    names.iter().step_by(names.len().div_ceil(ASKED_FOR)).collect()
}

fn resolve_all<S: Store>(registry: &mut Registry<S>, names: &[&Name], count: usize) -> Outcome<()> {
    names.iter().cycle().take(count).try_for_each(|name| {
        black_box(registry.resolve(name, NOW)?);
        Ok(())
    })
}

fn resolve_in_memory<S: Store>(bench: &Bench, registry: &mut Registry<S>, names: &[Name]) -> Outcome<Row> {
    let count = bench.scale.operations * 256;
    let row: Arc<[u8]> = DEVICE_ROW.into();
    let map: HashMap<Name, Arc<[u8]>> = names.iter().map(|name| (name.clone(), row.clone())).collect();
    let names = asked_for(names);
    Title::new("resolve, memory", "1 look-up in a hash map").peer("resolve").measure(
        bench.scale.rounds,
        |_| {
            cost(count, || {
                for name in names.iter().cycle().take(count) {
                    black_box(map.get(*name).cloned());
                }
                Ok(())
            })
        },
        |_| cost(count, || resolve_all(registry, &names, count)),
    )
}

fn resolve_on_disk<S: Store>(
    bench: &Bench,
    registry: &mut Registry<S>,
    raw: &RawDatabase,
    names: &[Name],
) -> Outcome<Row> {
    let count = bench.scale.operations * 32;
    let names = asked_for(names);
    Title::new("resolve, SQLite", "1 row read by its unique name").peer("resolve").measure(
        bench.scale.rounds,
        |_| {
            cost(count, || {
                names.iter().cycle().take(count).try_for_each(|name| {
                    black_box(raw.read_device(name.as_str())?);
                    Ok(())
                })
            })
        },
        |_| cost(count, || resolve_all(registry, &names, count)),
    )
}

/// Where the pages of a round begin.
fn page_starts(bench: &Bench, pages: usize) -> impl Iterator<Item = u64> {
    let range = (bench.scale.searched as u64).saturating_sub(5 * PAGE as u64).max(1);
    (0..pages as u64).map(move |page| page.wrapping_mul(7_919) % range)
}

fn find_all<S: Store>(bench: &Bench, registry: &mut Registry<S>, pages: usize) -> Outcome<()> {
    let wanted: Capability = WANTED.parse()?;
    page_starts(bench, pages).try_for_each(|after| {
        let page = registry.find(&wanted, after, PAGE, NOW)?;
        if page.names.len() == PAGE { Ok(()) } else { Err("a page is not full".into()) }
    })
}

fn find_in_memory<S: Store>(bench: &Bench, registry: &mut Registry<S>, names: &[Name]) -> Outcome<Row> {
    let pages = bench.scale.operations;
    let listed: BTreeSet<u64> = (1..=names.len() as u64).step_by(5).collect();
    Title::new(
        format!("find among {}, memory, a page of {PAGE}", bench.scale.searched),
        "a range of an ordered set, its names copied",
    )
    .peer("find")
    .measure(
        bench.scale.rounds,
        |_| {
            cost(pages, || {
                for after in page_starts(bench, pages) {
                    let page = listed.range(after + 1..).take(PAGE);
                    let found: Vec<Name> = page.map(|id| names[*id as usize - 1].clone()).collect();
                    black_box(found);
                }
                Ok(())
            })
        },
        |_| cost(pages, || find_all(bench, registry, pages)),
    )
}

fn find_on_disk<S: Store>(bench: &Bench, registry: &mut Registry<S>, raw: &RawDatabase) -> Outcome<Row> {
    let pages = bench.scale.operations;
    Title::new(
        format!("find among {}, SQLite, a page of {PAGE}", bench.scale.searched),
        "the same page through a raw index",
    )
    .peer("find")
    .measure(
        bench.scale.rounds,
        |_| {
            cost(pages, || {
                page_starts(bench, pages).try_for_each(|after| {
                    black_box(raw.read_names(after.cast_signed(), PAGE as i64)?);
                    Ok(())
                })
            })
        },
        |_| cost(pages, || find_all(bench, registry, pages)),
    )
}
