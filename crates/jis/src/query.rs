//! Questions to an overlay node, and from one to a device, with their answers.
//!
//! Wire format: `docs/spec/overlay.md`. What is asked and answered are lists of byte strings; what stands in them is for those who ask.

use crate::field::{Capability, read_key, read_name};
use crate::fingerprint::message_hash;
use crate::key::{BadSignature, PublicKey};
use crate::message::{DecodeError, MessageReader, MessageWriter, Tag};
use crate::name::Name;
use crate::signed::{Signed, SignedObject};

/// A signed question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Random: names the question.
    pub id: [u8; 8],
    /// From the responder, who gave it to this very address; zeros for a question to a device. Signed, so that a question that was overheard
    /// cannot be asked from elsewhere (SECURITY R15, R24).
    pub cookie: [u8; 16],
    /// Who asks.
    pub source: Name,
    /// The key of who asks. Proves nothing by itself (SECURITY R5).
    pub key: PublicKey,
    /// The generation of that key.
    pub generation: u64,
    /// The key of who is to answer: a question to one node is none to another.
    pub responder: PublicKey,
    /// What is wanted, for example `overlay.resolve`.
    pub method: Capability,
    /// What comes with it, at most [`Query::MAX_ARGUMENTS`].
    pub arguments: Vec<Vec<u8>>,
}

/// How a question was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AnswerOutcome {
    /// Done.
    Yes,
    /// Not done, and the values say why.
    No,
    /// Not yet: a human decides.
    Pending,
}

/// A signed answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// SHA-256 of the question's M.
    pub request: [u8; 32],
    /// The key of who answers.
    pub key: PublicKey,
    /// What became of the question.
    pub outcome: AnswerOutcome,
    /// What comes with it, at most [`Answer::MAX_VALUES`].
    pub values: Vec<Vec<u8>>,
}

impl Query {
    /// Most arguments: a registration with all its key events has 45.
    pub const MAX_ARGUMENTS: usize = 64;
    /// Where in M the id begins, with the cookie after it: a cookie is judged before anything is read.
    pub const ID_AT: usize = Tag::Query.as_str().len() + 1 + 2 + 4;
}

impl Answer {
    /// Most values: a page of names.
    pub const MAX_VALUES: usize = 1024;

    /// Whether this answers `query`, by the key that was asked.
    ///
    /// # Errors
    /// [`BadSignature`] for an answer to another question, by another key, or not signed by it.
    pub fn check(answer: &Signed<Self>, query: &Signed<Query>) -> Result<(), BadSignature> {
        let (claims, asked) = (answer.claims(), query.claims().responder);
        if claims.key != asked || claims.request != message_hash(query.message()) {
            return Err(BadSignature);
        }
        answer.verify(&asked).map(|_| ())
    }
}

impl SignedObject for Query {
    const TAG: Tag = Tag::Query;
    const FIELDS: u16 = 7;

    fn write(&self, message: MessageWriter) -> MessageWriter {
        message
            .bytes(&[&self.id[..], &self.cookie].concat())
            .text(self.source.as_str())
            .bytes(self.key.as_bytes())
            .integer(self.generation)
            .bytes(self.responder.as_bytes())
            .text(self.method.as_str())
            .list(&self.arguments)
    }

    fn read(message: &mut MessageReader<'_>) -> Result<Self, DecodeError> {
        let head: [u8; 24] = message.array("id")?;
        let [a, b, c, d, e, f, g, h, cookie @ ..] = head;
        let source = read_name(message, "source")?;
        let key = read_key(message, "key")?;
        let generation = message.integer("generation")?;
        let responder = read_key(message, "responder")?;
        let method = message.text("method", Capability::MAX)?;
        let method = method.parse().map_err(|_| DecodeError::Field("method"))?;
        let arguments = message.list("arguments", Self::MAX_ARGUMENTS)?;
        let arguments = arguments.into_iter().map(Vec::from).collect();
        Ok(Self {
            id: [a, b, c, d, e, f, g, h],
            cookie,
            source,
            key,
            generation,
            responder,
            method,
            arguments,
        })
    }
}

impl SignedObject for Answer {
    const TAG: Tag = Tag::Answer;
    const FIELDS: u16 = 4;

    fn write(&self, message: MessageWriter) -> MessageWriter {
        let outcome = match self.outcome {
            AnswerOutcome::Yes => 1,
            AnswerOutcome::No => 2,
            AnswerOutcome::Pending => 3,
        };
        message.bytes(&self.request).bytes(self.key.as_bytes()).integer(outcome).list(&self.values)
    }

    fn read(message: &mut MessageReader<'_>) -> Result<Self, DecodeError> {
        let request = message.array("request")?;
        let key = read_key(message, "key")?;
        let outcome = match message.integer("outcome")? {
            1 => AnswerOutcome::Yes,
            2 => AnswerOutcome::No,
            3 => AnswerOutcome::Pending,
            _ => return Err(DecodeError::Field("outcome")),
        };
        let values = message.list("values", Self::MAX_VALUES)?.into_iter().map(Vec::from).collect();
        Ok(Self { request, key, outcome, values })
    }
}
