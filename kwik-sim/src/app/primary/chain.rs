//! Answers that are brought piece by piece, each from where the one before has ended: open grants.
//!
//! Owns who is next, and where. A secondary decides itself how much of its piece it writes, so that
//! nobody can be given what comes behind it before; only what lies in front of it can be written
//! meanwhile. The pieces are given at the cursor and ahead of it in turn, each with a message before it.

use kwik_core::endpoint;
use kwik_core::error::{Misuse, StreamError};
use kwik_core::ids::{ByteRange, GrantId, PathId, StreamId};
use kwik_core::path::RawTarget;

use super::session::Session;
use crate::app::command;
use crate::app::source::Source;

/// An answer that is brought piece by piece.
pub(super) struct Chain {
    size: u64,
    range_bytes: u64,
    /// Where the next piece begins.
    at: u64,
    /// The cursor is elsewhere.
    is_away: bool,
    /// Pieces that were given.
    turn: u64,
    open: Option<Piece>,
    is_finished: bool,
}

/// What a secondary has been given.
#[derive(Clone, Copy)]
struct Piece {
    grant: GrantId,
    /// Where it begins, and where it ends at the latest.
    range: ByteRange,
    /// It begins behind the cursor.
    is_ahead: bool,
}

impl Chain {
    pub(super) fn new(size: u64, range_bytes: u64) -> Self {
        Self {
            size,
            range_bytes: range_bytes.max(1),
            at: 0,
            is_away: false,
            turn: 0,
            open: None,
            is_finished: false,
        }
    }

    /// The next bytes, up to the length of a piece.
    fn piece(&self, from: u64) -> Option<ByteRange> {
        let end = from.saturating_add(self.range_bytes).min(self.size);
        ByteRange::new(from, end).filter(|range| !range.is_empty())
    }
}

impl Session {
    /// Goes on with the answers that are brought piece by piece.
    pub(super) fn advance(
        &mut self,
        primary: &mut endpoint::Primary<'_>,
    ) -> Result<(), StreamError> {
        let streams: Vec<_> = self.chains.keys().copied().collect();
        streams
            .into_iter()
            .try_for_each(|stream| self.advance_one(primary, stream))
    }

    pub(super) fn advance_one(
        &mut self,
        primary: &mut endpoint::Primary<'_>,
        stream: StreamId,
    ) -> Result<(), StreamError> {
        loop {
            let writes =
                self.plain.contains_key(&stream) || self.own.values().any(|(of, _)| *of == stream);
            let Some(chain) = self.chains.get_mut(&stream) else {
                return Ok(());
            };
            if writes || chain.open.is_some() || chain.is_finished {
                return Ok(());
            }
            if std::mem::take(&mut chain.is_away) {
                primary.set_offset(stream, chain.at)?;
            }
            let Some(piece) = chain.piece(chain.at) else {
                chain.is_finished = true;
                return self.finish(primary, stream);
            };
            let turn = chain.turn;
            chain.turn += 1;
            let hands = self.paths.len() as u64 + 1;
            let place = usize::try_from(turn % hands).unwrap_or(0);
            let path = place.checked_sub(1).and_then(|place| self.paths.get(place));
            match path.copied() {
                None => self.write_piece(primary, stream, piece)?,
                Some(path) => self.give_piece(primary, stream, piece, (path, turn / hands))?,
            }
        }
    }

    /// The primary writes a piece at the cursor.
    fn write_piece(
        &mut self,
        primary: &mut endpoint::Primary<'_>,
        stream: StreamId,
        piece: ByteRange,
    ) -> Result<(), StreamError> {
        let source = Source::new(self.content, stream.0, piece.start(), piece.end());
        self.plain.insert(stream, source);
        if let Some(chain) = self.chains.get_mut(&stream) {
            chain.at = chain.at.max(piece.end());
        }
        self.write_on(primary, stream, self.at_once()).map(|_| ())
    }

    /// A secondary gets a piece: at the cursor, or in every other round behind another that the
    /// primary writes meanwhile.
    fn give_piece(
        &mut self,
        primary: &mut endpoint::Primary<'_>,
        stream: StreamId,
        piece: ByteRange,
        (path, round): (PathId, u64),
    ) -> Result<(), StreamError> {
        let Some(chain) = self.chains.get_mut(&stream) else {
            return Ok(());
        };
        let behind = chain.piece(piece.end()).filter(|_| round % 2 == 1);
        let (target, range) = match behind {
            Some(behind) => (RawTarget::At(stream, behind.start()), behind),
            None => (RawTarget::Cursor(stream), piece),
        };
        let note = format!("piece {} of stream {stream}", chain.turn);
        let sent = primary.send_raw(path, RawTarget::Message, note.into());
        let given = sent.and_then(|_| {
            primary.send_raw(
                path,
                target,
                command::encode(self.client, Some(range.len())),
            )
        });
        match given {
            Ok(grant) => {
                let Some(grant) = grant else {
                    return Ok(());
                };
                self.grants.insert(grant, (stream, path, range));
                self.ledger.on_given_open(grant, stream, range);
                chain.open = Some(Piece {
                    grant,
                    range,
                    is_ahead: behind.is_some(),
                });
                self.pieces_given += 1;
            }
            // Its end is about to be told.
            Err(StreamError::Misuse(Misuse::UnknownPath(_))) => {
                self.paths.retain(|&p| p != path);
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        match behind {
            Some(_) => self.write_piece(primary, stream, piece),
            None => Ok(()),
        }
    }

    /// A secondary has written what it wanted to of a piece.
    pub(super) fn on_piece_done(&mut self, stream: StreamId, grant: GrantId, end: u64) {
        let Some(chain) = self.chains.get_mut(&stream) else {
            return;
        };
        if let Some(piece) = chain.open.take_if(|piece| piece.grant == grant) {
            // The cursor follows a piece that began there by itself.
            chain.is_away = piece.is_ahead;
            chain.at = end;
        }
    }

    /// Nobody tells where a piece that was lost has ended: the primary brings all of it itself.
    pub(super) fn on_piece_lost(
        &mut self,
        primary: &mut endpoint::Primary<'_>,
        stream: StreamId,
        grant: GrantId,
    ) -> Result<(), StreamError> {
        let chain = self.chains.get_mut(&stream);
        let piece = chain.and_then(|chain| {
            let piece = chain.open.take_if(|piece| piece.grant == grant)?;
            chain.at = piece.range.end();
            chain.is_away = true;
            Some(piece)
        });
        match piece {
            Some(piece) => self.rewrite(primary, stream, piece.range),
            None => Ok(()),
        }
    }

    /// The primary writes a range of such an answer itself, wherever the cursor is.
    pub(super) fn rewrite(
        &mut self,
        primary: &mut endpoint::Primary<'_>,
        stream: StreamId,
        range: ByteRange,
    ) -> Result<(), StreamError> {
        if !self.chains.contains_key(&stream) {
            return Ok(());
        }
        let segment = primary.open_segment_at(stream, range.start())?;
        self.begin_own(primary, (stream, range, segment))
    }
}
