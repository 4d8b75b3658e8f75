//! Random bytes of the system.

use ring::rand::{SecureRandom, SystemRandom};

use super::failure::Failure;

/// 32 bytes that nobody else knows.
pub(super) fn random_32() -> Result<[u8; 32], Failure> {
    let mut bytes = [0; 32];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Failure::failed("the system gives no random bytes"))?;
    Ok(bytes)
}
