//! How much a connection buffers for sending.
//!
//! Owns quinn's send window: near twice the congestion window, so that what is not sent yet really
//! is still the caller's, and can be revoked; and a reserve above it for control frames.

use quinn_proto::Connection;

use super::transport::SEND_WINDOW_MIN_BYTES;

/// Room for control frames above all bulk data, bytes.
const CONTROL_RESERVE_BYTES: u64 = 64 << 10;

/// Bytes of one piece that quinn is handed. quinn frees its buffer by whole pieces, so that one
/// piece must stay well below the window; and it walks over all pieces for every frame, so that
/// they must not be small.
const PIECE_MIN_BYTES: u64 = 16 << 10;
const PIECE_MAX_BYTES: u64 = 256 << 10;
/// Pieces in a window, until a piece has its largest size.
const PIECES_PER_WINDOW: u64 = 8;

/// The send window of one connection.
pub(super) struct SendWindow {
    bytes: u64,
    /// The largest there ever was: what is buffered may still be as much, after a window shrank.
    highest: u64,
}

impl SendWindow {
    pub(super) fn new() -> Self {
        Self {
            bytes: SEND_WINDOW_MIN_BYTES,
            highest: SEND_WINDOW_MIN_BYTES,
        }
    }

    /// Follows the congestion window, in steps: each change wakes the writers, and a step of a few
    /// bytes would have them write a few bytes.
    pub(super) fn follow(&mut self, quinn: &mut Connection, max_bytes: u64) {
        let max_bytes = max_bytes.max(SEND_WINDOW_MIN_BYTES);
        let target = quinn.congestion_state().window().saturating_mul(2);
        let target = target.clamp(SEND_WINDOW_MIN_BYTES, max_bytes);
        let step = self.bytes / PIECES_PER_WINDOW;
        if target.abs_diff(self.bytes) < step && target != max_bytes {
            return;
        }
        if target != self.bytes {
            self.bytes = target;
            self.highest = self.highest.max(target);
            quinn.set_send_window(target);
        }
    }

    /// How much to hand quinn at a time.
    pub(super) fn piece_bytes(&self) -> usize {
        let piece = self.bytes / PIECES_PER_WINDOW;
        usize::try_from(piece.clamp(PIECE_MIN_BYTES, PIECE_MAX_BYTES)).unwrap_or(usize::MAX)
    }

    /// Lets a control frame in, however much bulk data is buffered [CONN-8].
    pub(super) fn lift(&self, quinn: &mut Connection) {
        quinn.set_send_window(self.highest.saturating_add(CONTROL_RESERVE_BYTES));
    }

    /// Ends [`Self::lift`].
    pub(super) fn restore(&self, quinn: &mut Connection) {
        quinn.set_send_window(self.bytes);
    }
}
