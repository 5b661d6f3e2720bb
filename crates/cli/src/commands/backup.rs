//! `coffre backup`, `list`, `show`, `download`, `delete`, `pin`, `unpin`, `note`.

use std::io::{BufRead, IsTerminal, Write};

use coffre_api::Coffre;
use coffre_api::backups::{By, Manual};
use coffre_api::model::backup::{Backup, BackupState, BackupType, Trigger};
use coffre_api::model::compression::Compression;
use coffre_api::model::hook::{HookMoment, HookRun};
use coffre_api::model::manifest::Manifest;
use coffre_api::model::{Cancel, Code, Error, Result};
use coffre_api::words::plain;
use serde_json::{Value, json};

use super::source::facts;
use crate::args;
use crate::output::Out;
use crate::progress::Bar;

/// Flags that a sentence explains.
const FLAGS: [&str; 5] = ["shrunk", "table_emptied", "table_shrunk", "grew", "slow"];

pub(super) fn make(coffre: &Coffre, given: &args::Backup, out: &Out, cancel: &Cancel) -> Result<()> {
    let by = match (&given.plan, &given.source) {
        (Some(plan), _) => By::Plan(Box::new(coffre.plan(plan)?)),
        (None, Some(source)) => By::Manual(Box::new(Manual {
            source: coffre.source(source)?,
            destinations: given.to.iter().map(|name| coffre.destination(name)).collect::<Result<_>>()?,
            compression: given.compression.as_deref().map_or(Ok(Compression::default()), str::parse)?,
            key: given.encrypt.as_deref().map(|name| coffre.key(name)).transpose()?,
        })),
        (None, None) => return Err(Error::new(Code::Usage, "backup_of_what")),
    };
    let bar = Bar::new(out.words, out.quiet || out.json);
    let made = coffre.back_up_and_retain(
        by,
        Trigger::Manual,
        given.note.as_deref().unwrap_or_default(),
        given.pin,
        &bar,
        cancel,
    );
    bar.clear();
    match made {
        Ok((backup, retained)) => {
            done(&backup, out);
            for error in coffre
                .hook_runs(&backup)?
                .iter()
                .filter(|hook| hook.moment == HookMoment::After)
                .filter_map(|hook| hook.error.as_ref())
            {
                out.remarks(std::slice::from_ref(error));
            }
            let manifest = coffre.manifest(&backup)?;
            out.remarks(manifest.as_ref().map(|m| m.remarks.as_slice()).unwrap_or_default());
            if let Some(retained) = &retained {
                super::cleanup::after_backup(retained, out);
            }
            match (backup.copies.iter().find_map(|c| c.error.clone()), &retained) {
                // A verified copy is there, but not everywhere where it was asked for: said loudly, and never status 0.
                (Some(error), _) => out.failed(&[("backup", &backup)], error),
                (None, Some(retained)) => out.document(&[("backup", &backup), ("retention", retained)]),
                (None, None) => out.document(&[("backup", &backup)]),
            }
        }
        Err(error) => match error
            .detail("backup")
            .filter(|_| error.code() != Code::Busy)
            .map(|id| coffre.backup(&id, None))
        {
            Some(Ok(backup)) => out.failed(&[("backup", &backup)], error),
            _ => Err(error),
        },
    }
}

/// The answer first: verified, when, how many copies; then what it holds.
fn done(backup: &Backup, out: &Out) {
    let verified = backup.copies.iter().filter(|c| c.verified_at.is_some()).count();
    let line = out.words.say(
        "cli.backup_done",
        &[("backup", json!(backup.code)), ("copies_count", json!(verified))],
    );
    out.line(&out.proved(&format!("✓ {}", plain(&line))));
    out.say(
        "cli.backup_holds",
        &[
            ("tables", json!(backup.tables)),
            ("rows", json!(backup.rows)),
            ("raw_bytes", json!(backup.raw_bytes)),
            ("stored_bytes", json!(backup.stored_bytes)),
            ("duration_ms", json!(backup.duration_ms)),
        ],
    );
    for copy in &backup.copies {
        out.line(&format!(
            "  {}  {}  {}",
            out.copy_state(copy.state),
            plain(&copy.destination),
            copy.key
        ));
    }
    for flag in FLAGS.iter().filter(|known| backup.flags.iter().any(|flag| flag == *known)) {
        out.say_aside(&format!("cli.{flag}"), &[("source", json!(backup.source))]);
    }
}

pub(super) fn list(coffre: &Coffre, given: &args::List, out: &Out) -> Result<()> {
    let filter = coffre_api::backups::filter(
        coffre,
        given.source.as_deref(),
        given.plan.as_deref(),
        given.state.as_deref().and_then(BackupState::parse),
        given.backup_type.as_deref().and_then(BackupType::parse),
    )?;
    let (page, stats) = coffre.backups(&filter, u64::from(given.page), u64::from(given.per_page))?;
    if page.backups.is_empty() {
        out.say("cli.list_none", &[]);
    } else {
        let size = |bytes: Option<u64>| bytes.map_or_else(|| "–".to_owned(), |b| out.words.size(b));
        let row = |b: &Backup| {
            vec![
                match b
                    .leaves_at
                    .filter(|_| !matches!(b.state, BackupState::Deleting | BackupState::Deleted))
                {
                    Some(at) => {
                        let leaves = out.words.say("cli.leaving", &[("leaves", json!(out.words.moment(at)))]);
                        format!("{}, {leaves}", out.state(b.state))
                    }
                    None => out.state(b.state),
                },
                b.code.to_string(),
                b.source.clone(),
                out.words.moment(b.started_at),
                out.words.text(&format!("type.{}", b.backup_type)),
                size(b.raw_bytes),
                size(b.stored_bytes),
                b.rows.map_or_else(|| "–".to_owned(), |r| out.words.number(r)),
                reason(b, out),
            ]
        };
        let rows = page.backups.iter().map(row).collect();
        out.table(
            &[
                "state", "backup", "source", "started", "type", ">size", ">stored", ">rows", "remark",
            ],
            rows,
        );
        out.say(
            "cli.list_stats",
            &[
                ("shown", json!(page.backups.len())),
                ("total_count", json!(page.total)),
                ("page", json!(given.page)),
                ("verified_count", json!(stats.verified)),
                ("failed_count", json!(stats.failed)),
                ("stored_bytes", json!(stats.stored_bytes)),
            ],
        );
    }
    let backups = coffre.with_drills(page.backups)?;
    out.document(&[
        ("backups", &backups),
        ("total", &page.total),
        ("page", &given.page),
        ("per_page", &given.per_page),
        ("stats", &stats),
    ])
}

/// Why a backup is not green, or what a person noted, on the same line.
fn reason(backup: &Backup, out: &Out) -> String {
    match &backup.error {
        Some(error) => out.words.error(error).0,
        None => {
            let pinned = backup.pinned.then(|| out.words.text("cli.pinned"));
            let flags = backup.flags.iter().map(|f| out.words.text(&format!("flag.{f}")));
            let note = Some(backup.note.clone()).filter(|n| !n.is_empty());
            pinned.into_iter().chain(flags).chain(note).collect::<Vec<_>>().join(", ")
        }
    }
}

pub(super) fn show(coffre: &Coffre, given: &args::Show, out: &Out) -> Result<()> {
    let backup = coffre.backup(&given.backup, given.source.as_deref())?;
    let manifest = coffre.manifest(&backup)?;
    if !out.json {
        show_backup(&backup, manifest.as_ref(), out);
    }
    let drilled = coffre.with_drills(vec![backup])?;
    if let Some(last) = drilled.iter().find_map(|drilled| drilled.last_drill.as_ref()) {
        let level = last
            .level
            .map_or_else(|| "–".to_owned(), |level| out.words.text(&format!("drill.{level}")));
        out.line("");
        out.say(
            "cli.last_drill",
            &[("level", json!(level)), ("at", json!(out.words.moment(last.at)))],
        );
    }
    let backup = drilled.into_iter().next();
    let hooks = backup
        .as_ref()
        .map(|drilled| coffre.hook_runs(&drilled.backup))
        .transpose()?
        .unwrap_or_default();
    show_hooks(&hooks, out);
    out.document(&[("backup", &backup), ("manifest", &manifest), ("hooks", &hooks)])
}

/// What the commands before and after the run did, and the last that they said.
fn show_hooks(hooks: &[HookRun], out: &Out) {
    for hook in hooks {
        out.line("");
        let key = format!("cli.hook_{}", hook.moment);
        let status = hook.status.clone().unwrap_or_else(|| "–".to_owned());
        out.say(&key, &[("program", json!(hook.program)), ("status", json!(status))]);
        if let Some(error) = &hook.error {
            out.line(&format!("  {}", plain(&out.words.error(error).0)));
        }
        for line in hook.output.lines() {
            out.line(&format!("  | {}", plain(line)));
        }
    }
}

fn show_backup(backup: &Backup, manifest: Option<&Manifest>, out: &Out) {
    let words = &out.words;
    let dash = || "–".to_owned();
    let size = |bytes: Option<u64>| bytes.map_or_else(dash, |b| words.size(b));
    out.line(&out.bold(&format!("{}  {}", out.state(backup.state), backup.code)));
    let tool = backup
        .tool
        .as_ref()
        .map(|t| format!("{} {} {}", t.name, t.version, t.path.as_deref().unwrap_or_default()));
    facts(
        out,
        vec![
            ("source", backup.source.clone()),
            ("plan", backup.plan.clone().unwrap_or_else(dash)),
            ("id", backup.id.to_string()),
            ("started", words.moment(backup.started_at)),
            ("leaves", backup.leaves_at.map_or_else(dash, |at| words.moment(at))),
            ("duration", backup.duration_ms.map_or_else(dash, |ms| words.duration(ms))),
            ("size", size(backup.raw_bytes)),
            ("stored", size(backup.stored_bytes)),
            ("compression", backup.compression.to_string()),
            ("encryption", backup.encryption.clone().unwrap_or_else(dash)),
            ("tool", tool.unwrap_or_else(dash)),
            ("server", backup.server_version.clone().unwrap_or_else(dash)),
            ("sha256", backup.sha256.clone().unwrap_or_else(dash)),
            (
                "note",
                Some(backup.note.clone()).filter(|n| !n.is_empty()).unwrap_or_else(dash),
            ),
        ],
    );
    if let Some(error) = &backup.error {
        let (message, hint) = words.error(error);
        out.line("");
        out.line(&plain(&message));
        out.line(&format!("{} {}", words.text("cli.next"), plain(&hint)));
        if let Some(stderr) = error.detail("stderr") {
            stderr.lines().for_each(|l| out.line(&format!("  │ {}", plain(l))));
        }
    }
    for copy in &backup.copies {
        out.line("");
        out.line(&format!(
            "{}  {}  {}",
            out.copy_state(copy.state),
            plain(&copy.destination),
            copy.key
        ));
        if let Some(error) = &copy.error {
            out.line(&format!("  {}", plain(&words.error(error).0)));
        }
    }
    if let Some(manifest) = manifest {
        out.line("");
        let rows = manifest
            .table_counts
            .iter()
            .map(|c| vec![c.table.clone(), words.number(c.rows)])
            .collect();
        out.table(&["table", ">rows"], rows);
        out.line("");
        let missing: Vec<String> = manifest
            .scope
            .not_included
            .iter()
            .map(|w| words.text(&format!("scope.{w}")))
            .collect();
        if !missing.is_empty() {
            out.say("cli.not_included", &[("what", json!(missing.join(", ")))]);
        }
        out.say("cli.recovery_head", &[]);
        manifest
            .recovery
            .iter()
            .for_each(|line| out.line(&format!("  {}", plain(line))));
    }
}

pub(super) fn download(coffre: &Coffre, given: &args::Download, out: &Out, cancel: &Cancel) -> Result<()> {
    let backup = coffre.backup(&given.backup, given.source.as_deref())?;
    let bar = Bar::new(out.words, out.quiet || out.json);
    let path = coffre.download(&backup, &given.to, given.raw, &bar, cancel);
    bar.clear();
    let path = path?;
    let shown = path.display().to_string();
    out.say("cli.downloaded", &[("backup", json!(backup.code)), ("path", json!(shown))]);
    if backup.encryption.is_some() && !given.raw {
        out.say_aside("cli.download_encrypted", &[("key", json!(backup.encryption))]);
    }
    let bytes = if given.raw { backup.raw_bytes } else { backup.stored_bytes };
    let sha256 = if given.raw { &backup.raw_sha256 } else { &backup.sha256 };
    let download: Value = json!({"path": shown, "bytes": bytes, "sha256": sha256, "raw": given.raw});
    out.document(&[("backup", &backup), ("download", &download)])
}

pub(super) fn delete(coffre: &Coffre, given: &args::Delete, out: &Out, cancel: &Cancel) -> Result<()> {
    let backup = coffre.backup(&given.backup, given.source.as_deref())?;
    if !given.yes && !confirmed(&backup, out)? {
        return Err(Error::new(Code::Refused, "not_confirmed").with("backup", backup.code.as_str()));
    }
    let backup = coffre.delete(&backup, cancel)?;
    out.say(
        "cli.deleted",
        &[("backup", json!(backup.code)), ("source", json!(backup.source))],
    );
    out.document(&[("backup", &backup)])
}

/// Asks, on a terminal. In a pipe nobody can answer: that needs `--yes`.
fn confirmed(backup: &Backup, out: &Out) -> Result<bool> {
    if out.json || !std::io::stdin().is_terminal() {
        return Err(Error::new(Code::Refused, "needs_yes").with("backup", backup.code.as_str()));
    }
    let question = out.words.say(
        "cli.delete_question",
        &[
            ("backup", json!(backup.code)),
            ("source", json!(backup.source)),
            ("stored_bytes", json!(backup.stored_bytes)),
        ],
    );
    drop(write!(std::io::stderr().lock(), "{} ", plain(&question)));
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|e| Error::internal("read an answer", e))?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes" | "o" | "oui"))
}

pub(super) fn pin(coffre: &Coffre, given: &args::One, pinned: bool, out: &Out) -> Result<()> {
    let backup = coffre.backup(&given.one, given.source.as_deref())?;
    let backup = coffre.pin(&backup, pinned)?;
    out.say(
        if pinned { "cli.pinned_now" } else { "cli.unpinned_now" },
        &[("backup", json!(backup.code))],
    );
    out.document(&[("backup", &backup)])
}

pub(super) fn note(coffre: &Coffre, given: &args::Note, out: &Out) -> Result<()> {
    let backup = coffre.backup(&given.backup, given.source.as_deref())?;
    let backup = coffre.note(&backup, &given.text)?;
    out.say("cli.noted", &[("backup", json!(backup.code))]);
    out.document(&[("backup", &backup)])
}
