//! A look inside a backup without restoring it: its rows, one table as a file, one table back into a database.

use std::io::Write;
use std::path::Path;

use coffre_model::backup::Backup;
use coffre_model::error::from_io;
use coffre_model::progress::Observer;
use coffre_model::source::Source;
use coffre_model::throw_away::{ExportFormat, RowPage};
use coffre_model::{Cancel, Code, Error, Id, Result, Secret};

use crate::context::{Engine, Subject};
use crate::download::local_folder;
use crate::pipeline::Decryption;
use crate::proof::prove_backup;
use crate::rehearsal::{Reached, Rehearsed, rehearse};
use crate::verify::lock;

/// A backup, open. Its throw-away database stays until this is dropped, and then nothing of it is left.
pub struct Inside {
    rehearsed: Rehearsed,
    backup: Backup,
    remarks: Vec<Error>,
}

impl Inside {
    /// Proves the backup, loads it into a throw-away database and compares its rows. The backup itself is free again afterwards.
    ///
    /// # Errors
    /// As a restore, before anything is shown; `TOOL_…` where this machine has no place for it.
    pub fn open(engine: &Engine, backup: &Backup, observer: &dyn Observer, cancel: &Cancel) -> Result<Inside> {
        let lease = lock(engine, backup, cancel)?;
        let backup = engine.catalogue.backup(&backup.id.to_string())?;
        let id = Id::new();
        let mut reached = Reached::default();
        let opened = (|| {
            let mut decryption = Decryption::None;
            let proved = prove_backup(engine, &backup, &mut decryption, id, Some(&lease), observer, cancel)?;
            rehearse(engine, &backup, &proved, id, &mut reached, observer, cancel)?
        })();
        note(engine, "backup.open", &backup, opened.as_ref().err())?;
        Ok(Inside {
            rehearsed: opened?,
            backup,
            remarks: reached.remarks,
        })
    }

    /// The backup.
    pub fn backup(&self) -> &Backup {
        &self.backup
    }

    /// What a person should know of how it was loaded.
    pub fn remarks(&self) -> &[Error] {
        &self.remarks
    }

    /// The version of what serves the throw-away database.
    pub fn version(&self) -> String {
        self.rehearsed.throw_away.version()
    }

    /// A page of a table's rows, from page 1; those that hold a text, if one is given.
    ///
    /// # Errors
    /// `NOT_FOUND` for a table that is not there.
    pub fn rows(&mut self, table: &str, search: Option<&str>, page: u64, per_page: u64) -> Result<RowPage> {
        self.rehearsed.throw_away.rows(table, search, page, per_page)
    }

    /// Writes one table to a file (0600) that must not exist: whole, or not at all. Answers its rows.
    ///
    /// # Errors
    /// `REFUSED` where there is a file already.
    pub fn export(&mut self, engine: &Engine, table: &str, format: ExportFormat, path: &Path, cancel: &Cancel) -> Result<u64> {
        let outcome = (|| {
            let (folder, name) = local_folder(engine, path, cancel)?;
            let mut upload = folder.begin(&name).map_err(|e| match e.text() {
                "key_unsafe" => Error::new(Code::Usage, "file_name").with("path", path.display().to_string()),
                _ => e,
            })?;
            let rows = {
                let mut buffered = std::io::BufWriter::with_capacity(1 << 18, &mut upload);
                let rows = self.rehearsed.throw_away.export(table, format, None, &mut buffered)?;
                let flushed = buffered.flush();
                flushed.map_err(|e| from_io(e, |e| Error::internal("write an export", e)))?;
                rows
            };
            upload.commit()?;
            Ok(rows)
        })();
        note(engine, "backup.export", &self.backup, outcome.as_ref().err())?;
        outcome
    }

    /// Brings one table back into a database, under a name that nothing has there, in one transaction. Answers its rows.
    ///
    /// # Errors
    /// `REFUSED` where the name is taken, or where the database is of another kind; then nothing is changed.
    pub fn copy_table(
        &mut self,
        engine: &Engine,
        table: &str,
        into: &Source,
        password: Option<Secret>,
        name: &str,
        cancel: &Cancel,
    ) -> Result<u64> {
        let outcome = (|| {
            let here = engine
                .adapters
                .database(&self.rehearsed.throw_away.source().parsed()?.scheme)?;
            let there = engine.adapters.database(&into.parsed()?.scheme)?;
            if here.name() != there.name() {
                return Err(Error::new(Code::Refused, "inside_other_database")
                    .with("from", here.name())
                    .with("to", there.name()));
            }
            there.validate(into)?;
            crate::restore::not_ours(engine, into)?;
            let runtime = engine.home.runtime_dir(&Id::new())?;
            let access = engine.access(into, password, runtime.path().to_owned(), cancel)?;
            self.rehearsed.throw_away.copy_table(table, into, access, name)
        })();
        note(engine, "restore.table", &self.backup, outcome.as_ref().err())?;
        outcome
    }
}

fn note(engine: &Engine, action: &str, backup: &Backup, error: Option<&Error>) -> Result<()> {
    let subject = Subject {
        kind: "backup",
        id: Some(&backup.id),
        name: backup.code.as_str(),
    };
    engine.record(action, subject, error)
}
