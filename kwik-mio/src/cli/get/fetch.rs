//! Fetching one file.
//!
//! Owns the order of things: connect, ask, receive, verify, publish; and the time each may take.
//! Several transfers may go on in one process.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use kwik_core::carrier::DialTarget;
use kwik_core::error::{CloseReason, code};
use kwik_core::ids::StreamId;

use super::report::Report;
use super::sink::Sink;
use super::watch::Watch;
use crate::blocking::{Client, ClientOptions, RecvStream};
use crate::cli::failure::Failure;
use crate::cli::pin::Pin;
use crate::cli::url::{Host, KwikUrl};
use crate::error::Error;
use crate::file::{Answer, FileError, Hash, Request, reset};

/// From the URL to the session.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// From the request to its answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// From one byte of content to the next. Longer than the core waits for a server that is silent.
const STALL_MAX: Duration = Duration::from_secs(60);
/// From the last byte of content to its hash: the primary may have much to read.
const HASH_MAX: Duration = Duration::from_secs(600);
/// Most bytes taken at once.
const CHUNK_BYTES: usize = 256 << 10;

/// Which file, from whom, and where to.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Job {
    pub(in crate::cli) url: KwikUrl,
    pub(in crate::cli) pin: Pin,
    pub(in crate::cli) output: PathBuf,
}

/// Fetches a file. What is known of the transfer is reported whether or not it succeeds.
pub(in crate::cli) fn fetch(job: &Job, watch: &Watch) -> (Report, Result<(), Failure>) {
    let mut report = Report::default();
    let mut result = attempt(job, watch, &mut report);
    if result.is_err() && watch.is_cancelled() {
        result = Err(Failure::interrupted());
    }
    if let Err(failure) = &result {
        let message = failure.message.as_deref();
        report.error = Some(message.unwrap_or("nobody reads the output").to_owned());
    }
    (report, result)
}

fn attempt(job: &Job, watch: &Watch, report: &mut Report) -> Result<(), Failure> {
    // Before anything goes over the network: if there is no place for it, it is not fetched.
    let mut sink = Sink::new(&job.output, watch)?;
    let client = connect(job, watch)?;
    watch.attach(&client);
    let received = receive(job, &client, &mut sink, watch, report);
    report.observe(&client);
    watch.detach();
    // In good order only if nothing is missing: the primary has no other way to know.
    let is_whole = received.is_ok();
    client.close(if is_whole {
        code::NO_ERROR
    } else {
        reset::CANCELLED
    });
    let hash = received?;
    sink.publish()?;
    report.blake3 = Some(hex::encode(hash));
    watch.on_scratch(None);
    Ok(())
}

/// A session with the primary, at the first of its addresses that answers.
fn connect(job: &Job, watch: &Watch) -> Result<Client, Failure> {
    let deadline = Instant::now() + CONNECT_MAX;
    let addrs = resolve(&job.url, deadline)?;
    let mut left = u32::try_from(addrs.len()).unwrap_or(u32::MAX);
    let mut last = Failure::failed(format!("{} has no address", job.url.host));
    for addr in addrs {
        if watch.is_cancelled() {
            return Err(Failure::interrupted());
        }
        let time = deadline.saturating_duration_since(Instant::now()) / left.max(1);
        left = left.saturating_sub(1);
        let target = DialTarget {
            addr,
            server_name: job.url.host.to_string(),
            pin: job.pin.0,
        };
        let options = ClientOptions {
            connect_timeout: time,
            ..ClientOptions::default()
        };
        last = match Client::connect(target, options) {
            Ok(client) => return Ok(client),
            Err(Error::Closed(CloseReason::PinMismatch)) => {
                return Err(Failure::unverified(format!(
                    "the server at {addr} is not the one with the pin {}",
                    job.pin
                )));
            }
            Err(Error::TimedOut) => Failure::failed(format!(
                "no answer from {addr} within {} s",
                CONNECT_MAX.as_secs()
            )),
            Err(error) => Failure::failed(format!("cannot connect to {addr}: {error}")),
        };
    }
    Err(last)
}

/// The addresses of the server. The system's resolver cannot be given a deadline, a channel can.
fn resolve(url: &KwikUrl, deadline: Instant) -> Result<Vec<SocketAddr>, Failure> {
    let name = match &url.host {
        Host::Ip(ip) => return Ok(vec![SocketAddr::new(*ip, url.port)]),
        Host::Name(name) => name.clone(),
    };
    let (answer, answers) = mpsc::channel();
    let asked = (name.clone(), url.port);
    std::thread::spawn(move || {
        let found = asked.to_socket_addrs().map(Vec::from_iter);
        // Nobody waits any more if it took too long.
        let _ = answer.send(found);
    });
    let time = deadline.saturating_duration_since(Instant::now());
    match answers.recv_timeout(time) {
        Ok(Ok(addrs)) => Ok(addrs),
        Ok(Err(error)) => Err(Failure::failed(format!("cannot find {name}: {error}"))),
        Err(_) => Err(Failure::failed(format!("cannot find {name} in time"))),
    }
}

/// Asks for the file and takes it in; returns its hash, which is the primary's.
fn receive(
    job: &Job,
    client: &Client,
    sink: &mut Sink,
    watch: &Watch,
    report: &mut Report,
) -> Result<Hash, Failure> {
    let begun = Instant::now();
    let deadline = begun + ANSWER_MAX;
    let request = Request {
        path: job.url.path.clone(),
    };
    let patient = client.with_timeout(ANSWER_MAX);
    let (ask, answer) = patient.open_stream().map_err(|error| failure(&error))?;
    ask.write_bytes(&mut request.encode())
        .and_then(|()| ask.finish())
        .map_err(|error| failure(&error))?;
    let mut answer = AnswerStream::new(answer);
    let (size, content) = match answer.answer(deadline)? {
        Answer::Found { size, content } => (size, content),
        Answer::Refused(refusal) => {
            return Err(Failure::failed(format!(
                "{}: {refusal}",
                job.url.path.as_str()
            )));
        }
    };
    report.answer_bytes = answer.taken_bytes;
    watch.on_size(size);
    let content = accept(client, content, deadline)?;
    let copied = copy(&content, size, sink, watch, report);
    report.seconds = begun.elapsed().as_secs_f64();
    copied?;
    let hash = sink.finish()?;
    let promised = answer.hash()?;
    report.answer_bytes = answer.taken_bytes;
    // [FILE-5]
    if promised != hash {
        return Err(Failure::unverified(
            "the content does not have the hash that the primary says",
        ));
    }
    Ok(hash)
}

/// The stream of content, which the primary opens.
fn accept(client: &Client, content: StreamId, deadline: Instant) -> Result<RecvStream, Failure> {
    loop {
        let time = deadline.saturating_duration_since(Instant::now());
        let (send, receive) = client
            .with_timeout(time)
            .accept_stream()
            .map_err(|error| failure(&error))?;
        // Nothing is to be said there. If the stream is not wanted any more, its reader finds out.
        let _ = send.finish();
        if receive.id() == content {
            return Ok(receive.with_timeout(STALL_MAX));
        }
    }
}

fn copy(
    content: &RecvStream,
    size: u64,
    sink: &mut Sink,
    watch: &Watch,
    report: &mut Report,
) -> Result<(), Failure> {
    while let Some(chunk) = content
        .read_chunk(CHUNK_BYTES)
        .map_err(|error| stalled(&error, "content"))?
    {
        report.bytes += chunk.len() as u64;
        if report.bytes > size {
            return Err(wrong_size(report.bytes, size));
        }
        sink.write(&chunk)?;
        watch.on_received(report.bytes);
    }
    if report.bytes < size {
        return Err(wrong_size(report.bytes, size));
    }
    Ok(())
}

fn wrong_size(bytes: u64, size: u64) -> Failure {
    let more = if bytes > size { "more" } else { "less" };
    Failure::unverified(format!(
        "the content is {more} than the {size} bytes announced"
    ))
}

/// The stream on which the request was made.
struct AnswerStream {
    stream: RecvStream,
    /// Received and not understood yet.
    bytes: Vec<u8>,
    /// Received altogether.
    taken_bytes: u64,
}

impl AnswerStream {
    fn new(stream: RecvStream) -> Self {
        Self {
            stream,
            bytes: Vec::new(),
            taken_bytes: 0,
        }
    }

    fn answer(&mut self, deadline: Instant) -> Result<Answer, Failure> {
        loop {
            match Answer::decode(&self.bytes) {
                Ok((answer, len)) => {
                    self.bytes.drain(..len);
                    return Ok(answer);
                }
                Err(FileError::Incomplete) => {}
                Err(error) => {
                    return Err(Failure::failed(format!("the server's answer: {error}")));
                }
            }
            let time = deadline.saturating_duration_since(Instant::now());
            if !self.read(time, "answer")? {
                return Err(Failure::failed("the server's answer is incomplete"));
            }
        }
    }

    fn hash(&mut self) -> Result<Hash, Failure> {
        while self.bytes.len() <= size_of::<Hash>() && self.read(HASH_MAX, "hash")? {}
        Hash::try_from(&self.bytes[..])
            .map_err(|_| Failure::unverified("the server says no hash of the content"))
    }

    /// Whether there was more to read.
    fn read(&mut self, time: Duration, what: &str) -> Result<bool, Failure> {
        let chunk = self
            .stream
            .with_timeout(time)
            .read_chunk(1024)
            .map_err(|error| stalled(&error, what))?;
        if let Some(chunk) = &chunk {
            self.bytes.extend_from_slice(chunk);
            self.taken_bytes += chunk.len() as u64;
        }
        Ok(chunk.is_some())
    }
}

fn stalled(error: &Error, what: &str) -> Failure {
    if let Error::TimedOut = error {
        return Failure::failed(format!("the server sends no {what} in time"));
    }
    if let Error::Reset(code) = error {
        return Failure::failed(format!("no {what}: {}", reset::reason(*code)));
    }
    failure(error)
}

/// What a failed call means to the user.
fn failure(error: &Error) -> Failure {
    if let Error::TimedOut = error {
        return Failure::failed("the server does not answer in time");
    }
    if let Error::Closed(CloseReason::Peer(code::NO_ERROR)) = error {
        return Failure::failed("the server closed the session");
    }
    Failure::failed(error.to_string())
}
