//! What a primary says to a secondary that it gives an open grant: how many bytes there are to write.

use bytes::Bytes;

const WORDS: &[u8] = b"content, at most ";

/// The command of an open grant.
pub(super) fn command(limit: u64) -> Bytes {
    [WORDS, &limit.to_be_bytes()].concat().into()
}

/// The bytes that may be written at most, if a command says so.
pub(super) fn limit(command: &[u8]) -> Option<u64> {
    let limit = command.strip_prefix(WORDS)?;
    Some(u64::from_be_bytes(limit.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_arrives_as_it_was_said() {
        assert_eq!(limit(&command(70_000)), Some(70_000));
        assert_eq!(limit(&command(70_000)[..24]), None);
        assert_eq!(limit(b"content"), None);
    }
}
