//! `kwik serve`: one thread that serves files to any number of clients, as a primary or as a
//! secondary.
//!
//! Owns the loop around the driver and the life of the process. What happens in a session is in
//! `session` and its roles, whose turn it is in `floor`.

mod floor;
mod hash;
mod primary;
mod rate;
mod root;
mod secondary;
mod session;
mod writers;

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kwik_core::config::Config;
use kwik_core::endpoint::{ServerIdentity, certificate_pin};
use kwik_core::error::code;
use kwik_core::path::PathSpec;
use kwik_core::plan::Spread;
use kwik_core::ticket::{MasterKey, PeerKey};
use mio::Waker;

use self::floor::Floor;
use self::hash::Hasher;
use self::root::Root;
use self::session::Site;
use super::args::{ServeArgs, SpreadArg};
use super::failure::{Failure, because};
use super::identity::{self, Identity, SERVER_NAME};
use super::keygen::{self, Key};
use super::pin::{Pin, SecondaryArg};
use super::{logging, signal};
use crate::driver::Driver;

/// How long the last words to the clients are repeated, should they get lost.
const DRAIN_MAX: Duration = Duration::from_secs(3);
/// Bytes of a range under `--spread rotate`.
const ROTATE_BYTES: u64 = 64 << 10;

pub(super) fn run(args: &ServeArgs) -> Result<(), Failure> {
    logging::start("kwik_mio=info,warn");
    let root = Root::new(&args.root)?;
    let folder = match &args.identity {
        Some(folder) => folder.clone(),
        None => identity::default_folder()?,
    };
    let identity = identity::load_or_make(&folder)?;
    let pin = certificate_pin(&identity.certificate_der)
        .map_err(|error| Failure::failed(format!("{}: {error}", folder.display())))?;
    let (master, peer) = keys(args, pin)?;
    let Identity {
        certificate_der,
        key_pkcs8_der,
    } = identity;
    let server = ServerIdentity {
        certificate_der,
        key_pkcs8_der,
        master,
        peer,
    };
    let mut driver = Driver::bind(args.listen, Arc::new(Config::default()), Some(server))
        .map_err(because(format!("cannot listen on {}", args.listen)))?;
    let stop = stop_at_end(driver.waker(), args.exit_with_stdin)?;
    let hasher = Hasher::start(driver.waker()).map_err(because("cannot start a thread"))?;
    let mut floor = Floor::new(site(args, root), hasher);
    say_ready(&driver, Pin(pin))?;
    serve(&mut driver, &mut floor, &stop).map_err(because("the socket failed"))?;
    drain(&mut driver, &floor).map_err(because("the socket failed"))
}

fn site(args: &ServeArgs, root: Root) -> Site {
    let path = |secondary: &SecondaryArg| PathSpec {
        addrs: [secondary.addr].into_iter().collect(),
        server_name: SERVER_NAME.into(),
        pin: secondary.pin.0,
    };
    Site {
        root,
        secondaries: args.secondary.iter().map(path).collect(),
        spread: match args.spread {
            SpreadArg::Pull => Spread::Pull,
            SpreadArg::Rotate => Spread::Rotate {
                range_bytes: ROTATE_BYTES,
            },
        },
        rate: args.rate,
    }
}

/// What the server may command others with, and what others may command it with. A master key that
/// is not needed is forgotten.
fn keys(args: &ServeArgs, pin: [u8; 32]) -> Result<(Option<MasterKey>, Option<PeerKey>), Failure> {
    let Some(file) = &args.peer_key else {
        return Ok((None, None));
    };
    match keygen::load(file)? {
        Key::Master(master) => {
            let peer = master.peer_key(&pin);
            let master = (!args.secondary.is_empty()).then_some(master);
            Ok((master, Some(peer)))
        }
        Key::Peer(peer) if args.secondary.is_empty() => Ok((None, Some(peer))),
        Key::Peer(_) => Err(Failure::failed(format!(
            "{} holds the key of a secondary; --secondary takes a master key",
            file.display()
        ))),
    }
}

/// A flag that is raised, and the driver woken, when the server is to end.
fn stop_at_end(waker: Arc<Waker>, with_stdin: bool) -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let raise = {
        let stop = Arc::clone(&stop);
        move || {
            stop.store(true, Ordering::SeqCst);
            if let Err(error) = waker.wake() {
                tracing::error!(%error, "the server cannot be woken to end");
            }
        }
    };
    let raise_at_signal = raise.clone();
    signal::on_interrupt(move |_| raise_at_signal()).map_err(because("cannot hear signals"))?;
    if with_stdin {
        std::thread::spawn(move || {
            // Whatever comes, only the end counts.
            let _ = std::io::copy(&mut std::io::stdin().lock().by_ref(), &mut std::io::sink());
            raise();
        });
    }
    Ok(stop)
}

fn say_ready(driver: &Driver, pin: Pin) -> Result<(), Failure> {
    let addr = driver.local_addr();
    tracing::info!(%addr, %pin, "ready");
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "ready addr={addr} pin={pin}")
        .and_then(|()| stdout.flush())
        .map_err(because("cannot write to stdout"))
}

fn serve(driver: &mut Driver, floor: &mut Floor, stop: &AtomicBool) -> std::io::Result<()> {
    while !stop.load(Ordering::SeqCst) {
        let now = driver.now();
        floor.on_hashes(driver.endpoint(), now);
        floor.work(driver.endpoint(), now);
        driver.turn(floor.idle_time(driver.now().monotonic))?;
        while let Some(event) = driver.poll_event() {
            let now = driver.now();
            floor.on_event(driver.endpoint(), now, event);
        }
    }
    Ok(())
}

/// Tells every client that it is over.
fn drain(driver: &mut Driver, floor: &Floor) -> std::io::Result<()> {
    let begun = Instant::now();
    let now = driver.now();
    driver.endpoint().set_accepting(false);
    for session in floor.sessions() {
        driver.endpoint().close(now, session, code::NO_ERROR);
    }
    while !driver.endpoint().is_drained() && begun.elapsed() < DRAIN_MAX {
        driver.turn(Some(Duration::from_millis(10)))?;
        while driver.poll_event().is_some() {}
    }
    Ok(())
}
