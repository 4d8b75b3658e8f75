//! The life of one scenario, to be looked at.
//!
//! Owns what is kept of it ([`recorder`]).

pub mod recorder;
