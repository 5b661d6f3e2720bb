//! Hooks: the commands of a plan before and after each of its runs.
//!
//! A command gets no shell, no secret and no more of our environment than [`KEPT`]; what it needs to know stands in `COFFRE_…`. It is ended
//! with its whole group at its limit and when the run is cancelled. What became of it is kept with the run.

use std::time::Duration;

use coffre_model::backup::Backup;
use coffre_model::hook::{HookFailure, HookMoment, HookRun, Hooks};
use coffre_model::{Cancel, Code, Error, Result};

use crate::backup::Job;
use crate::context::{Commanded, Engine};

/// What of our own environment a command sees.
const KEPT: [&str; 7] = ["HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR", "XDG_RUNTIME_DIR"];
/// How long a command after a run may take where Coffre is about to end: as long as there is.
const AT_THE_END: Duration = Duration::from_secs(3);

/// Runs the command before a run. Answers the remark where it failed and the plan goes on all the same.
///
/// # Errors
/// Why it failed, where that ends the run; that of `cancel`.
pub(crate) fn before(engine: &Engine, job: &Job, backup: &Backup, cancel: &Cancel) -> Result<Option<Error>> {
    let Some(hooks) = hooks_of(job) else { return Ok(None) };
    let Some(run) = run(engine, job, hooks, HookMoment::Before, backup, cancel)? else {
        return Ok(None);
    };
    match run.error {
        Some(error) if hooks.on_failure == HookFailure::Abort => Err(error),
        error => Ok(error),
    }
}

/// Runs the command after a run, however that ended: what was stopped before is to be started again. Answers why it failed, if it did.
///
/// # Errors
/// The catalogue's own.
pub(crate) fn after(engine: &Engine, job: &Job, backup: &Backup, cancel: &Cancel) -> Result<Option<Error>> {
    let Some(hooks) = hooks_of(job) else { return Ok(None) };
    let (cancel, hooks) = match cancel.is_cancelled() {
        false => (cancel.clone(), hooks.clone()),
        // What cancelled the run must not keep what it began half done.
        true => {
            let limit = hooks.limit_seconds.min(AT_THE_END.as_secs());
            (
                Cancel::new(),
                Hooks {
                    limit_seconds: limit,
                    ..hooks.clone()
                },
            )
        }
    };
    match run(engine, job, &hooks, HookMoment::After, backup, &cancel) {
        Ok(run) => Ok(run.and_then(|run| run.error)),
        // The run itself is over: its end stands.
        Err(error) if error.code() == Code::Cancelled => Ok(Some(error)),
        Err(error) => Err(error),
    }
}

fn hooks_of(job: &Job) -> Option<&Hooks> {
    job.plan.as_ref()?.hooks.as_ref()
}

fn run(
    engine: &Engine,
    job: &Job,
    hooks: &Hooks,
    moment: HookMoment,
    backup: &Backup,
    cancel: &Cancel,
) -> Result<Option<HookRun>> {
    let Some(command) = hooks.command(moment) else {
        return Ok(None);
    };
    let program = command.first().cloned().unwrap_or_default();
    let started_at = (engine.now)();
    let limit = Duration::from_secs(hooks.limit_seconds);
    let given = environment(engine, job, moment, backup);
    let ended = engine
        .adapters
        .run_command(command, &given, engine.home.root(), limit, cancel);
    let (status, output, error) = match ended {
        Ok(ended) => judge(moment, &program, hooks.limit_seconds, ended),
        Err(error) if error.code() == Code::ToolMissing => {
            (None, String::new(), Some(error.or_with("program", program.as_str())))
        }
        Err(error) => return Err(error),
    };
    let run = HookRun {
        moment,
        program,
        started_at,
        ended_at: (engine.now)().max(started_at),
        status,
        output,
        error,
    };
    engine.catalogue.add_hook_run(&backup.id, &run)?;
    Ok(Some(run))
}

fn judge(moment: HookMoment, program: &str, limit: u64, ended: Commanded) -> (Option<String>, String, Option<Error>) {
    let error = match (ended.success, ended.timed_out) {
        (true, _) => None,
        (false, true) => Some(Error::new(Code::Stalled, "hook_slow").with("seconds", limit)),
        (false, false) => {
            let text = match ended.output.trim().is_empty() {
                true => "hook_failed_silent",
                false => "hook_failed",
            };
            Some(Error::new(Code::DumpFailed, text).with("status", ended.status.as_str()))
        }
    };
    let error = error.map(|error| {
        error
            .with("program", program)
            .with("moment", moment.as_str())
            .with("stderr", ended.output.as_str())
    });
    (Some(ended.status), ended.output, error)
}

fn environment(engine: &Engine, job: &Job, moment: HookMoment, backup: &Backup) -> Vec<(String, String)> {
    let kept = KEPT
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)));
    let plan = job.plan.as_ref();
    let ours = [
        ("COFFRE_HOME", engine.home.root().to_string_lossy().into_owned()),
        ("COFFRE_HOOK", moment.to_string()),
        ("COFFRE_RUN_ID", backup.id.to_string()),
        ("COFFRE_BACKUP_ID", backup.id.to_string()),
        ("COFFRE_BACKUP_CODE", backup.code.as_str().to_owned()),
        ("COFFRE_PLAN", plan.map(|plan| plan.name.clone()).unwrap_or_default()),
        ("COFFRE_PLAN_ID", plan.map(|plan| plan.id.to_string()).unwrap_or_default()),
        ("COFFRE_SOURCE", job.source.name.clone()),
        ("COFFRE_SOURCE_ID", job.source.id.to_string()),
        ("COFFRE_TRIGGER", backup.trigger.to_string()),
        ("COFFRE_STATE", backup.state.to_string()),
        (
            "COFFRE_ERROR",
            backup
                .error
                .as_ref()
                .map(|error| error.code().to_string())
                .unwrap_or_default(),
        ),
    ];
    kept.chain(ours.into_iter().map(|(name, value)| (name.to_owned(), value)))
        .collect()
}
