//! Signals: the first one cancels the work (which then cleans up), the second one ends the process at once.

use coffre_api::model::cancel::Reason;
use coffre_api::model::{Cancel, Error, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

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
