//! One backup with everything about it: what is proven, what happened, the error explained.

use chrono::{DateTime, Utc};
use coffre_engine::scheduler::next_of;
use coffre_model::backup::{Backup, BackupState, CopyState};
use coffre_model::error::Details;
use coffre_model::journal::Entry;
use coffre_model::manifest::Manifest;
use coffre_model::restore::{Restore, RestoreMode, RestoreState};
use coffre_model::{Code, Error, Result};
use serde::Serialize;
use ts_rs::TS;

use super::Window;
use super::backups::backup_by_id;
use super::commands::ById;
use super::protection::{Protection, places_of, protection};
use super::sources::adapter_of;

/// What is proven of a backup. `false` means "not proven", never "disproven".
#[derive(Debug, Default, PartialEq, Eq, Serialize, TS)]
pub struct Proofs {
    /// Its stored bytes were read back to their end.
    pub bytes_read: bool,
    /// They were decrypted, decompressed and parsed to their end.
    pub structure_read: bool,
    /// It was restored.
    pub restored: bool,
    /// And every table had its rows.
    pub rows_equal: bool,
    /// When.
    pub restored_at: Option<DateTime<Utc>>,
    /// How long that took.
    pub restore_ms: Option<u64>,
}

/// Something that happened to a backup.
#[derive(Debug, PartialEq, Serialize, TS)]
pub struct TimelineEntry {
    /// When.
    pub at: DateTime<Utc>,
    /// What: `ui.timeline.<event>`.
    pub event: Event,
    /// Its facts.
    #[ts(type = "Details")]
    pub facts: Details,
    /// How long it took.
    pub duration_ms: Option<u64>,
}

/// What can happen to a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(rename = "TimelineEvent")]
pub enum Event {
    /// The run began.
    Opened,
    /// The tool was chosen.
    Tool,
    /// A copy was read back to its end.
    ReadBack,
    /// The manifest was written: from here on it is a backup.
    Manifest,
    /// It failed.
    Failed,
    /// Somebody stopped it.
    Cancelled,
    /// Its process ended without finishing.
    Interrupted,
    /// Nobody was there.
    Missed,
    /// It was left out.
    Skipped,
    /// It was found whole after its process had ended.
    Adopted,
    /// It was verified again.
    Verified,
    /// A later look found a copy damaged or missing.
    Corrupt,
    /// A later look could not be made.
    NotVerified,
    /// It was pinned.
    Pinned,
    /// Not any more.
    Unpinned,
    /// A note was written.
    Noted,
    /// It was copied to a file.
    Downloaded,
    /// It was restored.
    Restored,
    /// It was deleted.
    Deleted,
}

/// One backup with everything about it.
#[derive(Debug, Serialize, TS)]
pub struct BackupDetail {
    /// The backup.
    pub backup: Backup,
    /// The kind of database.
    pub adapter: String,
    /// Its manifest; nothing where none was written.
    pub manifest: Option<Manifest>,
    /// What is proven.
    pub proofs: Proofs,
    /// In how many places its copies lie; two disks of one machine are one place.
    pub places: usize,
    /// What happened, oldest first.
    pub timeline: Vec<TimelineEntry>,
    /// How safe its source is now.
    pub protection: Protection,
    /// When its plan runs next.
    pub next_run_at: Option<DateTime<Utc>>,
    /// The command that would do the next action of the error, ready to paste; nothing where there is none.
    pub remedy: Option<String>,
    /// The same backup from a terminal.
    pub command: String,
    /// Last lines that the tool printed; secrets are not in them.
    pub tool_output: Vec<String>,
}

fn facts(pairs: impl IntoIterator<Item = (&'static str, serde_json::Value)>) -> Details {
    let given = pairs.into_iter().filter(|(_, value)| !value.is_null());
    given.map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What is proven: by the backup's own state, and by the newest restore of it that came to its end.
fn proofs(backup: &Backup, restores: &[Restore]) -> Proofs {
    let verified = backup.state == BackupState::Verified;
    let done = |restore: &&Restore| restore.state == RestoreState::Done && restore.mode != RestoreMode::DryRun;
    let restored = restores.iter().find(done);
    let took = restored.and_then(|restore| Some(restore.ended_at? - restore.started_at));
    Proofs {
        bytes_read: verified,
        structure_read: verified,
        restored: restored.is_some(),
        rows_equal: restored.is_some_and(|restore| {
            // A table that was only in the live data before has nothing to be compared with, and is gone.
            let of_backup = restore
                .counts
                .iter()
                .filter(|count| count.backup.is_some() || count.after.is_some());
            let mut compared = of_backup.peekable();
            compared.peek().is_some() && compared.all(|count| count.backup == count.after)
        }),
        restored_at: restored.and_then(|restore| restore.ended_at),
        restore_ms: took.and_then(|took| u64::try_from(took.num_milliseconds()).ok()),
    }
}

/// What happened, from the row, the manifest as it was written, the journal and the restores. Only what has a time is told.
fn timeline(backup: &Backup, manifest: Option<&Manifest>, journal: &[Entry], restores: &[Restore]) -> Vec<TimelineEntry> {
    let mut found = Vec::new();
    let mut add = |at: DateTime<Utc>, event: Event, facts: Details, duration_ms: Option<u64>| {
        found.push(TimelineEntry {
            at,
            event,
            facts,
            duration_ms,
        });
    };
    let ended = backup.ended_at.unwrap_or(backup.started_at);
    let own = match backup.state {
        BackupState::Missed => Some(Event::Missed),
        BackupState::Skipped => Some(Event::Skipped),
        _ => None,
    };
    match own {
        Some(event) => add(backup.started_at, event, facts([]), None),
        None => add(
            backup.started_at,
            Event::Opened,
            facts([
                ("trigger", backup.trigger.as_str().into()),
                ("plan", backup.plan.clone().into()),
            ]),
            None,
        ),
    }
    if let Some(tool) = &backup.tool {
        let told = facts([
            ("tool", tool.name.clone().into()),
            ("version", tool.version.clone().into()),
            ("server_version", backup.server_version.clone().into()),
            ("compression", backup.compression.to_string().into()),
            ("encrypted", backup.encryption.is_some().into()),
        ]);
        add(backup.started_at, Event::Tool, told, None);
    }
    if let Some(manifest) = manifest {
        // The manifest keeps the first reading of each copy, whatever was read later.
        for copy in &manifest.backup.copies {
            if let (CopyState::Verified, Some(at)) = (copy.state, copy.verified_at) {
                let told = facts([
                    ("destination", copy.destination.clone().into()),
                    ("stored_bytes", copy.stored_bytes.into()),
                ]);
                add(at, Event::ReadBack, told, None);
            }
        }
        let told = facts([
            ("tables", backup.tables.into()),
            ("rows", backup.rows.into()),
            ("raw_bytes", backup.raw_bytes.into()),
            ("stored_bytes", backup.stored_bytes.into()),
        ]);
        add(
            manifest.backup.ended_at.unwrap_or(ended),
            Event::Manifest,
            told,
            backup.duration_ms,
        );
    } else if let Some(event) = match backup.state {
        BackupState::Failed => Some(Event::Failed),
        BackupState::Cancelled => Some(Event::Cancelled),
        BackupState::Interrupted => Some(Event::Interrupted),
        _ => None,
    } {
        let code = backup.error.as_ref().map(|error| error.code().as_str());
        add(ended, event, facts([("code", code.into())]), backup.duration_ms);
    }
    for line in journal {
        let Some(event) = event_of(line) else { continue };
        let code = line.error.as_ref().map(|error| error.code().as_str());
        let by = line.actor.clone().unwrap_or_else(|| line.author.as_str().to_owned());
        let destination = line.error.as_ref().and_then(|error| error.detail("destination"));
        let told = facts([("by", by.into()), ("code", code.into()), ("destination", destination.into())]);
        add(line.at, event, told, None);
    }
    for restore in restores.iter().filter(|restore| restore.state == RestoreState::Done) {
        let took = restore.ended_at.map(|ended| (ended - restore.started_at).num_milliseconds());
        let told = facts([("target", restore.target.clone().into())]);
        let took = took.and_then(|took| u64::try_from(took).ok());
        add(restore.ended_at.unwrap_or(restore.started_at), Event::Restored, told, took);
    }
    // Stable: what has the same time stays in the order in which it happens.
    found.sort_by_key(|entry| entry.at);
    found
}

/// What a line of the journal says about a backup. The run itself is told by its row.
fn event_of(line: &Entry) -> Option<Event> {
    let failed = line.error.as_ref();
    match line.action.as_str() {
        "backup.adopt" => Some(Event::Adopted),
        "backup.verify" => Some(match failed {
            None => Event::Verified,
            Some(error) if coffre_engine::verify::judge(error).is_some() => Event::Corrupt,
            Some(_) => Event::NotVerified,
        }),
        _ if failed.is_some() => None,
        "backup.pin" => Some(Event::Pinned),
        "backup.unpin" => Some(Event::Unpinned),
        "backup.note" => Some(Event::Noted),
        "backup.download" => Some(Event::Downloaded),
        "backup.delete" => Some(Event::Deleted),
        _ => None,
    }
}

/// The command behind an error's next action, where there is exactly one: a script of the database, or the package with the tools.
pub(super) fn remedy(error: &Error) -> Option<String> {
    if let Some(grants) = error.detail("grants").filter(|grants| !grants.is_empty()) {
        return Some(grants);
    }
    let tool = error.detail("tool")?;
    let is_postgres = matches!(tool.as_str(), "pg_dump" | "pg_restore");
    if !is_postgres || !matches!(error.code(), Code::ToolMissing | Code::ToolTooOld) {
        return None;
    }
    // `17`, or `9.6`: the packages of both systems are called so.
    let needed = error.detail("needed").unwrap_or_default();
    let named = !needed.is_empty() && needed.chars().all(|c| c.is_ascii_digit() || c == '.');
    match (cfg!(target_os = "macos"), named) {
        (true, true) => Some(format!("brew install postgresql@{needed}")),
        (true, false) => Some("brew install libpq".to_owned()),
        (false, true) if cfg!(target_os = "linux") => Some(format!("sudo apt install postgresql-client-{needed}")),
        (false, false) if cfg!(target_os = "linux") => Some("sudo apt install postgresql-client".to_owned()),
        _ => None,
    }
}

/// What a tool printed, as errors and remarks keep it.
fn tool_output(backup: &Backup, manifest: Option<&Manifest>) -> Vec<String> {
    let remarks = manifest.map(|manifest| &manifest.remarks[..]).unwrap_or_default();
    let told = backup.error.iter().chain(remarks);
    told.filter_map(|error| error.detail("stderr").or_else(|| error.detail("said")))
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

impl Window {
    pub(super) fn show_backup(&self, ById { id }: ById) -> Result<BackupDetail> {
        let coffre = self.coffre()?;
        let backup = backup_by_id(&coffre, &id)?;
        let manifest = coffre.manifest(&backup)?;
        let restores = coffre.engine.catalogue.restores_of(&id)?;
        let journal = coffre.engine.catalogue.journal_about(&id)?;
        let source = coffre.engine.catalogue.known_source_by_id(&backup.source_id)?;
        let adapter = match &manifest {
            Some(manifest) => manifest.database.clone(),
            None => adapter_of(&coffre, &source),
        };
        let around = self.around(&coffre)?;
        Ok(BackupDetail {
            adapter,
            places: places_of(&backup, &around),
            proofs: proofs(&backup, &restores),
            timeline: timeline(&backup, manifest.as_ref(), &journal, &restores),
            protection: protection(&coffre, &source, &around)?,
            // Why a schedule cannot be read is said with its plan.
            next_run_at: around
                .plans_of(&source.id)
                .find(|plan| Some(plan.id) == backup.plan_id)
                .and_then(|plan| next_of(&coffre.engine, plan).unwrap_or_default()),
            remedy: backup.error.as_ref().and_then(remedy),
            command: format!("coffre show {}", backup.code),
            tool_output: tool_output(&backup, manifest.as_ref()),
            manifest,
            backup,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedies_are_exact_or_absent() {
        let grants = Error::new(Code::Privilege, "pg_privilege").with("grants", "GRANT SELECT ON x TO y;");
        assert_eq!(remedy(&grants).as_deref(), Some("GRANT SELECT ON x TO y;"));
        let old = |needed: &str| {
            remedy(
                &Error::new(Code::ToolTooOld, "pg_tool_too_old")
                    .with("tool", "pg_dump")
                    .with("needed", needed),
            )
        };
        if cfg!(target_os = "linux") {
            assert_eq!(old("17").as_deref(), Some("sudo apt install postgresql-client-17"));
            // Nothing that came from a server goes into a command line.
            assert_eq!(old("17; rm -rf /").as_deref(), Some("sudo apt install postgresql-client"));
        }
        assert_eq!(remedy(&Error::new(Code::DestFull, "destination_full")), None);
    }
}
