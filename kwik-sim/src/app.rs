//! The applications of the simulated hosts.
//!
//! Owns small scripts for the three roles: a [`Reader`] asks and checks every byte that it reads, a
//! [`Primary`] answers and shares the work out, a [`Secondary`] writes what it is granted. What they
//! saw stays in them to be looked at. They use the public calls of the endpoint only, but for
//! [`hostile`] secondaries.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::ends::GiveUp;

mod accepted;
mod command;
pub mod doorstep;
mod ends;
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
pub use ends::Ends;
pub use hostile::{Consequence, Hostility};
pub use marks::{Marked, Marks};
pub use past::Past;
pub use primary::{Delivery, Loss, Primary, PrimarySpec, Revokes};
pub use reader::{Ask, Pace, Reader, ReaderSpec, StreamRead};
pub use secondary::{Conduct, Secondary, SecondarySpec};

/// What a reader asks for.
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

/// A request as it travels on the stream that its reader opens: where the answer goes, who asks, and how
/// long it is; then, if the primary is to give it up, when, in microseconds, and with which code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked {
    /// The number of the client.
    client: u8,
    request: Request,
    give_up: Option<GiveUp>,
}

impl Asked {
    fn encode(self) -> Vec<u8> {
        let mut bytes = vec![match self.request.answer_on {
            AnswerOn::SameStream => 0,
            AnswerOn::OwnStream => 1,
        }];
        bytes.push(self.client);
        bytes.extend(self.request.bytes.to_be_bytes());
        if let Some(GiveUp { after, code }) = self.give_up {
            let micros = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
            bytes.extend(micros.to_be_bytes());
            bytes.extend(code.to_be_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (&kind, rest) = bytes.split_first()?;
        let answer_on = match kind {
            0 => AnswerOn::SameStream,
            1 => AnswerOn::OwnStream,
            _ => return None,
        };
        let (&client, rest) = rest.split_first()?;
        let (words, []) = rest.as_chunks() else {
            return None;
        };
        let word = |index: usize| words.get(index).map(|&word| u64::from_be_bytes(word));
        let give_up = match words.len() {
            1 => None,
            3 => Some(GiveUp {
                after: Duration::from_micros(word(1)?),
                code: word(2)?,
            }),
            _ => return None,
        };
        let bytes = word(0)?;
        Some(Self {
            client,
            request: Request { bytes, answer_on },
            give_up,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_arrives_as_it_was_made() {
        let give_up = GiveUp {
            after: Duration::from_millis(3),
            code: u64::MAX,
        };
        for answer_on in [AnswerOn::SameStream, AnswerOn::OwnStream] {
            for give_up in [None, Some(give_up)] {
                let request = Request {
                    bytes: 1 << 40,
                    answer_on,
                };
                let asked = Asked {
                    client: 7,
                    request,
                    give_up,
                };
                let bytes = asked.encode();
                assert_eq!(Asked::decode(&bytes), Some(asked));
                assert_eq!(Asked::decode(&bytes[1..]), None);
            }
        }
    }
}
