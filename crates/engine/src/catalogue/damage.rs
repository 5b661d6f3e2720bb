//! Setting a damaged catalogue aside, so that a fresh one can be made and rebuilt from the manifests.

use std::fs;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use coffre_model::{Code, Result};

use super::Catalogue;
use super::open::{Locks, beside, connect, look, quick_check, sync_folder};
use crate::home::{self, Home};

impl Catalogue {
    /// Renames a damaged catalogue with its log to `catalogue.db.damaged-<time>`; the next [`Catalogue::open`] makes a fresh one. Answers
    /// the new path, or nothing where there is nothing to keep (the file has vanished) or nothing to do (it is sound: another
    /// process was faster).
    ///
    /// # Errors
    /// `BUSY` where another process has it open. `CATALOGUE_NEWER`: a newer catalogue is not a damaged one. Those of the disk.
    pub fn set_aside(home: &Home, at: DateTime<Utc>) -> Result<Option<PathBuf>> {
        let path = home.catalogue();
        let locks = Locks::take(home)?;
        locks.alone(home)?;
        let state = look(&path, locks.made_before(home)?).and_then(|version| match version {
            Some(_) => connect(&path).and_then(|connection| {
                let checked = quick_check(&path);
                drop(connection);
                checked
            }),
            None => Ok(()),
        });
        match state {
            Ok(()) => return Ok(None),
            Err(e) if e.code() != Code::CatalogueCorrupt => return Err(e),
            Err(_) => {}
        }
        let stamp = at.format("%Y-%m-%d_%H-%M-%S%.3f");
        let aside = (1..)
            .map(|n| match n {
                1 => beside(&path, &format!(".damaged-{stamp}")),
                n => beside(&path, &format!(".damaged-{stamp}-{n}")),
            })
            .find(|candidate| fs::symlink_metadata(candidate).is_err());
        let Some(aside) = aside else { return Ok(None) };
        let there = fs::symlink_metadata(&path).is_ok();
        // The file first: a log without its file is noticed at the next start, a file without its log is not.
        for suffix in ["", "-wal", "-shm"] {
            let file = beside(&path, suffix);
            home::gone(fs::rename(&file, beside(&aside, suffix))).map_err(|e| home::fault(&file, &e))?;
        }
        sync_folder(&path)?;
        locks
            .in_use
            .set_len(0)
            .and_then(|()| locks.in_use.sync_all())
            .map_err(|e| home::fault(&path, &e))?;
        Ok(there.then_some(aside))
    }
}
