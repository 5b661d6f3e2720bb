//! Printing: one JSON document, or text for a person. Standard output carries the answer, standard error everything else.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::OnceLock;

use coffre_api::model::backup::{BackupState, CopyState};
use coffre_api::model::{Code, Error, Result};
use coffre_api::words::{Words, plain};
use coffre_api::{open::Swept, wire};
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use serde_json::{Map, Value};

/// Where and how to print.
#[derive(Clone)]
pub(crate) struct Out {
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    pub(crate) words: Words,
    colour: bool,
}

/// Why the answer did not get through to standard output.
static LOST: OnceLock<String> = OnceLock::new();

/// Writes a part of the answer. A reader that went away (`| head`) has what it wanted; a disk that is full has not, and whoever reads the answer there
/// would take a part of it for all of it: the exit status says so.
fn answer(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let written = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
    if let Err(error) = written
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        LOST.get_or_init(|| error.to_string());
    }
}

impl Out {
    pub(crate) fn new(json: bool, quiet: bool, words: Words) -> Self {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Out {
            json,
            quiet,
            words,
            colour,
        }
    }

    /// A line of the answer. A reader that went away (`| head`) is no error.
    pub(crate) fn line(&self, text: &str) {
        if !self.json {
            answer(text);
        }
    }

    /// A line beside the answer, on standard error.
    pub(crate) fn aside(&self, text: &str) {
        if !self.quiet {
            drop(writeln!(std::io::stderr().lock(), "{text}"));
        }
    }

    /// A line of the answer in words.
    pub(crate) fn say(&self, key: &str, facts: &[(&str, Value)]) {
        if !self.json {
            self.line(&plain_lines(&self.words.say(key, facts)));
        }
    }

    /// A line beside the answer in words.
    pub(crate) fn say_aside(&self, key: &str, facts: &[(&str, Value)]) {
        self.aside(&plain_lines(&self.words.say(key, facts)));
    }

    /// Remarks, beside the answer.
    pub(crate) fn remarks(&self, remarks: &[Error]) {
        for remark in remarks {
            let (message, hint) = self.words.error(remark);
            self.aside(&plain_lines(
                format!("{} {message} {hint}", self.words.text("cli.remark")).trim(),
            ));
        }
    }

    /// The one JSON document: `{"<name>": noun, …}`.
    pub(crate) fn document(&self, parts: &[(&str, &dyn erased::Json)]) -> Result<()> {
        if self.json {
            self.print(&self.object(parts)?);
        }
        Ok(())
    }

    fn object(&self, parts: &[(&str, &dyn erased::Json)]) -> Result<Value> {
        let mut object = Map::new();
        for (name, part) in parts {
            object.insert((*name).to_owned(), part.json(&self.words)?);
        }
        Ok(Value::Object(object))
    }

    fn print(&self, value: &Value) {
        let text = serde_json::to_string_pretty(value).unwrap_or_else(|_| "{}".to_owned());
        answer(&text);
    }

    /// A failure together with what it is about: in JSON both in one document, as text the error alone (at the end).
    pub(crate) fn failed(&self, parts: &[(&str, &dyn erased::Json)], error: Error) -> Result<()> {
        if self.json {
            let mut object = self.object(parts)?;
            object["error"] = self.words.error_json(&error);
            self.print(&object);
            return Err(error.with(PRINTED, true));
        }
        Err(error)
    }

    /// A table: heads by key below `cli.head`, `>` before a key aligns to the right.
    pub(crate) fn table(&self, heads: &[&str], rows: Vec<Vec<String>>) {
        if self.json {
            return;
        }
        let mut table = Table::new();
        table
            .load_preset(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Dynamic);
        if !std::io::stdout().is_terminal() {
            // A pipe has no width: a reader there wants whole values.
            table.set_width(u16::MAX);
        }
        let right: Vec<bool> = heads.iter().map(|h| h.starts_with('>')).collect();
        let head = |key: &&str| self.words.text(&format!("cli.head.{}", key.trim_start_matches('>')));
        table.set_header(heads.iter().map(head).collect::<Vec<_>>());
        for row in rows {
            let cells = row.iter().zip(&right).map(|(text, right)| {
                let cell = Cell::new(plain(text));
                if *right {
                    cell.set_alignment(CellAlignment::Right)
                } else {
                    cell
                }
            });
            table.add_row(cells.collect::<Vec<_>>());
        }
        for (column, right) in table.column_iter_mut().zip(&right) {
            column.set_padding((0, 2));
            if *right {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        for line in table.to_string().lines() {
            self.line(line.trim_end());
        }
    }

    /// Rows of data: their own names as heads.
    pub(crate) fn data(&self, heads: &[String], rows: Vec<Vec<String>>) {
        let mut table = Table::new();
        table
            .load_preset(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Dynamic);
        if !std::io::stdout().is_terminal() {
            table.set_width(u16::MAX);
        }
        table.set_header(heads.iter().map(|head| plain(head)).collect::<Vec<_>>());
        for row in rows {
            table.add_row(row);
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        for line in table.to_string().lines() {
            self.line(line.trim_end());
        }
    }

    /// A state of a backup: mark and word, with a colour that only repeats them.
    pub(crate) fn state(&self, state: BackupState) -> String {
        let mark = match state {
            BackupState::Verified => "✓",
            BackupState::Stored => "◌",
            BackupState::Running | BackupState::Deleting => "…",
            BackupState::Failed | BackupState::Interrupted => "✗",
            _ => "–",
        };
        format!("{mark} {}", self.words.text(&format!("state.{state}")))
    }

    /// A state of a copy.
    pub(crate) fn copy_state(&self, state: CopyState) -> String {
        let mark = match state {
            CopyState::Verified => "✓",
            CopyState::Stored => "◌",
            CopyState::Missing | CopyState::Corrupt => "✗",
            _ => "–",
        };
        format!("{mark} {}", self.words.text(&format!("state.{state}")))
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    /// Green: only for what is proved.
    pub(crate) fn proved(&self, text: &str) -> String {
        self.paint("32", text)
    }

    /// Bold, for the answer's first line.
    pub(crate) fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    /// What the sweep found at this start.
    pub(crate) fn swept(&self, swept: &Swept) {
        for backup in &swept.interrupted {
            self.say_aside(
                "cli.swept_interrupted",
                &[
                    ("backup", backup.code.as_str().into()),
                    ("source", backup.source.as_str().into()),
                ],
            );
        }
        for backup in &swept.adopted {
            self.say_aside(
                "cli.swept_adopted",
                &[
                    ("backup", backup.code.as_str().into()),
                    ("source", backup.source.as_str().into()),
                ],
            );
        }
        self.remarks(&swept.left);
    }

    /// Whether a person watches standard error.
    pub(crate) fn interactive(&self) -> bool {
        std::io::stderr().is_terminal()
    }

    /// Ends with the status of a command that was run for somebody; everything was said already.
    pub(crate) fn exit(&self, status: u8) -> Result<()> {
        let ended = Error::new(coffre_api::model::Code::Refused, "guard_command_failed");
        Err(ended.with(PRINTED, true).with(EXIT, status))
    }

    /// Ends the program: prints the error, if there is one, and answers its exit status.
    pub(crate) fn end(&self, outcome: Result<()>) -> ExitCode {
        let Err(error) = outcome else {
            let Some(cause) = LOST.get() else { return ExitCode::SUCCESS };
            let error = Error::new(Code::Internal, "answer_lost").with("cause", cause.as_str());
            self.show_error(&error);
            return status(&error);
        };
        if error.details().contains_key(PRINTED) {
        } else if self.json {
            self.print(&serde_json::json!({"error": self.words.error_json(&error)}));
        } else {
            self.show_error(&error);
        }
        status(&error)
    }

    fn show_error(&self, error: &Error) {
        let (message, hint) = self.words.error(error);
        let mut stderr = std::io::stderr().lock();
        let head = format!("{} {}", self.words.text("cli.error"), plain_lines(&message));
        drop(writeln!(stderr, "{head}"));
        if !hint.is_empty() {
            drop(writeln!(stderr, "{} {}", self.words.text("cli.next"), plain_lines(&hint)));
        }
        drop(writeln!(stderr, "[{}]", error.code()));
    }
}

/// A fact that says that an error is in the document already. Never shown.
const PRINTED: &str = "__printed";

/// A fact that says which status the program ends with. Never shown.
const EXIT: &str = "__exit";

/// The exit status of an error: 130 or 143 for a cancellation, else its code's.
fn status(error: &Error) -> ExitCode {
    if let Some(status) = error
        .details()
        .get(EXIT)
        .and_then(Value::as_u64)
        .and_then(|s| u8::try_from(s).ok())
    {
        return ExitCode::from(status);
    }
    let cancelled = error
        .details()
        .get("status")
        .and_then(Value::as_u64)
        .and_then(|s| u8::try_from(s).ok());
    match error.code() {
        coffre_api::model::Code::Cancelled => ExitCode::from(cancelled.unwrap_or(130)),
        code => ExitCode::from(code.exit_status()),
    }
}

/// Makes each line safe for a terminal, and keeps the line breaks of our own words.
fn plain_lines(text: &str) -> String {
    text.lines().map(plain).collect::<Vec<_>>().join("\n")
}

/// Anything that can become JSON, as a trait object.
pub(crate) mod erased {
    use super::{Result, Value, Words, wire};

    /// A part of a JSON document.
    pub(crate) trait Json {
        /// The part, with errors in words.
        fn json(&self, words: &Words) -> Result<Value>;
    }

    impl<T: serde::Serialize> Json for T {
        fn json(&self, words: &Words) -> Result<Value> {
            wire::json(self, words)
        }
    }
}
