//! What became of hooks: kept with the run that they belong to.

use coffre_model::hook::{HookMoment, HookRun};
use coffre_model::{Id, Result};
use rusqlite::params;

use super::Catalogue;
use super::row::{all, change, opt_json, time_text};

impl Catalogue {
    /// Writes what became of a hook; of each moment of a run there is one.
    pub fn add_hook_run(&self, backup: &Id, run: &HookRun) -> Result<()> {
        self.write(|c| {
            change(
                c,
                "INSERT INTO hook_runs (backup_id, moment, program, started_at, ended_at, status, output, error)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                 ON CONFLICT (backup_id, moment) DO UPDATE SET program = excluded.program, started_at = excluded.started_at,
                    ended_at = excluded.ended_at, status = excluded.status, output = excluded.output, error = excluded.error",
                params![
                    backup.to_string(),
                    run.moment.as_str(),
                    run.program,
                    time_text(run.started_at),
                    time_text(run.ended_at),
                    run.status,
                    run.output,
                    opt_json(run.error.as_ref())?
                ],
            )
            .map(drop)
        })
    }

    /// What became of a run's hooks, in their order.
    pub fn hook_runs(&self, backup: &Id) -> Result<Vec<HookRun>> {
        self.read(|c| {
            all(
                c,
                "hook_runs",
                "SELECT * FROM hook_runs WHERE backup_id = ?1 ORDER BY moment = 'after'",
                [backup.to_string()],
                |row| {
                    Ok(HookRun {
                        moment: row.word("moment", HookMoment::parse)?,
                        program: row.text("program")?,
                        started_at: row.time("started_at")?,
                        ended_at: row.time("ended_at")?,
                        status: row.opt_text("status")?,
                        output: row.text("output")?,
                        error: row.opt_json("error")?,
                    })
                },
            )
        })
    }
}
