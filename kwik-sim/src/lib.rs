//! Drives kwik-core in a simulated network with a virtual clock.
//!
//! A [`World`] has hosts, each with its own real [`Endpoint`](kwik_core::endpoint::Endpoint), and
//! links with latency, rate, queues and faults between them. Time passes only when the world says so,
//! and every choice follows from a seed: the same seed lives the same life again.
//!
//! | module       | owns                                                          |
//! |--------------|---------------------------------------------------------------|
//! | [`rng`]      | chance: draws that depend on the seed and their purpose alone |
//! | [`clock`]    | virtual time                                                  |
//! | [`trace`]    | what was sent, as one number: whether two lives were the same |
//! | [`content`]  | what streams carry: a keyed function of stream and offset     |
//! | [`identity`] | keys and certificates of the hosts                            |
//! | [`crypto`]   | how datagrams are protected: TLS, or a tag alone              |
//! | [`link`]     | one direction of the network between two hosts                |
//! | [`host`]     | the joint between a host and the program on it                |
//! | [`app`]      | the applications: a reader, a primary, a secondary            |
//! | [`raw`]      | a peer that speaks QUIC and keeps no rule of KWIK             |
//! | [`world`]    | hosts, links, and the order in which things happen            |
//! | [`stage`]    | worlds with a client and its servers, and a report of them    |
//! | [`scenario`] | a world, and what befalls it, as data                         |
//! | [`atlas`]    | what must come of a scenario                                  |
//! | [`oracle`]   | what must hold at every moment: the invariants                |
//! | [`trial`]    | a scenario is lived through and judged                        |
//! | [`shrink`]   | the smallest scenario that still fails                        |
//! | [`masks`]    | every way to lose the beginning of a dial                     |
//! | [`outcome`]  | what came of a scenario, in words and exit codes              |
//! | [`words`]    | scenarios, faults and quantities in words                     |
//! | [`capture`]  | panics and error events inside a trial                        |
//! | [`swarm`]    | many seeds on all cores, and what came of them together       |
//! | [`timeline`] | one life as a page to look at                                 |
//!
//! The command `kwik-sim` runs all this from a terminal:
//!
//! ```text
//! cargo run --profile sim -p kwik-sim -- swarm --seeds 10000
//! cargo run --profile sim -p kwik-sim -- run --seed 7 --timeline life.html
//! ```
//!
//! The profile `sim` is a release with debug assertions and overflow checks.

// What a world is made of.
pub mod clock;
pub mod content;
pub mod crypto;
pub mod identity;
pub mod link;
pub mod rng;
pub mod trace;
// The world and its inhabitants.
pub mod app;
pub mod host;
pub mod raw;
pub mod world;
// What is heard of it.
pub mod capture;
pub mod timeline;
// Stories.
pub mod atlas;
pub mod masks;
pub mod oracle;
pub mod outcome;
pub mod scenario;
pub mod shrink;
pub mod stage;
pub mod swarm;
pub mod trial;
pub mod words;

pub use crypto::CryptoMode;
pub use scenario::Scenario;
pub use stage::{Report, Setting, Stage};
pub use world::{HostId, World};
