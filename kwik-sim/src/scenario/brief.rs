//! Links in the text form: a property that is as always is not said.

use std::time::Duration;

use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::link::LinkSpec;

/// Writes the properties that differ from those of a link of which nothing was said.
pub(super) fn serialize<S: Serializer>(link: &LinkSpec, to: S) -> Result<S::Ok, S::Error> {
    let usual = LinkSpec::default();
    // Without `..`, so that a new property cannot be forgotten here.
    let LinkSpec {
        latency,
        bandwidth_bits_per_second,
        queue_max_bytes,
        loss_ppm,
        reorder_ppm,
        jitter,
        burst,
        corrupt_ppm,
        ecn,
        drop_first,
        reorder_delay,
        duplicate_ppm,
        payload_max_bytes,
    } = link;
    let mut form = to.serialize_struct("LinkSpec", 13)?;
    macro_rules! differing {
        ($form:expr; $($name:ident),*) => {
            $(if *$name != usual.$name {
                form.serialize_field(stringify!($name), &$form($name))?;
            })*
        };
    }
    differing!(Time; latency, jitter, reorder_delay);
    differing!(std::convert::identity; bandwidth_bits_per_second, queue_max_bytes, loss_ppm, reorder_ppm);
    differing!(std::convert::identity; burst, corrupt_ppm, ecn, drop_first, duplicate_ppm, payload_max_bytes);
    form.end()
}

/// Reads them.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<LinkSpec, D::Error> {
    LinkSpec::deserialize(from)
}

/// A time in words.
struct Time<'a>(&'a Duration);

impl Serialize for Time<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        humantime_serde::serialize(self.0, to)
    }
}
