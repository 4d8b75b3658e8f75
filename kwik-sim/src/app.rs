//! The applications of the simulated hosts.
//!
//! Owns small scripts for the three roles: a [`Reader`] asks and checks every byte that it reads, a
//! [`Primary`] answers and shares the work out, a [`Secondary`] writes what it is granted. What they
//! saw stays in them to be looked at. They use the public calls of the endpoint only, but for
//! [`hostile`] secondaries.

use serde::{Deserialize, Serialize};

mod accepted;
pub mod doorstep;
pub mod hostile;
mod marks;
pub mod meddle;
mod past;
pub mod poke;
mod primary;
mod reader;
mod secondary;
mod source;
pub mod stale;

pub use accepted::Accepted;
pub use hostile::{Consequence, Hostility};
pub use marks::{Marked, Marks};
pub use past::Past;
pub use primary::{Delivery, Loss, Primary, PrimarySpec};
pub use reader::{Ask, Pace, Reader, ReaderSpec, StreamRead};
pub use secondary::{Conduct, Secondary, SecondarySpec};

/// What a reader asks for, as it travels on the stream that it opens: where the answer goes, then its
/// length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// How many bytes are wanted.
    pub bytes: u64,
    /// Which stream the answer comes on.
    pub answer_on: AnswerOn,
}

/// Which stream an answer comes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AnswerOn {
    /// The one that carried the request.
    SameStream,
    /// One that the primary opens.
    OwnStream,
}

impl Request {
    /// Bytes of an encoded request.
    const LEN: usize = 9;

    fn encode(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[0] = match self.answer_on {
            AnswerOn::SameStream => 0,
            AnswerOn::OwnStream => 1,
        };
        bytes[1..].copy_from_slice(&self.bytes.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (&kind, length) = bytes.split_first()?;
        let answer_on = match kind {
            0 => AnswerOn::SameStream,
            1 => AnswerOn::OwnStream,
            _ => return None,
        };
        let bytes = u64::from_be_bytes(length.try_into().ok()?);
        Some(Self { bytes, answer_on })
    }
}
