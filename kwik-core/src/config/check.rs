//! Which settings can be used: those that keep the limits that both ends rely on (`protocol.md` §10),
//! and with which everything comes to an end in time.
//!
//! Owns the rules. Whether a value is a good one is not asked.

use std::time::Duration;

use super::{ClientConfig, Config, QuicConfig, ServerConfig};
use crate::error::ConfigError;
use crate::wire::SegmentHeader;

/// The result of one rule, or of many.
type Checked = Result<(), ConfigError>;

const SECOND: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_millis(1);
/// No deadline is further away. Later ones could not be told as an `Instant`.
const DAY: Duration = Duration::from_secs(86_400);

impl Config {
    /// Whether an endpoint can keep the protocol with these settings.
    ///
    /// # Errors
    ///
    /// The first setting that it cannot be kept with.
    pub fn check(&self) -> Checked {
        check_quic(&self.quic)?;
        check_client(&self.client)?;
        check_dials(&self.client)?;
        check_server(&self.server)
    }
}

fn check_quic(quic: &QuicConfig) -> Checked {
    // Quiet connections of a live session stay [CONN-9].
    seconds("quic.idle_timeout", quic.idle_timeout)?;
    rule(
        "quic.keep_alive",
        "from 1 ms to 10 s, and less than quic.idle_timeout",
        (MOMENT..=SECOND * 10).contains(&quic.keep_alive) && quic.keep_alive < quic.idle_timeout,
    )?;
    // A control frame always fits.
    let window_min = 64 << 10;
    rule(
        "quic.stream_receive_window_bytes",
        "at least 64 KiB",
        quic.stream_receive_window_bytes >= window_min,
    )?;
    rule(
        "quic.secondary_receive_window_bytes",
        "at least 64 KiB",
        quic.secondary_receive_window_bytes >= window_min,
    )?;
    // One is the control carrier [CONN-6].
    rule(
        "quic.bidi_streams_max",
        "from 2 to 100",
        (2..=100).contains(&quic.bidi_streams_max),
    )?;
    // At least twice what a server may have open and idle, so that the lowest hole finds a carrier
    // [CONN-6] [SEG-7].
    rule(
        "quic.segments_max",
        "at least 256",
        quic.segments_max >= 256,
    )?;
    rule("quic.handshakes_max", "at least 1", quic.handshakes_max > 0)?;
    rule(
        "quic.connections_max",
        "at least 1",
        quic.connections_max > 0,
    )
}

fn check_client(client: &ClientConfig) -> Checked {
    // Streams that nobody reads must not keep the one that is read from going on [FLOW-7].
    let reserve = 64 << 10;
    rule(
        "client.stream_reserve_bytes",
        "at least 64 KiB",
        client.stream_reserve_bytes >= reserve,
    )?;
    rule(
        "client.stream_window_bytes",
        "at least 64 KiB",
        client.stream_window_bytes >= reserve,
    )?;
    rule(
        "client.gaps_per_path_max",
        "at least 1",
        client.gaps_per_path_max > 0,
    )?;
    rule(
        "client.reassembly_ranges_max",
        "at least 1",
        client.reassembly_ranges_max > 0,
    )?;
    rule(
        "client.grants_per_path_max",
        "from 1 to 32",
        (1..=32).contains(&client.grants_per_path_max),
    )?;
    rule(
        "client.control_unread_bytes_max",
        "at least 4 MiB",
        client.control_unread_bytes_max >= 4 << 20,
    )?;
    for (setting, value) in [
        ("client.path_silence_max", client.path_silence_max),
        ("client.grant_start_max", client.grant_start_max),
        ("client.grant_drain_max", client.grant_drain_max),
        ("client.hole_max", client.hole_max),
        ("client.leftover_max", client.leftover_max),
        ("client.progress_interval", client.progress_interval),
        ("client.retire_max", client.retire_max),
    ] {
        moments(setting, value)?;
    }
    Ok(())
}

fn check_dials(client: &ClientConfig) -> Checked {
    // A path would wait for its turn for ever.
    let dial = &client.dial;
    rule("client.dial.dials_max", "at least 1", dial.dials_max > 0)?;
    seconds("client.dial.dial_deadline", dial.dial_deadline)
}

fn check_server(server: &ServerConfig) -> Checked {
    rule(
        "server.segment_max_bytes",
        "from 1 byte to 1 MiB",
        (1..=SegmentHeader::BODY_MAX).contains(&server.segment_max_bytes),
    )?;
    rule(
        "server.segments_open_max",
        "from 1 to 32",
        (1..=32).contains(&server.segments_open_max),
    )?;
    rule(
        "server.grants_per_path_max",
        "from 1 to 32",
        (1..=32).contains(&server.grants_per_path_max),
    )?;
    // A shorter one does not outlast waiting for a dial [JOIN-9]; longer ones are refused [JOIN-5].
    rule(
        "server.ticket_life",
        "from 60 s to 1 h",
        (SECOND * 60..=SECOND * 3600).contains(&server.ticket_life),
    )?;
    rule(
        "server.clock_skew_max",
        "at most 5 s",
        server.clock_skew_max <= SECOND * 5,
    )?;
    rule(
        "server.command_max_bytes",
        "at most 16384",
        server.command_max_bytes <= 16 << 10,
    )?;
    rule(
        "server.control_unread_bytes_max",
        "at least 16 MiB",
        server.control_unread_bytes_max >= 16 << 20,
    )?;
    seconds("server.greeting_max", server.greeting_max)?;
    moments("server.retire_max", server.retire_max)
}

/// A time that means something to a network, and an end.
fn seconds(setting: &'static str, value: Duration) -> Checked {
    rule(
        setting,
        "from 1 s to 1 day",
        (SECOND..=DAY).contains(&value),
    )
}

/// A time that is none for the applications, and an end.
fn moments(setting: &'static str, value: Duration) -> Checked {
    rule(
        setting,
        "from 1 ms to 1 day",
        (MOMENT..=DAY).contains(&value),
    )
}

fn rule(setting: &'static str, rule: &'static str, holds: bool) -> Checked {
    if holds {
        Ok(())
    } else {
        Err(ConfigError { setting, rule })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Config)) -> Option<&'static str> {
        let mut config = Config::default();
        change(&mut config);
        config.check().err().map(|error| error.setting)
    }

    #[test]
    fn the_defaults_can_be_used() {
        assert_eq!(Config::default().check(), Ok(()));
    }

    /// [FLOW-7]
    #[test]
    fn every_stream_keeps_its_reserve() {
        let reserve = |bytes| refused(|config| config.client.stream_reserve_bytes = bytes);
        assert_eq!(reserve((64 << 10) - 1), Some("client.stream_reserve_bytes"));
        assert_eq!(reserve(64 << 10), None);
        let window = |bytes| refused(|config| config.client.stream_window_bytes = bytes);
        assert_eq!(window((64 << 10) - 1), Some("client.stream_window_bytes"));
    }

    /// [JOIN-9] [JOIN-5]
    #[test]
    fn tickets_outlast_waiting_for_a_dial_and_no_secondary_refuses_them_for_their_life() {
        let life =
            |seconds| refused(|config| config.server.ticket_life = Duration::from_secs(seconds));
        let refused = Some("server.ticket_life");
        assert_eq!([life(59), life(3601)], [refused; 2]);
        assert_eq!([life(60), life(3600)], [None; 2]);
    }

    /// [SEG-10] [SEG-7] [CONN-6]
    #[test]
    fn segments_are_neither_too_long_nor_too_many() {
        let length = |bytes| refused(|config| config.server.segment_max_bytes = bytes);
        let refused_length = Some("server.segment_max_bytes");
        assert_eq!([length(0), length((1 << 20) + 1)], [refused_length; 2]);
        assert_eq!(length(1 << 20), None);
        let open = |count| refused(|config| config.server.segments_open_max = count);
        assert_eq!(open(33), Some("server.segments_open_max"));
        let carriers = |count| refused(|config| config.quic.segments_max = count);
        assert_eq!(carriers(255), Some("quic.segments_max"));
    }

    /// Nothing waits for ever, or spins, because a setting is zero or endless.
    #[test]
    fn no_setting_makes_anything_hang() {
        type Change = fn(&mut Config);
        let zeros: [Change; 20] = [
            |c| c.quic.idle_timeout = Duration::ZERO,
            |c| c.quic.keep_alive = Duration::ZERO,
            |c| c.quic.keep_alive = c.quic.idle_timeout,
            |c| c.quic.stream_receive_window_bytes = 0,
            |c| c.quic.secondary_receive_window_bytes = 0,
            |c| c.quic.bidi_streams_max = 1,
            |c| c.quic.handshakes_max = 0,
            |c| c.quic.connections_max = 0,
            |c| c.client.gaps_per_path_max = 0,
            |c| c.client.reassembly_ranges_max = 0,
            |c| c.client.grants_per_path_max = 0,
            |c| c.client.path_silence_max = Duration::ZERO,
            |c| c.client.grant_start_max = Duration::ZERO,
            |c| c.client.hole_max = Duration::MAX,
            |c| c.client.progress_interval = Duration::MAX,
            |c| c.client.dial.dials_max = 0,
            |c| c.client.dial.dial_deadline = Duration::ZERO,
            |c| c.server.grants_per_path_max = 0,
            |c| c.server.greeting_max = Duration::ZERO,
            |c| c.server.retire_max = Duration::MAX,
        ];
        for (number, change) in zeros.into_iter().enumerate() {
            assert!(refused(change).is_some(), "change {number}");
        }
    }
}
