//! A scenario is lived through and judged.
//!
//! Owns the run of one scenario: the faults come and go, the invariants are looked at after every
//! event, and the end is held against what the atlas promised.

mod befall;

use std::collections::BTreeSet;
use std::time::Duration;

use kwik_core::error::{CloseReason, Misuse, StreamError, code};
use kwik_core::event::PathEvent;
use smallvec::SmallVec;

use self::befall::Weather;
use crate::app::{AnswerOn, Ask, Request};
use crate::atlas::{self, Promise};
use crate::capture;
use crate::crypto::CryptoMode;
use crate::oracle::{Breach, Oracle};
use crate::outcome::{Convergence, Ending, Failure, FailureClass, Outcome};
use crate::scenario::Scenario;
use crate::stage::{Setting, Stage};
use crate::world::HostId;

/// A session over links that lose more than QUIC can be held to account for is watched for so long:
/// several idle timeouts, each after an outage.
const PATIENCE: Duration = Duration::from_secs(600);

/// After everything was read, the statuses of the last grants come within so long, plus round trips.
const STATUS_MAX: Duration = Duration::from_secs(5);

/// After a session was closed, or its peer has vanished, nothing is left after so long: the idle
/// timeout of 30 s, which counts from the last packet that was sent after the last that came, and
/// which a server may begin only when it hears of a client that dials for the last time.
const QUIET_MAX: Duration = Duration::from_secs(120);

/// Lives one scenario through.
#[must_use]
pub fn run(scenario: &Scenario, crypto: CryptoMode) -> Outcome {
    let mut trial = None;
    let result = capture::guarded(|| {
        let trial = trial.insert(Trial::new(scenario, crypto));
        trial.live()
    });
    conclude(trial, result)
}

/// Turns what was seen into an outcome.
fn conclude(
    trial: Option<Trial<'_>>,
    result: Result<(Result<(), Failure>, Vec<String>), capture::Panic>,
) -> Outcome {
    let at = trial
        .as_ref()
        .map_or(Duration::ZERO, |t| t.stage.world.time());
    let failure = match result {
        Err(panic) => Some(panic.failure(at)),
        Ok((Err(failure), _)) => Some(failure),
        Ok((Ok(()), errors)) => capture::errors_failure(&errors, at),
    };
    match trial {
        Some(trial) => trial.outcome(failure),
        None => Outcome {
            ending: Ending::Failed,
            failure,
            trace: 0,
            datagrams: 0,
            took: at,
            convergence: None,
            met: Vec::new(),
        },
    }
}

/// A life, as far as it has come.
pub struct Trial<'a> {
    scenario: &'a Scenario,
    promise: Promise,
    stage: Stage,
    weather: Weather,
    oracle: Oracle,
    ended_at: Option<Duration>,
    convergence: Option<Convergence>,
}

impl<'a> Trial<'a> {
    /// The world of a scenario, at its beginning.
    #[must_use]
    pub fn new(scenario: &'a Scenario, crypto: CryptoMode) -> Self {
        let mut setting = Setting::new(scenario.seed, scenario.secondaries.len(), 0);
        setting.crypto = crypto;
        setting.asks.clone_from(&scenario.asks);
        let other = |&bytes: &u64| {
            Ask::new(Request {
                bytes,
                answer_on: AnswerOn::OwnStream,
            })
        };
        setting.others = scenario.others.iter().map(other).collect();
        setting.delivery = scenario.sharing.delivery();
        setting.revokes = scenario.sharing.revokes();
        setting.config = scenario.tuning.config();
        setting.primary = scenario.primary.conduct;
        let servers = scenario.servers();
        setting.clocks_ahead_seconds = servers.map(|(_, s)| s.clock_ahead_seconds).collect();
        setting.secondaries = scenario.secondaries.iter().map(|s| s.conduct).collect();
        setting.marks = scenario.marks;
        let mut stage = setting.build();
        let weather = Weather::new(scenario);
        weather.refresh(&mut stage);
        Self {
            scenario,
            promise: atlas::promise(scenario),
            stage,
            weather,
            oracle: Oracle::new(scenario),
            ended_at: None,
            convergence: None,
        }
    }

    /// The world as it is.
    #[must_use]
    pub fn stage(&mut self) -> &mut Stage {
        &mut self.stage
    }

    /// Lives to the end.
    ///
    /// # Errors
    ///
    /// What was wrong.
    pub fn live(&mut self) -> Result<(), Failure> {
        while !self.has_ended() {
            let percent = self.percent();
            self.weather.pass(&mut self.stage, percent);
            let give_up = self.give_up_at();
            let until = self.weather.next_at().unwrap_or(give_up).min(give_up);
            self.step(until)?;
            if self.stage.world.time() >= give_up && !self.has_ended() {
                return Err(self.too_late());
            }
        }
        self.ended_at = Some(self.stage.world.time());
        self.let_others_end()?;
        self.judge()?;
        self.wind_up()
    }

    /// One event, and a look at it.
    fn step(&mut self, until: Duration) -> Result<(), Failure> {
        self.stage.world.step(until);
        if let Some(fault) = self.stage.world.fault() {
            let breach = Breach {
                invariant: fault.what.rule(),
                detail: fault.to_string(),
            };
            return Err(self.breach(breach));
        }
        let turned: SmallVec<[HostId; 8]> = self.stage.world.turned().into();
        self.oracle
            .after_step(&mut self.stage, &turned)
            .map_err(|breach| self.breach(breach))
    }

    /// Where everything has to arrive, that of the other clients has to as well, and within the same bound.
    fn let_others_end(&mut self) -> Result<(), Failure> {
        let others = 0..self.stage.others.len();
        let ended = self.stage.world.time();
        let is_waited_for = self.promise.completes && self.is_complete();
        while is_waited_for
            && others.clone().any(|index| {
                let reader = self.stage.other_reader(index);
                reader.done_at().is_none() && reader.fault().is_none()
            })
        {
            let percent = self.percent();
            self.weather.pass(&mut self.stage, percent);
            // What lasts may keep another client from what this one has had.
            let limit = self.give_up_at().max(ended + self.bound());
            if self.stage.world.time() >= limit {
                break;
            }
            let until = self.weather.next_at().unwrap_or(limit).min(limit);
            self.step(until)?;
        }
        for index in others {
            let reader = self.stage.other_reader(index);
            let wrong = reader.streams().find(|(_, read)| read.wrong_at.is_some());
            if let Some((stream, _)) = wrong {
                let detail = format!("stream {stream} of client {}", index + 1);
                return Err(self.broken("I1", detail));
            }
            if is_waited_for && reader.done_at().is_none() {
                let fault = reader.fault().unwrap_or_else(|| "too late".to_owned());
                let detail = format!("client {} was to have everything: {fault}", index + 1);
                return Err(self.broken("promise", detail));
            }
        }
        Ok(())
    }

    /// Whether the transfers are over, one way or the other.
    fn has_ended(&self) -> bool {
        if !self.stage.world.is_up(self.stage.client) {
            return true;
        }
        let reader = self.stage.reader();
        reader.done_at().is_some() || reader.fault().is_some()
    }

    fn is_complete(&self) -> bool {
        self.stage.world.is_up(self.stage.client) && self.stage.reader().done_at().is_some()
    }

    /// How much the client has read, of a hundred.
    fn percent(&self) -> u64 {
        if !self.stage.world.is_up(self.stage.client) {
            return 100;
        }
        let wanted = self.scenario.wanted();
        let read = self.stage.reader().settled_bytes();
        (read * 100).checked_div(wanted).unwrap_or(100)
    }

    /// When waiting any longer is in vain.
    fn give_up_at(&self) -> Duration {
        if !self.weather.is_calm() {
            return Duration::MAX;
        }
        let from = self.bound_from();
        if self.promise.completes {
            from + self.bound()
        } else {
            from + self.bound().max(self.patience())
        }
    }

    /// How long a session may hang whose end is not promised. Where the links are good to it, and its
    /// primary is lost, QUIC gives it up: after its idle timeout, and three probe timeouts of a round
    /// trip that was measured over an outage.
    fn patience(&self) -> Duration {
        if atlas::is_kind(&self.scenario.primary) {
            self.scenario.tuning.config().quic.idle_timeout
                + 10 * self.weather.longest
                + 2 * self.bound()
        } else {
            PATIENCE
        }
    }

    /// How long getting over the faults may take.
    fn bound(&self) -> Duration {
        let (wanted, longest) = (self.scenario.wanted_by_all(), self.weather.longest);
        atlas::convergence_bound(self.scenario, wanted, longest)
    }

    /// From when on that counts: everything has healed, and the session stands, or should.
    fn bound_from(&self) -> Duration {
        let healed = self.weather.healed_at;
        if !self.stage.world.is_up(self.stage.client) {
            return healed;
        }
        match self.stage.reader().connected_at() {
            Some(at) => healed.max(at),
            None if self.promise.connects => healed,
            None => healed + atlas::HANDSHAKE_MAX,
        }
    }

    fn too_late(&mut self) -> Failure {
        let report = self.stage.report("");
        let error = match self.stage.world.is_up(self.stage.primary) {
            true => self.stage.primary_app().unexcused(),
            false => None,
        };
        let calls = error.map_or_else(String::new, |error| {
            format!("; the primary's application: {error}")
        });
        Failure {
            class: FailureClass::Liveness,
            rule: "I8",
            detail: format!(
                "{} of {} bytes {:.3} s after the last fault was over; {:?}{calls}",
                report.bytes,
                report.wanted,
                (self.stage.world.time() - self.weather.healed_at).as_secs_f64(),
                self.stage.paths(),
            ),
            at: self.stage.world.time(),
        }
    }

    fn breach(&self, breach: Breach) -> Failure {
        Failure {
            class: FailureClass::Correctness,
            rule: breach.invariant,
            detail: breach.detail,
            at: self.stage.world.time(),
        }
    }

    fn broken(&self, rule: &'static str, detail: String) -> Failure {
        self.breach(Breach {
            invariant: rule,
            detail,
        })
    }

    /// Holds the end against the promise.
    fn judge(&mut self) -> Result<(), Failure> {
        if !self.stage.world.is_up(self.stage.client) {
            return Ok(());
        }
        let ended = self.stage.world.time();
        if self.promise.completes {
            self.convergence = Some(Convergence {
                took: ended.saturating_sub(self.bound_from()),
                bound: self.bound(),
            });
        }
        if !self.is_complete() {
            self.judge_failure()?;
        }
        self.judge_paths()?;
        self.oracle
            .check_blame(self.scenario, &self.stage)
            .map_err(|breach| self.breach(breach))?;
        if self.stage.world.is_up(self.stage.primary)
            && let Some(error) = self.stage.primary_app().unexcused()
            && self.is_complete()
        {
            return Err(self.broken("calls", format!("the primary's application: {error}")));
        }
        Ok(())
    }

    /// The session, or a stream, has failed: it must have been allowed to, in this way.
    fn judge_failure(&self) -> Result<(), Failure> {
        let reader = self.stage.reader();
        let text = reader.fault().unwrap_or_default();
        let never_connected = reader.connected_at().is_none();
        let excused = !self.promise.completes || (never_connected && !self.promise.connects);
        if !excused {
            return Err(self.broken("promise", format!("everything was to arrive: {text}")));
        }
        let lost = |reason: &CloseReason| match reason {
            CloseReason::TimedOut => true,
            // A datagram that is damaged in a handshake can look like one of another version; and a
            // server that has forgotten a connection says so (RFC 9000 §10.3).
            CloseReason::Failed(text) => never_connected || text == "reset by peer",
            // A server gives up a client that does not come to the point.
            CloseReason::Peer(code) => never_connected && *code == code::UNEXPECTED,
            CloseReason::Local
            | CloseReason::PinMismatch
            | CloseReason::Violation(_)
            | CloseReason::JoinRefused => false,
        };
        let by_session = reader.closed().is_some_and(|(_, reason)| lost(reason));
        let by_stream = reader.streams().all(|(_, read)| match &read.error {
            None => true,
            // It was about to stop reading.
            Some(StreamError::Misuse(Misuse::Closed)) => by_session,
            Some(StreamError::SessionLost(reason)) => lost(reason),
            // The primary is to bring it, and cannot.
            Some(StreamError::Hole(_)) => self.promise.loses_primary,
            Some(StreamError::Reset(_) | StreamError::Stopped(_) | StreamError::Misuse(_)) => false,
        });
        if by_stream && (by_session || reader.closed().is_none()) {
            Ok(())
        } else {
            Err(self.broken("promise", format!("it was not to fail so: {text}")))
        }
    }

    /// Paths died only where something was in their way.
    fn judge_paths(&mut self) -> Result<(), Failure> {
        if !self.is_complete() {
            return Ok(());
        }
        let mut stood = BTreeSet::new();
        for (at, event) in self.stage.reader().path_events().to_vec() {
            let path = match event {
                PathEvent::Dead(path) => path,
                PathEvent::Active(path) => {
                    stood.insert(path);
                    continue;
                }
                PathEvent::Added(_) | PathEvent::Retired(_) => continue,
            };
            let Some(index) = self.stage.secondary_of(path) else {
                continue;
            };
            let may_die = self.promise.may_die.contains(&index);
            if !may_die && (self.promise.joins || stood.contains(&path)) {
                let detail = format!(
                    "path {path} to secondary {index} died at {:.3} s, and nothing was in its way",
                    at.as_secs_f64()
                );
                return Err(self.broken("promise", detail));
            }
        }
        Ok(())
    }

    /// Lets the last statuses come, closes the session, and waits until nothing is left.
    fn wind_up(&mut self) -> Result<(), Failure> {
        self.weather.calm(&mut self.stage);
        if self.is_complete() && self.promise.completes {
            let limit = self.stage.world.time() + STATUS_MAX + self.bound() / 4;
            while self.stage.grants_owed() > 0 && self.stage.world.time() < limit {
                self.step(limit)?;
            }
            self.oracle
                .when_complete(self.scenario, &mut self.stage)
                .map_err(|breach| self.breach(breach))?;
        }
        if self.stage.world.is_up(self.stage.client) {
            self.stage.on_client(|client| client.close(0));
        }
        (0..self.stage.others.len()).for_each(|index| self.stage.close_other(index));
        // A connection drains for three probe timeouts (RFC 9000 §10.2): nine times a round trip that
        // was measured once, and that may be as long as all that went before.
        let limit = QUIET_MAX + 10 * self.stage.world.time();
        while self.stage.world.next_time().is_some_and(|at| at <= limit) {
            self.step(limit)?;
        }
        // What was on its way when the last byte was read has come, too.
        self.oracle
            .check_blame(self.scenario, &self.stage)
            .map_err(|breach| self.breach(breach))?;
        self.oracle
            .at_end(self.scenario, &mut self.stage)
            .map_err(|breach| self.breach(breach))
    }

    fn outcome(mut self, failure: Option<Failure>) -> Outcome {
        let complete = failure.is_none() && self.is_complete();
        let deaths = complete
            && self
                .stage
                .reader()
                .path_events()
                .iter()
                .any(|(_, event)| matches!(event, PathEvent::Dead(_)));
        Outcome {
            ending: match (complete, deaths) {
                (false, _) => Ending::Failed,
                (true, false) => Ending::Complete,
                (true, true) => Ending::Degraded,
            },
            failure,
            trace: self.stage.world.trace_hash(),
            datagrams: self.stage.world.datagrams_sent(),
            took: self.ended_at.unwrap_or_else(|| self.stage.world.time()),
            convergence: self.convergence,
            met: std::mem::take(&mut self.weather.met).into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests;
