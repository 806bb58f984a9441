//! Objects under a signature.

use crate::key::{BadSignature, PublicKey, SecretKey, Signature};
use crate::message::{DecodeError, MessageReader, MessageWriter, Tag};

/// An object that can be signed: it has a tag, a fixed order of fields, and one encoding.
pub trait SignedObject: Sized {
    /// The domain tag.
    const TAG: Tag;
    /// The number of fields.
    const FIELDS: u16;

    /// Writes all fields in order.
    #[must_use]
    fn write(&self, message: MessageWriter) -> MessageWriter;

    /// Reads all fields in order and checks every bound that needs no clock and no other object.
    ///
    /// # Errors
    /// [`DecodeError`] naming the first field that is wrong.
    fn read(message: &mut MessageReader<'_>) -> Result<Self, DecodeError>;

    /// M of this object: what is signed, stored and sent.
    fn message(&self) -> Vec<u8> {
        self.write(MessageWriter::new(Self::TAG)).finish()
    }

    /// Reads M.
    ///
    /// # Errors
    /// [`DecodeError`] for anything but the one encoding of a valid object.
    fn from_message(message: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = MessageReader::open(message, Self::TAG, Self::FIELDS)?;
        let object = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(object)
    }
}

/// An object with its exact signed bytes and a signature that may or may not be valid.
///
/// Encoded as `M ‖ signature`, the signature being the last 64 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed<T> {
    object: T,
    message: Vec<u8>,
    signature: Signature,
}

impl<T: SignedObject> Signed<T> {
    /// Signs `object`. What is kept is the object as its bytes say it: a ttl of 1.5 s becomes the whole second that is signed.
    ///
    /// # Errors
    /// [`DecodeError`] when the object is one its own reader would refuse, for example a list too long: such a thing is not signed.
    pub fn seal(object: T, key: &SecretKey) -> Result<Self, DecodeError> {
        let message = object.message();
        let object = T::from_message(&message)?;
        let signature = key.sign(&message);
        Ok(Self { object, message, signature })
    }

    /// Reads `M ‖ signature`. The signature is not checked here: that takes a key, see [`Signed::verify`].
    ///
    /// # Errors
    /// [`DecodeError`] for anything but the one encoding of a well-formed object.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (message, signature) = bytes.split_last_chunk::<64>().ok_or(DecodeError::Truncated)?;
        Ok(Self {
            object: T::from_message(message)?,
            message: message.to_vec(),
            signature: Signature::from_bytes(*signature),
        })
    }

    /// `M ‖ signature`.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        [&self.message[..], self.signature.as_bytes()].concat()
    }

    /// The object, if `expected` signed it.
    ///
    /// `expected` is the key that is bound to the signer's name, never one found inside the object (SECURITY R5).
    ///
    /// # Errors
    /// [`BadSignature`].
    pub fn verify(&self, expected: &PublicKey) -> Result<&T, BadSignature> {
        expected.verify(&self.message, &self.signature)?;
        Ok(&self.object)
    }

    /// The object as it claims to be, not verified. For finding out which key to ask for, and for display.
    #[must_use]
    pub fn claims(&self) -> &T {
        &self.object
    }

    /// M, the signed bytes. Two objects are equal when these are, whatever their signatures (SECURITY R68).
    #[must_use]
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// The signature as it came.
    #[must_use]
    pub fn signature(&self) -> &Signature {
        &self.signature
    }
}
