//! The journal: read, searched, written out for spreadsheets and programs.

use std::io::{BufWriter, Write};
use std::path::Path;

use chrono::{DateTime, Days, Local, NaiveDate, NaiveTime, TimeDelta, TimeZone, Utc};
use coffre_engine::catalogue::JournalFilter;
use coffre_engine::context::Subject;
use coffre_model::journal::{Author, Entry};
use coffre_model::{Cancel, Code, Error, Id, Result};
use serde::{Deserialize, Serialize};

use crate::Coffre;
use crate::keys::private;
use crate::words::Words;

/// How many lines are held in memory while the journal is written out.
const AT_ONCE: u32 = 1_000;
/// The longest text that is searched for, in bytes.
const TEXT_MAX: usize = 1_000;

/// Which lines of the journal. Everything that is set must hold.
#[derive(Clone, Debug, Default)]
pub struct JournalSearch {
    /// In action, subject, actor or error, or in the words for them; capitals do not matter.
    pub text: Option<String>,
    /// `backup.run`, or `backup` for everything of that kind.
    pub action: Option<String>,
    /// Through what somebody acted.
    pub author: Option<Author>,
    /// What concerns this source.
    pub source: Option<Id>,
    /// Whether it went well.
    pub ok: Option<bool>,
    /// From this moment on.
    pub since: Option<DateTime<Utc>>,
    /// Before this moment.
    pub until: Option<DateTime<Utc>>,
}

impl JournalSearch {
    fn filter(&self, words: &Words) -> Result<JournalFilter> {
        let text = self.text.as_deref().map(str::trim).filter(|text| !text.is_empty());
        if text.is_some_and(|text| text.len() > TEXT_MAX) {
            return Err(Error::new(Code::Usage, "field_long").with("max", TEXT_MAX));
        }
        let saying = |group: &str| text.map(|text| words.entries_saying(group, text)).unwrap_or_default();
        Ok(JournalFilter {
            author: self.author,
            ok: self.ok,
            action: self.action.clone().filter(|action| !action.is_empty()),
            source: self.source,
            since: self.since,
            until: self.until,
            // `backup_run` among the words is `backup.run` in the journal.
            actions: saying("journal").iter().map(|name| name.replacen('_', ".", 1)).collect(),
            errors: saying("errors"),
            text: text.map(str::to_owned),
        })
    }
}

/// How the journal is written out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ts_rs::TS)]
#[serde(rename_all = "snake_case")]
pub enum JournalFormat {
    /// For spreadsheets.
    Csv,
    /// For programs: the same lines as `coffre journal --json`.
    Json,
}

impl JournalFormat {
    /// The ending of a file's name.
    pub fn extension(self) -> &'static str {
        match self {
            JournalFormat::Csv => "csv",
            JournalFormat::Json => "json",
        }
    }
}

/// A journal that was written out.
#[derive(Debug, Serialize)]
pub struct JournalExported {
    /// The file.
    pub path: String,
    /// How.
    pub format: JournalFormat,
    /// How many lines.
    pub entries: u64,
}

/// A moment as a person gives it: a day (`2026-11-01`) or a whole moment (RFC 3339). A day that ends a period belongs to it.
///
/// # Errors
/// `USAGE` for anything else.
pub fn moment_of_period(given: &str, is_end: bool) -> Result<DateTime<Utc>> {
    let wrong = || {
        let shown: String = given.chars().take(40).collect();
        Error::new(Code::Usage, "journal_period").with("given", shown)
    };
    if let Ok(at) = DateTime::parse_from_rfc3339(given) {
        return Ok(at.to_utc());
    }
    let mut day: NaiveDate = given.parse().map_err(|_| wrong())?;
    if is_end {
        day = day.checked_add_days(Days::new(1)).ok_or_else(wrong)?;
    }
    // Where clocks are put forward at midnight, the day begins when it begins.
    let at = |minutes| {
        Local
            .from_local_datetime(&(day.and_time(NaiveTime::MIN) + TimeDelta::minutes(minutes)))
            .earliest()
    };
    let at = (0..=180).step_by(15).find_map(at).ok_or_else(wrong)?.to_utc();
    // Years of more than four digits are no text that the catalogue compares.
    if (0..=9998).contains(&chrono::Datelike::year(&at)) {
        Ok(at)
    } else {
        Err(wrong())
    }
}

impl Coffre {
    /// The newest lines, newest first; older than line `before` where given.
    pub fn journal(&self, limit: u32, before: Option<i64>) -> Result<Vec<Entry>> {
        self.engine.catalogue.journal(limit, before)
    }

    /// The newest lines that a search finds, newest first.
    ///
    /// # Errors
    /// `USAGE` for a text that is absurdly long; the catalogue's own.
    pub fn find_in_journal(&self, search: &JournalSearch, words: &Words, limit: u32) -> Result<Vec<Entry>> {
        self.engine.catalogue.journal_lines(&search.filter(words)?, None, limit)
    }

    /// A page of what a search finds, from 1, newest first; and how many lines there are on all pages.
    ///
    /// # Errors
    /// Likewise.
    pub fn journal_page(&self, search: &JournalSearch, words: &Words, page: u64, per_page: u64) -> Result<(Vec<Entry>, u64)> {
        self.engine.catalogue.search_journal(&search.filter(words)?, page, per_page)
    }

    /// Writes everything that a search finds to a new file (0600), newest first, however much it is: a thousand lines are in memory at a
    /// time. A file that could not be written to its end is removed.
    ///
    /// # Errors
    /// `REFUSED` where the file exists; `USAGE` where it cannot be written; a cancellation; the catalogue's own.
    pub fn export_journal(
        &self,
        search: &JournalSearch,
        format: JournalFormat,
        to: &Path,
        words: &Words,
        cancel: &Cancel,
    ) -> Result<JournalExported> {
        let filter = search.filter(words)?;
        let path = to.display().to_string();
        let unwritable = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::AlreadyExists => Error::new(Code::Refused, "file_exists").with("path", path.as_str()),
            _ => Error::new(Code::Usage, "file_unwritable")
                .with("path", path.as_str())
                .with("cause", e.to_string()),
        };
        let file = private(to).map_err(unwritable)?;
        let mut out = BufWriter::new(file);
        let written = self
            .write_journal(&filter, format, &mut out, words, cancel, &unwritable)
            .and_then(|entries| {
                let file = out.into_inner().map_err(|e| unwritable(e.into_error()))?;
                file.sync_all().map_err(unwritable)?;
                Ok(entries)
            });
        let entries = written.inspect_err(|_| {
            // Half a journal looks like a whole one. That it cannot be removed says no more than the error itself.
            drop(std::fs::remove_file(to));
        })?;
        let subject = Subject {
            kind: "journal",
            id: None,
            name: &path,
        };
        self.engine.record("journal.export", subject, None)?;
        Ok(JournalExported { path, format, entries })
    }

    fn write_journal(
        &self,
        filter: &JournalFilter,
        format: JournalFormat,
        out: &mut impl Write,
        words: &Words,
        cancel: &Cancel,
        unwritable: &dyn Fn(std::io::Error) -> Error,
    ) -> Result<u64> {
        let head = match format {
            JournalFormat::Csv => "id,at,author,actor,action,subject_kind,subject_id,subject,result,error_code,error_message\r\n",
            JournalFormat::Json => "{\"entries\": [",
        };
        out.write_all(head.as_bytes()).map_err(unwritable)?;
        let (mut before, mut entries) = (None, 0_u64);
        loop {
            cancel.check()?;
            let lines = self.engine.catalogue.journal_lines(filter, before, AT_ONCE)?;
            let Some(last) = lines.last() else { break };
            before = Some(last.id);
            for line in &lines {
                let text = match format {
                    JournalFormat::Csv => csv_line(line, words),
                    JournalFormat::Json => {
                        let comma = if entries == 0 { "\n" } else { ",\n" };
                        format!("{comma}{}", crate::wire::json(line, words)?)
                    }
                };
                out.write_all(text.as_bytes()).map_err(unwritable)?;
                entries += 1;
            }
        }
        if format == JournalFormat::Json {
            out.write_all(b"\n]}\n").map_err(unwritable)?;
        }
        Ok(entries)
    }
}

/// A line for a spreadsheet (RFC 4180).
fn csv_line(entry: &Entry, words: &Words) -> String {
    let error = entry.error.as_ref();
    let cells = [
        entry.id.to_string(),
        entry.at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
        entry.author.to_string(),
        entry.actor.clone().unwrap_or_default(),
        entry.action.clone(),
        entry.subject_kind.clone(),
        entry.subject_id.clone().unwrap_or_default(),
        entry.subject.clone(),
        entry.result.clone(),
        error.map(|e| e.code().as_str().to_owned()).unwrap_or_default(),
        error.map(|e| words.error(e).0).unwrap_or_default(),
    ];
    let cells: Vec<String> = cells.iter().map(|cell| csv_cell(cell)).collect();
    format!("{}\r\n", cells.join(","))
}

/// A cell: always text to a spreadsheet. Names come from anybody, and one that begins with `=`, `+`, `-` or `@` would be a formula, which
/// may read other cells and send them away (OWASP, "CSV injection"): it gets a `'` before it, and so does one with a tab or a line
/// end there, which some programs drop before they look. Quoted where it holds a comma, a quote or a line end.
fn csv_cell(text: &str) -> String {
    let first = text.trim_start_matches([' ', '\u{a0}', '\u{feff}']).chars().next();
    // Also in the wide forms of East Asian fonts, which spreadsheets take for the narrow ones.
    let formula = matches!(
        first,
        Some('=' | '+' | '-' | '@' | '\t' | '\r' | '\n' | '\u{ff1d}' | '\u{ff0b}' | '\u{ff0d}' | '\u{ff20}')
    );
    let text = if formula { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\r', '\n', ';', '\t']) {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula() {
        for (given, cell) in [
            ("shop", "shop"),
            ("=1+1", "'=1+1"),
            ("+33 1", "'+33 1"),
            ("-2", "'-2"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("  =cmd|' /C calc'!A0", "'  =cmd|' /C calc'!A0"),
            ("\t=1", "\"'\t=1\""),
            ("\u{ff1d}1", "'\u{ff1d}1"),
            ("a,\"b\"\nc", "\"a,\"\"b\"\"\nc\""),
            (
                "=HYPERLINK(\"http://x\",\"y\")",
                "\"'=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\"",
            ),
            ("a=b", "a=b"),
            ("", ""),
        ] {
            assert_eq!(csv_cell(given), cell, "{given:?}");
        }
    }

    #[test]
    fn a_period_is_given_in_days_or_moments() {
        let (from, to) = (
            moment_of_period("2026-11-01", false).unwrap(),
            moment_of_period("2026-11-01", true).unwrap(),
        );
        assert!((23..=25).contains(&(to - from).num_hours()), "the day itself belongs to it");
        let moment = moment_of_period("2026-11-01T12:00:00+01:00", true).unwrap();
        assert_eq!(moment.to_rfc3339(), "2026-11-01T11:00:00+00:00");
        for wrong in ["", "yesterday", "2026-13-01", "1.11.2026", "+262142-12-31", "-0001-01-01"] {
            assert_eq!(
                moment_of_period(wrong, false).unwrap_err().text(),
                "journal_period",
                "{wrong}"
            );
        }
    }
}
