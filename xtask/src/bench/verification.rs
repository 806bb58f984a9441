//! A device proves who it is: asked, answered, judged, and written down.

use ed25519_dalek::VerifyingKey;
use tibet_registry::{Registry, Source, Store};

use super::Bench;
use super::devices::{Device, LATER, NOW, in_memory, on_disk};
use super::limits::Signer;
use super::measure::{Row, Title, cost};
use super::registration::in_groups;
use crate::Outcome;

pub(crate) fn rows(bench: &Bench) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    for limit in [Limit::Asked, Limit::WithToken] {
        rows.push(verify(bench, in_memory()?, "memory", 1, limit)?);
        rows.push(verify(bench, on_disk(&bench.file()?)?, "SQLite, groups of 64", 64, limit)?);
        rows.push(verify(bench, on_disk(&bench.file()?)?, "SQLite, groups of 1024", 1_024, limit)?);
    }
    Ok(rows)
}

/// Against what a verification is measured.
#[derive(Clone, Copy)]
enum Limit {
    /// The device's signature, made and checked.
    Asked,
    /// And that of the token that tells of it.
    WithToken,
}

fn verify<S: Store>(
    bench: &Bench,
    mut registry: Registry<S>,
    place: &str,
    group: usize,
    limit: Limit,
) -> Outcome<Row> {
    let count = bench.scale.operations;
    let devices = &bench.fleet.devices;
    in_groups(&mut registry, devices, 1_024, |registry, device| {
        registry.register(device.registration()?, Source::Local, NOW)?;
        Ok(())
    })?;
    let signers: Vec<_> =
        devices.iter().map(|device| Signer::new(&device.key.to_seed())).collect::<Result<_, _>>()?;
    let (suffix, limit_is) = match limit {
        Limit::Asked => ("", "1 sign + 1 strict verify"),
        Limit::WithToken => (", with its token's signature", "2 signs + 1 strict verify"),
    };
    Title::new(format!("verification, {place}{suffix}"), limit_is).peer("verify").measure(
        bench.scale.rounds,
        |round| {
            let part = round * count..(round + 1) * count;
            let parsed: Vec<_> = devices[part.clone()]
                .iter()
                .map(|device| {
                    let bytes = device.signed_bytes(&device.record)?;
                    Ok((VerifyingKey::from_bytes(&bytes.key)?, bytes))
                })
                .collect::<Outcome<_>>()?;
            cost(count, || {
                parsed.iter().zip(&signers[part]).try_for_each(|((key, bytes), signer)| {
                    signer.sign(&bytes.message);
                    if let Limit::WithToken = limit {
                        signer.sign(&bytes.message);
                    }
                    bytes.verify(key)
                })
            })
        },
        |round| {
            let devices = bench.fleet.of_round(round, count);
            cost(count, || in_groups(&mut registry, devices, group, prove))
        },
    )
}

fn prove<S: Store>(registry: &mut Registry<S>, device: &Device) -> Outcome<()> {
    let (verifier, key) = (registry.origin().clone(), *registry.log_key());
    let random = *device.identity.fingerprint.as_bytes().first_chunk().ok_or("fingerprints are longer")?;
    let challenge = registry.challenge(&device.identity.name, &verifier, key, random, LATER)?;
    let proof = challenge.answer(&device.identity, &device.key, [3; 32], LATER)?;
    registry.accept_proof(&challenge, &proof, LATER)?;
    Ok(())
}
