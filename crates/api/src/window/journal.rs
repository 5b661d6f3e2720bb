//! The journal, searched and in pages, and written out.

use chrono::{DateTime, Utc};
use coffre_model::journal::{Author, Entry};
use coffre_model::{Id, Result};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::Window;
use super::backups::{check_page, search_text};
use super::dialogs::{FileWritten, text_of};
use super::events::Noun;
use super::tags;
use crate::journals::{JournalFormat, JournalSearch};

/// Whether something went well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub(super) enum JournalResult {
    /// It did.
    Ok,
    /// It did not.
    Failed,
}

/// Which lines of the journal. Everything that is set must hold.
#[derive(Debug, Default, Deserialize, TS)]
#[serde(deny_unknown_fields, default)]
pub(super) struct JournalWanted {
    /// Searched in action, subject, actor and error, without regard to case.
    #[ts(optional = nullable)]
    text: Option<String>,
    #[ts(optional = nullable)]
    author: Option<Author>,
    #[ts(optional = nullable)]
    result: Option<JournalResult>,
    /// `backup.run`, or `backup` for everything of that kind.
    #[ts(optional = nullable)]
    action: Option<String>,
    /// What concerns this source.
    #[ts(optional = nullable)]
    source_id: Option<Id>,
    /// From this moment on.
    #[ts(optional = nullable)]
    since: Option<DateTime<Utc>>,
    /// Before this moment.
    #[ts(optional = nullable)]
    until: Option<DateTime<Utc>>,
}

/// What is asked of the journal.
#[derive(Debug, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct JournalQuery {
    #[serde(default)]
    #[ts(optional = nullable)]
    text: Option<String>,
    #[serde(default)]
    #[ts(optional = nullable)]
    author: Option<Author>,
    #[serde(default)]
    #[ts(optional = nullable)]
    result: Option<JournalResult>,
    #[serde(default)]
    #[ts(optional = nullable)]
    action: Option<String>,
    #[serde(default)]
    #[ts(optional = nullable)]
    source_id: Option<Id>,
    #[serde(default)]
    #[ts(optional = nullable)]
    since: Option<DateTime<Utc>>,
    #[serde(default)]
    #[ts(optional = nullable)]
    until: Option<DateTime<Utc>>,
    /// From 1.
    page: u64,
    per_page: u64,
}

/// The arguments of `list_journal`.
#[derive(Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct ListJournal {
    query: JournalQuery,
}

/// The arguments of `export_journal`.
#[derive(Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct ExportJournal {
    wanted: JournalWanted,
    format: JournalFormat,
}

/// A page of the journal.
#[derive(Debug, Serialize, TS)]
pub struct JournalPage {
    /// Its lines, newest first.
    pub entries: Vec<Entry>,
    /// How many there are on all pages.
    pub total: u64,
    /// The page, from 1.
    pub page: u64,
    /// How many on a page.
    pub per_page: u64,
}

impl JournalWanted {
    fn search(self) -> Result<JournalSearch> {
        Ok(JournalSearch {
            text: search_text(self.text)?,
            action: search_text(self.action)?,
            author: self.author,
            source: self.source_id,
            ok: self.result.map(|result| result == JournalResult::Ok),
            since: self.since,
            until: self.until,
        })
    }
}

impl Window {
    pub(super) fn list_journal(&self, ListJournal { query }: ListJournal) -> Result<JournalPage> {
        let JournalQuery {
            text,
            author,
            result,
            action,
            source_id,
            since,
            until,
            page,
            per_page,
        } = query;
        check_page(page, per_page)?;
        let wanted = JournalWanted {
            text,
            author,
            result,
            action,
            source_id,
            since,
            until,
        };
        let (entries, total) = self
            .coffre()?
            .journal_page(&wanted.search()?, &self.words(), page, per_page)?;
        Ok(JournalPage {
            entries,
            total,
            page,
            per_page,
        })
    }

    /// Asks where to, then writes everything that was found there. Nothing where the person thought better of it.
    pub(super) fn export_journal(&self, ExportJournal { wanted, format }: ExportJournal) -> Result<Option<FileWritten>> {
        let coffre = self.coffre()?;
        let search = wanted.search()?;
        let name = format!("coffre-journal-{}.{}", super::now().format("%Y-%m-%d"), format.extension());
        let Some(to) = self.ask_where(&name)? else { return Ok(None) };
        // The end of Coffre ends it, and leaves no half file.
        let path = text_of(to.clone())?;
        coffre.export_journal(&search, format, &to, &self.words(), &coffre_model::Cancel::new())?;
        self.changed(tags(&[Noun::Journal]));
        Ok(Some(FileWritten { path }))
    }
}
