//! The drill: a restore rehearsed into a throw-away database, as deep as this machine can. Nothing of it is left afterwards but its row.

use std::time::{Duration, Instant};

use coffre_model::backup::Backup;
use coffre_model::drill::{Drill, DrillState};
use coffre_model::journal::Author;
use coffre_model::progress::Observer;
use coffre_model::throw_away::DrillLevel;
use coffre_model::{Cancel, Code, Error, Id, Result};

use crate::context::{Engine, Subject};
use crate::lease::Lease;
use crate::pipeline::Decryption;
use crate::proof::prove_backup;
use crate::rehearsal::{Reached, rehearse};
use crate::verify::lock;

/// Rehearses a backup, and answers how deep it got and what was found: also a backup that does not hold, and a rehearsal that was stopped.
///
/// Levels: the bytes are those that were stored; they decrypt, decompress and parse to their end; they load into a throw-away database; every table
/// has exactly the rows that were counted in the dump's own snapshot, and the database's own check finds nothing. `by`: who asked for it, for the journal.
///
/// # Errors
/// Where it could not begin: `BUSY` while something else works on the backup, and the catalogue's own.
pub fn drill(engine: &Engine, backup: &Backup, by: Author, observer: &dyn Observer, cancel: &Cancel) -> Result<Drill> {
    let lease = lock(engine, backup, cancel)?;
    // As it is now that nobody else can change it.
    let backup = engine.catalogue.backup(&backup.id.to_string())?;
    let mut drill = Drill {
        id: Id::new(),
        backup_id: backup.id,
        source_id: backup.source_id,
        state: DrillState::Running,
        level: None,
        started_at: (engine.now)(),
        ended_at: None,
        restore_ms: None,
        server_version: None,
        tables: None,
        rows: None,
        remarks: Vec::new(),
        error: None,
    };
    engine.catalogue.begin_drill(&drill, &lease)?;
    let outcome = attempt(engine, &backup, &mut drill, &lease, observer, cancel);
    drill.ended_at = Some((engine.now)().max(drill.started_at));
    drill.state = match &outcome {
        Ok(()) => DrillState::Done,
        Err(error) => match error.code() {
            Code::Cancelled => DrillState::Cancelled,
            Code::Interrupted => DrillState::Interrupted,
            _ => DrillState::Failed,
        },
    };
    drill.error = outcome.err();
    engine.catalogue.end_drill(&drill)?;
    engine.record_by(
        by,
        "drill.run",
        Subject {
            kind: "drill",
            id: Some(&drill.id),
            name: backup.code.as_str(),
        },
        drill.error.as_ref(),
    )?;
    engine.catalogue.drill(&drill.id)
}

fn attempt(
    engine: &Engine,
    backup: &Backup,
    drill: &mut Drill,
    lease: &Lease,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<()> {
    let began = Instant::now();
    let mut decryption = Decryption::None;
    let proved = match prove_backup(engine, backup, &mut decryption, drill.id, Some(lease), observer, cancel) {
        Ok(proved) => proved,
        Err(error) => {
            drill.level = whole_bytes(&error).then_some(DrillLevel::Bytes);
            return Err(error);
        }
    };
    drill.level = Some(DrillLevel::Structure);
    let mut reached = Reached {
        level: drill.level,
        ..Reached::default()
    };
    let outcome = rehearse(engine, backup, &proved, drill.id, &mut reached, observer, cancel);
    let took = began.elapsed().saturating_sub(reached.making);
    drill.level = reached.level;
    drill.server_version = reached.server_version;
    drill.remarks = reached.remarks;
    let mut rehearsed = match outcome? {
        Ok(rehearsed) => rehearsed,
        Err(why) => {
            drill.remarks.insert(0, why);
            return Ok(());
        }
    };
    drill.restore_ms = Some(milliseconds(took));
    drill.tables = Some(reached.counts.len() as u64);
    drill.rows = Some(reached.counts.iter().filter_map(|count| count.after).sum());
    lease.check()?;
    match rehearsed.throw_away.check()? {
        Some(said) if !said.is_empty() => {
            return Err(Error::new(Code::VerifyMismatch, "drill_check_failed")
                .with("said", said.join("\n"))
                .with("backup", backup.code.as_str()));
        }
        Some(_) => {}
        None => drill.remarks.push(
            Error::new(Code::ToolMissing, "drill_no_check").with("version", drill.server_version.clone().unwrap_or_default()),
        ),
    }
    drill.level = Some(DrillLevel::Counted);
    lease.check()
}

/// Whether what is wrong lies above the stored bytes: their hash is looked at first.
fn whole_bytes(error: &Error) -> bool {
    matches!(error.code(), Code::DecryptFailed) || matches!(error.text(), "structure_damaged" | "rows_differ")
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
