//! The file protocol of the `kwik` command: Annex A of `protocol.md`, version 1.
//!
//! Owns what client, primary and secondary say to each other about a file, and how it is put into
//! bytes. Never sees a socket, a stream or a file. All integers are big-endian.
//!
//! | message | from → to | travels | form |
//! |---|---|---|---|
//! | [`Request`] [FILE-2] | client → primary | on a stream that the client opens, which it then ends | version u8, path length u16, path |
//! | [`Answer`] [FILE-3] | primary → client | on the same stream | version u8, code u8; with code 0 also: size u64, content stream u64 |
//! | [`Hash`](type@Hash) [FILE-5] | primary → client | behind the answer, when the hash is known; the stream ends | BLAKE3 of the content, 32 bytes |
//! | [`Command`] [FILE-7] | primary → secondary | as the command of a grant | version u8, size u64, path length u16, path |
//!
//! The content travels on a stream of its own, which the primary opens, so that the offset of a byte
//! in the stream is its offset in the file. The stream ends at the size of the file [FILE-4]. The
//! hash may come long after the content: the primary reads the file for it meanwhile.
//!
//! A path is the name of a file below the root of a server: UTF-8, `/` between its parts, not encoded
//! in any way [FILE-1].

mod codec;
#[cfg(test)]
mod tests;

use kwik_core::ids::StreamId;

/// The version of the file protocol that is spoken here.
pub const VERSION: u8 = 1;

/// Longest path, bytes.
pub const PATH_BYTES_MAX: usize = 4096;

/// Longest encoded [`Request`], bytes.
pub const REQUEST_BYTES_MAX: usize = 3 + PATH_BYTES_MAX;

/// BLAKE3 of the content of a file.
pub type Hash = [u8; 32];

/// Application error codes on the request stream and the content stream [FILE-6].
pub mod reset {
    /// The file changed while it was served: what arrived is worth nothing.
    pub const FILE_CHANGED: u64 = 1;
    /// The server could not serve it to its end.
    pub const FAILED: u64 = 2;
    /// It is not wanted any more.
    pub const CANCELLED: u64 = 3;

    /// What a code says.
    #[must_use]
    pub const fn reason(code: u64) -> &'static str {
        match code {
            FILE_CHANGED => "the file changed while it was served",
            FAILED => "the server could not serve it to its end",
            CANCELLED => "it was cancelled",
            _ => "it was reset for an unknown reason",
        }
    }
}

/// A name of a file below the root of a server, not longer than [`PATH_BYTES_MAX`]. Whether it stays
/// below the root is for the server to judge.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FilePath(String);

impl FilePath {
    /// The path that is written so.
    ///
    /// # Errors
    ///
    /// [`FileError::PathTooLong`].
    pub fn new(path: impl Into<String>) -> Result<Self, FileError> {
        let path = path.into();
        if path.len() > PATH_BYTES_MAX {
            return Err(FileError::PathTooLong);
        }
        Ok(Self(path))
    }

    /// How it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A client asks for a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Which.
    pub path: FilePath,
}

/// What the primary says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The file follows (code 0).
    Found {
        /// Its size in bytes.
        size: u64,
        /// The stream that carries its content.
        content: StreamId,
    },
    /// The file does not follow, and nothing else does.
    Refused(Refusal),
}

/// Why a primary does not serve a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Code 1.
    #[error("there is no such file")]
    NotFound,
    /// Code 2.
    #[error("it is not a regular file")]
    NotAFile,
    /// Code 3.
    #[error("it is outside the directory that is served")]
    OutsideRoot,
    /// Code 4.
    #[error("the server cannot read it")]
    Unreadable,
    /// Code 5.
    #[error("the server does not understand the request")]
    BadRequest,
    /// Code 6.
    #[error("the server is busy")]
    Busy,
}

impl Refusal {
    const ALL: [Self; 6] = [
        Self::NotFound,
        Self::NotAFile,
        Self::OutsideRoot,
        Self::Unreadable,
        Self::BadRequest,
        Self::Busy,
    ];

    /// The code of an [`Answer`] that says so.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::NotFound => 1,
            Self::NotAFile => 2,
            Self::OutsideRoot => 3,
            Self::Unreadable => 4,
            Self::BadRequest => 5,
            Self::Busy => 6,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|refusal| refusal.code() == code)
    }
}

/// A primary asks a secondary to write the granted range of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Which file.
    pub path: FilePath,
    /// How large it must be: another size means another content.
    pub size: u64,
}

/// Why a secondary does not fill a grant; the code of its refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantRefusal {
    /// It has no such file (1).
    NotFound,
    /// Its file is larger or smaller (2).
    OtherSize,
    /// Anything else (3).
    Other,
}

impl GrantRefusal {
    /// The code on the wire.
    #[must_use]
    pub const fn code(self) -> u64 {
        match self {
            Self::NotFound => 1,
            Self::OtherSize => 2,
            Self::Other => 3,
        }
    }
}

/// Bytes that are not a message of this protocol [FILE-8].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// The message goes on behind these bytes.
    #[error("the message is incomplete")]
    Incomplete,
    /// The message ends before these bytes do.
    #[error("there are bytes behind the message")]
    TrailingBytes,
    /// Another version of the protocol.
    #[error("version {0} of the file protocol is not known")]
    Version(u8),
    /// An answer with a code that does not exist.
    #[error("answer code {0} is not known")]
    Code(u8),
    /// A path of more than [`PATH_BYTES_MAX`] bytes.
    #[error("the path is too long")]
    PathTooLong,
    /// A path that is not UTF-8.
    #[error("the path is not UTF-8")]
    PathEncoding,
    /// A size past the largest offset of a stream.
    #[error("a file cannot have {0} bytes")]
    Size(u64),
    /// A content stream that a primary cannot have opened.
    #[error("{0} is not a stream of the primary")]
    ContentStream(u64),
}
