//! The session layer in a world without QUIC: all three roles at once, driven by an in-memory model
//! of the connections between them.

mod apps;
mod chaos;
mod content;
mod forgery;
mod hand;
mod hazards;
mod net;
mod regressions;
mod rng;
mod scenarios;
mod script;
mod world;
