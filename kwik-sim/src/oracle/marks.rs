//! I6, where each server writes a content of its own: every byte lies in a grant of its writer.
//!
//! Owns what each secondary was granted, in all its lives: a program that starts anew remembers
//! nothing.

use std::collections::BTreeMap;

use kwik_core::ids::{ByteRange, StreamId};
use kwik_core::ranges::RangeSet;
use kwik_core::wire::ControlFrame;

use super::Breach;
use crate::app::Marks;
use crate::stage::Stage;

/// What the secondaries of a world were granted.
#[derive(Debug)]
pub(super) struct Grants {
    secondaries: Vec<Granted>,
}

#[derive(Clone, Debug, Default)]
struct Granted {
    ranges: BTreeMap<StreamId, RangeSet>,
    /// How much of the memory of the program that runs was taken note of.
    seen: usize,
}

impl Grants {
    pub(super) fn new(secondaries: usize) -> Self {
        Self {
            secondaries: vec![Granted::default(); secondaries],
        }
    }

    /// A secondary has had a turn. A program that has just begun remembers nothing yet, so its first
    /// turn tells it from the one before.
    pub(super) fn note(&mut self, stage: &Stage, index: usize) {
        let granted = &mut self.secondaries[index];
        if !stage.world.is_up(stage.secondaries[index]) {
            granted.seen = 0;
        } else if stage.is_hostile(index) {
            let frames = &stage.hostile_log(index).frames;
            let fresh = &frames[granted.begin(frames.len())..];
            for frame in fresh {
                if let ControlFrame::Grant(grant) = frame {
                    granted.add(grant.stream, grant.extent.range());
                }
            }
        } else {
            let ranges = stage.secondary_app(index).granted_ranges();
            for &(stream, range) in &ranges[granted.begin(ranges.len())..] {
                granted.add(stream, range);
            }
        }
    }

    /// The marks that were read lie in the grants of those who write them. Where one does not, somebody
    /// who might write there may by chance have written the same: then it is his.
    pub(super) fn check(&self, stage: &Stage) -> Result<(), Breach> {
        let Some(marks) = stage.reader().marks() else {
            return Ok(());
        };
        for (stream, read) in stage.reader().streams() {
            for index in 0..self.secondaries.len() {
                let seen = read.marked.of(index).into_iter().flat_map(RangeSet::iter);
                let outside = seen.flat_map(|range| self.outside(index, stream, range));
                let mut offsets = outside.flat_map(|range| range.start()..range.end());
                let is_his =
                    |&offset: &u64| !self.might_be_anothers(marks, (index, stream, offset));
                if let Some(offset) = offsets.find(is_his) {
                    let detail = format!(
                        "secondary {index} brought byte {offset} of stream {stream}, which it was not \
                         granted"
                    );
                    return Err(Breach::new("I6", detail));
                }
            }
        }
        Ok(())
    }

    /// The parts of a range that a secondary was not granted.
    fn outside(&self, index: usize, stream: StreamId, range: ByteRange) -> Vec<ByteRange> {
        match self.secondaries[index].ranges.get(&stream) {
            Some(granted) => granted.missing_in(range).iter().collect(),
            None => vec![range],
        }
    }

    /// Whether a secondary was granted a byte.
    fn has(&self, index: usize, stream: StreamId, offset: u64) -> bool {
        let granted = self.secondaries[index].ranges.get(&stream);
        let at = ByteRange::with_len(offset, 1);
        granted
            .zip(at)
            .is_some_and(|(granted, at)| granted.contains(at))
    }

    /// Whether the primary, or another secondary that was granted it, writes the same byte there.
    fn might_be_anothers(
        &self,
        marks: &Marks,
        (index, stream, offset): (usize, StreamId, u64),
    ) -> bool {
        let byte = |who: usize| marks.byte(who, stream, offset);
        let others = (0..self.secondaries.len()).filter(|&other| other != index);
        let granted = others.filter(|&other| self.has(other, stream, offset));
        let mut writers = granted.map(|other| other + 1).chain([0]);
        writers.any(|who| byte(who) == byte(index + 1))
    }
}

impl Granted {
    /// Where what is new begins in a memory of this length.
    fn begin(&mut self, len: usize) -> usize {
        let begin = if len < self.seen { 0 } else { self.seen };
        self.seen = len;
        begin
    }

    fn add(&mut self, stream: StreamId, range: ByteRange) {
        self.ranges.entry(stream).or_default().insert(range);
    }
}
