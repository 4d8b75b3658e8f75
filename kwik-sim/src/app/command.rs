//! What a primary says to a secondary with a grant: for which of its clients it is, and of an open one how
//! many bytes there are to write.

use bytes::Bytes;

const WORDS: &[u8] = b"content";
const LIMIT: &[u8] = b", at most ";
const CLIENT: &[u8] = b", for client ";

/// The command of a grant.
pub(super) fn encode(client: u8, limit: Option<u64>) -> Bytes {
    let mut command = WORDS.to_vec();
    if let Some(limit) = limit {
        command.extend(LIMIT);
        command.extend(limit.to_be_bytes());
    }
    if client > 0 {
        command.extend(CLIENT);
        command.push(client);
    }
    command.into()
}

/// The bytes that may be written at most, if a command says so.
pub(super) fn limit(command: &[u8]) -> Option<u64> {
    let limit = command.strip_prefix(WORDS)?.strip_prefix(LIMIT)?;
    let (limit, _) = limit.split_first_chunk()?;
    Some(u64::from_be_bytes(*limit))
}

/// The number of the client.
pub(super) fn client(command: &[u8]) -> u8 {
    match command {
        [before @ .., client] if before.ends_with(CLIENT) => *client,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_arrives_as_it_was_said() {
        for number in [0, 1, 255] {
            for most in [None, Some(70_000)] {
                let command = encode(number, most);
                assert_eq!((client(&command), limit(&command)), (number, most));
            }
        }
        assert_eq!(&*encode(0, None), b"content");
    }
}
