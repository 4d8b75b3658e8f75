//! One UDP socket with its offloads.
//!
//! Owns the socket, the receive buffers, and the mapping between IPv4 and IPv6 on a dual-stack
//! socket. Never sees what is in a datagram.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use bytes::BytesMut;
use kwik_core::endpoint::{Datagram, Ecn, Transmit};
use mio::net::UdpSocket;
use quinn_udp::{BATCH_SIZE, EcnCodepoint, RecvMeta, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket as RawSocket, Type};

/// The kernel coalesces datagrams up to this size; a shorter buffer would truncate them, and
/// truncated datagrams fail to authenticate.
const SLOT_BYTES: usize = 64 << 10;
/// Asked for as SO_RCVBUF and SO_SNDBUF; the kernel grants less if its limits say so.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;
/// Largest UDP payload over IPv4, and so of one system call.
const SEND_BYTES_MAX: usize = 65_507;
/// Datagrams are copied out of the receive buffers into slabs of this size, so that one chunk that
/// lingers pins no more than this, whatever the kernel had coalesced.
const SLAB_BYTES: usize = 16 << 10;
/// How many datagrams one receive call should bring at most.
const DATAGRAMS_AIM: usize = super::BATCH_DATAGRAMS_MAX;

/// A bound socket, its offload state, and the buffers it receives into.
pub(crate) struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
    local_addr: SocketAddr,
    slots: Vec<u8>,
    metas: [RecvMeta; BATCH_SIZE],
    slab: BytesMut,
    /// How many slots the next call offers: fewer when the kernel coalesces more into each.
    slots_offered: usize,
}

/// What one receive call brought.
pub(crate) struct Received {
    /// When the system call returned.
    pub(crate) at: Instant,
    pub(crate) datagrams: usize,
    /// Whether the kernel's queue was empty at the end of the call.
    pub(crate) drained: bool,
}

impl Socket {
    /// Binds to `addr`. An unspecified IPv6 address takes IPv4 as well.
    pub(crate) fn bind(addr: SocketAddr) -> io::Result<Self> {
        let socket = RawSocket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
        if let SocketAddr::V6(v6) = addr {
            socket.set_only_v6(!v6.ip().is_unspecified())?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&addr.into())?;
        // Small buffers cost speed, not correctness.
        for outcome in [
            socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES),
            socket.set_send_buffer_size(SOCKET_BUFFER_BYTES),
        ] {
            if let Err(error) = outcome {
                tracing::debug!(%error, "the kernel refused the socket buffer size");
            }
        }
        let io = UdpSocket::from_std(socket.into());
        let state = UdpSocketState::new(UdpSockRef::from(&io))?;
        if state.may_fragment() {
            tracing::debug!("datagrams may be fragmented here; path MTU discovery may overshoot");
        }
        Ok(Self {
            local_addr: io.local_addr()?,
            io,
            state,
            slots: vec![0; SLOT_BYTES * BATCH_SIZE],
            metas: [RecvMeta::default(); BATCH_SIZE],
            slab: BytesMut::new(),
            slots_offered: BATCH_SIZE,
        })
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    pub(crate) fn source(&mut self) -> &mut UdpSocket {
        &mut self.io
    }

    /// How many datagrams of one size the kernel takes in one call, if they are small enough.
    pub(crate) fn segments_max(&self) -> usize {
        self.state.max_gso_segments().max(1)
    }

    /// Receives what waits, at most about [`DATAGRAMS_AIM`] datagrams, and hands each to `sink`.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] if nothing waits.
    pub(crate) fn receive(&mut self, mut sink: impl FnMut(Datagram)) -> io::Result<Received> {
        let offered = self.slots_offered;
        let filled = {
            let mut slots: Vec<IoSliceMut<'_>> = self
                .slots
                .chunks_exact_mut(SLOT_BYTES)
                .take(offered)
                .map(IoSliceMut::new)
                .collect();
            let (io, state, metas) = (&self.io, &self.state, &mut self.metas);
            io.try_io(|| state.recv(UdpSockRef::from(io), &mut slots, metas))?
        };
        let at = Instant::now();
        let mut datagrams = 0;
        for (slot, meta) in self
            .slots
            .chunks_exact(SLOT_BYTES)
            .zip(&self.metas[..filled])
        {
            let Some(bytes) = slot.get(..meta.len) else {
                continue;
            };
            for payload in bytes.chunks(meta.stride.max(1)) {
                datagrams += 1;
                sink(Datagram {
                    remote: canonical(meta.addr),
                    local_ip: meta.dst_ip.map(|ip| ip.to_canonical()),
                    ecn: meta.ecn.map(ecn_from_udp),
                    data: copy_out(&mut self.slab, payload),
                });
            }
        }
        let per_slot = (datagrams / filled.max(1)).max(1);
        self.slots_offered = (DATAGRAMS_AIM / per_slot).clamp(1, BATCH_SIZE);
        Ok(Received {
            at,
            datagrams,
            // recvmmsg comes back short only if the queue was empty. Elsewhere a call brings one
            // datagram however many wait.
            drained: filled < offered && cfg!(any(target_os = "linux", target_os = "android")),
        })
    }

    /// Sends the part of `transmit` from `offset` on that fits one call; returns its length and
    /// how many datagrams it was.
    ///
    /// # Errors
    ///
    /// Those of the system call; [`io::ErrorKind::WouldBlock`] when the kernel's buffer is full.
    pub(crate) fn send(&self, transmit: &Transmit, contents: &[u8]) -> io::Result<(usize, usize)> {
        let segment = transmit.segment_size.unwrap_or(contents.len()).max(1);
        let segments = self.segments_max().min(SEND_BYTES_MAX / segment).max(1);
        let part = &contents[..contents.len().min(segments * segment)];
        let datagrams = part.len().div_ceil(segment);
        let outgoing = quinn_udp::Transmit {
            destination: self.mapped(transmit.destination),
            ecn: transmit.ecn.map(ecn_to_udp),
            contents: part,
            segment_size: (datagrams > 1).then_some(segment),
            src_ip: transmit.src_ip,
        };
        let (io, state) = (&self.io, &self.state);
        io.try_io(|| state.try_send(UdpSockRef::from(io), &outgoing))?;
        Ok((part.len(), datagrams))
    }

    /// An IPv6 socket reaches an IPv4 address through its mapped form.
    fn mapped(&self, destination: SocketAddr) -> SocketAddr {
        match (self.local_addr, destination) {
            (SocketAddr::V6(_), SocketAddr::V4(v4)) => {
                SocketAddr::new(IpAddr::V6(v4.ip().to_ipv6_mapped()), v4.port())
            }
            (SocketAddr::V6(_), SocketAddr::V6(_)) | (SocketAddr::V4(_), _) => destination,
        }
    }
}

/// The address without its IPv6 mapping, so that one host has one name.
fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V4(_) => addr,
        SocketAddr::V6(v6) => v6
            .ip()
            .to_ipv4_mapped()
            .map_or(addr, |v4| SocketAddr::new(IpAddr::V4(v4), v6.port())),
    }
}

fn copy_out(slab: &mut BytesMut, payload: &[u8]) -> BytesMut {
    if slab.capacity() < payload.len() {
        // Takes the old slab again if nobody holds a part of it any more.
        slab.reserve(SLAB_BYTES.max(payload.len()));
    }
    slab.extend_from_slice(payload);
    slab.split()
}

fn ecn_from_udp(ecn: EcnCodepoint) -> Ecn {
    match ecn {
        EcnCodepoint::Ect0 => Ecn::Ect0,
        EcnCodepoint::Ect1 => Ecn::Ect1,
        EcnCodepoint::Ce => Ecn::Ce,
    }
}

fn ecn_to_udp(ecn: Ecn) -> EcnCodepoint {
    match ecn {
        Ecn::Ect0 => EcnCodepoint::Ect0,
        Ecn::Ect1 => EcnCodepoint::Ect1,
        Ecn::Ce => EcnCodepoint::Ce,
    }
}

#[cfg(test)]
mod tests;
