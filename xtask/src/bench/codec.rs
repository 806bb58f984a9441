//! Frames read and written, beside what serde does with the same members.

use std::hint::black_box;

use tibet_ping::{Encoding, Frame, HEADER, Kind, Packet, Response};

use super::Bench;
use super::measure::{Row, Title, cost};
use super::raw_messages::{RawMessage, RawRequest, RawResponse};
use super::senders::{Sender, hub, packet_of, response_to};
use crate::Outcome;

/// Different frames that are read and written in turn.
const FRAMES: usize = 64;

pub(crate) fn rows(bench: &Bench) -> Outcome<Vec<Row>> {
    let sender = Sender::new(0)?;
    let hub = hub()?;
    let packets: Vec<_> = (0..FRAMES).map(|number| packet_of(&sender, number)).collect::<Outcome<_>>()?;
    let responses: Vec<_> = packets.iter().map(|packet| response_to(packet, &hub)).collect::<Outcome<_>>()?;
    let mut rows = Vec::new();
    for encoding in [Encoding::Json, Encoding::Msgpack] {
        rows.extend(decode_and_encode::<_, RawRequest>(bench, "signed request", encoding, &packets)?);
        rows.extend(decode_and_encode::<_, RawResponse>(bench, "signed response", encoding, &responses)?);
    }
    Ok(rows)
}

/// A message as tibet-ping reads and writes it.
trait Message: Sized {
    fn read(datagram: &[u8]) -> Outcome<Self>;
    fn write(&self, encoding: Encoding) -> Outcome<Vec<u8>>;
}

impl Message for Packet {
    fn read(datagram: &[u8]) -> Outcome<Self> {
        match Frame::read(datagram)? {
            Frame::Version1 { kind: Kind::Packet, encoding, body } => Ok(Self::decode(encoding, body)?),
            _ => Err("no packet".into()),
        }
    }

    fn write(&self, encoding: Encoding) -> Outcome<Vec<u8>> {
        Ok(self.encode(encoding)?)
    }
}

impl Message for Response {
    fn read(datagram: &[u8]) -> Outcome<Self> {
        match Frame::read(datagram)? {
            Frame::Version1 { kind: Kind::Response, encoding, body } => Ok(Self::decode(encoding, body)?),
            _ => Err("no response".into()),
        }
    }

    fn write(&self, encoding: Encoding) -> Outcome<Vec<u8>> {
        Ok(self.encode(encoding)?)
    }
}

fn decode_and_encode<M: Message, R: RawMessage>(
    bench: &Bench,
    what: &str,
    encoding: Encoding,
    messages: &[M],
) -> Outcome<[Row; 2]> {
    let frames: Vec<Vec<u8>> =
        messages.iter().map(|message| message.write(encoding)).collect::<Outcome<_>>()?;
    let raw: Vec<R> =
        frames.iter().map(|frame| R::read(encoding, &frame[HEADER..])).collect::<Outcome<_>>()?;
    for (raw, frame) in raw.iter().zip(&frames) {
        if R::read(encoding, &raw.write(encoding)?[HEADER..])? != *raw
            || raw.write(encoding)?.len() != frame.len()
        {
            return Err("the limit does not do the same work".into());
        }
    }
    let (count, rounds) = (bench.scale.operations * 16, bench.scale.rounds);
    let (name, limit_is) = match encoding {
        Encoding::Json => ("JSON", "serde_json, a struct of the same members"),
        Encoding::Msgpack => ("msgpack", "rmp-serde, a struct of the same members"),
    };
    let decode = Title::new(format!("{what} decoded, {name}"), limit_is).measure(
        rounds,
        |_| each(count, &frames, |frame| R::read(encoding, &frame[HEADER..])),
        |_| each(count, &frames, |frame| M::read(frame)),
    )?;
    let encode = Title::new(format!("{what} encoded, {name}"), limit_is).measure(
        rounds,
        |_| each(count, &raw, |raw| raw.write(encoding)),
        |_| each(count, messages, |message| message.write(encoding)),
    )?;
    Ok([decode, encode])
}

/// Does `one` to `count` items, taken in turn.
fn each<T, U>(count: usize, items: &[T], one: impl Fn(&T) -> Outcome<U>) -> Outcome<f64> {
    cost(count, || {
        items.iter().cycle().take(count).try_for_each(|item| {
            black_box(one(black_box(item))?);
            Ok(())
        })
    })
}
