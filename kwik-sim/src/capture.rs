//! What goes wrong inside a trial without being its result: panics, and events of level ERROR.
//!
//! Owns what the process hears of itself: the panic hook, which is quiet about trials, and the one
//! subscriber of `tracing` events. Both keep what they hear with the thread that said it, so trials on
//! several threads do not mix. Also hands events to a [recording](crate::timeline), if one runs.
//!
//! With `RUST_LOG` set, events go to stderr too, under the virtual time of the world.

use std::any::Any;
use std::backtrace::Backtrace;
use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::{Arc, Once};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::{Context, Filter, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Registry};

use crate::clock;
use crate::outcome::{Failure, FailureClass};
use crate::timeline::recorder;

/// Frames of a backtrace that are shown.
const FRAMES_MAX: usize = 8;

/// Crates whose frames are shown, and where their sources lie.
const OURS: [(&str, &str); 3] = [
    ("kwik_core", "kwik-core/src/"),
    ("kwik_sim", "kwik-sim/src/"),
    ("quinn_proto", "/quinn-proto-"),
];

/// Error events of one trial that are kept.
const ERRORS_MAX: usize = 16;

/// A panic that was caught.
#[derive(Clone)]
pub struct Panic {
    /// What it said.
    pub message: String,
    /// The place in the source.
    pub location: String,
    /// Resolved only when it is shown: shrinking goes through hundreds of panics.
    backtrace: Option<Arc<Backtrace>>,
}

impl Panic {
    /// The innermost calls of our own code and QUIC's, a line each.
    #[must_use]
    pub fn backtrace(&self) -> String {
        let whole = self.backtrace.as_ref().map(ToString::to_string);
        shorten(&whole.unwrap_or_default())
    }
}

impl Panic {
    /// As the failure of a trial.
    #[must_use]
    pub fn failure(&self, at: Duration) -> Failure {
        Failure {
            class: FailureClass::Crash,
            rule: "I11",
            detail: format!("{self}\n{}", self.backtrace())
                .trim_end()
                .to_owned(),
            at,
        }
    }
}

/// Error events, if there are any, as the failure of a trial.
#[must_use]
pub fn errors_failure(errors: &[String], at: Duration) -> Option<Failure> {
    let first = errors.first()?;
    let more = errors.len() - 1;
    Some(Failure {
        class: FailureClass::Correctness,
        rule: "I11",
        detail: match more {
            0 => format!("error event: {first}"),
            _ => format!("error event: {first} (and {more} more)"),
        },
        at,
    })
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "panicked at {}: {}", self.location, self.message)
    }
}

impl fmt::Debug for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What was heard from a thread while it was guarded.
#[derive(Default)]
struct Heard {
    errors: Vec<String>,
    panic: Option<Panic>,
}

thread_local! {
    /// There is one while the thread is guarded.
    static HEARD: RefCell<Option<Heard>> = const { RefCell::new(None) };
}

/// Runs `f`; returns what it returned and the error events that it caused, or its panic.
///
/// May be nested: the inner guard hears what happens within it.
///
/// # Errors
///
/// The panic of `f`.
///
/// # Panics
///
/// If somebody else listens to the `tracing` events of this process: then nobody would hear its
/// errors here.
pub fn guarded<T>(f: impl FnOnce() -> T) -> Result<(T, Vec<String>), Panic> {
    install();
    let outer = HEARD.replace(Some(Heard::default()));
    // The worlds of a trial die with it: nobody sees what a panic left half done.
    let result = catch_unwind(AssertUnwindSafe(f));
    let heard = HEARD.replace(outer).unwrap_or_default();
    match result {
        Ok(value) => Ok((value, heard.errors)),
        Err(payload) => Err(heard.panic.unwrap_or_else(|| unheard(&*payload))),
    }
}

/// Listens from now on; [`guarded`] and a recording do so by themselves.
///
/// # Panics
///
/// If somebody else listens already.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !hear_panic(info) {
                before(info);
            }
        }));
        let log = std::env::var_os("RUST_LOG").map(|_| {
            tracing_subscriber::fmt::layer()
                .with_writer(std::io::stderr)
                .with_timer(VirtualTime)
                .with_filter(EnvFilter::from_default_env())
        });
        let subscriber = Registry::default().with(Ear.with_filter(Wanted)).with(log);
        tracing::subscriber::set_global_default(subscriber)
            .expect("nobody else in this process listens to tracing");
    });
}

/// Keeps a panic of a guarded thread; false if nobody guards it.
fn hear_panic(info: &PanicHookInfo<'_>) -> bool {
    HEARD.with_borrow_mut(|heard| {
        let Some(heard) = heard else { return false };
        // The first one counts: what comes while it unwinds is its consequence.
        heard.panic.get_or_insert_with(|| Panic {
            message: message(info.payload()),
            location: info.location().map(ToString::to_string).unwrap_or_default(),
            backtrace: Some(Arc::new(Backtrace::force_capture())),
        });
        true
    })
}

/// A panic that no hook saw: it was resumed, not raised.
fn unheard(payload: &(dyn Any + Send)) -> Panic {
    Panic {
        message: message(payload),
        location: "an unknown place".into(),
        backtrace: None,
    }
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "something that is no text".into())
}

/// The frames of our own code and QUIC's, each with its place.
fn shorten(backtrace: &str) -> String {
    let mut lines = backtrace.lines().map(str::trim).peekable();
    let mut frames = Vec::new();
    while let Some(line) = lines.next() {
        let Some((_, name)) = line.split_once(": ") else {
            continue;
        };
        let place = lines
            .next_if(|next| next.starts_with("at "))
            .unwrap_or_default();
        // Generic calls begin with `<`; inlined ones go by their last name alone.
        let path = name.trim_start_matches('<');
        let ours = OURS
            .iter()
            .any(|(krate, folder)| path.starts_with(krate) || place.contains(folder));
        let is_listener = name.contains("::capture::") || place.contains("src/capture.rs");
        if ours && !is_listener {
            frames.push(format!("{name} {place}").trim_end().to_owned());
        }
    }
    frames.truncate(FRAMES_MAX);
    frames.join("\n")
}

/// Which events are heard: errors, and what a recording wants.
struct Wanted;

impl<S: Subscriber> Filter<S> for Wanted {
    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if is_wanted(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        is_wanted(metadata)
    }

    /// Everything below costs no more than a look at a number.
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(if recorder::is_any_running() {
            LevelFilter::TRACE
        } else {
            LevelFilter::ERROR
        })
    }
}

fn is_wanted(metadata: &Metadata<'_>) -> bool {
    metadata.is_event()
        && (*metadata.level() == Level::ERROR
            || recorder::is_any_running() && recorder::wants(metadata))
}

struct Ear;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Ear {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() == Level::ERROR {
            hear_error(event);
        }
        recorder::on_event(event);
    }
}

fn hear_error(event: &Event<'_>) {
    HEARD.with_borrow_mut(|heard| {
        if let Some(heard) = heard
            && heard.errors.len() < ERRORS_MAX
        {
            let mut text = Text(String::new());
            event.record(&mut text);
            let target = event.metadata().target();
            heard.errors.push(format!("{target}:{}", text.0));
        }
    });
}

/// An event in words.
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = if field.name() == "message" {
            format!(" {value:?}")
        } else {
            format!(" {}={value:?}", field.name())
        };
        self.0.push_str(&text);
    }
}

/// What the clock of the world shows.
struct VirtualTime;

impl FormatTime for VirtualTime {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{:10.6}", clock::time_here().as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_caught_with_its_message_and_place() {
        let caught = guarded(|| panic!("seven of {}", 9)).expect_err("it panics");
        assert_eq!(caught.message, "seven of 9");
        assert!(caught.location.contains("capture.rs"), "{caught}");
        let backtrace = caught.backtrace();
        assert!(backtrace.lines().count() <= FRAMES_MAX, "{backtrace}");
    }

    #[test]
    fn a_panic_that_was_resumed_is_caught_too() {
        let caught = guarded(|| std::panic::resume_unwind(Box::new("again")));
        assert_eq!(caught.expect_err("it panics").message, "again");
    }

    #[test]
    fn error_events_are_kept_and_others_are_not() {
        let (value, errors) = guarded(|| {
            tracing::warn!("this is not one");
            tracing::error!(count = 3, "this is one");
            5
        })
        .expect("it returns");
        assert_eq!(value, 5);
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].contains("this is one") && errors[0].contains("count=3"));
    }

    #[test]
    fn a_guard_hears_its_own_thread_and_its_own_inside_alone() {
        let (inner, errors) = guarded(|| {
            std::thread::scope(|scope| {
                scope.spawn(|| guarded(|| tracing::error!("elsewhere")));
            });
            tracing::error!("outside");
            guarded(|| tracing::error!("inside"))
        })
        .expect("it returns");
        let inner = inner.expect("it returns").1;
        assert_eq!((inner.len(), errors.len()), (1, 1), "{inner:?} {errors:?}");
        assert!(inner[0].contains("inside") && errors[0].contains("outside"));
        // And the guard outside goes on after a panic inside.
        let (caught, errors) = guarded(|| {
            let caught = guarded(|| panic!("inner"));
            tracing::error!("after");
            caught.is_err()
        })
        .expect("it returns");
        assert!(caught);
        assert_eq!(errors.len(), 1);
    }

    #[test]
    fn a_short_backtrace_has_our_frames_alone() {
        let whole = "   0: std::backtrace::create\n   1: kwik_sim::capture::hear\n             \
                     at src/capture.rs:1:1\n   2: core::panicking::panic\n   3: \
                     kwik_core::grant::Ledger::give\n             at grant.rs:9:1\n   4: \
                     <kwik_sim::host::KwikNode as kwik_sim::host::Node>::run\n   5: poll\n             \
                     at /deps/quinn-proto-0.11.19/src/lib.rs:7:1\n";
        assert_eq!(
            shorten(whole),
            "kwik_core::grant::Ledger::give at grant.rs:9:1\n\
             <kwik_sim::host::KwikNode as kwik_sim::host::Node>::run\n\
             poll at /deps/quinn-proto-0.11.19/src/lib.rs:7:1"
        );
    }
}
