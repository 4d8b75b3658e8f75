//! A primary's session against a client that the tests play.

mod bench;
mod grants;
mod plans;
mod stats;
mod streams;
mod writing;
