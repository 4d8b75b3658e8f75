//! The `kwik` command, as its users run it: real processes, real sockets, real files. Every wait is
//! bounded, and no process outlives its test.

mod bad_input;
mod clients;
mod demo;
mod house;
mod interrupts;
mod liar;
mod secondaries;
mod transfers;
