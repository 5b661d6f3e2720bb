//! `coffre restore`

use coffre_api::Coffre;
use coffre_api::model::restore::{CountComparison, Restore};
use coffre_api::model::source::SourceOptions;
use coffre_api::model::{Cancel, Code, Error, Id, Result};
use coffre_api::restores::{From, Target};
use coffre_api::words::plain;
use serde_json::json;

use super::source::{absolute, read_password, tls};
use crate::args;
use crate::output::Out;
use crate::progress::Bar;

pub(super) fn run(coffre: &Coffre, given: &args::Restore, out: &Out, cancel: &Cancel) -> Result<()> {
    if !given.dry_run && !given.replace && given.into.is_none() {
        return Err(Error::new(Code::Usage, "restore_where"));
    }
    let from = match (&given.file, &given.backup) {
        (Some(path), _) => From::File(path.clone(), given.key.clone()),
        (None, Some(backup)) => From::Backup(Box::new(coffre.backup(backup, given.source.as_deref())?)),
        (None, None) => return Err(Error::new(Code::Usage, "restore_where")),
    };
    if given.replace {
        return super::replace::run(coffre, given, &from, out, cancel);
    }
    let target = Target {
        address: given.into.clone(),
        options: SourceOptions {
            tls: tls(given.tls.as_deref()),
            tool_path: given.tool_path.clone().map(absolute).transpose()?,
            no_owner: given.no_owner,
            no_privileges: given.no_privileges,
            ..SourceOptions::default()
        },
        password: read_password(&given.password)?,
    };
    let bar = Bar::new(out.words, out.quiet || out.json);
    if let (Some(table), From::Backup(backup)) = (&given.table, &from) {
        let opened = coffre.open_inside(backup, &bar, cancel);
        bar.clear();
        let mut inside = opened?;
        out.remarks(inside.remarks());
        let table = coffre.restore_table(&mut inside, table, target, given.name.as_deref(), cancel)?;
        let facts = [
            ("table", json!(table.table)),
            ("name", json!(table.name)),
            ("target", json!(table.target)),
            ("rows", json!(table.rows)),
        ];
        let line = out.words.say("cli.table_restored", &facts);
        out.line(&out.proved(&format!("✓ {}", plain(&line))));
        return out.document(&[("backup", backup), ("table", &table)]);
    }
    let restored = coffre.restore(from, target, given.dry_run, &bar, cancel);
    bar.clear();
    match restored {
        Ok(restore) => {
            show(&restore, out);
            out.remarks(&restore.remarks);
            out.document(&[("restore", &restore)])
        }
        Err(error) => match error
            .detail("restore")
            .and_then(|id| id.parse::<Id>().ok())
            .map(|id| coffre.restore_row(&id))
        {
            Some(Ok(restore)) => out.failed(&[("restore", &restore)], error),
            _ => Err(error),
        },
    }
}

/// What came back, table by table.
pub(super) fn show(restore: &Restore, out: &Out) {
    let number = |n: Option<u64>| n.map_or_else(|| "–".to_owned(), |n| out.words.number(n));
    let planned = restore.ended_at.is_some() && restore.steps.len() == 1;
    let row = |c: &CountComparison| {
        let mark = match (planned, c.after, c.backup) {
            (true, ..) | (_, _, None) => "",
            (_, after, backup) if after == backup => "=",
            _ => "≠",
        };
        vec![c.table.clone(), number(c.backup), number(c.after), mark.to_owned()]
    };
    out.table(
        &["table", ">in_backup", ">restored", "same"],
        restore.counts.iter().map(row).collect(),
    );
    let rows: u64 = restore.counts.iter().filter_map(|c| c.after.or(c.backup)).sum();
    let facts = [
        ("target", json!(restore.target)),
        ("tables", json!(restore.counts.len())),
        ("rows", json!(rows)),
    ];
    if planned {
        out.say("cli.restore_planned", &facts);
    } else {
        let line = out.words.say("cli.restore_done", &facts);
        out.line(&out.proved(&format!("✓ {}", plain(&line))));
    }
    let seconds = restore
        .ended_at
        .map(|end| (end - restore.started_at).num_milliseconds().max(0));
    if let (false, Some(ms)) = (planned, seconds) {
        out.say("cli.restore_time", &[("duration_ms", json!(ms))]);
    }
}
