//! The recovery sheet: what a person prints, and needs when this machine is gone.

use std::path::Path;

use coffre_engine::context::Subject;
use coffre_engine::recovery_sheet::{self, Entry, Place, Sheet, SheetKey};
use coffre_engine::secrets::key_secret;
use coffre_model::backup::{Backup, CopyState};
use coffre_model::key::Key;
use coffre_model::{Code, Error, Result};
use serde::Serialize;

use crate::Coffre;
use crate::words::Words;

/// A sheet that was written.
#[derive(Debug, Serialize)]
pub struct SheetWritten {
    /// The file.
    pub path: String,
    /// How many backups it tells of.
    pub backups: usize,
    /// Whether private keys are on it.
    pub has_keys: bool,
}

impl Coffre {
    /// Writes a sheet to a new file (0600): HTML, or text where the name ends in `.txt`. Of one backup; or of the latest verified one of a
    /// source; or of the latest verified one of every source.
    ///
    /// # Errors
    /// `NOT_FOUND` where there is no backup to tell of; `REFUSED` where the file exists; `USAGE` for a name that says another format.
    pub fn recovery_sheet(
        &self,
        to: &Path,
        only: Option<&Backup>,
        source: Option<&str>,
        include_keys: bool,
        words: &Words,
    ) -> Result<SheetWritten> {
        let as_text = match to
            .extension()
            .and_then(|e| e.to_str())
            .map(str::to_ascii_lowercase)
            .as_deref()
        {
            Some("html" | "htm") => false,
            Some("txt" | "text" | "md") | None => true,
            Some(_) => return Err(Error::new(Code::Usage, "sheet_format").with("path", to.display().to_string())),
        };
        let backups = match (only, source) {
            (Some(backup), _) => vec![backup.clone()],
            (None, Some(source)) => vec![self.backup("latest", Some(source))?],
            (None, None) => self.latest_of_every_source()?,
        };
        if backups.is_empty() {
            return Err(Error::new(Code::NotFound, "sheet_empty"));
        }
        let keys = self.keys_of(&backups, include_keys)?;
        let has_keys = keys.iter().any(|k| k.secret.is_some());
        let sheet = Sheet {
            made_at: (self.engine.now)(),
            coffre_version: env!("CARGO_PKG_VERSION").to_owned(),
            entries: backups.iter().map(|b| self.entry(b)).collect::<Result<_>>()?,
            keys,
        };
        let look_up = |key: &str| words.text(key);
        let words = recovery_sheet::Words {
            language: words.language.code(),
            look_up: &look_up,
        };
        let content = if as_text {
            recovery_sheet::text(&sheet, words)
        } else {
            recovery_sheet::html(&sheet, words)
        };
        self.write_private(to, content.as_bytes())?;
        let path = to.display().to_string();
        self.engine.record(
            "sheet.write",
            Subject {
                kind: "sheet",
                id: None,
                name: &path,
            },
            None,
        )?;
        Ok(SheetWritten {
            path,
            backups: sheet.entries.len(),
            has_keys,
        })
    }

    fn latest_of_every_source(&self) -> Result<Vec<Backup>> {
        let mut found = Vec::new();
        for source in self.sources()? {
            found.extend(self.engine.catalogue.latest(&source.id, true)?);
        }
        Ok(found)
    }

    fn entry(&self, backup: &Backup) -> Result<Entry> {
        let manifest = self.engine.manifest(&backup.id)?;
        let stock_load = match &manifest {
            Some(m) => self.engine.adapters.database_named(&m.database)?.stock_load(m.format),
            None => Vec::new(),
        };
        let mut places = Vec::new();
        for copy in backup
            .copies
            .iter()
            .filter(|c| !matches!(c.state, CopyState::Deleting | CopyState::Deleted))
        {
            let destination = self.engine.catalogue.known_destination(&copy.destination_id.to_string())?;
            places.push(Place {
                destination_id: destination.id,
                address: destination.address,
            });
        }
        Ok(Entry {
            backup: backup.clone(),
            manifest,
            places,
            stock_load,
        })
    }

    /// The keys that open these backups, each once.
    fn keys_of(&self, backups: &[Backup], include_keys: bool) -> Result<Vec<SheetKey>> {
        let mut found: Vec<Key> = Vec::new();
        for backup in backups {
            if let Some(key) = self.engine.catalogue.key_of(&backup.id)?
                && !found.iter().any(|k| k.id == key.id)
            {
                found.push(key);
            }
        }
        let with_secret = |key: Key| {
            let secret = match include_keys {
                true => Some(self.engine.secret(&key_secret(&key.id), &key.name)?),
                false => None,
            };
            Ok(SheetKey { key, secret })
        };
        found.into_iter().map(with_secret).collect()
    }
}
