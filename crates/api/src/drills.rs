//! Drills: rehearse a backup, and what drills showed.

use std::collections::BTreeMap;

use coffre_engine::drill::drill;
use coffre_model::backup::Backup;
use coffre_model::drill::{Drill, DrillState, LastDrill};
use coffre_model::journal::Author;
use coffre_model::progress::Observer;
use coffre_model::source::Source;
use coffre_model::{Cancel, Code, Error, Id, Result};
use serde::Serialize;
use ts_rs::TS;

use crate::Coffre;

/// A backup with what its last drill showed.
#[derive(Clone, Debug, Serialize, TS)]
pub struct Drilled {
    /// The backup.
    #[serde(flatten)]
    pub backup: Backup,
    /// Its last drill that came to an end; nothing where there was none.
    pub last_drill: Option<LastDrill>,
}

/// A source with what the last drill of its backups showed.
#[derive(Clone, Debug, Serialize, TS)]
pub struct DrilledSource {
    /// The source.
    #[serde(flatten)]
    pub source: Source,
    /// The last drill of any of its backups that came to an end.
    pub last_drill: Option<LastDrill>,
}

impl Coffre {
    /// Rehearses a backup.
    ///
    /// # Errors
    /// `BUSY`, and the catalogue's own. What was found is in the drill ([`verdict`]).
    pub fn drill(&self, backup: &Backup, observer: &dyn Observer, cancel: &Cancel) -> Result<Drill> {
        drill(&self.engine, backup, self.engine.author, observer, cancel)
    }

    /// Rehearses a backup because it is time to, without anybody asking.
    ///
    /// # Errors
    /// As [`Coffre::drill`].
    pub fn drill_by_schedule(&self, backup: &Backup, observer: &dyn Observer, cancel: &Cancel) -> Result<Drill> {
        drill(&self.engine, backup, Author::Schedule, observer, cancel)
    }

    /// One drill.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub fn drill_row(&self, id: &Id) -> Result<Drill> {
        self.engine.catalogue.drill(id)
    }

    /// Every drill of a backup, newest first.
    pub fn drills(&self, backup: &Backup) -> Result<Vec<Drill>> {
        self.engine.catalogue.drills(&backup.id)
    }

    /// Backups with their last drills.
    pub fn with_drills(&self, backups: Vec<Backup>) -> Result<Vec<Drilled>> {
        let ids: Vec<Id> = backups.iter().map(|backup| backup.id).collect();
        let mut last: BTreeMap<Id, LastDrill> = self.engine.catalogue.last_drills(&ids)?;
        Ok(backups
            .into_iter()
            .map(|backup| Drilled {
                last_drill: last.remove(&backup.id),
                backup,
            })
            .collect())
    }

    /// A source with its last drill.
    pub fn with_drill(&self, source: Source) -> Result<DrilledSource> {
        Ok(DrilledSource {
            last_drill: self.engine.catalogue.last_drill_of_source(&source.id, false)?,
            source,
        })
    }
}

/// The error that a drill ends with; nothing where everything that was looked at is right. A copy that is not there has failed its verification.
pub fn verdict(drill: &Drill) -> Option<Error> {
    let error = match (&drill.error, drill.state) {
        (Some(error), _) => error.clone(),
        (None, DrillState::Done) => return None,
        (None, _) => Error::new(Code::Interrupted, "drill_interrupted").with("drill", drill.id.to_string()),
    };
    if error.code() != Code::NotFound {
        return Some(error);
    }
    let missing = Error::new(Code::VerifyMismatch, "copy_missing");
    Some(
        error
            .details()
            .iter()
            .fold(missing, |missing, (name, value)| missing.with(name, value.clone())),
    )
}
