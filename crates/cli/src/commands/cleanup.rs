//! `coffre cleanup`, `acknowledge`, `plan simulate`: what leaves, when and why.

use coffre_api::Coffre;
use coffre_api::model::plan::Plan;
use coffre_api::model::{Cancel, Result};
use coffre_api::retention::{AfterBackup, Cleanup, SIMULATED_DAYS, Told};
use serde_json::json;

use crate::args;
use crate::output::Out;

pub(super) fn run(coffre: &Coffre, given: &args::Cleanup, out: &Out, cancel: &Cancel) -> Result<()> {
    let plan = given.plan.as_deref().map(|name| coffre.plan(name)).transpose()?;
    let asked = Cleanup {
        dry_run: given.dry_run,
        keep_days: given.keep_days,
        confirmed: given.yes,
    };
    let report = coffre.cleanup(plan.as_ref(), asked, &out.words, cancel)?;
    let head = match (&report.stopped, given.dry_run) {
        (Some(_), _) => "cli.cleanup_stopped",
        (None, true) => "cli.cleanup_would",
        (None, false) => "cli.cleanup_done",
    };
    let facts = [
        ("leaving", json!(report.leaving.len())),
        ("removed", json!(report.removed.len())),
        ("kept", json!(report.kept.len())),
        ("bytes", json!(report.bytes)),
    ];
    out.line(&out.bold(&out.words.say(head, &facts)));
    let dash = || "–".to_owned();
    let row = |told: &Told, gone: bool| {
        vec![
            told.backup.code.to_string(),
            told.backup.plan.clone().unwrap_or_else(dash),
            out.words.moment(told.backup.started_at),
            match (told.backup.leaves_at, gone) {
                (_, true) => out.words.text("cli.cleanup_gone"),
                (Some(at), false) => out.words.moment(at),
                (None, false) => out.words.text("cli.cleanup_stays"),
            },
            told.reason.clone(),
        ]
    };
    let mut rows: Vec<_> = report.removed.iter().map(|told| row(told, true)).collect();
    rows.extend(report.leaving.iter().map(|told| row(told, false)));
    // What stays is what a person asks for before something leaves, not every night.
    if given.dry_run {
        rows.extend(report.kept.iter().map(|told| row(told, false)));
    }
    if !rows.is_empty() {
        out.table(&["code", "plan", "started", "leaves", "why"], rows);
    }
    out.remarks(&report.waiting);
    match &report.stopped {
        // A dry run has answered what it was asked.
        Some(error) if !given.dry_run => {
            out.remarks(&report.stops[1..]);
            out.failed(&[("cleanup", &report)], error.clone())
        }
        _ => {
            out.remarks(&report.stops);
            out.document(&[("cleanup", &report)])
        }
    }
}

/// After a backup: only what is news.
pub(super) fn after_backup(retained: &AfterBackup, out: &Out) {
    if retained.leaving > 0 {
        let at = retained.leaves_at.map(|at| out.words.moment(at));
        out.say_aside(
            "cli.retention_chose",
            &[("leaving", json!(retained.leaving)), ("leaves", json!(at))],
        );
    }
    if retained.removed > 0 {
        out.say_aside("cli.retention_removed", &[("removed", json!(retained.removed))]);
    }
    out.remarks(&retained.waiting);
    out.remarks(retained.stopped.as_slice());
}

pub(super) fn acknowledge(coffre: &Coffre, given: &args::One, out: &Out) -> Result<()> {
    let backup = coffre.backup(&given.one, given.source.as_deref())?;
    let backup = coffre.acknowledge(&backup)?;
    out.say("cli.acknowledged", &[("backup", json!(backup.code))]);
    out.document(&[("backup", &backup)])
}

pub(super) fn simulate(coffre: &Coffre, plan: &Plan, out: &Out) -> Result<()> {
    let departures = coffre.simulate(plan, &out.words)?;
    let facts = [
        ("plan", json!(plan.name)),
        ("days", json!(SIMULATED_DAYS)),
        ("leaving", json!(departures.len())),
        ("bytes", json!(departures.iter().map(|d| d.bytes).sum::<u64>())),
    ];
    out.line(&out.bold(&out.words.say("cli.simulated", &facts)));
    if plan.retention.is_empty() {
        out.say("cli.simulated_no_rules", &[]);
    } else if plan.every.is_none() {
        out.say("cli.simulated_no_interval", &[]);
    }
    if !departures.is_empty() {
        let row = |d: &coffre_api::retention::ToldDeparture| {
            let asks = if d.asks {
                out.words.text("cli.simulated_asks")
            } else {
                String::new()
            };
            vec![
                out.words.moment(d.leaves_at),
                d.code.clone().unwrap_or_else(|| "–".to_owned()),
                out.words.moment(d.made_at),
                format!("{} {asks}", d.reason).trim().to_owned(),
            ]
        };
        out.table(&["leaves", "code", "started", "why"], departures.iter().map(row).collect());
    }
    out.document(&[("simulation", &departures), ("plan", &plan.name), ("days", &SIMULATED_DAYS)])
}
