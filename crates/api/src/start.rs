//! What every shell does first, and the same way: private files, one TLS, a log, who acts, in which language.

use std::path::Path;

use coffre_model::{Error, Result};

use crate::words::Language;

/// To be called before anything else: private files whatever the umask, and "file too large" as an error instead of a killed process.
pub fn prepare() {
    #[cfg(unix)]
    {
        rustix::process::umask(rustix::fs::Mode::from_bits_truncate(0o077));
        // SAFETY: SIG_IGN runs no code of ours; writes beyond `ulimit -f` answer EFBIG from now on.
        unsafe {
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        }
    }
}

/// Chooses the one TLS implementation for everything; before anything connects.
///
/// # Errors
/// `INTERNAL` where it was done already.
pub fn choose_tls() -> Result<()> {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| Error::internal("start", "TLS was set up twice"))
}

/// Keeps the log's writer alive: dropped last.
pub struct Log {
    _writer: tracing_appender::non_blocking::WorkerGuard,
}

/// Logs go to `<home>/logs/`, one file a day, fourteen of them; `COFFRE_LOG` filters.
///
/// # Errors
/// `HOME_FULL`; `INTERNAL` where the folder cannot be written to otherwise, or a log is open already.
pub fn log_to(home: &Path) -> Result<Log> {
    let file = tracing_appender::rolling::Builder::new()
        .rotation(tracing_appender::rolling::Rotation::DAILY)
        .filename_prefix("coffre")
        .filename_suffix("log")
        .max_log_files(14)
        .build(home.join("logs"))
        .map_err(
            |e| match std::error::Error::source(&e).and_then(|s| s.downcast_ref::<std::io::Error>()) {
                Some(cause) => Error::writing_home("open the log", &home.join("logs"), cause),
                None => Error::internal("open the log", e),
            },
        )?;
    let (writer, guard) = tracing_appender::non_blocking(file);
    let filter =
        tracing_subscriber::EnvFilter::try_from_env("COFFRE_LOG").unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    // Whatever is asked for: what carries messages would write addresses down that are secrets.
    let quiet = ["h2", "hyper", "hyper_util", "reqwest", "lettre"].iter();
    let filter = quiet
        .filter_map(|name| format!("{name}=warn").parse().ok())
        .fold(filter, tracing_subscriber::EnvFilter::add_directive);
    let set = tracing_subscriber::fmt()
        .with_writer(writer)
        .with_env_filter(filter)
        .with_ansi(false)
        .json()
        .try_init();
    set.map_err(|e| Error::internal("open the log", e))?;
    Ok(Log { _writer: guard })
}

/// The user of the system, where the environment names one.
pub fn actor() -> Option<String> {
    ["USER", "LOGNAME", "USERNAME"].iter().find_map(|name| set(name))
}

/// The language that the environment asks for: `COFFRE_LANGUAGE`, then the locale. Nothing where it says nothing.
pub fn language_of_environment() -> Option<Language> {
    set("COFFRE_LANGUAGE")
        .filter(|value| value != "system")
        .or_else(|| set("LC_ALL"))
        .or_else(|| set("LC_MESSAGES"))
        .or_else(|| set("LANG"))
        .map(|locale| Language::of_locale(&locale))
}

fn set(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
