//! Taking backups back into a fresh catalogue, from the manifests found at a destination.

use chrono::{DateTime, Utc};
use coffre_model::backup::{Backup, BackupState, Copy, CopyState};
use coffre_model::manifest::Manifest;
use coffre_model::source::SourceOptions;
use coffre_model::{Code, Error, Id, Result};
use rusqlite::{Connection, OptionalExtension, params};

use super::Catalogue;
use super::backups::by_id;
use super::fault::Fault;
use super::names::DESTINATION;
use super::row::{change, json, number, opt_id, opt_time, time_text};
use super::runs::{commit_run, insert_copy, insert_with_key, known_copies};
use super::verification::{CopyResult, apply};

/// What became of a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adopted {
    /// The backup was not known.
    New,
    /// The backup was known; this copy of it was not.
    Copy,
    /// Both were known; nothing changed.
    Known,
}

impl Catalogue {
    /// Takes a backup into the catalogue from its manifest, as found at `destination_id` under `key` (the artifact's), with the copy as
    /// `stored`, or as `verified` if the caller read it to its end at `verified_at`. Its source and plan are taken in as placeholders where
    /// they are not known: names without an address, not in the lists, until something of that name is added.
    ///
    /// # Errors
    /// `NOT_FOUND` for a destination that is not there; `REFUSED` where another backup has this id, code or key.
    pub fn adopt(
        &self,
        manifest: &Manifest,
        manifest_json: &str,
        destination_id: &Id,
        key: &str,
        verified_at: Option<DateTime<Utc>>,
    ) -> Result<Adopted> {
        self.write(|c| {
            DESTINATION.must_live(c, destination_id)?;
            let found = &manifest.backup;
            let id = found.id.to_string();
            let known: Option<String> = c
                .prepare_cached("SELECT code FROM backups WHERE id = ?1")?
                .query_row([&id], |row| row.get(0))
                .optional()?;
            if let Some(code) = known {
                if code != found.code.as_str() {
                    return Err(clash(manifest));
                }
                return adopt_copy(c, manifest, destination_id, key, verified_at);
            }
            placeholder_source(c, found)?;
            placeholder_plan(c, found)?;
            let key_id = key_id(c, manifest)?;
            insert_with_key(c, found, key_id.as_deref()).map_err(|e| or_clash(e, manifest))?;
            insert_copy(c, &found.id, destination_id, key).map_err(|e| or_clash(e, manifest))?;
            let mut backup = found.clone();
            backup.state = if verified_at.is_some() {
                BackupState::Verified
            } else {
                BackupState::Stored
            };
            backup.ended_at = Some(backup.ended_at.unwrap_or(backup.started_at));
            backup.error = None;
            backup.copies = vec![Copy {
                destination: String::new(),
                destination_id: *destination_id,
                key: key.to_owned(),
                state: if verified_at.is_some() {
                    CopyState::Verified
                } else {
                    CopyState::Stored
                },
                stored_bytes: found.stored_bytes.unwrap_or(0),
                sha256: found.sha256.clone(),
                verified_at,
                error: None,
            }];
            commit_run(c, &backup, Some(manifest_json), &manifest.table_counts)?;
            if let Some(plan) = &backup.plan_id {
                super::retention::mark_taken_in(c, plan)?;
            }
            Ok(Adopted::New)
        })
    }
}

fn clash(manifest: &Manifest) -> Fault {
    Fault::Ours(Error::new(Code::Refused, "adopt_clash").with("code", manifest.backup.code.as_str()))
}

fn or_clash(fault: Fault, manifest: &Manifest) -> Fault {
    match &fault {
        Fault::Sql(e) if e.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) => clash(manifest),
        Fault::Ours(e) if e.text() == "code_taken" => clash(manifest),
        _ => fault,
    }
}

/// One more copy of a backup that is known.
fn adopt_copy(
    connection: &Connection,
    manifest: &Manifest,
    destination_id: &Id,
    key: &str,
    verified_at: Option<DateTime<Utc>>,
) -> Result<Adopted, Fault> {
    let found = &manifest.backup;
    let known = by_id(connection, &found.id.to_string())?;
    if !matches!(known.state, BackupState::Stored | BackupState::Verified | BackupState::Failed)
        || known.copies.iter().any(|copy| copy.destination_id == *destination_id)
    {
        return Ok(Adopted::Known);
    }
    if known.sha256 != found.sha256 || known.raw_sha256 != found.raw_sha256 {
        return Err(clash(manifest));
    }
    // A run that was killed may have left the row of this very copy as `writing`.
    let begun = known_copies(connection, &found.id)?
        .into_iter()
        .find(|copy| copy.destination_id == *destination_id);
    match begun {
        Some(copy) if copy.key == key => {}
        Some(_) => return Err(clash(manifest)),
        None => insert_copy(connection, &found.id, destination_id, key).map_err(|e| or_clash(e, manifest))?,
    }
    change(
        connection,
        "UPDATE copies SET state = 'stored', stored_bytes = ?3, sha256 = ?4, verified_at = ?5
         WHERE backup_id = ?1 AND destination_id = ?2",
        params![
            found.id.to_string(),
            destination_id.to_string(),
            number(found.stored_bytes.unwrap_or(0))?,
            found.sha256,
            opt_time(verified_at)
        ],
    )?;
    if verified_at.is_some() {
        let result = CopyResult {
            destination_id: *destination_id,
            state: CopyState::Verified,
            verified_at,
            error: None,
        };
        apply(connection, &found.id, &[result])?;
    }
    Ok(Adopted::Copy)
}

fn placeholder_source(connection: &Connection, backup: &Backup) -> Result<(), Fault> {
    change(
        connection,
        "INSERT INTO sources (id, name, address, options, has_secret, created_at, removed_at, placeholder)
         VALUES (?1, ?2, '', ?3, 0, ?4, ?4, 1) ON CONFLICT (id) DO NOTHING",
        params![
            backup.source_id.to_string(),
            backup.source,
            json(&SourceOptions::default())?,
            time_text(backup.started_at)
        ],
    )?;
    Ok(())
}

fn placeholder_plan(connection: &Connection, backup: &Backup) -> Result<(), Fault> {
    let (Some(id), Some(name)) = (&backup.plan_id, &backup.plan) else {
        return Ok(());
    };
    change(
        connection,
        "INSERT INTO plans (id, name, source_id, kind, compression, retention, created_at, removed_at, placeholder)
         VALUES (?1, ?2, ?3, 'full', ?4, '{}', ?5, ?5, 1) ON CONFLICT (id) DO NOTHING",
        params![
            opt_id(Some(id)),
            name,
            backup.source_id.to_string(),
            backup.compression.to_string(),
            time_text(backup.started_at)
        ],
    )?;
    Ok(())
}

/// The key that opens the backup, where this catalogue has it: known by what it encrypts to, not by its name.
fn key_id(connection: &Connection, manifest: &Manifest) -> Result<Option<String>, Fault> {
    let Some(recipient) = &manifest.recipient else {
        return Ok(None);
    };
    Ok(connection
        .prepare_cached("SELECT id FROM keys WHERE recipient = ?1 ORDER BY removed_at IS NOT NULL, id LIMIT 1")?
        .query_row([recipient], |row| row.get(0))
        .optional()?)
}
