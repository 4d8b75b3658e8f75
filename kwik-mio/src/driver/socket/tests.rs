//! Two sockets on loopback.
