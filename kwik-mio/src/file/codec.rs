//! Messages of the file protocol as bytes.
//!
//! `decode` takes the message off the front and says how long it was; `decode_all` wants nothing
//! behind it.

use bytes::{BufMut, Bytes, BytesMut};
use kwik_core::ids::{OFFSET_LIMIT, StreamId};

use super::{Answer, Command, FileError, FilePath, PATH_BYTES_MAX, Refusal, Request, VERSION};

impl Request {
    /// The message as bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(3 + self.path.as_str().len());
        out.put_u8(VERSION);
        put_path(&mut out, &self.path);
        out.freeze()
    }

    /// A request, and how many bytes it took.
    ///
    /// # Errors
    ///
    /// [`FileError::Incomplete`] if more bytes may make it one; others if none can.
    pub fn decode(bytes: &[u8]) -> Result<(Self, usize), FileError> {
        let mut fields = Fields::new(bytes)?;
        let path = fields.path()?;
        Ok((Self { path }, fields.taken))
    }

    /// A request and nothing else.
    ///
    /// # Errors
    ///
    /// As [`Self::decode`], and [`FileError::TrailingBytes`].
    pub fn decode_all(bytes: &[u8]) -> Result<Self, FileError> {
        whole(Self::decode(bytes)?, bytes)
    }
}

impl Answer {
    /// The message as bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(18);
        out.put_u8(VERSION);
        match *self {
            Self::Found { size, content } => {
                out.put_u8(0);
                out.put_u64(size);
                out.put_u64(content.0);
            }
            Self::Refused(refusal) => out.put_u8(refusal.code()),
        }
        out.freeze()
    }

    /// An answer, and how many bytes it took.
    ///
    /// # Errors
    ///
    /// [`FileError::Incomplete`] if more bytes may make it one; others if none can.
    pub fn decode(bytes: &[u8]) -> Result<(Self, usize), FileError> {
        let mut fields = Fields::new(bytes)?;
        let answer = match fields.u8()? {
            0 => {
                let size = fields.size()?;
                let content = fields.content_stream()?;
                Self::Found { size, content }
            }
            code => Self::Refused(Refusal::from_code(code).ok_or(FileError::Code(code))?),
        };
        Ok((answer, fields.taken))
    }
}

impl Command {
    /// The message as bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(11 + self.path.as_str().len());
        out.put_u8(VERSION);
        out.put_u64(self.size);
        put_path(&mut out, &self.path);
        out.freeze()
    }

    /// A command, and how many bytes it took.
    ///
    /// # Errors
    ///
    /// [`FileError::Incomplete`] if more bytes may make it one; others if none can.
    pub fn decode(bytes: &[u8]) -> Result<(Self, usize), FileError> {
        let mut fields = Fields::new(bytes)?;
        let size = fields.size()?;
        let path = fields.path()?;
        Ok((Self { path, size }, fields.taken))
    }

    /// A command and nothing else.
    ///
    /// # Errors
    ///
    /// As [`Self::decode`], and [`FileError::TrailingBytes`].
    pub fn decode_all(bytes: &[u8]) -> Result<Self, FileError> {
        whole(Self::decode(bytes)?, bytes)
    }
}

fn whole<T>((message, taken): (T, usize), bytes: &[u8]) -> Result<T, FileError> {
    if taken == bytes.len() {
        Ok(message)
    } else {
        Err(FileError::TrailingBytes)
    }
}

fn put_path(out: &mut BytesMut, path: &FilePath) {
    let bytes = path.as_str().as_bytes();
    let len = u16::try_from(bytes.len()).expect("a path has at most PATH_BYTES_MAX bytes");
    out.put_u16(len);
    out.put_slice(bytes);
}

/// Takes the fields of a message off the front, the version first.
struct Fields<'a> {
    rest: &'a [u8],
    taken: usize,
}

impl<'a> Fields<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, FileError> {
        let mut fields = Self {
            rest: bytes,
            taken: 0,
        };
        match fields.u8()? {
            VERSION => Ok(fields),
            other => Err(FileError::Version(other)),
        }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], FileError> {
        let (field, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(FileError::Incomplete)?;
        self.rest = rest;
        self.taken += len;
        Ok(field)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FileError> {
        self.take(N)?.try_into().map_err(|_| FileError::Incomplete)
    }

    fn u8(&mut self) -> Result<u8, FileError> {
        self.array().map(u8::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, FileError> {
        self.array().map(u64::from_be_bytes)
    }

    fn size(&mut self) -> Result<u64, FileError> {
        let size = self.u64()?;
        if size >= OFFSET_LIMIT {
            return Err(FileError::Size(size));
        }
        Ok(size)
    }

    fn content_stream(&mut self) -> Result<StreamId, FileError> {
        let id = self.u64()?;
        let stream = StreamId(id);
        if id >= OFFSET_LIMIT || !stream.is_bidirectional() || !stream.is_server_opened() {
            return Err(FileError::ContentStream(id));
        }
        Ok(stream)
    }

    fn path(&mut self) -> Result<FilePath, FileError> {
        let len = usize::from(self.array().map(u16::from_be_bytes)?);
        if len > PATH_BYTES_MAX {
            return Err(FileError::PathTooLong);
        }
        let path = str::from_utf8(self.take(len)?).map_err(|_| FileError::PathEncoding)?;
        FilePath::new(path)
    }
}
