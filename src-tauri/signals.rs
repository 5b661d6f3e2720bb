//! SIGTERM, SIGINT and SIGHUP end Coffre cleanly; the second one ends it at once.

use tauri::AppHandle;

#[cfg(unix)]
pub(crate) fn watch(app: &AppHandle) -> anyhow::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let app = app.clone();
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for (count, signal) in signals.forever().enumerate() {
            if count > 0 {
                // Whoever asks twice does not want to wait. Children die with us, partials are swept at the next start.
                std::process::exit(128 + signal);
            }
            // Nobody is asked: running work is cancelled, and says so in its row.
            app.exit(0);
        }
    })?;
    Ok(())
}

#[cfg(not(unix))]
pub(crate) fn watch(_: &AppHandle) -> anyhow::Result<()> {
    Ok(())
}
