//! Who wrote which byte of a stream, where each server writes a content of its own.
//!
//! Owns the contents of the servers of a world and tells them apart. Never sees what a server was
//! granted.

use kwik_core::ids::{ByteRange, StreamId};
use kwik_core::ranges::RangeSet;
use smallvec::SmallVec;

use crate::content::{Content, WORD_BYTES, Words, place};

/// The contents of the servers: the primary's, then those of the secondaries.
#[derive(Clone, Debug)]
pub struct Marks {
    contents: Vec<Content>,
}

/// Where the marks of the secondaries were seen in one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marked {
    secondaries: Vec<RangeSet>,
    /// Whose word came last: most probably it is his turn again. 0 is the primary.
    last: usize,
}

impl Marks {
    /// The marks of a world with so many secondaries.
    #[must_use]
    pub fn new(content: Content, secondaries: usize) -> Self {
        let marked = (0..secondaries).map(|index| content.marked(index));
        Self {
            contents: std::iter::once(content).chain(marked).collect(),
        }
    }

    /// The byte that a server writes at an offset of a stream; 0 is the primary.
    #[must_use]
    pub fn byte(&self, who: usize, stream: StreamId, offset: u64) -> u8 {
        let (index, place) = place(offset);
        self.contents[who].words(stream.0).at(index)[place]
    }

    /// Looks whose the next bytes of a stream are; the offset of the first one that nobody wrote
    /// there.
    ///
    /// A word of eight bytes is his whose content it is. Where writers change within a word, or where
    /// there is only a part of one, single bytes are looked at: one that several servers would have
    /// written is nobody's.
    pub(super) fn recognise(
        &self,
        stream: StreamId,
        begin: u64,
        chunk: &[u8],
        marked: &mut Marked,
    ) -> Option<u64> {
        let words = self.contents.iter().map(|content| content.words(stream.0));
        let words: SmallVec<[_; 6]> = words.collect();
        let mut run = Run::default();
        let mut at = 0;
        while at < chunk.len() {
            let position = begin + at as u64;
            let (index, skip) = place(position);
            let part = &chunk[at..chunk.len().min(at + WORD_BYTES - skip)];
            let is_his = |&who: &usize| words[who].at(index)[..] == *part;
            let whole = (part.len() == WORD_BYTES).then(|| {
                let others = (0..words.len()).filter(|&who| who != marked.last);
                std::iter::once(marked.last).chain(others).find(is_his)
            });
            if let Some(who) = whole.flatten() {
                marked.last = who;
                marked.note(&mut run, &words, (who, position, part.len()));
            } else {
                let wrong_at = marked.note_bytes(&mut run, &words, position, part);
                if wrong_at.is_some() {
                    return wrong_at;
                }
            }
            at += part.len();
        }
        marked.keep(run, &words);
        None
    }
}

/// Bytes of one writer, one behind the other.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    who: usize,
    start: u64,
    end: u64,
}

impl Marked {
    /// Where the mark of a secondary was seen.
    #[must_use]
    pub fn of(&self, index: usize) -> Option<&RangeSet> {
        self.secondaries.get(index)
    }

    /// Single bytes of one word; the offset of the first that nobody wrote there.
    fn note_bytes(&mut self, run: &mut Run, words: &[Words], at: u64, part: &[u8]) -> Option<u64> {
        let (index, skip) = place(at);
        let written: SmallVec<[_; 6]> = words.iter().map(|word| word.at(index)).collect();
        for ((offset, byte), place) in (at..).zip(part).zip(skip..) {
            let mut his = (0..).zip(&written).filter(|(_, word)| word[place] == *byte);
            match (his.next(), his.next()) {
                (None, _) => return Some(offset),
                (Some((who, _)), None) => self.note(run, words, (who, offset, 1)),
                (Some(_), Some(_)) => {}
            }
        }
        None
    }

    fn note(&mut self, run: &mut Run, words: &[Words], (who, start, len): (usize, u64, usize)) {
        let end = start + len as u64;
        if run.who == who && run.end == start {
            run.end = end;
        } else {
            self.keep(std::mem::replace(run, Run { who, start, end }), words);
        }
    }

    /// Enters a run, without what another may have written at its ends: where writers change, bytes of
    /// the one may by chance be those of the other.
    fn keep(&mut self, mut run: Run, words: &[Words]) {
        let may_be_anothers = |offset: u64| {
            let (index, place) = place(offset);
            let byte = |who: usize| words[who].at(index)[place];
            (0..words.len()).any(|who| who != run.who && byte(who) == byte(run.who))
        };
        let (mut start, mut end) = (run.start, run.end);
        while start < end && may_be_anothers(start) {
            start += 1;
        }
        while start < end && may_be_anothers(end - 1) {
            end -= 1;
        }
        (run.start, run.end) = (start, end);
        let range = ByteRange::new(run.start, run.end).filter(|range| !range.is_empty());
        let (Some(range), Some(index)) = (range, run.who.checked_sub(1)) else {
            return;
        };
        if self.secondaries.len() <= index {
            self.secondaries.resize_with(index + 1, RangeSet::new);
        }
        self.secondaries[index].insert(range);
    }
}

#[cfg(test)]
mod tests {
    use kwik_core::wire::{SegmentHeader, SegmentOwner};

    use super::*;

    const STREAM: StreamId = StreamId(5);

    fn marks() -> Marks {
        Marks::new(Content::new(1), 3)
    }

    /// The bytes of a stream from its beginning, written in turn: by whom (0 is the primary), and how
    /// many.
    fn written(turns: &[(usize, usize)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for &(who, len) in turns {
            let made = marks().contents[who].make(STREAM.0, bytes.len() as u64, len);
            bytes.extend_from_slice(&made);
        }
        bytes
    }

    /// What is seen when it is read in pieces of this length.
    fn read(bytes: &[u8], piece: usize) -> (Option<u64>, Marked) {
        let (mut marked, mut begin) = (Marked::default(), 0);
        for chunk in bytes.chunks(piece) {
            let wrong_at = marks().recognise(STREAM, begin, chunk, &mut marked);
            if wrong_at.is_some() {
                return (wrong_at, marked);
            }
            begin += chunk.len() as u64;
        }
        (None, marked)
    }

    #[test]
    fn nothing_is_seen_where_nobody_wrote_it_and_little_is_missed() {
        // Borders within words, and turns shorter than one.
        let turns = [
            (1, 1003),
            (0, 500),
            (2, 3),
            (1, 1),
            (3, 9),
            (2, 4096),
            (0, 1),
            (1, 77),
        ];
        let bytes = written(&turns);
        for piece in [1, 5, 8, 100, 1399, bytes.len()] {
            let (wrong_at, marked) = read(&bytes, piece);
            assert_eq!(wrong_at, None);
            let mut wrote = vec![RangeSet::new(); 4];
            let mut at = 0;
            for (who, len) in turns {
                wrote[who].insert(ByteRange::with_len(at, len as u64).expect("short"));
                at += len as u64;
            }
            for (index, wrote) in wrote[1..].iter().enumerate() {
                let seen = marked.of(index).cloned().unwrap_or_default();
                assert!(seen.iter().all(|range| wrote.contains(range)), "{seen:?}");
                assert!(
                    seen.bytes() * 100 >= wrote.bytes() * 90,
                    "{piece}: {seen:?}"
                );
            }
        }
    }

    #[test]
    fn a_byte_that_two_would_have_written_is_nobodys_at_a_border() {
        // Wherever the one gives way to the other, within a word or not.
        for border in 1..2000 {
            let bytes = written(&[(0, border), (2, 100), (1, 100)]);
            let (wrong_at, marked) = read(&bytes, 1399);
            assert_eq!(wrong_at, None);
            let at = border as u64;
            for (index, start) in [(1, at), (0, at + 100)] {
                let wrote = RangeSet::from(ByteRange::with_len(start, 100).expect("short"));
                let seen = marked.of(index).cloned().unwrap_or_default();
                assert!(seen.iter().all(|range| wrote.contains(range)), "{border}");
            }
        }
    }

    #[test]
    fn a_header_in_the_stream_is_wrong() {
        let owner = SegmentOwner::Grant(kwik_core::ids::GrantId(3));
        for at in [0, 3, 8, 1000, 1001] {
            let header = SegmentHeader {
                owner,
                offset: at as u64,
            };
            let near = at as u64..at as u64 + 16;
            // In the place of what belongs there, or before it.
            let mut bytes = written(&[(1, 1000), (2, 1000)]);
            bytes[at..at + 16].copy_from_slice(&header.encode());
            let (wrong_at, _) = read(&bytes, 1399);
            assert!(wrong_at.is_some_and(|w| near.contains(&w)), "{wrong_at:?}");
            let mut bytes = written(&[(1, 1000), (2, 1000)]);
            bytes.splice(at..at, header.encode());
            let (wrong_at, _) = read(&bytes, 1399);
            assert!(wrong_at.is_some_and(|w| near.contains(&w)), "{wrong_at:?}");
        }
    }

    #[test]
    fn bytes_that_are_shifted_by_one_are_wrong() {
        let right = written(&[(1, 1003), (0, 1000), (2, 1000)]);
        for at in [0, 8, 500, 1003, 1500, 2900] {
            // From some place on a byte too early, or too late; in one part only.
            let mut early = right.clone();
            early.remove(at);
            let mut late = right.clone();
            late.insert(at, right[at]);
            let mut part = right.clone();
            part[at..at + 64].copy_from_slice(&right[at + 1..at + 65]);
            for bytes in [early, late, part] {
                let (wrong_at, _) = read(&bytes, 1399);
                let near = at as u64..at as u64 + 16;
                assert!(wrong_at.is_some_and(|w| near.contains(&w)), "{wrong_at:?}");
            }
        }
    }

    #[test]
    fn bytes_of_another_stream_or_of_a_liar_are_wrong() {
        let others = [
            Content::new(1).marked(0).make(9, 0, 100),
            Content::new(1).make(9, 0, 100),
            Content::new(1).forged().make(STREAM.0, 0, 100),
            Content::new(1).marked(3).make(STREAM.0, 0, 100),
        ];
        for bytes in others {
            let (wrong_at, _) = read(&bytes, 1399);
            assert!(wrong_at.is_some_and(|at| at < 16));
        }
    }
}
