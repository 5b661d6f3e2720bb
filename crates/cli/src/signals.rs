//! Signals: the first one cancels the work (which then cleans up), the second one ends the process at once.

use coffre_api::model::cancel::Reason;
use coffre_api::model::{Cancel, Error, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Set before anything else: private files whatever the umask, and "file too large" as an error instead of a killed process.
pub(crate) fn prepare() {
    #[cfg(unix)]
    {
        rustix::process::umask(rustix::fs::Mode::from_bits_truncate(0o077));
        // SAFETY: SIG_IGN runs no code of ours; writes beyond `ulimit -f` answer EFBIG from now on.
        unsafe {
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        }
    }
}

/// Starts to watch for SIGINT, SIGTERM and SIGHUP.
pub(crate) fn watch(cancel: &Cancel) -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(|e| Error::internal("watch signals", e))?;
    let cancel = cancel.clone();
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let mut count = 0;
            for signal in signals.forever() {
                count += 1;
                if count > 1 {
                    // Whoever asks twice does not want to wait. Children die with us, partials are swept at the next start.
                    std::process::exit(128 + signal);
                }
                cancel.cancel(if signal == SIGINT {
                    Reason::Interrupt
                } else {
                    Reason::Terminate
                });
            }
        })
        .map_err(|e| Error::internal("watch signals", e))?;
    Ok(())
}
