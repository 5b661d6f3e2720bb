//! The journal, searched and in pages.

use coffre_engine::catalogue::JournalFilter;
use coffre_model::Result;
use coffre_model::journal::{Author, Entry};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::Window;
use super::backups::{check_page, search_text};

/// Whether something went well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub(super) enum JournalResult {
    /// It did.
    Ok,
    /// It did not.
    Failed,
}

/// What is asked of the journal.
#[derive(Debug, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct JournalQuery {
    /// Searched in action, subject, actor and error, without regard to case.
    #[serde(default)]
    #[ts(optional = nullable)]
    text: Option<String>,
    #[serde(default)]
    #[ts(optional = nullable)]
    author: Option<Author>,
    #[serde(default)]
    #[ts(optional = nullable)]
    result: Option<JournalResult>,
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

impl Window {
    pub(super) fn list_journal(&self, ListJournal { query }: ListJournal) -> Result<JournalPage> {
        check_page(query.page, query.per_page)?;
        let text = search_text(query.text)?;
        let words = self.words();
        let saying = |group: &str| {
            text.as_deref()
                .map(|text| words.entries_saying(group, text))
                .unwrap_or_default()
        };
        let filter = JournalFilter {
            author: query.author,
            ok: query.result.map(|result| result == JournalResult::Ok),
            // `backup_run` among the words is `backup.run` in the journal.
            actions: saying("journal").iter().map(|name| name.replacen('_', ".", 1)).collect(),
            errors: saying("errors"),
            text,
        };
        let (entries, total) = self
            .coffre()?
            .engine
            .catalogue
            .search_journal(&filter, query.page, query.per_page)?;
        Ok(JournalPage {
            entries,
            total,
            page: query.page,
            per_page: query.per_page,
        })
    }
}
