//! What is printed while it happens: a line each, as text or as JSON.

use std::cell::Cell;
use std::fmt::Display;
use std::io::{self, ErrorKind, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::{Map, Number, Value, json};
use tibet_core::json::{self as tibet_json, Object};
use tokio::sync::{mpsc, oneshot};

use crate::error::CliError;
use crate::output::{Exit, plain};

/// Lines that wait to be written, and how many bytes they may have together: peers choose how long they are.
const MAX_LINES: usize = 4096;
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// Standard output, for a command that prints as things happen.
pub(super) struct Stream {
    schema: &'static str,
    as_json: bool,
    /// Where lines go that are written by a thread of their own.
    queue: Option<Queue>,
}

struct Queue {
    lines: mpsc::Sender<String>,
    waiting: Arc<AtomicUsize>,
    lost: Cell<u64>,
}

/// The thread that writes what a [`Stream`] prints.
pub(super) struct Printer {
    ended: oneshot::Receiver<Closed>,
}

/// Nothing more can be printed.
pub(super) enum Closed {
    /// The reader has left, which is no error.
    Reader,
    Failed(CliError),
}

impl Stream {
    pub(super) fn new(schema: &'static str, as_json: bool) -> Self {
        Self { schema, as_json, queue: None }
    }

    /// Prints from a thread of its own: whoever does not read does not stop the program. What does not fit is lost, and counted.
    pub(super) fn on_a_thread(schema: &'static str, as_json: bool) -> (Self, Printer) {
        let (lines, mut incoming) = mpsc::channel::<String>(MAX_LINES);
        let waiting = Arc::new(AtomicUsize::new(0));
        let (end, ended) = oneshot::channel();
        let written = Arc::clone(&waiting);
        thread::spawn(move || {
            while let Some(line) = incoming.blocking_recv() {
                if let Err(closed) = write(&line) {
                    // Nobody may be left to hear of it.
                    let _ = end.send(closed);
                    return;
                }
                written.fetch_sub(line.len(), Ordering::Relaxed);
            }
        });
        let queue = Queue { lines, waiting, lost: Cell::new(0) };
        (Self { schema, as_json, queue: Some(queue) }, Printer { ended })
    }

    /// Waits until another line fits.
    pub(super) async fn room(&self) {
        if let Some(queue) = &self.queue {
            let _ = queue.lines.reserve().await;
        }
    }

    /// Lines that nobody will see.
    pub(super) fn lost(&self) -> u64 {
        self.queue.as_ref().map_or(0, |queue| queue.lost.get())
    }

    pub(super) fn is_json(&self) -> bool {
        self.as_json
    }

    /// Prints an event: `data` for programs, `text` for people, who need not hear of all.
    pub(super) fn print(&self, event: &str, data: Value, text: Option<String>) -> Result<(), Closed> {
        let line = if self.as_json {
            let mut object = json!({ "schema": self.schema, "version": 1, "event": event });
            if let (Value::Object(object), Value::Object(data)) = (&mut object, data) {
                object.extend(data);
            }
            object.to_string()
        } else {
            let Some(text) = text else { return Ok(()) };
            text
        };
        match &self.queue {
            Some(queue) => queue.push(line),
            None => return write(&line),
        }
        Ok(())
    }
}

impl Queue {
    fn push(&self, line: String) {
        let length = line.len();
        let waiting = self.waiting.fetch_add(length, Ordering::Relaxed);
        if waiting.saturating_add(length) > MAX_BYTES || self.lines.try_send(line).is_err() {
            self.waiting.fetch_sub(length, Ordering::Relaxed);
            self.lost.set(self.lost.get() + 1);
        }
    }
}

impl Printer {
    /// Waits until nothing more can be printed: because that failed, or because the stream is gone and all of it is written.
    pub(super) async fn end(&mut self) -> Result<(), Closed> {
        (&mut self.ended).await.map_or(Ok(()), Err)
    }
}

fn write(line: &str) -> Result<(), Closed> {
    let mut out = anstream::stdout();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(Closed::from)
}

impl From<io::Error> for Closed {
    fn from(error: io::Error) -> Self {
        if error.kind() == ErrorKind::BrokenPipe {
            return Self::Reader;
        }
        Self::Failed(CliError::new(Exit::Unavailable, format!("cannot write the output: {error}")))
    }
}

impl From<CliError> for Closed {
    fn from(error: CliError) -> Self {
        Self::Failed(error)
    }
}

/// Tells the user something that is no answer, on standard error.
pub(super) fn note(as_json: bool, text: impl Display) {
    let text = text.to_string();
    let mut err = anstream::stderr();
    // There is nobody to tell that nobody can be told.
    let _ = if as_json {
        writeln!(err, "{}", json!({ "schema": "tibet.note", "version": 1, "message": text }))
    } else {
        text.lines().try_for_each(|line| writeln!(err, "{}", plain(line)))
    };
}

/// A payload as text on one line: ASCII, so that nothing in it can move a terminal's cursor.
pub(super) fn payload_text(payload: &Object) -> String {
    let mut text = String::new();
    tibet_json::write_object_into(
        &mut text,
        payload,
        tibet_json::Separators::Spaced,
        tibet_json::Order::Inserted,
    );
    text
}

/// A payload for programs, every number as it was.
pub(super) fn payload_json(payload: &Object) -> Value {
    let members = payload.iter().map(|(name, value)| (name.clone(), value_json(value)));
    Value::Object(members.collect::<Map<_, _>>())
}

fn value_json(value: &tibet_json::Value) -> Value {
    match value {
        tibet_json::Value::Null => Value::Null,
        tibet_json::Value::Bool(truth) => Value::Bool(*truth),
        tibet_json::Value::Integer(number) => Value::from(*number),
        // Packets hold none; as text nothing of it is lost.
        tibet_json::Value::BigInteger(number) => Value::String(number.to_string()),
        tibet_json::Value::Float(number) => Number::from_f64(*number).map_or(Value::Null, Value::Number),
        tibet_json::Value::Text(text) => Value::String(text.clone()),
        tibet_json::Value::Array(items) => items.iter().map(value_json).collect(),
        tibet_json::Value::Object(object) => payload_json(object),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_nobody_reads_are_counted_and_neither_many_nor_long() {
        let unread = || {
            let (lines, unread) = mpsc::channel(MAX_LINES);
            (Queue { lines, waiting: Arc::default(), lost: Cell::new(0) }, unread)
        };
        let (queue, _many) = unread();
        (0..MAX_LINES + 3).for_each(|_| queue.push("line".to_owned()));
        assert_eq!((queue.lost.get(), queue.waiting.load(Ordering::Relaxed)), (3, MAX_LINES * 4));
        let (queue, _long) = unread();
        (0..10).for_each(|_| queue.push("x".repeat(MAX_BYTES / 8)));
        assert_eq!((queue.lost.get(), queue.waiting.load(Ordering::Relaxed)), (2, MAX_BYTES));
    }

    #[test]
    fn numbers_of_a_payload_stay_what_they_are() {
        let text = r#"{"a": 1, "b": 1.0, "c": -9223372036854775808, "d": 0.1, "e": [true, null, "\u00b0"]}"#;
        let Ok(tibet_json::Value::Object(payload)) = tibet_json::parse(text) else { panic!("{text}") };
        assert_eq!(payload_text(&payload), text);
        let expected = r#"{"a":1,"b":1.0,"c":-9223372036854775808,"d":0.1,"e":[true,null,"°"]}"#;
        assert_eq!(payload_json(&payload).to_string(), expected);
    }
}
