//! A connection, as a script handles it.

use std::time::Duration;

use bytes::Bytes;
use kwik_core::wire::{ControlFrame, SegmentHeader};
use quinn_proto::{Connection, Dir, StreamId, VarInt, WriteError};

use crate::clock::Moment;

const EXPORTER_LABEL: &[u8] = b"EXPORTER-kwik/1-join";

/// A carrier that a script has opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carrier(StreamId);

impl Carrier {
    /// The id that QUIC gives it.
    #[must_use]
    pub fn id(self) -> u64 {
        VarInt::from(self.0).into_inner()
    }
}

/// How a segment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In good order.
    Finish,
    /// With a reset.
    Reset,
    /// Not at all.
    Open,
}

/// A connection, as a script handles it.
#[derive(Debug)]
pub struct Line<'a> {
    /// When.
    pub moment: Moment,
    connection: &'a mut Connection,
    control: StreamId,
    deeds: &'a mut Vec<Duration>,
}

impl<'a> Line<'a> {
    pub(super) fn new(
        moment: Moment,
        connection: &'a mut Connection,
        control: StreamId,
        deeds: &'a mut Vec<Duration>,
    ) -> Self {
        Self {
            moment,
            connection,
            control,
            deeds,
        }
    }

    /// Notes in the log that the script does now what it is there for.
    pub fn note_deed(&mut self) {
        self.deeds.push(self.moment.time);
    }

    /// What both ends of this connection know and nobody else.
    ///
    /// # Panics
    ///
    /// If the handshake is not done.
    #[must_use]
    pub fn exporter(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        let session = self.connection.crypto_session();
        let exported = session.export_keying_material(&mut bytes, EXPORTER_LABEL, &[]);
        assert!(exported.is_ok(), "the handshake is done");
        bytes
    }

    /// Closes the connection with an application error code.
    pub fn close(&mut self, code: u64) {
        let code = VarInt::from_u64(code).unwrap_or(VarInt::MAX);
        self.connection
            .close(self.moment.now.monotonic, code, Bytes::new());
    }
}

/// The control carrier.
impl Line<'_> {
    /// Sends a control frame.
    pub fn send(&mut self, frame: &ControlFrame) {
        self.send_bytes(&frame.encode());
    }

    /// Sends bytes on the control carrier, unless this end's half of it has ended.
    ///
    /// # Panics
    ///
    /// If there is no room for them.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        let written = self.write(Carrier(self.control), bytes);
        assert!(written.is_none_or(|n| n == bytes.len()), "control has room");
    }

    /// Ends this end's half of the control carrier.
    pub fn end_control(&mut self, end: End) {
        self.end(Carrier(self.control), end);
    }

    /// Wants nothing more of the other end's half of the control carrier.
    pub fn stop_control(&mut self) {
        // Fails if the other end has ended it, which serves the same purpose.
        let _ = self
            .connection
            .recv_stream(self.control)
            .stop(VarInt::from_u32(1));
    }
}

/// Other carriers.
impl Line<'_> {
    /// Opens a bidirectional carrier, if there is credit for one.
    pub fn open_bidi(&mut self) -> Option<Carrier> {
        self.connection.streams().open(Dir::Bi).map(Carrier)
    }

    /// Opens a unidirectional carrier, if there is credit for one.
    pub fn open(&mut self) -> Option<Carrier> {
        self.connection.streams().open(Dir::Uni).map(Carrier)
    }

    /// Writes as much as there is room for; `None` if the carrier has ended, or was stopped.
    pub fn write(&mut self, carrier: Carrier, bytes: &[u8]) -> Option<usize> {
        match self.connection.send_stream(carrier.0).write(bytes) {
            Ok(written) => Some(written),
            Err(WriteError::Blocked) => Some(0),
            Err(WriteError::Stopped(_) | WriteError::ClosedStream) => None,
        }
    }

    /// Ends a carrier; nothing happens if it was stopped.
    pub fn end(&mut self, carrier: Carrier, end: End) {
        let mut send = self.connection.send_stream(carrier.0);
        match end {
            End::Finish => {
                if send.finish().is_err() {
                    // A carrier that was stopped is owed a reset.
                    let _ = send.reset(VarInt::from_u32(1));
                }
            }
            End::Reset => {
                let _ = send.reset(VarInt::from_u32(1));
            }
            End::Open => {}
        }
    }

    /// Opens a unidirectional carrier, writes, ends it.
    ///
    /// # Panics
    ///
    /// If there is no room.
    pub fn uni(&mut self, bytes: &[u8], end: End) {
        let carrier = self.open().expect("there is credit for a segment");
        let written = self.write(carrier, bytes);
        assert_eq!(written, Some(bytes.len()), "a segment has room");
        self.end(carrier, end);
    }

    /// Sends a whole segment.
    ///
    /// # Panics
    ///
    /// If there is no room.
    pub fn segment(&mut self, header: SegmentHeader, body: &[u8]) {
        self.uni(&[&header.encode()[..], body].concat(), End::Finish);
    }
}
