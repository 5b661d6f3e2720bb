//! The journal: only ever added to; the SQL refuses everything else.

use coffre_model::Result;
use coffre_model::journal::{Author, Entry};
use rusqlite::params;

use super::Catalogue;
use super::fault::Fault;
use super::row::{Reading, all, change, opt_json, time_text};

impl Catalogue {
    /// Adds a line. The number in `entry` is ignored; the answer is the one it got.
    pub fn record(&self, entry: &Entry) -> Result<i64> {
        self.write(|c| {
            change(
                c,
                "INSERT INTO journal (at, author, actor, action, subject_kind, subject_id, subject, result, error)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                params![
                    time_text(entry.at),
                    entry.author.as_str(),
                    entry.actor,
                    entry.action,
                    entry.subject_kind,
                    entry.subject_id,
                    entry.subject,
                    entry.result,
                    opt_json(entry.error.as_ref())?
                ],
            )?;
            Ok(c.last_insert_rowid())
        })
    }

    /// The last lines, newest first: at most `limit`, and only those with a number below `before` where it is given.
    pub fn journal(&self, limit: u32, before: Option<i64>) -> Result<Vec<Entry>> {
        self.read(|c| {
            all(
                c,
                "journal",
                "SELECT * FROM journal WHERE id < ?1 ORDER BY id DESC LIMIT ?2",
                params![before.unwrap_or(i64::MAX), limit],
                entry,
            )
        })
    }
}

/// A line.
pub(super) fn entry(row: &Reading<'_, '_>) -> Result<Entry, Fault> {
    Ok(Entry {
        id: row.row.get("id")?,
        at: row.time("at")?,
        author: row.word("author", Author::parse)?,
        actor: row.opt_text("actor")?,
        action: row.text("action")?,
        subject_kind: row.text("subject_kind")?,
        subject_id: row.opt_text("subject_id")?,
        subject: row.text("subject")?,
        result: row.text("result")?,
        error: row.opt_json("error")?,
    })
}
