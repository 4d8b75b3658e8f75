//! What the command logs.

use tracing_subscriber::EnvFilter;

/// Logs to stderr what `RUST_LOG` says, or else what `default` says.
pub(super) fn start(default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // Whoever embeds the command may log already.
    let _ = subscriber.try_init();
}
