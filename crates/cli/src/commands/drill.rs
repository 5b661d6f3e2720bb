//! `coffre drill` and `coffre open`

use std::io::IsTerminal;

use coffre_api::Coffre;
use coffre_api::drills::verdict;
use coffre_api::model::drill::Drill;
use coffre_api::model::throw_away::{DrillLevel, ExportFormat, RowPage};
use coffre_api::model::{Cancel, Code, Error, Result};
use coffre_api::words::plain;
use serde_json::json;

use crate::args;
use crate::output::Out;
use crate::progress::Bar;

/// The longest value in a row of a table for people; `--json` and `--export` have all of it.
const SHOWN: usize = 60;

pub(super) fn run(coffre: &Coffre, given: &args::Drill, out: &Out, cancel: &Cancel) -> Result<()> {
    let backup = coffre.backup(&given.backup, given.source.as_deref())?;
    let bar = Bar::new(out.words, out.quiet || out.json);
    let drill = coffre.drill(&backup, &bar, cancel);
    bar.clear();
    let drill = drill?;
    if let Some(error) = verdict(&drill) {
        return out.failed(&[("drill", &drill)], error);
    }
    show(&drill, backup.code.as_str(), out);
    out.remarks(&drill.remarks);
    out.document(&[("drill", &drill)])
}

/// The answer first: how deep, and what it showed.
fn show(drill: &Drill, backup: &str, out: &Out) {
    let level = drill.level.unwrap_or(DrillLevel::Bytes);
    let facts = [
        ("backup", json!(backup)),
        ("tables", json!(drill.tables)),
        ("rows", json!(drill.rows)),
        ("server_version", json!(drill.server_version)),
    ];
    let line = plain(&out.words.say(&format!("cli.drill_{level}"), &facts));
    // Green is what was counted; what stopped above that is told as it is.
    match level {
        DrillLevel::Counted => out.line(&out.proved(&format!("✓ {line}"))),
        _ => out.line(&format!("◌ {line}")),
    }
    if let Some(ms) = drill.restore_ms {
        out.say("cli.drill_time", &[("duration_ms", json!(ms))]);
    }
}

pub(super) fn open(coffre: &Coffre, given: &args::Open, out: &Out, cancel: &Cancel) -> Result<()> {
    let backup = coffre.backup(&given.backup, given.source.as_deref())?;
    let Some(table) = &given.table else {
        let manifest = coffre.manifest(&backup)?.ok_or_else(|| {
            Error::new(Code::Refused, "nothing_to_restore")
                .with("backup", backup.code.as_str())
                .with("state", backup.state.as_str())
        })?;
        let counts = &manifest.table_counts;
        let rows = counts.iter().map(|c| vec![c.table.clone(), out.words.number(c.rows)]);
        out.table(&["table", ">rows"], rows.collect());
        return out.document(&[("backup", &backup), ("tables", counts)]);
    };
    let format = match given.export.as_deref() {
        None => None,
        Some("sql") => Some(ExportFormat::Sql),
        Some(_) => Some(ExportFormat::Csv),
    };
    if let Some(to) = &given.to
        && to.symlink_metadata().is_ok()
    {
        // Said before a database is made for nothing; writing decides.
        return Err(Error::new(Code::Refused, "file_exists").with("path", to.display().to_string()));
    }
    let bar = Bar::new(out.words, out.quiet || out.json);
    let opened = coffre.open_inside(&backup, &bar, cancel);
    bar.clear();
    let mut inside = opened?;
    out.remarks(inside.remarks());
    match (format, &given.to) {
        (Some(format), Some(to)) => {
            let exported = coffre.export_table(&mut inside, table, format, to, cancel)?;
            let facts = [
                ("table", json!(exported.table)),
                ("path", json!(exported.path)),
                ("rows", json!(exported.rows)),
            ];
            out.say("cli.exported", &facts);
            out.document(&[("backup", &backup), ("export", &exported)])
        }
        _ => {
            let page = inside.rows(
                table,
                given.search.as_deref(),
                u64::from(given.page),
                u64::from(given.per_page),
            )?;
            show_rows(&page, out);
            out.document(&[("backup", &backup), ("table", table), ("rows", &page)])
        }
    }
}

fn show_rows(page: &RowPage, out: &Out) {
    if out.json {
        return;
    }
    let value = |value: &Option<String>| match value {
        None => "∅".to_owned(),
        // A pipe gets whole values; a person's line has an end.
        Some(text) if !std::io::stdout().is_terminal() => plain(text),
        Some(text) => match text.char_indices().nth(SHOWN) {
            Some((end, _)) => plain(&format!("{}…", &text[..end])),
            None => plain(text),
        },
    };
    let rows = page.rows.iter().map(|row| row.iter().map(value).collect());
    out.data(&page.columns, rows.collect());
    let pages = page.total.div_ceil(page.per_page.max(1)).max(1);
    out.say(
        "cli.rows_shown",
        &[
            ("shown", json!(page.rows.len())),
            ("total_count", json!(page.total)),
            ("page", json!(page.page)),
            ("pages", json!(pages)),
        ],
    );
}
