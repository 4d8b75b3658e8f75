//! I6, where each server writes a content of its own: every byte lies in a grant of its writer.
//!
//! Owns what each secondary was granted, in all its lives: a program that starts anew remembers
//! nothing.

use std::collections::BTreeMap;

use kwik_core::ids::{ByteRange, StreamId};
use kwik_core::ranges::RangeSet;
use kwik_core::wire::ControlFrame;

use super::Breach;
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

    /// The marks that were read lie in the grants of those who write them.
    pub(super) fn check(&self, stage: &Stage) -> Result<(), Breach> {
        let nothing = RangeSet::new();
        for (stream, read) in stage.reader().streams() {
            for (index, granted) in self.secondaries.iter().enumerate() {
                let Some(seen) = read.marked.of(index) else {
                    continue;
                };
                let granted = granted.ranges.get(&stream).unwrap_or(&nothing);
                if let Some(range) = seen.iter().find(|&range| !granted.contains(range)) {
                    let detail = format!(
                        "secondary {index} brought bytes {range} of stream {stream}, which it was not \
                         granted"
                    );
                    return Err(Breach::new("I6", detail));
                }
            }
        }
        Ok(())
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
