//! Why a call on a blocking handle failed.
//!
//! Owns [`Error`] and its translation to [`io::Error`]. Adds to the errors of the core only what
//! blocking and sockets bring.

use std::io;
use std::sync::Arc;

use kwik_core::endpoint::{ConfigError, ConnectError, EndpointError, IdentityError};
use kwik_core::error::{CloseReason, Misuse, StreamError};
use kwik_core::ids::ByteRange;

/// Why a call on a blocking handle failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The timeout of the handle passed. What was done until then stands; the call may be repeated.
    #[error("the call timed out")]
    TimedOut,
    /// A blocking write has no credit while an event of the session waits in `next_event`, and the
    /// credit may depend on what the application does about it. Take the event, then write on.
    #[error("the write waits for credit, and an event waits to be taken")]
    EventsPending,
    /// The session has ended, or could not be made.
    #[error("the session has ended: {0}")]
    Closed(CloseReason),
    /// The peer reset its sending half with this application error code.
    #[error("reset by the peer with code {0}")]
    Reset(u64),
    /// The peer wants no more of what we send; its application error code.
    #[error("stopped by the peer with code {0}")]
    Stopped(u64),
    /// A range that no server supplied within `hole_max`.
    #[error("no server supplied {0}")]
    Hole(ByteRange),
    /// The call is not allowed; nothing has changed.
    #[error(transparent)]
    Misuse(#[from] Misuse),
    /// The session could not be begun.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The certificate or the key of the server cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A setting cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The socket failed, or the thread of the endpoint could not be started.
    #[error(transparent)]
    Io(#[from] Arc<io::Error>),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

impl From<EndpointError> for Error {
    fn from(error: EndpointError) -> Self {
        match error {
            EndpointError::Config(error) => Self::Config(error),
            EndpointError::Identity(error) => Self::Identity(error),
        }
    }
}

impl From<StreamError> for Error {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Reset(code) => Self::Reset(code),
            StreamError::Stopped(code) => Self::Stopped(code),
            StreamError::Hole(range) => Self::Hole(range),
            StreamError::Misuse(misuse) => Self::Misuse(misuse),
            StreamError::SessionLost(reason) => Self::Closed(reason),
        }
    }
}

/// The kind says how a caller of [`io::Read`] or [`io::Write`] may react; the error itself stays
/// within, as [`io::Error::get_ref`].
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::TimedOut => io::ErrorKind::TimedOut,
            Error::EventsPending => io::ErrorKind::WouldBlock,
            Error::Closed(CloseReason::TimedOut) => io::ErrorKind::TimedOut,
            Error::Closed(_) => io::ErrorKind::ConnectionAborted,
            Error::Reset(_) => io::ErrorKind::ConnectionReset,
            Error::Stopped(_) => io::ErrorKind::BrokenPipe,
            Error::Hole(_) => io::ErrorKind::UnexpectedEof,
            Error::Misuse(_) | Error::Connect(_) | Error::Identity(_) | Error::Config(_) => {
                io::ErrorKind::InvalidInput
            }
            Error::Io(inner) => inner.kind(),
        };
        Self::new(kind, error)
    }
}
