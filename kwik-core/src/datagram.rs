//! What passes between an endpoint and its socket.

use std::net::{IpAddr, SocketAddr};

use bytes::BytesMut;

/// A UDP datagram that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Who sent it.
    pub remote: SocketAddr,
    /// The address of ours that it was sent to, if the socket tells.
    pub local_ip: Option<IpAddr>,
    /// Its ECN bits.
    pub ecn: Option<Ecn>,
    /// Its payload. QUIC's bytes are handed on as parts of this buffer.
    pub data: BytesMut,
}

/// The ECN bits of an IP packet that supports it (RFC 3168 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ecn {
    /// ECT(0).
    Ect0,
    /// ECT(1).
    Ect1,
    /// Congestion experienced.
    Ce,
}

/// UDP datagrams to send: the first `size` bytes of the buffer that was filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub destination: SocketAddr,
    /// The ECN bits to set.
    pub ecn: Option<Ecn>,
    /// Bytes in the buffer.
    pub size: usize,
    /// Bytes of each datagram, of which the last may be shorter. `None`: there is one only.
    pub segment_size: Option<usize>,
    /// The address of ours to send from, if it matters.
    pub src_ip: Option<IpAddr>,
}
