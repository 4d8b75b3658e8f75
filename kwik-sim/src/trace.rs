//! A number that stands for all that was sent in a world.
//!
//! Owns the running hash over the datagrams, in the order in which hosts sent them, whether they
//! arrived or not. Two worlds with one number have lived one life, as far as the network saw it.

use std::time::Duration;

use twox_hash::XxHash3_64;

use crate::rng::{GOLDEN, mix};

/// What of a datagram counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TraceMode {
    /// When it was sent, from whom to whom, and how long it is: what TLS leaves to the seed.
    #[default]
    Lengths,
    /// All of that, and every byte.
    Bytes,
}

/// A running hash over the datagrams that were sent.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    mode: TraceMode,
    hash: u64,
    datagrams: u64,
}

impl Trace {
    pub(crate) fn set_mode(&mut self, mode: TraceMode) {
        self.mode = mode;
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn datagrams(&self) -> u64 {
        self.datagrams
    }

    /// Hosts are named by their ordinals; a datagram to nobody's address has no receiver.
    pub(crate) fn add(&mut self, at: Duration, from: usize, to: Option<usize>, data: &[u8]) {
        let nobody = u64::MAX;
        let words = [
            u64::try_from(at.as_nanos()).unwrap_or(u64::MAX),
            from as u64,
            to.map_or(nobody, |to| to as u64),
            data.len() as u64,
        ];
        for word in words {
            self.hash = mix(self.hash ^ word.wrapping_mul(GOLDEN));
        }
        if self.mode == TraceMode::Bytes {
            self.hash = XxHash3_64::oneshot_with_seed(self.hash, data);
        }
        self.datagrams += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Duration = Duration::from_millis(3);

    fn hash(mode: TraceMode, add: impl Fn(&mut Trace)) -> u64 {
        let mut trace = Trace::default();
        trace.set_mode(mode);
        trace.add(AT, 0, Some(1), b"before");
        add(&mut trace);
        trace.add(AT, 0, Some(1), b"after");
        trace.hash()
    }

    #[test]
    fn time_sender_receiver_and_length_count_in_both_modes() {
        for mode in [TraceMode::Lengths, TraceMode::Bytes] {
            let one = hash(mode, |trace| trace.add(AT, 2, Some(3), b"word"));
            let others = [
                hash(mode, |_| {}),
                hash(mode, |trace| trace.add(2 * AT, 2, Some(3), b"word")),
                hash(mode, |trace| trace.add(AT, 4, Some(3), b"word")),
                hash(mode, |trace| trace.add(AT, 2, Some(4), b"word")),
                hash(mode, |trace| trace.add(AT, 2, None, b"word")),
                hash(mode, |trace| trace.add(AT, 2, Some(3), b"words")),
            ];
            assert!(!others.contains(&one), "{mode:?}: {one:x} {others:x?}");
            assert_eq!(one, hash(mode, |trace| trace.add(AT, 2, Some(3), b"word")));
        }
    }

    #[test]
    fn bytes_count_only_where_they_are_asked_for() {
        let with = |mode, data: &'static [u8]| hash(mode, |t| t.add(AT, 2, Some(3), data));
        let (lengths, bytes) = (TraceMode::Lengths, TraceMode::Bytes);
        assert_eq!(with(lengths, b"word"), with(lengths, b"wort"));
        assert_ne!(with(bytes, b"word"), with(bytes, b"wort"));
    }
}
