//! `coffre recovery-sheet`, `journal`, `settings`, `catalogue`.

use coffre_api::Coffre;
use coffre_api::journals::{JournalFormat, JournalSearch, moment_of_period};
use coffre_api::model::journal::{Author, Entry};
use coffre_api::model::{Cancel, Result};
use serde_json::json;

use crate::args;
use crate::output::Out;

pub(super) fn recovery_sheet(coffre: &Coffre, given: &args::RecoverySheet, out: &Out) -> Result<()> {
    let backup = match &given.backup {
        Some(reference) => Some(coffre.backup(reference, given.source.as_deref())?),
        None => None,
    };
    let sheet = coffre.recovery_sheet(
        &given.to,
        backup.as_ref(),
        given.source.as_deref(),
        given.include_keys,
        &out.words,
    )?;
    out.say(
        "cli.sheet_written",
        &[("path", json!(sheet.path)), ("backups_count", json!(sheet.backups))],
    );
    if given.include_keys {
        out.say_aside("cli.sheet_has_keys", &[]);
    }
    out.document(&[("sheet", &sheet)])
}

pub(super) fn journal(coffre: &Coffre, given: &args::Journal, out: &Out, cancel: &Cancel) -> Result<()> {
    let moment = |given: &Option<String>, is_end| given.as_deref().map(|given| moment_of_period(given, is_end)).transpose();
    let search = JournalSearch {
        text: given.search.clone(),
        action: given.action.clone(),
        author: given.author.as_deref().and_then(Author::parse),
        source: given
            .source
            .as_deref()
            .map(|name| coffre.source(name))
            .transpose()?
            .map(|source| source.id),
        ok: None,
        since: moment(&given.since, false)?,
        until: moment(&given.until, true)?,
    };
    if let Some(path) = &given.export {
        let named = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
        let format = match given.format.as_deref() {
            Some("json") => JournalFormat::Json,
            None if named => JournalFormat::Json,
            _ => JournalFormat::Csv,
        };
        let written = coffre.export_journal(&search, format, path, &out.words, cancel)?;
        out.say(
            "cli.journal_exported",
            &[("path", json!(written.path)), ("lines_count", json!(written.entries))],
        );
        return out.document(&[("export", &written)]);
    }
    let entries = coffre.find_in_journal(&search, &out.words, given.limit.unwrap_or(50))?;
    if entries.is_empty() {
        let searched = given.search.is_some()
            || given.action.is_some()
            || given.author.is_some()
            || given.source.is_some()
            || given.since.is_some()
            || given.until.is_some();
        out.say(
            if searched {
                "cli.journal_none_match"
            } else {
                "cli.journal_none"
            },
            &[],
        );
    } else {
        let row = |e: &Entry| {
            let by = out.words.text(&format!("author.{}", e.author));
            let by = e.actor.as_ref().map_or(by.clone(), |actor| format!("{actor} ({by})"));
            let result = match &e.error {
                Some(error) => format!("✗ {}", out.words.error(error).0),
                None => out.words.text("cli.ok"),
            };
            vec![
                out.words.moment(e.at),
                by,
                out.words.text(&format!("journal.{}", e.action.replace('.', "_"))),
                e.subject.clone(),
                result,
            ]
        };
        out.table(&["when", "by", "what", "about", "result"], entries.iter().map(row).collect());
    }
    out.document(&[("entries", &entries)])
}

pub(super) fn settings(coffre: &Coffre, command: &args::Settings, out: &Out) -> Result<()> {
    match command {
        args::Settings::List => {
            let settings = coffre.settings()?;
            let rows = settings
                .iter()
                .map(|s| {
                    vec![
                        s.key.to_owned(),
                        s.value.clone(),
                        out.words.text(&format!("origin.{}", s.origin)),
                    ]
                })
                .collect();
            out.table(&["setting", "value", "origin"], rows);
            out.document(&[("settings", &settings)])
        }
        args::Settings::Get { key } => {
            let setting = coffre.setting(key)?;
            out.line(&coffre_api::words::plain(&setting.value));
            out.document(&[("setting", &setting)])
        }
        args::Settings::Set { key, value } => {
            let setting = coffre.set_setting(key, value)?;
            out.say(
                "cli.setting_set",
                &[("key", json!(setting.key)), ("value", json!(setting.value))],
            );
            out.document(&[("setting", &setting)])
        }
    }
}

pub(super) fn catalogue(coffre: &Coffre, command: &args::Catalogue, out: &Out, cancel: &Cancel) -> Result<()> {
    let args::Catalogue::Rebuild { from } = command;
    let mut found = Vec::new();
    for place in from {
        let (destination, rebuilt) = coffre.rebuild(place, cancel)?;
        out.say(
            "cli.rebuilt",
            &[
                ("name", json!(destination.name)),
                ("backups_count", json!(rebuilt.backups)),
                ("copies_count", json!(rebuilt.copies)),
                ("known_count", json!(rebuilt.known)),
            ],
        );
        out.remarks(&rebuilt.unusable);
        found.push((destination, rebuilt));
    }
    out.say_aside("cli.rebuilt_next", &[]);
    let rebuilt: Vec<_> = found.iter().map(|(d, r)| json!({"destination": d.name, "backups": r.backups, "copies": r.copies, "known": r.known, "unusable": r.unusable})).collect();
    out.document(&[("rebuilt", &rebuilt)])
}
