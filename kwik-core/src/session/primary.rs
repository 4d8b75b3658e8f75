//! The primary's side of a session: it owns the streams, names the secondaries and says who writes
//! what.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::ServerContext;
use super::control::ControlChannel;
use crate::carrier::{Carriers, Input, Now, Output, ReadState};
use crate::error::{Misuse, StreamError};
use crate::event::PrimaryEvent;
use crate::ids::{ByteRange, GrantId, PathId, SegmentId, SessionId, StreamId};
use crate::path::{PathInfo, PathSpec, RawTarget};
use crate::plan::PlanSpec;
use crate::wire::Hello;

/// One session of a primary.
pub(crate) struct PrimarySession {}

#[expect(unused_variables, reason = "signatures first")]
impl PrimarySession {
    pub(crate) fn new(
        now: Now,
        context: Arc<ServerContext>,
        session: SessionId,
        hello: Hello,
        control: ControlChannel,
        carriers: &mut dyn Carriers,
    ) -> Self {
        unimplemented!()
    }

    pub(crate) fn handle(&mut self, now: Now, input: Input, carriers: &mut dyn Carriers) {
        unimplemented!()
    }

    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        unimplemented!()
    }

    pub(crate) fn poll_event(&mut self) -> Option<PrimaryEvent> {
        unimplemented!()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        unimplemented!()
    }

    pub(crate) fn close(&mut self, now: Now, code: u64, carriers: &mut dyn Carriers) {
        unimplemented!()
    }

    pub(crate) fn is_closed(&self) -> bool {
        unimplemented!()
    }

    pub(crate) fn session_id(&self) -> SessionId {
        unimplemented!()
    }

    // Streams.

    pub(crate) fn open_stream(
        &mut self,
        now: Now,
        carriers: &mut dyn Carriers,
    ) -> Result<Option<StreamId>, Misuse> {
        unimplemented!()
    }

    pub(crate) fn accept_stream(&mut self) -> Option<StreamId> {
        unimplemented!()
    }

    pub(crate) fn write(
        &mut self,
        now: Now,
        stream: StreamId,
        data: &mut Bytes,
        carriers: &mut dyn Carriers,
    ) -> Result<usize, StreamError> {
        unimplemented!()
    }

    pub(crate) fn finish(
        &mut self,
        now: Now,
        stream: StreamId,
        carriers: &mut dyn Carriers,
    ) -> Result<(), StreamError> {
        unimplemented!()
    }

    pub(crate) fn reset(
        &mut self,
        now: Now,
        stream: StreamId,
        code: u64,
        carriers: &mut dyn Carriers,
    ) -> Result<(), Misuse> {
        unimplemented!()
    }

    pub(crate) fn read(
        &mut self,
        now: Now,
        stream: StreamId,
        max: usize,
        sink: &mut dyn FnMut(Bytes) -> ControlFlow<()>,
        carriers: &mut dyn Carriers,
    ) -> Result<ReadState, StreamError> {
        unimplemented!()
    }

    pub(crate) fn stop(
        &mut self,
        now: Now,
        stream: StreamId,
        code: u64,
        carriers: &mut dyn Carriers,
    ) -> Result<(), Misuse> {
        unimplemented!()
    }

    pub(crate) fn set_offset(
        &mut self,
        now: Now,
        stream: StreamId,
        offset: u64,
        carriers: &mut dyn Carriers,
    ) -> Result<(), StreamError> {
        unimplemented!()
    }

    // Segments.

    pub(crate) fn open_segment_at(
        &mut self,
        now: Now,
        stream: StreamId,
        offset: u64,
        carriers: &mut dyn Carriers,
    ) -> Result<SegmentId, StreamError> {
        unimplemented!()
    }

    pub(crate) fn write_segment(
        &mut self,
        now: Now,
        segment: SegmentId,
        data: &mut Bytes,
        carriers: &mut dyn Carriers,
    ) -> Result<usize, StreamError> {
        unimplemented!()
    }

    pub(crate) fn finish_segment(
        &mut self,
        now: Now,
        segment: SegmentId,
        carriers: &mut dyn Carriers,
    ) -> Result<(), StreamError> {
        unimplemented!()
    }

    // Grants and plans.

    pub(crate) fn delegate(
        &mut self,
        now: Now,
        stream: StreamId,
        range: ByteRange,
        path: PathId,
        command: Bytes,
        carriers: &mut dyn Carriers,
    ) -> Result<GrantId, StreamError> {
        unimplemented!()
    }

    pub(crate) fn revoke(
        &mut self,
        now: Now,
        grant: GrantId,
        carriers: &mut dyn Carriers,
    ) -> Result<(), Misuse> {
        unimplemented!()
    }

    pub(crate) fn send_raw(
        &mut self,
        now: Now,
        path: PathId,
        target: RawTarget,
        bytes: Bytes,
        carriers: &mut dyn Carriers,
    ) -> Result<Option<GrantId>, StreamError> {
        unimplemented!()
    }

    pub(crate) fn plan(
        &mut self,
        now: Now,
        stream: StreamId,
        range: ByteRange,
        spec: PlanSpec,
        carriers: &mut dyn Carriers,
    ) -> Result<(), StreamError> {
        unimplemented!()
    }

    // Paths.

    pub(crate) fn add_path(
        &mut self,
        now: Now,
        spec: PathSpec,
        carriers: &mut dyn Carriers,
    ) -> Result<PathId, Misuse> {
        unimplemented!()
    }

    pub(crate) fn retire_path(
        &mut self,
        now: Now,
        path: PathId,
        carriers: &mut dyn Carriers,
    ) -> Result<(), Misuse> {
        unimplemented!()
    }

    pub(crate) fn paths(&self) -> Vec<PathInfo> {
        unimplemented!()
    }
}
