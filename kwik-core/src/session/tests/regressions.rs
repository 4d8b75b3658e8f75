//! Faults that this world has found, each pinned by the shortest sequence that shows it.

use super::hand::HandPrimary;
use super::net::Side;
use super::world::{CLIENT, Setup, What};
use crate::event::{ClientEvent, StreamEvent};
use crate::ids::PathId;
use crate::wire::{ControlFrame, Welcome};

use super::hand::SESSION;

fn scripted() -> Setup {
    Setup {
        scripted_primary: true,
        ..Setup::default()
    }
}

/// QUIC orders nothing between carriers: the stream is shown while WELCOME is still on its way.
#[test]
fn connected_comes_before_a_stream_that_overtook_welcome() {
    let mut world = scripted().build();
    world.settle();
    let hold = world.hold(PathId::PRIMARY, Side::Client, What::Control);
    HandPrimary::send(
        &mut world,
        &ControlFrame::Welcome(Welcome { session: SESSION }),
    );
    HandPrimary::open_stream(&mut world);
    world.settle();
    world.client(|c, _| assert_eq!(c.events, []));
    world.lift(hold);
    world.settle();
    world.as_client(CLIENT, |c, _| {
        let opened = ClientEvent::Stream(StreamEvent::Opened);
        assert_eq!(c.events[..2], [ClientEvent::Connected, opened]);
    });
}
