//! The life of a run: begin, update, finish, all under the fence of its lease; and what becomes of runs whose process is gone.

use chrono::{DateTime, Utc};
use coffre_model::backup::{Backup, BackupState};
use coffre_model::database::{DumpFormat, TableCount};
use coffre_model::manifest::{Manifest, Scope};
use coffre_model::{Code, Error, Id, Result};
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};

use super::backups::{SELECT, absent, by_id, read, state_of};
use super::fault::Fault;
use super::row::{Reading, all, change, json, number, one, opt_id, opt_json, opt_number, opt_time, time_text};
use super::states::RowState;
use super::{Catalogue, names};
use crate::home::Home;
use crate::lease::Lease;

/// What is remembered of a backup beside what the contract shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Details {
    /// Kind of database: `postgres`, `sqlite`, …
    pub database: Option<String>,
    /// What the plain bytes are.
    pub format: Option<DumpFormat>,
    /// What is in it, and what is not.
    pub scope: Option<Scope>,
    /// Remarks of the database for a person.
    pub remarks: Vec<Error>,
}

/// A copy as the catalogue knows it, also one that is being written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownCopy {
    /// The destination's id.
    pub destination_id: Id,
    /// Where the artifact lies, or was to lie.
    pub key: String,
    /// How it stands, `writing` included.
    pub state: RowState,
}

/// A run in a live state whose process is gone, or whose lease somebody else has taken.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadRun {
    /// The run: `running`, or `deleting`.
    pub backup: Backup,
    /// Where bytes of it may lie.
    pub copies: Vec<KnownCopy>,
}

/// A copy of a finished run that was being written: bytes may lie under its key, finished or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// The backup's id.
    pub backup_id: Id,
    /// The backup's state: final.
    pub state: BackupState,
    /// The destination's id.
    pub destination_id: Id,
    /// The key.
    pub key: String,
}

impl Catalogue {
    /// Writes a run into the catalogue before its first byte: the backup as `running`, and for each destination the key that will be
    /// written. Older runs under the same lease's resource that are still `running` lost their lease: they become `interrupted`.
    ///
    /// # Errors
    /// `INTERRUPTED` (`lease_lost`); `NOT_FOUND` for a source, destination or key that is gone; `INTERNAL` (`code_taken`) where two
    /// backups drew the same code within a second: try again with a new id.
    pub fn begin_run(&self, backup: &Backup, copies: &[(Id, String)], lease: &Lease) -> Result<()> {
        self.write(|c| {
            lease.fenced(c)?;
            names::SOURCE.must_live(c, &backup.source_id)?;
            let older = all(
                c,
                "backups",
                "SELECT id FROM backups WHERE resource = ?1 AND state = 'running' AND fence < ?2",
                params![lease.resource(), lease.fence()],
                |row| row.text("id"),
            )?;
            for id in older {
                interrupt(c, &id, backup.started_at)?;
            }
            insert(c, backup)?;
            change(
                c,
                "UPDATE backups SET resource = ?2, fence = ?3 WHERE id = ?1",
                params![backup.id.to_string(), lease.resource(), lease.fence()],
            )?;
            for (destination, key) in copies {
                names::DESTINATION.must_live(c, destination)?;
                insert_copy(c, &backup.id, destination, key)?;
            }
            Ok(())
        })
    }

    /// Writes what a running run knows by now (sizes, tool, version, flags, …); its state stays `running`. Note and pin are a person's:
    /// they are not touched.
    ///
    /// # Errors
    /// `INTERRUPTED` (`lease_lost`), `REFUSED` where it does not run any more.
    pub fn update_run(&self, backup: &Backup, lease: &Lease) -> Result<()> {
        self.write(|c| {
            must_run(c, &backup.id, lease)?;
            write_fields(c, backup, BackupState::Running)
        })
    }

    /// Writes the database kind, format, scope and remarks of a running run.
    ///
    /// # Errors
    /// `INTERRUPTED` (`lease_lost`), `REFUSED` where it does not run any more.
    pub fn set_details(&self, backup_id: &Id, details: &Details, lease: &Lease) -> Result<()> {
        self.write(|c| {
            must_run(c, backup_id, lease)?;
            change(
                c,
                "UPDATE backups SET database = ?2, format = ?3, scope = ?4, remarks = ?5 WHERE id = ?1",
                params![
                    backup_id.to_string(),
                    details.database,
                    details.format.map(DumpFormat::as_str),
                    opt_json(details.scope.as_ref())?,
                    json(&details.remarks)?
                ],
            )?;
            Ok(())
        })
    }

    /// What is remembered of a backup beside what the contract shows.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub fn details(&self, backup_id: &Id) -> Result<Details> {
        self.read(|c| {
            one(
                c,
                "backups",
                "SELECT database, format, scope, remarks FROM backups WHERE id = ?1",
                [backup_id.to_string()],
                |row| {
                    Ok(Details {
                        database: row.opt_text("database")?,
                        format: row.opt_word("format", DumpFormat::parse)?,
                        scope: row.opt_json("scope")?,
                        remarks: row.json("remarks")?,
                    })
                },
            )?
            .ok_or_else(|| absent(&backup_id.to_string()))
        })
    }

    /// The commit: final state, copies, counts and manifest in one transaction. Copies that `backup` does not name stay `writing`: the record
    /// that bytes may lie there, until [`Catalogue::drop_copy`].
    ///
    /// # Errors
    /// `INTERRUPTED` (`lease_lost`), `REFUSED` where it does not run any more (or where the result breaks a rule: `verified` without a
    /// verified copy), `INTERNAL` for `stored` or `verified` without a manifest.
    pub fn finish_run(
        &self,
        backup: &Backup,
        manifest_json: Option<&str>,
        counts: &[TableCount],
        lease: &Lease,
    ) -> Result<Backup> {
        self.write(|c| {
            must_run(c, &backup.id, lease)?;
            commit_run(c, backup, manifest_json, counts)?;
            by_id(c, &backup.id.to_string())
        })
    }

    /// Forgets a copy that was never finished, once nothing lies under its key any more. Only for a backup that does not run, or under
    /// its lease.
    ///
    /// # Errors
    /// `REFUSED` while it runs under another lease.
    pub fn drop_copy(&self, backup_id: &Id, destination_id: &Id, lease: Option<&Lease>) -> Result<()> {
        self.write(|c| {
            match lease {
                Some(lease) => must_run(c, backup_id, lease)?,
                None if state_of(c, backup_id)? == BackupState::Running => {
                    return Err(Fault::Ours(
                        Error::new(Code::Refused, "run_not_over").with("run", backup_id.to_string()),
                    ));
                }
                None => {}
            }
            change(
                c,
                "DELETE FROM copies WHERE backup_id = ?1 AND destination_id = ?2 AND state = 'writing'",
                params![backup_id.to_string(), destination_id.to_string()],
            )?;
            Ok(())
        })
    }

    /// Runs in a live state without a live lease: their process is gone, or somebody else took their lease. A process that is only
    /// frozen still counts as there; whoever wants its work takes the lease ([`Lease::acquire`]), and then it shows up here.
    pub fn dead_runs(&self) -> Result<Vec<DeadRun>> {
        self.read(|c| {
            let sql = format!("{SELECT} WHERE b.state IN ('running', 'deleting') ORDER BY b.started_at, b.id");
            let live = all(c, "backups", &sql, [], |row| {
                Ok((read(c, row)?, row.opt_text("resource")?, row.row.get("fence")?))
            })?;
            without_lease(c, self.home(), live)?
                .into_iter()
                .map(|backup| {
                    let copies = known_copies(c, &backup.id)?;
                    Ok(DeadRun { backup, copies })
                })
                .collect()
        })
    }

    /// Turns a dead run into `interrupted`. Judged anew inside the transaction; `false` where it is over already, or lives.
    pub fn interrupt_run(&self, backup_id: &Id, at: DateTime<Utc>) -> Result<bool> {
        self.write(|c| {
            if !take_from_dead(c, self.home(), "backups", backup_id)? {
                return Ok(false);
            }
            interrupt(c, &backup_id.to_string(), at)?;
            Ok(true)
        })
    }

    /// Copies that were being written when their run ended: bytes may lie under their keys. Remove those, then [`Catalogue::drop_copy`].
    pub fn leftovers(&self) -> Result<Vec<Leftover>> {
        self.read(|c| {
            all(
                c,
                "copies",
                "SELECT p.backup_id, p.destination_id, p.key, b.state FROM copies p JOIN backups b ON b.id = p.backup_id
                 WHERE p.state = 'writing' AND b.state NOT IN ('running', 'deleting') ORDER BY p.backup_id, p.destination_id",
                [],
                |row| {
                    Ok(Leftover {
                        backup_id: row.id("backup_id")?,
                        state: row.word("state", BackupState::parse)?,
                        destination_id: row.id("destination_id")?,
                        key: row.text("key")?,
                    })
                },
            )
        })
    }

    /// Every copy of a backup, `writing` ones included.
    pub fn copies(&self, backup_id: &Id) -> Result<Vec<KnownCopy>> {
        self.read(|c| known_copies(c, backup_id))
    }
}

/// Whether the lease that a row was written under is still there and its owner alive.
pub(super) fn lease_lives(
    connection: &Connection,
    home: &Home,
    resource: Option<&str>,
    fence: Option<i64>,
) -> Result<bool, Fault> {
    let (Some(resource), Some(fence)) = (resource, fence) else {
        return Ok(false);
    };
    let owner: Option<String> = connection
        .prepare_cached("SELECT owner FROM leases WHERE resource = ?1 AND fence = ?2")?
        .query_row(params![resource, fence], |row| row.get(0))
        .optional()?;
    match owner {
        None => Ok(false),
        Some(owner) => Ok(crate::lease::owner_holds(home, &owner, fence)?),
    }
}

/// Of rows in a live state, with the lease that each was written under, those whose lease does not live.
pub(super) fn without_lease<T>(
    connection: &Connection,
    home: &Home,
    rows: Vec<(T, Option<String>, Option<i64>)>,
) -> Result<Vec<T>, Fault> {
    let mut dead = Vec::new();
    for (row, resource, fence) in rows {
        if !lease_lives(connection, home, resource.as_deref(), fence)? {
            dead.push(row);
        }
    }
    Ok(dead)
}

/// Takes a running row of `table` (a name of ours) from its dead owner, lease and all. `false` where it is over already, or its owner lives.
pub(super) fn take_from_dead(connection: &Connection, home: &Home, table: &'static str, id: &Id) -> Result<bool, Fault> {
    let sql = format!("SELECT resource, fence FROM {table} WHERE id = ?1 AND state = 'running'");
    let row = one(connection, table, &sql, [id.to_string()], |row| {
        Ok((row.opt_text("resource")?, row.row.get::<_, Option<i64>>("fence")?))
    })?;
    let Some((resource, fence)) = row else { return Ok(false) };
    if lease_lives(connection, home, resource.as_deref(), fence)? {
        return Ok(false);
    }
    change(
        connection,
        "DELETE FROM leases WHERE resource = ?1 AND fence = ?2",
        params![resource, fence],
    )?;
    Ok(true)
}

pub(super) fn known_copies(connection: &Connection, backup_id: &Id) -> Result<Vec<KnownCopy>, Fault> {
    all(
        connection,
        "copies",
        "SELECT destination_id, key, state FROM copies WHERE backup_id = ?1 ORDER BY destination_id",
        [backup_id.to_string()],
        |row: &Reading<'_, '_>| {
            Ok(KnownCopy {
                destination_id: row.id("destination_id")?,
                key: row.text("key")?,
                state: row.word("state", RowState::parse)?,
            })
        },
    )
}

/// The lease is still ours, and the run runs under this resource and under no later fence.
fn must_run(connection: &Connection, backup_id: &Id, lease: &Lease) -> Result<(), Fault> {
    lease.fenced(connection)?;
    let state = state_of(connection, backup_id)?;
    if state != BackupState::Running {
        return Err(Fault::Ours(
            Error::new(Code::Refused, "run_over")
                .with("run", backup_id.to_string())
                .with("state", state.as_str()),
        ));
    }
    let ours: bool = connection
        .prepare_cached("SELECT resource = ?2 AND fence <= ?3 FROM backups WHERE id = ?1")?
        .query_row(params![backup_id.to_string(), lease.resource(), lease.fence()], |row| {
            Ok(row.get::<_, Option<bool>>(0)?.unwrap_or(false))
        })?;
    if ours {
        Ok(())
    } else {
        Err(Fault::Ours(Error::internal("lease", "it is not the lease of this run")))
    }
}

fn interrupt(connection: &Connection, id: &str, at: DateTime<Utc>) -> Result<(), Fault> {
    let error = Error::new(Code::Interrupted, "interrupted");
    change(
        connection,
        "UPDATE backups SET state = 'interrupted', ended_at = MAX(started_at, ?2), error = COALESCE(error, ?3)
         WHERE id = ?1 AND state = 'running'",
        params![id, time_text(at), json(&error)?],
    )?;
    Ok(())
}

/// Inserts the row as `running`, with what never changes, and then everything else.
pub(super) fn insert(connection: &Connection, backup: &Backup) -> Result<(), Fault> {
    let key: Option<String> = match &backup.encryption {
        Some(name) => Some(names::KEY.resolve(connection, name)?),
        None => None,
    };
    insert_with_key(connection, backup, key.as_deref())
}

pub(super) fn insert_with_key(connection: &Connection, backup: &Backup, key_id: Option<&str>) -> Result<(), Fault> {
    let plan = backup.plan_id.as_ref().zip(backup.plan.as_ref());
    let inserted = change(
        connection,
        "INSERT INTO backups (id, code, source_id, source_name, plan_id, plan_name, \"trigger\", type, kind, base_id, state,
            started_at, compression, encryption, key_id, flags, note, pinned, aim)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 'running', ?11, ?12, ?13, ?14, '[]', ?15, ?16, ?17)",
        params![
            backup.id.to_string(),
            backup.code.as_str(),
            backup.source_id.to_string(),
            backup.source,
            plan.map(|(id, _)| id.to_string()),
            plan.map(|(_, name)| name),
            backup.trigger.as_str(),
            backup.backup_type.as_str(),
            backup.kind.as_str(),
            opt_id(backup.base_id.as_ref()),
            time_text(backup.started_at),
            backup.compression.to_string(),
            backup.encryption,
            key_id,
            backup.note,
            backup.pinned,
            backup.aim
        ],
    );
    match inserted {
        Err(Fault::Sql(e)) if is_unique(&e, "backups.code") => Err(Fault::Ours(
            Error::new(Code::Internal, "code_taken").with("code", backup.code.as_str()),
        )),
        Err(e) => Err(e),
        Ok(_) => write_fields(connection, backup, BackupState::Running),
    }
}

fn is_unique(error: &rusqlite::Error, column: &str) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) && error.to_string().contains(column)
}

pub(super) fn insert_copy(connection: &Connection, backup_id: &Id, destination_id: &Id, key: &str) -> Result<(), Fault> {
    change(
        connection,
        "INSERT INTO copies (backup_id, destination_id, key, state, stored_bytes) VALUES (?1, ?2, ?3, 'writing', 0)",
        params![backup_id.to_string(), destination_id.to_string(), key],
    )?;
    Ok(())
}

/// Everything that a run finds out, and its state.
fn write_fields(connection: &Connection, backup: &Backup, state: BackupState) -> Result<(), Fault> {
    change(
        connection,
        "UPDATE backups SET state = ?2, ended_at = ?3, duration_ms = ?4, raw_bytes = ?5, stored_bytes = ?6, sha256 = ?7,
            raw_sha256 = ?8, tables = ?9, rows = ?10, tool_name = ?11, tool_path = ?12, tool_version = ?13, server_version = ?14,
            flags = ?15, error = ?16, compression = ?17
         WHERE id = ?1",
        params![
            backup.id.to_string(),
            state.as_str(),
            opt_time(backup.ended_at),
            opt_number(backup.duration_ms)?,
            opt_number(backup.raw_bytes)?,
            opt_number(backup.stored_bytes)?,
            backup.sha256,
            backup.raw_sha256,
            opt_number(backup.tables)?,
            opt_number(backup.rows)?,
            backup.tool.as_ref().map(|t| &t.name),
            backup.tool.as_ref().and_then(|t| t.path.as_ref()),
            backup.tool.as_ref().map(|t| &t.version),
            backup.server_version,
            json(&backup.flags)?,
            opt_json(backup.error.as_ref())?,
            backup.compression.to_string()
        ],
    )?;
    Ok(())
}

/// The final state of a running run with all that belongs to it.
pub(super) fn commit_run(
    connection: &Connection,
    backup: &Backup,
    manifest_json: Option<&str>,
    counts: &[TableCount],
) -> Result<(), Fault> {
    let id = backup.id.to_string();
    if !BackupState::Running.may_become(backup.state) {
        return Err(Fault::Ours(Error::internal(
            "finish_run",
            format!("{} is not an end", backup.state),
        )));
    }
    // An artifact without a manifest is not a backup.
    if matches!(backup.state, BackupState::Stored | BackupState::Verified) && manifest_json.is_none() {
        return Err(Fault::Ours(Error::internal("finish_run", "there is no manifest")));
    }
    for copy in &backup.copies {
        let changed = change(
            connection,
            "UPDATE copies SET state = ?3, stored_bytes = ?4, sha256 = ?5, verified_at = ?6, error = ?7
             WHERE backup_id = ?1 AND destination_id = ?2 AND key = ?8",
            params![
                id,
                copy.destination_id.to_string(),
                copy.state.as_str(),
                number(copy.stored_bytes)?,
                copy.sha256.as_ref().or(backup.sha256.as_ref()),
                opt_time(copy.verified_at),
                opt_json(copy.error.as_ref())?,
                copy.key
            ],
        )?;
        if changed == 0 {
            return Err(Fault::Ours(Error::internal(
                "finish_run",
                format!("no such copy: {}", copy.key),
            )));
        }
    }
    write_fields(connection, backup, backup.state)?;
    if let Some(text) = manifest_json {
        let manifest: Manifest = serde_json::from_str(text).map_err(|e| Fault::Ours(Error::internal("manifest", e)))?;
        change(
            connection,
            "UPDATE backups SET database = ?2, format = ?3, scope = ?4 WHERE id = ?1",
            params![id, manifest.database, manifest.format.as_str(), json(&manifest.scope)?],
        )?;
        change(
            connection,
            "INSERT INTO manifests (backup_id, json) VALUES (?1, ?2)",
            params![id, text],
        )?;
    }
    for count in counts {
        change(
            connection,
            "INSERT INTO table_counts (backup_id, table_name, rows) VALUES (?1, ?2, ?3)",
            params![id, count.table, number(count.rows)?],
        )?;
    }
    Ok(())
}
