#![doc = include_str!("../docs/protocol.md")]

#[cfg(test)]
mod tests;
