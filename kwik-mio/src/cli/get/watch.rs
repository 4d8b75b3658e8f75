//! A transfer, seen from other threads.
//!
//! Owns what they may know of it, and the way to stop it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::blocking::Client;
use crate::file::reset;

/// A handle to a transfer that may not have begun yet. Clones stand for the same one.
#[derive(Clone, Default)]
pub(in crate::cli) struct Watch(Arc<Inner>);

#[derive(Default)]
struct Inner {
    cancelled: AtomicBool,
    received: AtomicU64,
    shared: Mutex<Shared>,
}

#[derive(Default)]
struct Shared {
    size: Option<u64>,
    client: Option<Client>,
    /// A file that must not stay if the process ends.
    scratch: Option<PathBuf>,
}

impl Watch {
    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.0.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the transfer as soon as it is asked for anything.
    pub(in crate::cli) fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::SeqCst);
        if let Some(client) = &self.shared().client {
            client.close(reset::CANCELLED);
        }
    }

    pub(in crate::cli) fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::SeqCst)
    }

    /// Bytes of content that have arrived in order.
    pub(in crate::cli) fn received(&self) -> u64 {
        self.0.received.load(Ordering::Relaxed)
    }

    pub(super) fn on_received(&self, bytes: u64) {
        self.0.received.store(bytes, Ordering::Relaxed);
    }

    /// The size of the file, once it is known.
    pub(in crate::cli) fn size(&self) -> Option<u64> {
        self.shared().size
    }

    pub(super) fn on_size(&self, size: u64) {
        self.shared().size = Some(size);
    }

    /// The session, while there is one.
    pub(super) fn client(&self) -> Option<Client> {
        self.shared().client.clone()
    }

    /// The transfer has a session from now on.
    pub(super) fn attach(&self, client: &Client) {
        self.shared().client = Some(client.clone());
        if self.is_cancelled() {
            client.close(reset::CANCELLED);
        }
    }

    pub(super) fn detach(&self) {
        self.shared().client = None;
    }

    pub(super) fn on_scratch(&self, file: Option<&Path>) {
        self.shared().scratch = file.map(Path::to_owned);
    }

    /// Removes what would stay behind if the process ended now.
    pub(in crate::cli) fn clean_up(&self) {
        if let Some(file) = self.shared().scratch.take() {
            // It may have its final name by now.
            let _ = std::fs::remove_file(file);
        }
    }
}
