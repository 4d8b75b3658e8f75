//! Every message survives the way through bytes; nothing else is taken for one.

use kwik_core::ids::OFFSET_LIMIT;
use proptest::prelude::*;

use super::*;

fn paths() -> impl Strategy<Value = FilePath> {
    prop_oneof![
        ".{0,40}".prop_map(String::from),
        Just("x".repeat(PATH_BYTES_MAX)),
    ]
    .prop_map(|path| FilePath::new(path).expect("short enough"))
}

fn sizes() -> impl Strategy<Value = u64> {
    prop_oneof![0..OFFSET_LIMIT, Just(0), Just(OFFSET_LIMIT - 1)]
}

fn answers() -> impl Strategy<Value = Answer> {
    let found = (sizes(), 0..OFFSET_LIMIT / 4).prop_map(|(size, index)| Answer::Found {
        size,
        content: StreamId(index * 4 + 1),
    });
    let refused = prop::sample::select(Refusal::ALL.as_slice()).prop_map(Answer::Refused);
    prop_oneof![found, refused]
}

/// What holds for the bytes of any message.
fn check<T: PartialEq + std::fmt::Debug>(
    message: &T,
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<(T, usize), FileError>,
) -> Result<(), TestCaseError> {
    let decoded = decode(bytes);
    prop_assert!(
        decoded
            .as_ref()
            .is_ok_and(|(decoded, taken)| decoded == message && *taken == bytes.len()),
        "{:?}",
        decoded
    );
    for cut in 0..bytes.len() {
        let truncated = decode(&bytes[..cut]);
        // A cut inside a character is no reason to look at the path before all of it is there.
        prop_assert_eq!(truncated.err(), Some(FileError::Incomplete));
    }
    let longer = [bytes, b"!"].concat();
    prop_assert_eq!(decode(&longer).map(|(_, taken)| taken), Ok(bytes.len()));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// [FILE-2]
    #[test]
    fn requests_survive(path in paths()) {
        let request = Request { path };
        check(&request, &request.encode(), Request::decode)?;
        prop_assert!(request.encode().len() <= REQUEST_BYTES_MAX);
    }

    /// [FILE-3]
    #[test]
    fn answers_survive(answer in answers()) {
        check(&answer, &answer.encode(), Answer::decode)?;
    }

    /// [FILE-7]
    #[test]
    fn commands_survive(path in paths(), size in sizes()) {
        let command = Command { path, size };
        check(&command, &command.encode(), Command::decode)?;
    }

    #[test]
    fn arbitrary_bytes_are_a_message_or_an_error(mut bytes in prop::collection::vec(any::<u8>(), 0..64), known in any::<bool>()) {
        if let (Some(version), true) = (bytes.first_mut(), known) {
            *version = VERSION;
        }
        if let Ok((request, taken)) = Request::decode(&bytes) {
            prop_assert_eq!(&request.encode()[..], &bytes[..taken]);
        }
        if let Ok((answer, taken)) = Answer::decode(&bytes) {
            prop_assert_eq!(&answer.encode()[..], &bytes[..taken]);
        }
        if let Ok((command, taken)) = Command::decode(&bytes) {
            prop_assert_eq!(&command.encode()[..], &bytes[..taken]);
        }
    }
}

#[test]
fn a_size_that_no_stream_can_have_is_refused() {
    let size = OFFSET_LIMIT.to_be_bytes();
    let bytes = [&[1][..], &size, &[0, 0]].concat();
    assert_eq!(Command::decode(&bytes), Err(FileError::Size(OFFSET_LIMIT)));
}

/// [FILE-8]
#[test]
fn other_versions_are_refused() {
    assert_eq!(Request::decode(&[2, 0, 0]), Err(FileError::Version(2)));
    assert_eq!(Answer::decode(&[0, 1]), Err(FileError::Version(0)));
    assert_eq!(Command::decode(&[9]), Err(FileError::Version(9)));
}

/// [FILE-8]
#[test]
fn a_path_that_is_too_long_is_refused_before_it_is_there() {
    assert_eq!(
        Request::decode(&[1, 0x10, 0x01]),
        Err(FileError::PathTooLong)
    );
    assert_eq!(
        FilePath::new("x".repeat(PATH_BYTES_MAX + 1)),
        Err(FileError::PathTooLong)
    );
}

/// [FILE-8]
#[test]
fn a_path_that_is_not_text_is_refused() {
    assert_eq!(
        Request::decode(&[1, 0, 1, 0xff]),
        Err(FileError::PathEncoding)
    );
}

/// [FILE-8]
#[test]
fn unknown_codes_are_refused() {
    assert_eq!(Answer::decode(&[1, 7]), Err(FileError::Code(7)));
}

/// [FILE-4]
#[test]
fn content_on_a_stream_that_a_primary_cannot_open_is_refused() {
    for id in [0, 2, 3, u64::MAX] {
        let mut bytes = vec![1, 0];
        bytes.extend([0; 8]);
        bytes.extend(id.to_be_bytes());
        assert_eq!(Answer::decode(&bytes), Err(FileError::ContentStream(id)));
    }
}

/// [FILE-8]
#[test]
fn a_request_ends_where_its_stream_ends() {
    assert_eq!(
        Request::decode_all(&[1, 0, 1, b'a', b'b']),
        Err(FileError::TrailingBytes)
    );
    assert!(Request::decode_all(&[1, 0, 1, b'a']).is_ok());
}
