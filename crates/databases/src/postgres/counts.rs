//! Exact rows per table: in the dump's own snapshot beside the dump, or now.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use coffre_model::cancel::Reason;
use coffre_model::database::{Parsed, TableCount};
use coffre_model::{Cancel, Code, Error, Result};
use tokio_postgres::types::Type;

use super::connect::Session;
use super::tables::{self, Table};

/// Counting one table gets the stall limit and, on top, what reading it at this rate takes: a server that stopped answering is noticed, and
/// a large table on a slow disk is not taken for one.
const SLOWEST_BYTES_PER_SECOND: u64 = 4 << 20;
/// How often the session that holds the snapshot is looked at while it has nothing else to do.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// Begins a transaction in which everything is seen as it is at its first query.
fn begin(session: &mut Session) -> Result<()> {
    session.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
    let series = session.version().series;
    for (since, setting) in [
        // Rows hidden by a policy would be rows lost: an error instead.
        (10, "row_security = off"),
        (12, "jit = off"),
    ] {
        if series.0 >= since {
            session.run(&format!("SET LOCAL {setting}"))?;
        }
    }
    Ok(())
}

/// The same, for counting while a dump is made: it must not take the processors away from the dump.
pub(crate) fn begin_beside_dump(session: &mut Session) -> Result<()> {
    begin(session)?;
    match session.version().series.0 {
        10.. => session.run("SET LOCAL max_parallel_workers_per_gather = 0"),
        _ => Ok(()),
    }
}

/// Rows of each table, in the session's transaction. The tables should be locked (ACCESS SHARE) by it.
pub(crate) fn count(session: &mut Session, tables: &[Table], stall: Duration) -> Result<Vec<TableCount>> {
    let oids: Vec<u32> = tables.iter().map(|table| table.oid).collect();
    let sizes: BTreeMap<u32, i64> = session
        .query(
            "SELECT o, COALESCE(pg_catalog.pg_relation_size(o), 0) FROM pg_catalog.unnest($1) o",
            &[(&oids, Type::OID_ARRAY)],
        )?
        .iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect::<std::result::Result<_, tokio_postgres::Error>>()
        .map_err(|e| Error::internal("read the sizes of tables", e))?;
    let mut counts = Vec::with_capacity(tables.len());
    for table in tables {
        let bytes = u64::try_from(sizes.get(&table.oid).copied().unwrap_or(0)).unwrap_or(0);
        let limit = stall + Duration::from_secs(bytes / SLOWEST_BYTES_PER_SECOND);
        // ONLY: children and partitions are counted by themselves.
        let sql = format!("SELECT pg_catalog.count(*) FROM ONLY {}", table.sql());
        let rows = session
            .query_within(&sql, &[], limit)
            .map_err(|error| error.or_with("table", table.display()))?;
        let row = rows.first().ok_or_else(|| Error::internal("count rows", "no answer"))?;
        let rows: i64 = row.try_get(0).map_err(|e| Error::internal("count rows", e))?;
        counts.push(TableCount {
            table: table.display(),
            rows: u64::try_from(rows).map_err(|e| Error::internal("count rows", e))?,
        });
    }
    counts.sort();
    Ok(counts)
}

/// Counting that goes on beside a dump, on the session that holds the dump's snapshot. The session stays until [`Counting::finish`], and
/// its loss is a failure even when everything was counted.
pub(crate) struct Counting {
    thread: Option<JoinHandle<Result<Vec<TableCount>>>>,
    go: mpsc::Sender<()>,
    stop: Cancel,
    failure: Arc<Mutex<Option<Error>>>,
}

impl Counting {
    /// Starts to count in the session's open transaction.
    pub(crate) fn start(mut session: Session, tables: Vec<Table>, stall: Duration) -> Result<Counting> {
        let stop = Cancel::new();
        session.also_cancelled_by(stop.clone());
        let failure = Arc::new(Mutex::new(None));
        let told = failure.clone();
        let (go, finish) = mpsc::channel();
        let work = move || {
            let counted = count_and_hold(&mut session, &tables, stall, &finish);
            if let Err(error) = &counted {
                *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
            }
            counted
        };
        let thread = thread::Builder::new()
            .name("counting".into())
            .spawn(work)
            .map_err(|e| Error::internal("start a thread", e))?;
        Ok(Counting {
            thread: Some(thread),
            go,
            stop,
            failure,
        })
    }

    /// Why counting, or the session that holds the snapshot, has failed by now.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for the counts and closes the snapshot.
    ///
    /// # Errors
    /// Why a table could not be counted, or that the session was lost.
    pub(crate) fn finish(mut self) -> Result<Vec<TableCount>> {
        // A thread that has failed does not listen any more; its result says why.
        let _heard = self.go.send(());
        let thread = self
            .thread
            .take()
            .ok_or_else(|| Error::internal("count rows", "already done"))?;
        thread
            .join()
            .map_err(|_| Error::internal("count rows", "the thread panicked"))?
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.stop.cancel(Reason::Interrupt);
            // Nobody asks for the counts any more.
            let _unasked = thread.join();
        }
    }
}

fn count_and_hold(
    session: &mut Session,
    tables: &[Table],
    stall: Duration,
    finish: &mpsc::Receiver<()>,
) -> Result<Vec<TableCount>> {
    let counts = count(session, tables, stall)?;
    loop {
        match finish.recv_timeout(HEARTBEAT.min(stall)) {
            Ok(()) => {
                session.run_within("COMMIT", stall)?;
                return Ok(counts);
            }
            Err(mpsc::RecvTimeoutError::Timeout) => session.run_within("SELECT", stall)?,
            // The dump is gone; nobody reads this.
            Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(counts),
        }
    }
}

/// Rows per table, now and all at the same instant.
pub(crate) fn now(
    session: &mut Session,
    options: &coffre_model::source::SourceOptions,
    stall: Duration,
) -> Result<Vec<TableCount>> {
    begin(session)?;
    let all = tables::list(session)?;
    let mut selection = tables::select(&all, options)?;
    tables::settle_dependents(session, &all, &mut selection)?;
    let standby: bool = session.value("SELECT pg_catalog.pg_is_in_recovery()")?;
    let counted: Vec<Table> = selection.counted(standby).cloned().collect();
    let counts = count(session, &counted, stall)?;
    session.run("COMMIT")?;
    Ok(counts)
}

/// Rows of everything that this user may read in whole, now and all at the same instant; and the names of what he may not.
pub(crate) fn readable_now(session: &mut Session, stall: Duration) -> Result<(Vec<TableCount>, Vec<String>)> {
    begin(session)?;
    let (counted, closed) = readable(session)?;
    let counts = count(session, &counted, stall)?;
    session.run("COMMIT")?;
    Ok((counts, closed))
}

/// The tables that this user may read in whole, and the names of the others.
pub(crate) fn readable(session: &mut Session) -> Result<(Vec<Table>, Vec<String>)> {
    let all = tables::list(session)?;
    let selection = tables::select(&all, &coffre_model::source::SourceOptions::default())?;
    let standby: bool = session.value("SELECT pg_catalog.pg_is_in_recovery()")?;
    let (readable, closed): (Vec<&Table>, Vec<&Table>) = selection
        .counted(standby)
        .partition(|table| table.readable && table.schema_open && !table.hides_rows);
    Ok((
        readable.into_iter().cloned().collect(),
        closed.into_iter().map(Table::display).collect(),
    ))
}

/// Compares what was counted in the snapshot with the rows that the dump itself holds, table by table. A table of which the dump has nothing
/// counts as empty; rows of extensions' own tables are in the dump but are not counted.
///
/// # Errors
/// `DUMP_FAILED`, naming the first table that differs.
pub(crate) fn compare(counted: &[TableCount], parsed: &Parsed) -> Result<()> {
    let in_dump: BTreeMap<&str, u64> = parsed.counts.iter().map(|c| (c.table.as_str(), c.rows)).collect();
    let differing: Vec<_> = counted
        .iter()
        .filter(|count| in_dump.get(count.table.as_str()).copied().unwrap_or(0) != count.rows)
        .collect();
    let Some(first) = differing.first() else { return Ok(()) };
    Err(Error::new(Code::DumpFailed, "pg_rows_differ")
        .with("table", first.table.clone())
        .with("counted", first.rows)
        .with("dumped", in_dump.get(first.table.as_str()).copied().unwrap_or(0))
        .with("count", differing.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(list: &[(&str, u64)]) -> Vec<TableCount> {
        let count = |(table, rows): &(&str, u64)| TableCount {
            table: (*table).to_owned(),
            rows: *rows,
        };
        list.iter().map(count).collect()
    }

    fn dump(list: &[(&str, u64)]) -> Parsed {
        Parsed {
            counts: counts(list),
            objects: 1,
            shapes: None,
        }
    }

    #[test]
    fn rows_must_agree_table_by_table() {
        let counted = counts(&[("public.a", 3), ("public.b", 0)]);
        assert!(compare(&counted, &dump(&[("public.a", 3), ("public.b", 0)])).is_ok());
        assert!(compare(&counted, &dump(&[("public.a", 3)])).is_ok());
        assert!(compare(&counted, &dump(&[("public.a", 3), ("ext.config", 9)])).is_ok());
        for wrong in [dump(&[("public.a", 2)]), dump(&[]), dump(&[("public.a", 3), ("public.b", 1)])] {
            assert_eq!(compare(&counted, &wrong).unwrap_err().text(), "pg_rows_differ");
        }
    }
}
