//! What the parts of the shell share: the application's handle, Coffre once it is open, and the settings that a click must not wait for.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use coffre_api::model::{Error, Result};
use coffre_api::start::{self, Log};
use coffre_api::window::events::{BackendEvent, Noun};
use coffre_api::window::tray::Tray;
use coffre_api::window::{Setup, Window};
use coffre_api::words::{Language, Words};
use tauri::{AppHandle, Emitter, Manager};

use crate::{login, main_window, shell, tray};

/// The one event that the window listens to.
const EVENT: &str = "coffre";

/// The desktop.
pub(crate) struct Desktop {
    home: PathBuf,
    system_language: Language,
    app: OnceLock<AppHandle>,
    window: OnceLock<Result<Window>>,
    log: OnceLock<Result<Log>>,
    /// Whether closing the window leaves Coffre in the tray.
    close_to_tray: AtomicBool,
    /// What the tray shows. Never asked for by the thread that draws, which whoever draws waits for.
    tray: Mutex<Option<Tray>>,
}

/// One name on the session's bus for each home that is not the usual one.
pub(crate) fn instance_name(home: &Path) -> String {
    // Not a secret and not for ever: it only has to be the same for the same folder.
    let mut hash = std::hash::DefaultHasher::new();
    std::hash::Hash::hash(home.as_os_str(), &mut hash);
    format!("dev.coffre.Coffre.Home{:016x}", std::hash::Hasher::finish(&hash))
}

impl Desktop {
    pub(crate) fn new(home: PathBuf, system_language: Language) -> Desktop {
        Desktop {
            home,
            system_language,
            app: OnceLock::new(),
            window: OnceLock::new(),
            log: OnceLock::new(),
            close_to_tray: AtomicBool::new(true),
            tray: Mutex::new(None),
        }
    }

    /// Opens Coffre beside the making of the window: whoever needs it waits in [`Desktop::window`].
    pub(crate) fn begin(self: &Arc<Self>, app: &AppHandle) -> anyhow::Result<()> {
        if self.app.set(app.clone()).is_err() {
            anyhow::bail!("the desktop was begun twice");
        }
        app.manage(Arc::clone(self));
        let desktop = Arc::clone(self);
        std::thread::Builder::new()
            .name("open".into())
            .spawn(move || desktop.open())?;
        Ok(())
    }

    fn open(self: Arc<Self>) {
        let (for_events, for_dialogs) = (Arc::clone(&self), Arc::clone(&self));
        let setup = Setup {
            home: self.home.clone(),
            actor: start::actor(),
            system_language: self.system_language,
            dialogs: Arc::new(shell::Shell::new(for_dialogs)),
            sink: Box::new(move |event| for_events.hear(event)),
        };
        // Every command waits for this: a panic must be an answer, not a silence.
        let opened = catch_unwind(AssertUnwindSafe(|| Window::open(setup)))
            .unwrap_or_else(|_| Err(Error::internal("open the window's side", "it panicked")));
        // After the home was made: the log lies in it. Without a log Coffre works; whatever keeps it from being written keeps the
        // catalogue from being written too, which is told.
        let log = self.log.get_or_init(|| start::log_to(&self.home));
        if let Err(error) = log {
            tracing::warn!(%error, "no log");
        }
        tracing::info!(version = env!("CARGO_PKG_VERSION"), "start");
        self.window.get_or_init(|| opened);
        self.settings_changed();
        tray::refresh(&self);
    }

    /// Coffre; waits until it is open.
    pub(crate) fn window(&self) -> Result<&Window> {
        self.window.wait().as_ref().map_err(Error::clone)
    }

    /// Coffre, where it is open by now.
    pub(crate) fn window_now(&self) -> Option<&Window> {
        self.window.get()?.as_ref().ok()
    }

    /// The application's handle.
    ///
    /// # Errors
    /// `INTERNAL` before there is one.
    pub(crate) fn app(&self) -> Result<&AppHandle> {
        self.app
            .get()
            .ok_or_else(|| Error::internal("reach the desktop", "it has not begun"))
    }

    /// The words of the language of the settings.
    pub(crate) fn words(&self) -> Words {
        match self.window_now() {
            Some(window) => window.words(),
            None => Words::new(self.system_language),
        }
    }

    /// What the tray shows; nothing before it was drawn.
    pub(crate) fn drawn_tray(&self) -> MutexGuard<'_, Option<Tray>> {
        self.tray.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn closes_to_tray(&self) -> bool {
        self.close_to_tray.load(Ordering::Relaxed)
    }

    /// Hands an event to the window, and does what the shell itself has to do about it. Called from one thread.
    fn hear(&self, event: &BackendEvent) {
        let Ok(app) = self.app() else { return };
        match event {
            BackendEvent::Navigate { .. } | BackendEvent::QuitRequested { .. } => main_window::show(app),
            BackendEvent::Invalidated { tags } if tags.iter().any(|tag| tag.noun == Noun::Settings) => self.settings_changed(),
            _ => {}
        }
        if let Err(error) = app.emit_to(main_window::LABEL, EVENT, event) {
            tracing::error!(%error, "an event did not reach the window");
        }
        if Window::changes_tray(event) {
            tray::refresh(self);
        }
    }

    /// Settings that the shell acts on.
    fn settings_changed(&self) {
        let Some(window) = self.window_now() else { return };
        let is_on = |key: &str| -> Result<bool> { Ok(window.coffre()?.setting(key)?.value == "on") };
        match is_on("close_to_tray") {
            Ok(on) => self.close_to_tray.store(on, Ordering::Relaxed),
            // Told by every command that needs the catalogue; until then the window is hidden, which loses nothing.
            Err(error) => tracing::warn!(%error, "read a setting"),
        }
        let applied = is_on("start_at_login").and_then(|on| login::apply(self.app()?, on));
        if let Err(error) = applied
            && window.coffre().is_ok()
        {
            window.tell_error(&error);
        }
    }

    /// The end of the process: running work is cancelled and waited for, the catalogue closed.
    pub(crate) fn end(&self) {
        let Some(window) = self.window_now() else { return };
        match window.close() {
            Ok(()) => tracing::info!("end"),
            // What was committed is safe, and the next start cleans up; more than writing it down cannot be done now.
            Err(error) => tracing::error!(%error, "end"),
        }
    }
}
