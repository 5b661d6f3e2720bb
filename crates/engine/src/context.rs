//! What every piece of work needs: the home, the catalogue, the adapters, the secrets, the settings, the clock.

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use coffre_model::database::{Access, Checker, DatabaseKind, DumpFormat};
use coffre_model::destination::Destination;
use coffre_model::journal::{Author, Entry};
use coffre_model::manifest::Manifest;
use coffre_model::source::Source;
use coffre_model::storage::{StorageAccess, StorageKind};
use coffre_model::{Cancel, Error, Id, Result, Secret, settings};

use crate::catalogue::Catalogue;
use crate::home::Home;
use crate::secrets::SecretStore;

/// The databases and storages that this build knows. The engine sees them through traits alone; `api` wires them.
pub trait Adapters: Send + Sync {
    /// The kind of database behind a scheme. `USAGE` for an unknown one.
    fn database(&self, scheme: &str) -> Result<&'static dyn DatabaseKind>;
    /// The kind of database by its name, as a manifest gives it. `USAGE` for an unknown one.
    fn database_named(&self, name: &str) -> Result<&'static dyn DatabaseKind>;
    /// Every kind of database that this build knows.
    fn databases(&self) -> &'static [&'static dyn DatabaseKind];
    /// What a file made elsewhere is, from the first bytes of its plain content. Refuses what cannot be restored, and says why.
    fn recognise(&self, head: &[u8]) -> Result<DumpFormat>;
    /// A checker for a file made elsewhere: stricter about what it may do, less so about marks that only our own tools leave.
    fn foreign_checker(&self, kind: &'static dyn DatabaseKind, format: DumpFormat) -> Box<dyn Checker>;
    /// The kind of storage behind a scheme. `USAGE` for an unknown one.
    fn storage(&self, scheme: &str) -> Result<&'static dyn StorageKind>;
}

/// Opens the secret store when it is first needed: most commands need none.
pub trait Secrets: Send + Sync {
    /// The store. `SECRET_UNAVAILABLE` where none can be used.
    fn store(&self) -> Result<&dyn SecretStore>;
}

/// Looks a setting up in the environment.
pub type Overrides = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// The surroundings of all work on one home.
pub struct Engine {
    /// The folder that everything of ours lies in.
    pub home: Home,
    /// Coffre's own database.
    pub catalogue: Catalogue,
    /// What can be backed up, and where to.
    pub adapters: &'static dyn Adapters,
    /// Passwords and keys.
    pub secrets: Box<dyn Secrets>,
    /// Who acts, for the journal.
    pub author: Author,
    /// The user of the system, or a token's name.
    pub actor: Option<String>,
    /// The clock; read at the edge alone.
    pub now: fn() -> DateTime<Utc>,
    /// `COFFRE_<KEY>` of the environment, where set.
    pub overrides: Overrides,
}

impl Engine {
    /// A setting: the environment, then the catalogue, then the default. A value that is not allowed is an error, never ignored.
    pub fn setting(&self, key: &str) -> Result<String> {
        let setting = settings::find(key)?;
        let value = match (self.overrides)(key) {
            Some(value) => value,
            None => self.catalogue.setting(key)?.unwrap_or_else(|| setting.default.to_owned()),
        };
        setting.check(&value)?;
        Ok(value)
    }

    fn number(&self, key: &str) -> Result<u64> {
        let value = self.setting(key)?;
        value.parse().map_err(|e| Error::internal("read a setting", e))
    }

    /// `stall_seconds`.
    pub fn stall(&self) -> Result<Duration> {
        Ok(Duration::from_secs(self.number("stall_seconds")?))
    }

    /// `lease_seconds`.
    pub fn lease(&self) -> Result<Duration> {
        Ok(Duration::from_secs(self.number("lease_seconds")?))
    }

    /// `notify_seconds`.
    pub fn notify_limit(&self) -> Result<Duration> {
        Ok(Duration::from_secs(self.number("notify_seconds")?))
    }

    /// `failed_keep_days`.
    pub fn failed_keep_days(&self) -> Result<u32> {
        u32::try_from(self.number("failed_keep_days")?).map_err(|e| Error::internal("read a setting", e))
    }

    /// `bin_days`.
    pub fn bin(&self) -> Result<TimeDelta> {
        let days = i64::try_from(self.number("bin_days")?).map_err(|e| Error::internal("read a setting", e))?;
        Ok(TimeDelta::days(days))
    }

    /// `undo_keep_days`.
    pub fn undo_keep_days(&self) -> Result<i64> {
        i64::try_from(self.number("undo_keep_days")?).map_err(|e| Error::internal("read a setting", e))
    }

    /// `max_parallel_runs`.
    pub fn max_parallel_runs(&self) -> Result<u32> {
        u32::try_from(self.number("max_parallel_runs")?).map_err(|e| Error::internal("read a setting", e))
    }

    /// A backup's manifest, where it got that far.
    pub fn manifest(&self, backup: &Id) -> Result<Option<Manifest>> {
        let Some(text) = self.catalogue.manifest(backup)? else {
            return Ok(None);
        };
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|e| Error::internal("read a manifest of the catalogue", e))
    }

    /// What a database gets to work with. `password` overrides the stored one.
    pub fn access(&self, source: &Source, password: Option<Secret>, runtime: PathBuf, cancel: &Cancel) -> Result<Access> {
        let password = match password {
            Some(given) => Some(given),
            None if source.has_secret => Some(self.secret(&format!("source:{}", source.id), &source.name)?),
            None => None,
        };
        let mut tool_paths: Vec<PathBuf> = source.options.tool_path.iter().map(PathBuf::from).collect();
        tool_paths.extend(std::env::split_paths(&self.setting("tool_paths")?).filter(|p| !p.as_os_str().is_empty()));
        Ok(Access {
            password,
            runtime,
            tool_paths,
            stall: self.stall()?,
            lock_wait: Duration::from_secs(self.number("lock_wait_seconds")?),
            cancel: cancel.clone(),
        })
    }

    /// What a storage gets to work with.
    pub fn storage_access(&self, destination: &Destination, cancel: &Cancel) -> Result<StorageAccess> {
        let secret = match destination.has_secret {
            true => Some(self.secret(&format!("destination:{}", destination.id), &destination.name)?),
            false => None,
        };
        Ok(StorageAccess {
            secret,
            stall: self.stall()?,
            cancel: cancel.clone(),
        })
    }

    /// A secret that must be there.
    pub fn secret(&self, name: &str, shown: &str) -> Result<Secret> {
        self.secrets
            .store()?
            .get(name)?
            .ok_or_else(|| Error::new(coffre_model::Code::SecretUnavailable, "secret_not_stored").with("name", shown))
    }

    /// Writes a line of the journal. `error` is nothing for what went well.
    pub fn record(&self, action: &str, subject: Subject<'_>, error: Option<&Error>) -> Result<()> {
        self.record_by(self.author, action, subject, error)
    }

    /// The same for what this author did: a schedule, in somebody's window.
    pub fn record_by(&self, author: Author, action: &str, subject: Subject<'_>, error: Option<&Error>) -> Result<()> {
        let line = self.catalogue.record(&Entry {
            id: 0,
            at: (self.now)(),
            author,
            actor: self.actor.clone(),
            action: action.to_owned(),
            subject_kind: subject.kind.to_owned(),
            subject_id: subject.id.map(Id::to_string),
            subject: subject.name.to_owned(),
            result: if error.is_some() { "failed" } else { "ok" }.to_owned(),
            error: error.cloned(),
        });
        line.map(drop)
    }
}

/// What a line of the journal is about.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// `backup`, `source`, …
    pub kind: &'a str,
    /// Its id.
    pub id: Option<&'a Id>,
    /// Its name or code.
    pub name: &'a str,
}
