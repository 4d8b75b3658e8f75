//! That each size is seen when it is one too many.

use super::*;

/// The sizes of everything, when everything is as full as it may be and `more` above that.
fn sizes(more: usize) -> Vec<Size> {
    let bounds = Bounds::of(&Scenario::new(1, 1, 1 << 20));
    let (quic, client, server) = (
        &bounds.config.quic,
        &bounds.config.client,
        &bounds.config.server,
    );
    let streams = 2 * quic.bidi_streams_max as usize + more;
    let endpoint = EndpointGauges {
        clients: quic.connections_max + more,
        handshakes: quic.handshakes_max + more,
        responses: EndpointGauges::RESPONSES_MAX + more,
        events: more,
        ..EndpointGauges::default()
    };
    let gaps = client.gaps_per_path_max;
    let at_client = ClientGauges {
        buffered_bytes: bounds.window_bytes + more as u64,
        pinned_bytes: 2 * bounds.window_bytes
            + CLIENT_EXTRA_BYTES
            + GAP_BYTES * gaps as u64
            + more as u64,
        gaps,
        stream_gaps_max: client.reassembly_ranges_max + more,
        path_gaps_max: client.gaps_per_path_max + more + 1,
        control_unsent_bytes_max: client.control_unread_bytes_max + more,
        control_waiting_bytes_max: client.outbox_bytes_max + more,
        control_partial_bytes_max: FRAME_MAX_BYTES + more,
        grants_per_path_max: client.grants_per_path_max + more,
        streams,
        segments: (client.dial.paths_max + 1) * quic.segments_max as usize + more,
        paths: client.dial.paths_max + more,
        dials: client.dial.dials_max + more,
        paths_ended: client.path_history_max + more,
        events: quic.bidi_streams_max as usize + more,
    };
    let at_primary = PrimaryGauges {
        control_unsent_bytes: server.control_unread_bytes_max + more,
        control_partial_bytes: FRAME_MAX_BYTES + more,
        grants_per_path_max: server.grants_per_path_max + more,
        streams,
        segments: server.segments_open_max + more,
        paths: 0,
        paths_ended: server.path_history_max + more,
        events: more,
    };
    let grants = 2 * server.grants_per_path_max + more;
    let at_secondary = SecondaryGauges {
        control_unsent_bytes: server.control_unread_bytes_max + more,
        control_partial_bytes: FRAME_MAX_BYTES + more,
        grants,
        segments: grants + more,
        segments_ended: 0,
        events: more,
    };
    let mut all = bounds.of_endpoint(&endpoint).to_vec();
    all.extend(bounds.of_client(&at_client));
    all.extend(bounds.of_primary(&at_primary));
    all.extend(bounds.of_secondary(&at_secondary));
    all
}

#[test]
fn what_is_as_full_as_it_may_be_is_within_its_bound() {
    assert_eq!(within(&sizes(0)), Ok(()));
}

#[test]
fn one_too_many_of_anything_is_seen() {
    for size in sizes(1) {
        let breach = within(&[size]).expect_err(size.0);
        assert_eq!(breach.invariant, "I7");
        assert!(breach.detail.starts_with(size.0), "{breach:?}");
    }
}
