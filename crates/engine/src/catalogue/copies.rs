//! Copies of the catalogue: one a day, a few generations, in the home. The better start than manifests where the catalogue is lost: they
//! also know plans, pins, notes and what was done by whom. What happened since the copy is read from the manifests afterwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, Utc};
use coffre_model::{Code, Error, Result};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::fault::Fault;
use super::open::{Locks, SCHEMA, connect_for_lists, look, quick_check, sync_folder};
use super::{Catalogue, open};
use crate::home::{self, Home};

/// How many copies are kept.
pub const GENERATIONS: usize = 7;
const STAMP: &str = "%Y-%m-%d_%H-%M-%S";

/// A copy of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogueCopy {
    /// The file.
    pub path: PathBuf,
    /// When it was made.
    pub at: DateTime<Utc>,
    /// Its size.
    pub bytes: u64,
}

fn folder(home: &Home) -> PathBuf {
    home.root().join("catalogue-copies")
}

fn made_at(name: &str) -> Option<DateTime<Utc>> {
    let stamp = name.strip_prefix("catalogue-")?.strip_suffix(".db")?;
    NaiveDateTime::parse_from_str(stamp, STAMP).ok().map(|at| at.and_utc())
}

impl Catalogue {
    /// Copies the catalogue as it is now, checks the copy, and lets the oldest go. Readers and writers go on meanwhile.
    ///
    /// # Errors
    /// Those of the disk; `CATALOGUE_CORRUPT` where what was copied is damaged: then older copies stay as they are.
    pub fn copy_aside(&self, at: DateTime<Utc>) -> Result<CatalogueCopy> {
        let folder = folder(self.home());
        match fs::create_dir(&folder) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(home::fault(&folder, &e)),
        }
        home::private(&folder, 0o700).map_err(|e| home::fault(&folder, &e))?;
        let unfinished = folder.join("unfinished");
        for suffix in ["", "-journal", "-wal", "-shm"] {
            let file = open::beside(&unfinished, suffix);
            home::gone(fs::remove_file(&file)).map_err(|e| home::fault(&file, &e))?;
        }
        drop(home::create_private(&unfinished)?);
        copy(self.path(), &unfinished)?;
        quick_check(&unfinished)?;
        fs::File::open(&unfinished)
            .and_then(|file| file.sync_all())
            .map_err(|e| home::fault(&unfinished, &e))?;
        let path = folder.join(format!("catalogue-{}.db", at.format(STAMP)));
        fs::rename(&unfinished, &path).map_err(|e| home::fault(&path, &e))?;
        sync_folder(&path)?;
        let copies = Catalogue::kept_copies(self.home())?;
        for old in copies.iter().skip(GENERATIONS) {
            home::gone(fs::remove_file(&old.path)).map_err(|e| home::fault(&old.path, &e))?;
        }
        let found = copies.into_iter().find(|copy| copy.path == path);
        found.ok_or_else(|| Error::internal("copy the catalogue", "the copy is gone"))
    }

    /// The copies of a home's catalogue, newest first. Other files in that folder are nobody's business.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn kept_copies(home: &Home) -> Result<Vec<CatalogueCopy>> {
        let folder = folder(home);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(home::fault(&folder, &e)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|e| home::fault(&folder, &e))?;
            let Some(at) = entry.file_name().to_str().and_then(made_at) else {
                continue;
            };
            let about = entry.metadata().map_err(|e| home::fault(&entry.path(), &e))?;
            if about.is_file() {
                found.push(CatalogueCopy {
                    path: entry.path(),
                    at,
                    bytes: about.len(),
                });
            }
        }
        found.sort_by_key(|copy| std::cmp::Reverse(copy.at));
        Ok(found)
    }

    /// Puts a copy where there is no catalogue any more ([`Catalogue::set_aside`] comes first). The copy stays.
    ///
    /// # Errors
    /// `REFUSED` where there is a catalogue, `CATALOGUE_CORRUPT` and `CATALOGUE_NEWER` for a copy that is; `BUSY`; those of the disk.
    pub fn bring_back(home: &Home, from: &Path) -> Result<()> {
        let path = home.catalogue();
        let locks = Locks::take(home)?;
        locks.alone(home)?;
        if look(&path, false)?.is_some() {
            return Err(Error::new(Code::Refused, "catalogue_sound").with("path", path.display().to_string()));
        }
        match look(from, true)? {
            Some(version) if version <= SCHEMA => {}
            _ => return Err(Error::internal("bring back a catalogue", "it has no schema")),
        }
        let unfinished = open::beside(&path, ".new");
        for suffix in ["", "-journal", "-wal", "-shm"] {
            let file = open::beside(&unfinished, suffix);
            home::gone(fs::remove_file(&file)).map_err(|e| home::fault(&file, &e))?;
        }
        drop(home::create_private(&unfinished)?);
        copy(from, &unfinished)?;
        quick_check(&unfinished)?;
        fs::rename(&unfinished, &path).map_err(|e| home::fault(&path, &e))?;
        sync_folder(&path)
    }
}

/// One consistent state of a database in one file, whoever writes to it meanwhile.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let source = connect_for_lists(from)?;
    let work = || -> Result<(), Fault> {
        let mut target = Connection::open_with_flags(to, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        {
            let backup = Backup::new(&source, &mut target)?;
            // All at once: it reads one snapshot, and nobody waits for it.
            for _ in 0..100 {
                match backup.step(-1)? {
                    StepResult::Done => break,
                    _ => std::thread::sleep(Duration::from_millis(50)),
                }
            }
        }
        let _mode: String = target.pragma_update_and_check(None, "journal_mode", "DELETE", |row| row.get(0))?;
        target.close().map_err(|(_, e)| Fault::Sql(e))
    };
    work().map_err(|e| e.into_error(to))
}
