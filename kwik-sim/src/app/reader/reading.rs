//! One stream that is read: what is asked for, how fast, how far, and what came of it.
//!
//! Owns the check of every byte. Never calls an endpoint.

use std::time::Duration;

use kwik_core::error::StreamError;
use kwik_core::ids::{ByteRange, StreamId};
use kwik_core::ranges::RangeSet;
use serde::{Deserialize, Serialize};

use super::{NO_ANSWER, ReaderSpec};
use crate::app::{AnswerOn, Asked, Ends, Marked, Request};

/// One request, and how its answer is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// The request.
    pub request: Request,
    /// How fast the answer is read.
    #[serde(default, skip_serializing_if = "Pace::is_eager")]
    pub pace: Pace,
    /// How it ends.
    #[serde(default, skip_serializing_if = "Ends::is_whole")]
    pub ends: Ends,
}

impl Ask {
    /// Asks for something that is read as it comes, to its end.
    #[must_use]
    pub const fn new(request: Request) -> Self {
        Self {
            request,
            pace: Pace::Eager,
            ends: Ends::Whole,
        }
    }

    /// The request as it is sent.
    pub(super) const fn asked(&self, client: u8) -> Asked {
        let give_up = self.ends.give_up();
        let request = match give_up {
            Some(_) => Request {
                answer_on: AnswerOn::SameStream,
                ..self.request
            },
            None => self.request,
        };
        Asked {
            client,
            request,
            give_up,
        }
    }
}

/// How fast an answer is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pace {
    /// As it comes.
    #[default]
    Eager,
    /// So much, so often.
    Slow {
        /// Bytes at a time.
        bytes: usize,
        /// How long until the next time.
        #[serde(with = "humantime_serde")]
        every: Duration,
    },
    /// As it comes, but for one rest.
    Rest {
        /// Bytes before the rest.
        after: u64,
        /// How long it is.
        #[serde(with = "humantime_serde")]
        length: Duration,
    },
}

impl Pace {
    fn is_eager(&self) -> bool {
        *self == Self::Eager
    }
}

/// What became of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamRead {
    /// Bytes read, all of them checked.
    pub bytes: u64,
    /// When the first byte was read.
    pub first_byte_at: Option<Duration>,
    /// When the end was read.
    pub ended_at: Option<Duration>,
    /// The offset of the first byte that nobody can have written there.
    pub wrong_at: Option<u64>,
    /// The places of bytes that a liar has written there.
    pub forged: RangeSet,
    /// Where the marks of the secondaries were seen, if they have any.
    pub marked: Marked,
    /// Somebody gave it up, as it was to be, with the code that was to be.
    pub gave_up: bool,
    /// It has ended otherwise than it was to.
    pub wrong_end: bool,
    /// How it failed, if it did.
    pub error: Option<StreamError>,
}

impl StreamRead {
    /// Bytes that a liar has written.
    #[must_use]
    pub fn forged_bytes(&self) -> u64 {
        self.forged.bytes()
    }

    /// Checks and counts the next bytes of the stream.
    pub(super) fn take(
        &mut self,
        spec: &ReaderSpec,
        stream: StreamId,
        chunk: &[u8],
        time: Duration,
    ) {
        self.first_byte_at.get_or_insert(time);
        let begin = self.bytes;
        self.bytes += chunk.len() as u64;
        if let Some(marks) = &spec.marks {
            let wrong_at = marks.recognise(stream, begin, chunk, &mut self.marked);
            self.wrong_at = self.wrong_at.or(wrong_at);
            return;
        }
        let different = spec.content.first_difference(stream.0, begin, chunk);
        let (Some(at), None) = (different, self.wrong_at) else {
            return;
        };
        let Some(forged) = spec.forged else {
            self.wrong_at = Some(at);
            return;
        };
        let honest = spec.content.make(stream.0, begin, chunk.len());
        let forged = forged.make(stream.0, begin, chunk.len());
        let written = honest.iter().zip(&forged);
        for (offset, (byte, (honest, forged))) in (begin..).zip(chunk.iter().zip(written)) {
            if byte == honest {
                continue;
            }
            if byte != forged {
                self.wrong_at = Some(offset);
                return;
            }
            if let Some(byte) = ByteRange::with_len(offset, 1) {
                self.forged.insert(byte);
            }
        }
    }
}

/// A stream and its reader.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) ask: Ask,
    pub(super) read: StreamRead,
    /// Nothing is read before.
    pub(super) rests_until: Duration,
    has_rested: bool,
}

impl Reading {
    pub(super) fn new(ask: Ask) -> Self {
        Self {
            ask,
            read: StreamRead::default(),
            rests_until: Duration::ZERO,
            has_rested: false,
        }
    }

    /// How many bytes may be read now.
    pub(super) fn room(&self, time: Duration) -> usize {
        if time < self.rests_until {
            return 0;
        }
        self.share_left().min(match self.ask.pace {
            Pace::Slow { bytes, .. } => bytes,
            Pace::Rest { after, .. } if !self.has_rested => {
                // Without a read nothing would begin the rest.
                let left = after.saturating_sub(self.read.bytes).max(1);
                usize::try_from(left).unwrap_or(usize::MAX)
            }
            Pace::Eager | Pace::Rest { .. } => usize::MAX,
        })
    }

    /// How many bytes are wanted before it is given up.
    pub(super) fn share_left(&self) -> usize {
        let stop = self.ask.ends.stop(self.ask.request.bytes);
        let left = stop.map(|(share, _)| share.saturating_sub(self.read.bytes));
        left.map_or(usize::MAX, |left| {
            usize::try_from(left).unwrap_or(usize::MAX)
        })
    }

    /// The code with which it is given up, once enough of it was read.
    pub(super) fn wants_no_more(&self) -> Option<u64> {
        let (share, code) = self.ask.ends.stop(self.ask.request.bytes)?;
        (self.read.bytes >= share).then_some(code)
    }

    /// It has ended, because somebody gave up or not, or has failed.
    pub(super) fn end(&mut self, time: Duration, end: Result<bool, StreamError>) {
        match end {
            Ok(gave_up) => {
                let wanted = self.ask.request.bytes;
                let is_right = self.ask.ends.is_right(gave_up, self.read.bytes, wanted);
                self.read.ended_at = Some(time);
                self.read.gave_up = gave_up;
                self.read.wrong_end = wanted != NO_ANSWER && !is_right;
            }
            Err(error) => self.read.error = Some(error),
        }
    }

    /// Rests after a read, if it is time to.
    pub(super) fn rest(&mut self, time: Duration) {
        match self.ask.pace {
            Pace::Slow { every, .. } => self.rests_until = time + every,
            Pace::Rest { after, length } if !self.has_rested && self.read.bytes >= after => {
                self.has_rested = true;
                self.rests_until = time + length;
            }
            Pace::Eager | Pace::Rest { .. } => {}
        }
    }
}
