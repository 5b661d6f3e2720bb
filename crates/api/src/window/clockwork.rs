//! The clockwork behind a window: plans start by themselves while Coffre is open, also in the tray.

use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use coffre_model::backup::{Backup, Trigger};
use coffre_model::drill::Drill;
use coffre_model::plan::Plan;
use coffre_model::{Cancel, Code, Error, Id, Result};

use crate::notifications::Told;

use super::events::Noun;
use super::{Inner, Window, tags};
use crate::Coffre;
use crate::schedules::{Clockwork, Ran, Runner};

/// How long the end of Coffre waits for runs that are being cancelled.
const PATIENCE: Duration = Duration::from_secs(5);

/// The window, without keeping it alive.
struct Behind(Weak<Inner>);

impl Behind {
    fn window(&self) -> Result<Window> {
        self.0.upgrade().map(Window).ok_or_else(|| Error::new(Code::Busy, "closing"))
    }
}

impl Runner for Behind {
    fn coffre(&self) -> Result<Arc<Coffre>> {
        self.window()?.coffre()
    }

    fn back_up(&self, plan: &Plan, trigger: Trigger, begun: &(dyn Fn(Id) + Sync), cancel: &Cancel) -> Result<Backup> {
        self.window()?.back_up_slot(plan, trigger, begun, cancel)
    }

    fn drill(&self, backup: &Backup, cancel: &Cancel) -> Result<Drill> {
        self.window()?.drill_unasked(backup, cancel)
    }

    fn is_idle(&self) -> bool {
        self.window()
            .is_ok_and(|window| window.works().is_empty() && !window.0.insides.is_open())
    }

    fn changed(&self) {
        if let Ok(window) = self.window() {
            window.changed(tags(&[Noun::Overview, Noun::Plans]));
        }
    }

    fn ran(&self, _: &Ran) {
        // How it ended is told with the run; here only what is next has changed.
        self.changed();
    }

    /// Said by every command that needs the catalogue, and written into the log.
    fn failed(&self, _: &Error) {}

    fn tidied(&self) {
        if let Ok(window) = self.window() {
            window.changed(tags(&[
                Noun::Overview,
                Noun::Plans,
                Noun::Sources,
                Noun::Backups,
                Noun::Restores,
                Noun::Destinations,
                Noun::Journal,
                Noun::Health,
            ]));
        }
    }

    fn told(&self, told: &Told) {
        if !told.sent.is_empty()
            && let Ok(window) = self.window()
        {
            window.changed(tags(&[Noun::Channels, Noun::Health, Noun::Overview]));
        }
    }
}

impl Window {
    pub(super) fn start_clockwork(&self) -> Result<()> {
        let clockwork = Clockwork::start(Arc::new(Behind(Arc::downgrade(&self.0))))?;
        *self.0.clockwork.lock().unwrap_or_else(PoisonError::into_inner) = Some(clockwork);
        Ok(())
    }

    fn clockwork(&self) -> Option<Clockwork> {
        self.0.clockwork.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks at every schedule now.
    pub(super) fn wake_clockwork(&self) {
        if let Some(clockwork) = self.clockwork() {
            clockwork.wake();
        }
    }

    pub(super) fn stop_clockwork(&self) {
        if let Some(clockwork) = self.clockwork()
            && !clockwork.stop(PATIENCE)
        {
            tracing::warn!("a scheduled run did not end in time");
        }
    }
}
