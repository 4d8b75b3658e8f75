//! Clients of the server that do what `kwik get` does not.

use std::time::Duration;

use bytes::Bytes;
use kwik_mio::file::{Answer, FilePath, REQUEST_BYTES_MAX, Refusal, Request};
use kwik_mio::kwik_core::carrier::DialTarget;
use kwik_mio::{Client, ClientOptions, Error, RecvStream, SendStream};

use crate::house::{House, PATIENCE, Server};

fn connect(server: &Server) -> Client {
    let mut pin = [0; 32];
    for (byte, digits) in pin.iter_mut().zip(server.pin.as_bytes().chunks(2)) {
        let digits = str::from_utf8(digits).expect("text");
        *byte = u8::from_str_radix(digits, 16).expect("hexadecimal digits");
    }
    let target = DialTarget {
        addr: server.addr.parse().expect("an address"),
        server_name: "kwik".into(),
        pin,
    };
    let mut client = Client::connect(target, ClientOptions::default()).expect("it answers");
    client.set_timeout(Some(PATIENCE));
    client
}

/// Sends the bytes of a request.
fn ask(client: &Client, words: impl Into<Bytes>) -> RecvStream {
    let (send, receive): (SendStream, RecvStream) = client.open_stream().expect("a stream");
    // A server that is not going to read all of it may say so early.
    drop(send.write_bytes(&mut words.into()));
    drop(send.finish());
    receive
}

fn request(path: &str) -> Bytes {
    let path = FilePath::new(path).expect("short enough");
    Request { path }.encode()
}

/// The answer, and nothing of what is behind it.
fn answer(stream: &RecvStream) -> Answer {
    const ANSWER_BYTES_MAX: usize = 18;
    let mut bytes = Vec::new();
    loop {
        if let Ok((answer, _)) = Answer::decode(&bytes) {
            return answer;
        }
        let room = ANSWER_BYTES_MAX - bytes.len();
        let chunk = stream.read_chunk(room).expect("an answer");
        bytes.extend_from_slice(&chunk.expect("an answer"));
    }
}

fn read_all(stream: &RecvStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.read_chunk(1 << 20).expect("content") {
        bytes.extend_from_slice(&chunk);
    }
    bytes
}

/// [FILE-8]
#[test]
fn a_request_that_is_not_understood_is_answered() {
    let house = House::new();
    let server = house.server("a", &[]);
    house.file("root/file", 10);
    let client = connect(&server);
    let good = request("file");
    for words in [
        Bytes::new(),
        Bytes::from_static(&[2, 0, 1, b'a']),
        Bytes::from_static(&[1, 0, 1, 0xff]),
        Bytes::from_static(&[1, 0x10, 0x01]),
        good.slice(..good.len() - 1),
        [&good[..], b"!"].concat().into(),
        vec![1; REQUEST_BYTES_MAX + 1].into(),
        vec![1; 100_000].into(),
        request("file\0"),
        request(""),
    ] {
        // An answer with nothing behind it.
        let answered = ask(&client, words);
        assert_eq!(answer(&answered), Answer::Refused(Refusal::BadRequest));
        assert_eq!(read_all(&answered), b"");
    }
    assert!(matches!(
        answer(&ask(&client, good)),
        Answer::Found { size: 10, .. }
    ));
}

#[test]
fn one_session_fetches_many_files_and_each_on_its_own_stream() {
    let house = House::new();
    let server = house.server("a", &[]);
    let client = connect(&server);
    let sizes = [0, 1, 100_000, 2 << 20];
    let asked: Vec<RecvStream> = sizes
        .iter()
        .map(|size| {
            house.file(format!("root/{size}"), *size);
            ask(&client, request(&size.to_string()))
        })
        .collect();
    let mut contents: Vec<RecvStream> = sizes
        .iter()
        .map(|_| {
            let (send, receive) = client.accept_stream().expect("content");
            send.finish().expect("an end");
            receive
        })
        .collect();
    for (size, asked) in sizes.iter().zip(asked) {
        let Answer::Found {
            size: told,
            content,
        } = answer(&asked)
        else {
            panic!("{size} is there");
        };
        assert_eq!(told, *size);
        let at = contents.iter().position(|stream| stream.id() == content);
        let bytes = read_all(&contents.swap_remove(at.expect("its content")));
        let served = std::fs::read(house.path(format!("root/{size}"))).unwrap();
        assert!(bytes == served, "{size}");
        assert_eq!(read_all(&asked), blake3::hash(&served).as_bytes());
    }
}

#[test]
fn a_client_that_asks_and_does_not_read_is_told_that_it_is_enough_and_harms_nobody() {
    let house = House::new();
    let server = house.server("a", &[]);
    house.file("root/large", 20 << 20);
    house.file("root/file", 1 << 20);
    let greedy = connect(&server);
    let asked: Vec<RecvStream> = (0..40).map(|_| ask(&greedy, request("large"))).collect();
    let answers: Vec<Answer> = asked.iter().map(answer).collect();
    let busy = Answer::Refused(Refusal::Busy);
    let refused = answers.iter().filter(|answer| **answer == busy).count();
    assert_eq!(refused, 8, "{answers:?}");
    house.get(&server, "file", &[]).assert_succeeds();
    house.assert_fetched("file");
}

#[test]
fn a_client_that_wants_no_more_can_go_on_with_something_else() {
    let house = House::new();
    let server = house.server("a", &["--rate", "80"]);
    house.file("root/large", 50 << 20);
    house.file("root/file", 100_000);
    let client = connect(&server);
    let asked = ask(&client, request("large"));
    let (_send, content) = client.accept_stream().expect("content");
    content.read_chunk(1).expect("content");
    content.stop(9).expect("it is wanted no more");
    assert!(matches!(answer(&asked), Answer::Found { .. }));
    // The hash of what is not wanted does not come, unless it was faster.
    let end = asked.with_timeout(Duration::from_secs(5)).read_chunk(1024);
    assert!(matches!(end, Err(Error::Reset(3)) | Ok(Some(_))), "{end:?}");
    let asked = ask(&client, request("file"));
    assert!(matches!(answer(&asked), Answer::Found { .. }));
    let (_send, content) = client.accept_stream().expect("content");
    assert_eq!(read_all(&content).len(), 100_000);
}
