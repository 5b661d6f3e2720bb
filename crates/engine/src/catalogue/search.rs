//! The list of backups as a window asks for it: sorted by any column, searched by text, in pages, with sums over all pages. And the
//! journal likewise.

use chrono::{DateTime, Utc};
use coffre_model::backup::BackupState;
use coffre_model::journal::{Author, Entry};
use coffre_model::{Id, Result};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::backups::{Filter, Page, Stats, any_capitals, by_listed_id, stats_within};
use super::fault::Fault;
use super::figures::LYING;
use super::journal::entry;
use super::row::{Reading, all, count, number_back, one, time_text};
use super::{Catalogue, KnownSums};

/// By what a list of backups is sorted. Rows without a value come last either way; equal ones are sorted newest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// When the run began.
    #[default]
    StartedAt,
    /// The source's name; capitals of ASCII do not matter.
    Source,
    /// The plan's name, likewise.
    Plan,
    /// The state's word.
    State,
    /// The type's word.
    Type,
    /// The size of the artifact.
    StoredBytes,
    /// How long the run took.
    Duration,
}

impl Sort {
    fn clause(self, descending: bool) -> String {
        let direction = if descending { "DESC" } else { "ASC" };
        // Where there always is a value, nothing is said of its absence: the planner walks an index more readily.
        let (column, absent) = match self {
            Sort::StartedAt => return format!("b.started_at {direction}, b.id {direction}"),
            Sort::Source => ("b.source_name COLLATE NOCASE", ""),
            Sort::Plan => ("b.plan_name COLLATE NOCASE", " NULLS LAST"),
            Sort::State => ("b.state", ""),
            Sort::Type => ("b.type", ""),
            Sort::StoredBytes => ("b.stored_bytes", " NULLS LAST"),
            Sort::Duration => ("b.duration_ms", " NULLS LAST"),
        };
        format!("{column} {direction}{absent}, b.started_at DESC, b.id DESC")
    }
}

/// What is asked of the list.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// Which backups.
    pub filter: Filter,
    /// In which order.
    pub sort: Sort,
    /// Whether the greatest come first.
    pub descending: bool,
    /// Which page, from 1.
    pub page: u64,
    /// How many on a page.
    pub per_page: u64,
}

/// Which lines of the journal. Everything that is set must hold.
#[derive(Clone, Debug, Default)]
pub struct JournalFilter {
    /// Through what somebody acted.
    pub author: Option<Author>,
    /// Whether it went well.
    pub ok: Option<bool>,
    /// What was done: `backup.run`, or `backup` for everything of that kind.
    pub action: Option<String>,
    /// What concerns this source: itself, its plans, its backups, their restores and drills.
    pub source: Option<Id>,
    /// From this moment on.
    pub since: Option<DateTime<Utc>>,
    /// Before this moment.
    pub until: Option<DateTime<Utc>>,
    /// With this text in action, subject, actor or error; capitals do not matter.
    pub text: Option<String>,
    /// Actions whose words hold the text.
    pub actions: Vec<String>,
    /// Keys of errors whose words hold the text.
    pub errors: Vec<String>,
}

impl Catalogue {
    /// A page of the list, and sums over all its pages.
    pub fn search(&self, search: &Search) -> Result<(Page, Stats)> {
        if search.filter.text.as_deref().is_some_and(|text| !text.is_empty()) {
            return self.read_widely(|c| search_text(c, search));
        }
        self.read_list(|c, known| {
            let (condition, mut values) = search.filter.condition();
            let (total, stats) = sums(c, known, search, &condition, &values)?;
            let (limit, skip) = slice(search);
            values.push(Value::Integer(limit));
            values.push(Value::Integer(skip));
            let sql = page_sql(search, &condition, values.len());
            let ids = all(c, "backups", &sql, params_from_iter(values), |row| row.text("id"))?;
            let backups = ids.iter().map(|id| by_listed_id(c, id)).collect::<Result<_, _>>()?;
            Ok((Page { backups, total }, stats))
        })
    }

    /// A page of the journal, newest first, and how many lines there are on all pages.
    pub fn search_journal(&self, filter: &JournalFilter, page: u64, per_page: u64) -> Result<(Vec<Entry>, u64)> {
        self.read_widely(|c| {
            let (condition, mut values) = filter.condition();
            let total = count(
                c,
                &format!("SELECT COUNT(*) FROM journal WHERE {condition}"),
                params_from_iter(&values),
            )?;
            let search = Search {
                page,
                per_page,
                ..Search::default()
            };
            let (limit, skip) = slice(&search);
            values.push(Value::Integer(limit));
            values.push(Value::Integer(skip));
            let sql = format!(
                "SELECT * FROM journal WHERE {condition} ORDER BY id DESC LIMIT ?{} OFFSET ?{}",
                values.len() - 1,
                values.len()
            );
            Ok((all(c, "journal", &sql, params_from_iter(values), entry)?, total))
        })
    }

    /// The newest lines, newest first: at most `limit`, and only those with a number below `before` where it is given. For whoever goes
    /// through all of them: each call begins where the one before ended, and what is written meanwhile changes nothing.
    pub fn journal_lines(&self, filter: &JournalFilter, before: Option<i64>, limit: u32) -> Result<Vec<Entry>> {
        self.read_widely(|c| {
            let (condition, mut values) = filter.condition();
            values.push(Value::Integer(before.unwrap_or(i64::MAX)));
            values.push(Value::Integer(limit.into()));
            let sql = format!(
                "SELECT * FROM journal WHERE {condition} AND id < ?{} ORDER BY id DESC LIMIT ?{}",
                values.len() - 1,
                values.len()
            );
            all(c, "journal", &sql, params_from_iter(values), entry)
        })
    }

    /// Every line of the journal about one thing, oldest first.
    pub fn journal_about(&self, subject_id: &Id) -> Result<Vec<Entry>> {
        self.read(|c| {
            all(
                c,
                "journal",
                "SELECT * FROM journal WHERE subject_id = ?1 ORDER BY id",
                [subject_id.to_string()],
                entry,
            )
        })
    }
}

/// How many there are and their sums: those of the page before, as long as nobody changed the catalogue since.
fn sums(
    c: &Connection,
    known: &mut Option<KnownSums>,
    search: &Search,
    condition: &str,
    values: &[Value],
) -> Result<(u64, Stats), Fault> {
    // In the snapshot of this very read: it changes with every commit of any other connection, and this one only reads.
    let version: i64 = c.pragma_query_value(None, "data_version", |row| row.get(0))?;
    if let Some(sums) = known
        .as_ref()
        .filter(|sums| sums.version == version && sums.filter == search.filter)
    {
        return Ok((sums.total, sums.stats));
    }
    let total = count(
        c,
        &format!("SELECT COUNT(*) FROM backups b WHERE {condition}"),
        params_from_iter(values),
    )?;
    let stats = stats_within(c, &search.filter)?;
    *known = Some(KnownSums {
        version,
        filter: search.filter.clone(),
        total,
        stats,
    });
    Ok((total, stats))
}

/// The ids of one page. Its last two values, of `values` in all, are the limit and the offset.
pub(super) fn page_sql(search: &Search, condition: &str, values: usize) -> String {
    // Every index of a sort holds the state: walking it is quicker than sorting what an index of states finds.
    let by_state_index = matches!(search.sort, Sort::StartedAt | Sort::State);
    let condition = match by_state_index {
        true => condition.to_owned(),
        false => condition.replace("b.state = ?", "+b.state = ?"),
    };
    let Filter {
        source,
        plan,
        backup_type,
        ..
    } = &search.filter;
    // All indexes look alike to a planner that does not know how few states there are.
    let index = match search.sort {
        Sort::State if source.is_none() && plan.is_none() && backup_type.is_none() => "INDEXED BY backups_state",
        _ => "",
    };
    format!(
        "SELECT b.id FROM backups b {index} WHERE {condition} ORDER BY {} LIMIT ?{} OFFSET ?{values}",
        search.sort.clause(search.descending),
        values - 1,
    )
}

/// `LIMIT` and `OFFSET` of a page.
fn slice(search: &Search) -> (i64, i64) {
    let per_page = i64::try_from(search.per_page).unwrap_or(i64::MAX);
    let before = i64::try_from(search.page.saturating_sub(1)).unwrap_or(i64::MAX);
    (per_page, before.saturating_mul(per_page))
}

/// Text has to be looked for row by row: once, for the page and for all the sums.
fn search_text(c: &Connection, search: &Search) -> Result<(Page, Stats), Fault> {
    let (condition, values) = search.filter.condition();
    let sql = format!(
        "SELECT b.id AS id, b.state AS state, b.started_at AS began,
            (SELECT COALESCE(SUM(p.stored_bytes), 0) FROM copies p WHERE p.backup_id = b.id AND +p.state IN ({LYING})) AS bytes
         FROM backups b WHERE {condition} ORDER BY {}",
        search.sort.clause(search.descending)
    );
    let (limit, skip) = slice(search);
    let (first, end) = (skip, skip.saturating_add(limit));
    let mut ids = Vec::new();
    let mut total: u64 = 0;
    let mut stats = Stats::default();
    let mut newest: Option<(DateTime<Utc>, String)> = None;
    let mut statement = c.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    while let Some(row) = rows.next()? {
        let row = Reading { table: "backups", row };
        let at = i64::try_from(total).unwrap_or(i64::MAX);
        if at >= first && at < end {
            ids.push(row.text("id")?);
        }
        total += 1;
        stats.stored_bytes += number_back(row.row.get("bytes")?)?;
        match row.word("state", BackupState::parse)? {
            BackupState::Verified => {
                stats.verified += 1;
                let began = row.time("began")?;
                if newest.as_ref().is_none_or(|(known, _)| *known < began) {
                    newest = Some((began, row.text("id")?));
                }
            }
            BackupState::Failed => stats.failed += 1,
            _ => {}
        }
    }
    if let Some((_, id)) = newest {
        let sql = "SELECT MAX(verified_at) AS at FROM copies WHERE backup_id = ?1 AND state = 'verified'";
        stats.last_verified_at = one(c, "copies", sql, [id], |row| row.opt_time("at"))?.flatten();
    }
    let backups = ids.iter().map(|id| by_listed_id(c, id)).collect::<Result<_, _>>()?;
    Ok((Page { backups, total }, stats))
}

/// Whether a line of the journal concerns a source (`#`). Backups that were deleted still have their row.
const ABOUT_SOURCE: &str = "(subject_id IS NOT NULL AND (subject_id = #
    OR EXISTS (SELECT 1 FROM backups WHERE id = subject_id AND source_id = #)
    OR EXISTS (SELECT 1 FROM plans WHERE id = subject_id AND source_id = #)
    OR EXISTS (SELECT 1 FROM drills WHERE id = subject_id AND source_id = #)
    OR EXISTS (SELECT 1 FROM restores r LEFT JOIN backups b ON b.id = r.backup_id
               WHERE r.id = subject_id AND # IN (r.source_id, b.source_id))))";

impl JournalFilter {
    fn condition(&self) -> (String, Vec<Value>) {
        let mut parts = vec!["1".to_owned()];
        let mut values = Vec::new();
        if let Some(author) = self.author {
            values.push(Value::Text(author.as_str().to_owned()));
            parts.push(format!("author = ?{}", values.len()));
        }
        if let Some(ok) = self.ok {
            values.push(Value::Text(if ok { "ok" } else { "failed" }.to_owned()));
            parts.push(format!("result = ?{}", values.len()));
        }
        if let Some(action) = &self.action {
            values.push(Value::Text(action.clone()));
            let n = values.len();
            parts.push(format!(
                "(action = ?{n} OR substr(action, 1, length(?{n}) + 1) = ?{n} || '.')"
            ));
        }
        for (at, sign) in [(self.since, ">="), (self.until, "<")] {
            if let Some(at) = at {
                values.push(Value::Text(time_text(at)));
                parts.push(format!("at {sign} ?{}", values.len()));
            }
        }
        if let Some(source) = &self.source {
            values.push(Value::Text(source.to_string()));
            parts.push(ABOUT_SOURCE.replace('#', &format!("?{}", values.len())));
        }
        if let Some(text) = self.text.as_deref().filter(|text| !text.is_empty()) {
            let mut any = containing(&["action", "subject", "actor"], "error", text, &mut values);
            any.extend(among("action", &self.actions, &mut values));
            any.extend(among("json_extract(error, '$.text')", &self.errors, &mut values));
            parts.push(format!("({})", any.join(" OR ")));
        }
        (parts.join(" AND "), values)
    }
}

/// Conditions that hold where one of the columns contains a text, whatever its capitals, or the code or a fact of an error does. Only
/// the names of columns, which are ours, go into the SQL.
pub(super) fn containing(columns: &[&str], error: &str, text: &str, values: &mut Vec<Value>) -> Vec<String> {
    values.push(Value::Text(any_capitals(text)));
    let n = values.len();
    let mut any: Vec<String> = columns.iter().map(|column| format!("{column} GLOB ?{n}")).collect();
    // Values alone: the names in the JSON are no text that anybody sees.
    any.push(format!(
        "({error} IS NOT NULL AND (json_extract({error}, '$.code') GLOB ?{n}
            OR EXISTS (SELECT 1 FROM json_tree({error}, '$.details') WHERE atom GLOB ?{n})))"
    ));
    any
}

/// The condition that an expression is one of these words; nothing where there are none.
pub(super) fn among(expression: &str, words: &[String], values: &mut Vec<Value>) -> Option<String> {
    if words.is_empty() {
        return None;
    }
    let first = values.len() + 1;
    values.extend(words.iter().cloned().map(Value::Text));
    let places: Vec<String> = (first..=values.len()).map(|n| format!("?{n}")).collect();
    Some(format!("{expression} IN ({})", places.join(", ")))
}
