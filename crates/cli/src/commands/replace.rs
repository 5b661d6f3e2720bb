//! `coffre restore --replace`, its preview, and `coffre undo`.

use std::io::{BufRead, IsTerminal, Write};
use std::time::Duration;

use coffre_api::Coffre;
use coffre_api::model::impact::Impact;
use coffre_api::model::replace::ReplaceWay;
use coffre_api::model::restore::{CountComparison, Restore};
use coffre_api::model::source::Source;
use coffre_api::model::{Cancel, Code, Error, Id, Result};
use coffre_api::replaces::Agreed;
use coffre_api::restores::From;
use coffre_api::words::plain;
use serde_json::json;

use crate::args;
use crate::output::Out;
use crate::progress::Bar;

/// Seconds between the answer and the work, in which everything can still be stopped.
const COUNT_DOWN: u64 = 10;

/// Shows what replacing would mean.
pub(super) fn preview(coffre: &Coffre, from: &From, source: &Source, out: &Out, cancel: &Cancel) -> Result<()> {
    let (restore, impact) = previewed(coffre, from, source, out, cancel)?;
    show(&impact, source, out);
    if let Some(refusal) = impact.refusals.first() {
        let refusal = refusal.clone();
        return out.failed(&[("restore", &restore), ("impact", &impact)], refusal);
    }
    out.document(&[("restore", &restore), ("impact", &impact)])
}

fn previewed(coffre: &Coffre, from: &From, source: &Source, out: &Out, cancel: &Cancel) -> Result<(Restore, Impact)> {
    let bar = Bar::new(out.words, out.quiet || out.json);
    let seen = coffre.preview_replace(from, source, &bar, cancel);
    bar.clear();
    seen
}

pub(super) fn run(coffre: &Coffre, given: &args::Restore, from: &From, out: &Out, cancel: &Cancel) -> Result<()> {
    let source = coffre.replaced_source(from, given.source.as_deref())?;
    if given.dry_run {
        return preview(coffre, from, &source, out, cancel);
    }
    let confirmation = given.confirmation.as_deref().map(str::parse::<Id>).transpose();
    let confirmation = confirmation.map_err(|_| Error::new(Code::Refused, "confirmation_old"))?;
    let agreed = if given.yes {
        Agreed {
            confirmation,
            rows_may_differ: given.rows_may_differ,
        }
    } else {
        if out.json || !std::io::stdin().is_terminal() {
            return Err(Error::new(Code::Refused, "replace_needs_yes").with("source", source.name.as_str()));
        }
        asked(coffre, from, &source, confirmation, out, cancel)?
    };
    if !given.no_countdown {
        count_down(&source, out, cancel)?;
    }
    replace(coffre, from, &source, agreed, out, cancel)
}

/// Shows what replacing would mean, asks, counts down, and replaces.
///
/// # Errors
/// `REFUSED` (`confirmation_name`) where the name was not typed.
pub(super) fn offer(coffre: &Coffre, from: &From, source: &Source, out: &Out, cancel: &Cancel) -> Result<()> {
    let agreed = asked(coffre, from, source, None, out, cancel)?;
    count_down(source, out, cancel)?;
    replace(coffre, from, source, agreed, out, cancel)
}

fn asked(coffre: &Coffre, from: &From, source: &Source, confirmation: Option<Id>, out: &Out, cancel: &Cancel) -> Result<Agreed> {
    let (_, impact) = previewed(coffre, from, source, out, cancel)?;
    show(&impact, source, out);
    if let Some(refusal) = impact.refusals.first() {
        return Err(refusal.clone());
    }
    ask_for_name(source, out)?;
    // Shown and answered in one go: an application that writes meanwhile is no surprise, another database would be.
    Ok(Agreed {
        confirmation: confirmation.or(impact.confirmation),
        rows_may_differ: true,
    })
}

/// Replaces, and shows what was done.
pub(super) fn replace(coffre: &Coffre, from: &From, source: &Source, agreed: Agreed, out: &Out, cancel: &Cancel) -> Result<()> {
    let bar = Bar::new(out.words, out.quiet || out.json);
    let replaced = coffre.replace(from, source, agreed, &bar, cancel);
    bar.clear();
    match replaced {
        Ok(restore) => {
            done(coffre, &restore, source, out)?;
            out.remarks(&restore.remarks);
            out.document(&[("restore", &restore)])
        }
        Err(error) => failed(coffre, out, error),
    }
}

/// A failure, with the row that it left where there is one.
fn failed(coffre: &Coffre, out: &Out, error: Error) -> Result<()> {
    let id = error.detail("restore").and_then(|id| id.parse::<Id>().ok());
    match id.filter(|_| error.code() != Code::Busy).map(|id| coffre.restore_row(&id)) {
        Some(Ok(restore)) => out.failed(&[("restore", &restore)], error),
        _ => Err(error),
    }
}

/// The source's name, typed.
fn ask_for_name(source: &Source, out: &Out) -> Result<()> {
    let question = out.words.say("cli.replace_question", &[("source", json!(source.name))]);
    drop(write!(std::io::stderr().lock(), "{} ", plain(&question)));
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|e| Error::internal("read an answer", e))?;
    if answer.trim_end_matches(['\r', '\n']) == source.name {
        return Ok(());
    }
    Err(Error::new(Code::Refused, "confirmation_name").with("name", source.name.as_str()))
}

fn count_down(source: &Source, out: &Out, cancel: &Cancel) -> Result<()> {
    for left in (1..=COUNT_DOWN).rev() {
        if left == COUNT_DOWN || left <= 5 || out.interactive() {
            out.say_aside(
                "cli.replace_count_down",
                &[("source", json!(source.name)), ("seconds", json!(left))],
            );
        }
        for _ in 0..10 {
            cancel.check()?;
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    cancel.check()
}

fn show(impact: &Impact, source: &Source, out: &Out) {
    let number = |n: Option<u64>| n.map_or_else(|| "–".to_owned(), |n| out.words.number(n));
    let change = |c: &CountComparison| match (c.before, c.backup) {
        (None, Some(_)) => out.words.text("cli.impact.appears").to_owned(),
        (Some(_), None) => out.words.text("cli.impact.vanishes").to_owned(),
        (Some(now), Some(then)) if now > then => format!("−{}", out.words.number(now - then)),
        (Some(now), Some(then)) if now < then => format!("+{}", out.words.number(then - now)),
        (Some(_), Some(_)) => "=".to_owned(),
        (None, None) => String::new(),
    };
    out.table(
        &["table", ">now", ">in_backup", ">change"],
        impact
            .counts
            .iter()
            .map(|c| vec![c.table.clone(), number(c.before), number(c.backup), change(c)])
            .collect(),
    );
    let line = |key: &str, facts: &[(&str, serde_json::Value)]| out.say(&format!("cli.impact.{key}"), facts);
    if !impact.exists {
        line("nothing_there", &[("target", json!(source.address))]);
    }
    if let Some(schema) = &impact.schema {
        for difference in schema {
            let nothing = || "–".to_owned();
            line(
                "schema",
                &[
                    ("table", json!(difference.table)),
                    ("column", json!(difference.column)),
                    ("now", json!(difference.now.clone().unwrap_or_else(nothing))),
                    ("backup", json!(difference.backup.clone().unwrap_or_else(nothing))),
                ],
            );
        }
    } else if impact.exists {
        line("schema_unknown", &[]);
    }
    if let Some(newest) = impact.newest.first() {
        line(
            "newest",
            &[
                ("value", json!(newest.value)),
                ("table", json!(newest.table)),
                ("column", json!(newest.column)),
            ],
        );
    }
    if let (Some(now), Some(then)) = (impact.live_bytes, impact.backup_bytes) {
        line("size", &[("live_bytes", json!(now)), ("backup_bytes", json!(then))]);
    }
    if let (Some(live), Some(backup)) = (&impact.live_version, &impact.backup_version) {
        line("versions", &[("live", json!(live)), ("backup", json!(backup))]);
    }
    if let Some(ms) = impact.estimated_ms {
        line("estimated", &[("duration_ms", json!(ms))]);
    }
    if let Some(sessions) = impact.sessions.as_ref().filter(|s| !s.is_empty()) {
        let names: Vec<_> = sessions.iter().map(|s| s.program.as_str()).collect();
        // SQLite ends nobody: whoever has the file open goes on in the same one. Within one transaction, they wait for it.
        let becomes = match impact.way {
            Some(ReplaceWay::Within) => "sessions_wait",
            _ if source.address.starts_with("sqlite:") => "sessions_stay",
            _ => "sessions",
        };
        line(
            becomes,
            &[("sessions", json!(sessions.len())), ("programs", json!(names.join(", ")))],
        );
    }
    if let Some(way) = impact.way {
        line(&format!("way_{way}"), &[("source", json!(source.name))]);
    }
    out.remarks(&impact.remarks);
    if let Some(confirmation) = impact.confirmation {
        line(
            "confirmation",
            &[("confirmation", json!(confirmation)), ("source", json!(source.name))],
        );
    }
}

fn done(coffre: &Coffre, restore: &Restore, source: &Source, out: &Out) -> Result<()> {
    let number = |n: Option<u64>| n.map_or_else(|| "–".to_owned(), |n| out.words.number(n));
    let mark = |c: &CountComparison| match (c.after, c.backup) {
        (after, Some(backup)) if after == Some(backup) => "=",
        (_, None) => "",
        _ => "≠",
    };
    out.table(
        &["table", ">before", ">in_backup", ">restored", "same"],
        restore
            .counts
            .iter()
            .map(|c| {
                vec![
                    c.table.clone(),
                    number(c.before),
                    number(c.backup),
                    number(c.after),
                    mark(c).to_owned(),
                ]
            })
            .collect(),
    );
    let rows: u64 = restore.counts.iter().filter_map(|c| c.after).sum();
    let tables = restore.counts.iter().filter(|c| c.after.is_some()).count();
    let line = out.words.say(
        "cli.replaced",
        &[
            ("source", json!(source.name)),
            ("tables", json!(tables)),
            ("rows", json!(rows)),
        ],
    );
    out.line(&out.proved(&format!("✓ {}", plain(&line))));
    if let Some(id) = restore.safety_backup_id {
        let safety = coffre.backup(&id.to_string(), None)?;
        out.say("cli.replaced_safety", &[("backup", json!(safety.code))]);
    }
    match (restore.kept_until, restore.kept_bytes, restore.safety_backup_id) {
        (Some(until), bytes, _) => out.say(
            "cli.replaced_kept",
            &[
                ("until", json!(out.words.moment(until))),
                ("kept_bytes", json!(bytes.unwrap_or_default())),
                ("restore", json!(restore.id)),
            ],
        ),
        (None, _, Some(_)) => out.say("cli.replaced_undo", &[("restore", json!(restore.id))]),
        (None, _, None) => {}
    }
    Ok(())
}

pub(super) fn undo(coffre: &Coffre, given: &args::Undo, out: &Out, cancel: &Cancel) -> Result<()> {
    let Some(id) = &given.restore else { return kept(coffre, out) };
    let id = id
        .parse::<Id>()
        .map_err(|_| Error::new(Code::NotFound, "restore_not_found").with("given", id.as_str()))?;
    if given.forget {
        let restore = coffre.forget_kept(&id, cancel)?;
        out.say("cli.kept_forgotten", &[("target", json!(restore.target))]);
        return out.document(&[("restore", &restore)]);
    }
    let bar = Bar::new(out.words, out.quiet || out.json);
    let undone = coffre.undo(&id, &bar, cancel);
    bar.clear();
    match undone {
        Ok(restore) => {
            let line = out.words.say("cli.undone", &[("target", json!(restore.target))]);
            out.line(&out.proved(&format!("✓ {}", plain(&line))));
            if let Some(until) = restore.kept_until {
                out.say("cli.undone_kept", &[("until", json!(out.words.moment(until)))]);
            }
            out.remarks(&restore.remarks);
            out.document(&[("restore", &restore)])
        }
        Err(error) => failed(coffre, out, error),
    }
}

/// Without an id: what can be taken back.
fn kept(coffre: &Coffre, out: &Out) -> Result<()> {
    let kept = coffre.kept_replacements()?;
    if kept.is_empty() {
        out.say("cli.kept_none", &[]);
    } else {
        let row = |r: &Restore| {
            vec![
                r.id.to_string(),
                r.target.clone(),
                out.words.text(&format!("restore_state.{}", r.state)).to_owned(),
                out.words.moment(r.started_at),
                r.kept_until.map_or_else(String::new, |t| out.words.moment(t)),
                r.kept_bytes.map_or_else(|| "–".to_owned(), |b| out.words.size(b)),
            ]
        };
        out.table(
            &["restore", "what", "state", "when", "kept_until", ">size"],
            kept.iter().map(row).collect(),
        );
    }
    out.document(&[("restores", &kept)])
}
