//! `coffre scheduler …` and `coffre serve`.

use std::sync::Arc;
use std::time::Duration;

use coffre_api::Coffre;
use coffre_api::backups::By;
use coffre_api::drills::verdict;
use coffre_api::jobs::JobStatus;
use coffre_api::model::backup::{Backup, Trigger};
use coffre_api::model::drill::Drill;
use coffre_api::model::plan::Plan;
use coffre_api::model::progress::Silent;
use coffre_api::model::slot::SlotState;
use coffre_api::model::throw_away::DrillLevel;
use coffre_api::model::{Cancel, Code, Error, Id, Result};
use coffre_api::notifications::Told;
use coffre_api::schedules::{Clockwork, PlanStatus, Ran, Runner, Telling, run_due};
use serde_json::{Value, json};

use crate::args;
use crate::output::Out;

/// How long a clean stop waits for runs that are being cancelled.
const STOP: Duration = Duration::from_secs(5);

/// Runs what is due without a window: a line for each run, on standard error.
struct Terminal {
    coffre: Arc<Coffre>,
    out: Out,
}

impl Runner for Terminal {
    fn coffre(&self) -> Result<Arc<Coffre>> {
        Ok(Arc::clone(&self.coffre))
    }

    fn back_up(&self, plan: &Plan, trigger: Trigger, begun: &(dyn Fn(Id) + Sync), cancel: &Cancel) -> Result<Backup> {
        let telling = Telling::new(&Silent, begun);
        self.coffre
            .back_up(By::Plan(Box::new(plan.clone())), trigger, "", false, &telling, cancel)
    }

    fn drill(&self, backup: &Backup, cancel: &Cancel) -> Result<Drill> {
        let drill = self.coffre.drill_by_schedule(backup, &Silent, cancel)?;
        let words = &self.out.words;
        match verdict(&drill) {
            Some(error) => {
                let facts = [
                    ("backup", json!(backup.code.as_str())),
                    ("source", json!(backup.source)),
                    ("why", json!(words.error(&error).0)),
                ];
                self.out.say_aside("cli.drill_unasked_failed", &facts);
            }
            None => {
                let level = drill.level.unwrap_or(DrillLevel::Bytes);
                let facts = [
                    ("backup", json!(backup.code.as_str())),
                    ("tables", json!(drill.tables)),
                    ("rows", json!(drill.rows)),
                    ("server_version", json!(drill.server_version)),
                ];
                self.out.say_aside(&format!("cli.drill_{level}"), &facts);
            }
        }
        Ok(drill)
    }

    fn changed(&self) {}

    fn ran(&self, ran: &Ran) {
        let words = &self.out.words;
        let facts = [
            ("plan", json!(ran.plan.name)),
            ("source", json!(ran.plan.source)),
            ("when", json!(words.moment(ran.slot.at))),
        ];
        match (&ran.outcome, ran.slot.state) {
            (Ok(backup), _) => {
                let facts = [facts.as_slice(), &[("backup", json!(backup.code.as_str()))]].concat();
                self.out.say_aside("cli.slot_verified", &facts);
            }
            (Err(error), state) => {
                let key = if state == SlotState::Due {
                    "cli.slot_again"
                } else {
                    "cli.slot_failed"
                };
                let facts = [facts.as_slice(), &[("why", json!(words.error(error).0))]].concat();
                self.out.say_aside(key, &facts);
            }
        }
    }

    fn failed(&self, error: &Error) {
        let (message, hint) = self.out.words.error(error);
        self.out.aside(&coffre_api::words::plain(format!("{message} {hint}").trim()));
    }

    fn told(&self, told: &Told) {
        super::channel::said(told, &self.out);
    }
}

pub(super) fn run(coffre: &Arc<Coffre>, command: &args::Scheduler, out: &Out, cancel: &Cancel) -> Result<()> {
    match command {
        args::Scheduler::Status => status(coffre, out),
        args::Scheduler::Run => run_now(coffre, out, cancel),
        args::Scheduler::Pause => pause(coffre, true, out),
        args::Scheduler::Resume => pause(coffre, false, out),
    }
}

fn pause(coffre: &Coffre, paused: bool, out: &Out) -> Result<()> {
    coffre.pause_schedules(paused)?;
    out.say(
        if paused {
            "cli.scheduler_paused"
        } else {
            "cli.scheduler_resumed"
        },
        &[],
    );
    out.document(&[("scheduler", &coffre.schedules()?)])
}

fn status(coffre: &Coffre, out: &Out) -> Result<()> {
    let status = coffre.schedules()?;
    let key = match (&status.paused_at, status.running) {
        (Some(_), _) => "cli.scheduler_is_paused",
        (None, true) => "cli.scheduler_runs",
        (None, false) => "cli.scheduler_not_running",
    };
    let since = status.paused_at.map(|at| out.words.moment(at));
    out.say(key, &[("when", json!(since))]);
    super::channel::say_unheard(&status.unheard, out);
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
    let moment = |at: Option<_>| or_dash(at.map(|at| out.words.moment(at)));
    let job = |job: &JobStatus| {
        vec![
            out.words.text(&format!("job.{}", job.job.as_str())),
            moment(Some(job.next_run)),
            moment(job.last_run),
            or_dash(job.last_error.as_ref().map(|why| out.words.error(why).0)),
        ]
    };
    if !status.plans.is_empty() {
        let row = |plan: &PlanStatus| {
            let next = match (plan.due, plan.paused_at) {
                (Some(due), _) => out.words.say("cli.slot_due", &[("when", json!(out.words.moment(due)))]),
                (None, Some(_)) => out.words.text("cli.plan_is_paused"),
                (None, None) => moment(plan.next_run),
            };
            let why = plan.waiting_for.as_ref().or(plan.last_error.as_ref());
            vec![
                plan.plan.clone(),
                plan.source.clone(),
                next,
                moment(plan.last_run),
                plan.successes.to_string(),
                plan.failures.to_string(),
                plan.missed.to_string(),
                or_dash(why.map(|why| out.words.error(why).0)),
            ]
        };
        out.table(
            &[
                "plan",
                "source",
                "next_run",
                "last_run",
                ">successes",
                ">failures",
                ">missed",
                "remark",
            ],
            status.plans.iter().map(row).collect(),
        );
        out.line("");
    }
    out.table(
        &["own_work", "next_run", "last_run", "remark"],
        status.jobs.iter().map(job).collect(),
    );
    out.document(&[("scheduler", &status)])
}

fn run_now(coffre: &Arc<Coffre>, out: &Out, cancel: &Cancel) -> Result<()> {
    let terminal = Terminal {
        coffre: Arc::clone(coffre),
        out: out.clone(),
    };
    let ran = run_due(&terminal, cancel)?;
    if ran.is_empty() {
        out.say("cli.scheduler_nothing_due", &[]);
    }
    let shown: Vec<Value> = ran.iter().map(|ran| shown(ran, out)).collect();
    let parts: [(&str, &dyn crate::output::erased::Json); 2] = [("ran", &shown), ("scheduler", &coffre.schedules()?)];
    match ran.into_iter().find_map(|ran| ran.outcome.err()) {
        Some(error) => out.failed(&parts, error),
        None => out.document(&parts),
    }
}

fn shown(ran: &Ran, out: &Out) -> Value {
    json!({
        "plan": ran.plan.name,
        "slot": ran.slot.at,
        "trigger": ran.trigger,
        "state": ran.slot.state,
        "backup": ran.outcome.as_ref().ok().map(|backup| backup.code.as_str().to_owned()),
        "error": ran.outcome.as_ref().err().map(|error| out.words.error_json(error)),
    })
}

/// The daemon: plans run at their time until somebody asks it to end.
pub(super) fn serve(coffre: &Arc<Coffre>, given: &args::Serve, out: &Out, cancel: &Cancel) -> Result<()> {
    if given.listen.is_some() {
        return Err(Error::new(Code::Refused, "not_yet").with("what", "--listen"));
    }
    let terminal = Terminal {
        coffre: Arc::clone(coffre),
        out: out.clone(),
    };
    let clockwork = Clockwork::start(Arc::new(terminal))?;
    let plans = coffre.plans()?.into_iter().filter(|plan| plan.schedule.is_some()).count();
    out.say_aside("cli.serving", &[("plans_count", json!(plans))]);
    cancel.wait();
    // Asked to end, and ended in order: that is no failure.
    let ended = clockwork.stop(STOP);
    if !ended {
        return Err(Error::new(Code::Busy, "closing"));
    }
    out.say_aside("cli.served", &[]);
    out.document(&[("served", &json!({"ended": true}))])
}
