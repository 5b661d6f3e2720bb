//! Drills that the clockwork begins.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use coffre_engine::scheduler;
use coffre_model::backup::Backup;
use coffre_model::{Code, Error, Id, Result};

use super::Clockwork;
use super::beside::Work;
use crate::Coffre;

/// A source whose drill could not begin, or was over at once, is left alone for so long.
const NOT_AGAIN: Duration = Duration::from_secs(3600);

/// When drills may begin: nothing has gone on for a while.
#[derive(Default)]
pub(super) struct Drills {
    idle_since: Option<Instant>,
    tried: BTreeMap<Id, Instant>,
}

impl Drills {
    /// Begins the drill that is due, if there is one and nothing else goes on.
    pub(super) fn look(&mut self, clockwork: &Clockwork, coffre: &Arc<Coffre>) -> Result<()> {
        let idle = clockwork.lock().going.is_empty() && clockwork.0.runner.is_idle() && !coffre.engine.catalogue.is_working()?;
        let since = match (idle, self.idle_since) {
            (false, _) => {
                self.idle_since = None;
                return Ok(());
            }
            (true, since) => *self.idle_since.insert(since.unwrap_or_else(Instant::now)),
        };
        let wanted = coffre.engine.setting("drill_idle_seconds")?;
        let wanted = Duration::from_secs(wanted.parse().map_err(|e| Error::internal("read a setting", e))?);
        if since.elapsed() < wanted {
            return Ok(());
        }
        self.tried.retain(|_, at| at.elapsed() < NOT_AGAIN);
        let not_now = self.tried.keys().copied().collect();
        if let Some(backup) = scheduler::drills::due(&coffre.engine, &not_now)? {
            self.tried.insert(backup.source_id, Instant::now());
            self.idle_since = None;
            clockwork.drill(coffre, backup)?;
        }
        Ok(())
    }
}

impl Clockwork {
    fn drill(&self, coffre: &Arc<Coffre>, backup: Backup) -> Result<()> {
        let key = (Work::Drill, backup.id, (coffre.engine.now)());
        self.beside(
            key,
            coffre,
            |_| false,
            move |clockwork, _, cancel| {
                let runner = clockwork.0.runner.as_ref();
                let outcome = catch_unwind(AssertUnwindSafe(|| runner.drill(&backup, cancel)))
                    .unwrap_or_else(|_| Err(Error::internal("rehearse a backup", "it panicked; the log says where")));
                match outcome {
                    // What it found is in its row, and was told.
                    Ok(_) => {}
                    Err(error) if matches!(error.code(), Code::Cancelled | Code::Busy) => {}
                    Err(error) => {
                        tracing::error!(%error, "rehearse a backup");
                        runner.failed(&error);
                    }
                }
            },
        )
    }
}
