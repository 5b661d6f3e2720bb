//! A dump: `pg_dump` in a snapshot that our own session holds and counts in.
//!
//! What makes it trustworthy: every byte passes a checker before anybody else sees it; the end of the stream is only told when the program
//! has ended with 0 and the checker has seen a whole dump; and the rows counted in the snapshot must be the rows in the dump.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::time::Instant;

use coffre_model::database::{Access, Checker, Dump, DumpFacts, DumpFormat, Parsed};
use coffre_model::manifest::Scope;
use coffre_model::source::SourceOptions;
use coffre_model::{Cancel, Code, Error, Result};
use tokio_postgres::types::Type;

use super::archive::Archive;
use super::connect::{END_LIMIT, Server, Session, session_options};
use super::counts::{self, Counting};
use super::environment::Environment;
use super::failure;
use super::plain::PlainChecker;
use super::probe::Seen;
use super::tables::{self, Kind, Selection, Table};
use super::tools::{Program, Series};
use crate::process::{ChildOutput, Invocation, Limits};

/// How many tables are locked by one command.
const LOCKED_AT_ONCE: usize = 500;
/// How often locking begins anew because a table was dropped meanwhile.
const LOCK_TRIES: usize = 5;
/// How often, at least, a dump begins anew because somebody came between our locks and the program's; for as long as a lock is waited for.
const START_TRIES: u64 = 5;

/// Everything that a dump is made from.
pub(crate) struct Plan<'a> {
    pub(crate) server: &'a Server,
    pub(crate) access: &'a Access,
    pub(crate) options: &'a SourceOptions,
    pub(crate) format: DumpFormat,
    pub(crate) program: &'a Program,
    pub(crate) seen: &'a Seen,
}

/// A dump that runs.
pub(crate) struct PgDump {
    output: Option<ChildOutput>,
    counting: Option<Counting>,
    checker: Box<dyn Checker>,
    parsed: Option<Parsed>,
    failure: Option<Error>,
    scope: Scope,
    /// The tables whose rows count.
    counted: BTreeSet<String>,
    server: Server,
    /// Keeps the password file until the program has ended.
    _environment: Environment,
}

/// A snapshot that was given a name, so that `pg_dump` can see the same.
struct Snapshot {
    session: Session,
    /// Nothing where the server cannot name a snapshot (a standby before version 10).
    name: Option<String>,
    selection: Selection,
}

/// Opens the session that holds the snapshot. Answers also the parameters that the program may use as well.
fn open(plan: &Plan<'_>) -> Result<(Session, Option<String>)> {
    let (server, cancel) = (plan.server, &plan.access.cancel);
    if let Some(options) = session_options(&plan.seen.version, plan.seen.superuser) {
        match Session::open_with(server, &server.database, cancel, Some(&options)) {
            Ok(session) => return Ok((session, Some(options))),
            Err(error) if error.code() == Code::Cancelled => return Err(error),
            // Whatever it was: without parameters it happens again, or it was because of them.
            Err(_) => {}
        }
    }
    Ok((Session::open(server, &server.database, cancel)?, None))
}

/// Starts a dump, and waits until the program has locked what it dumps (it writes nothing before).
///
/// # Errors
/// `LOCK_TIMEOUT` naming the table, `PRIVILEGE`, `TOOL_MISSING`, `STALLED`, and what connecting can bring.
pub(crate) fn start(plan: &Plan<'_>) -> Result<PgDump> {
    let began = Instant::now();
    let mut tries = 0_u64;
    loop {
        if let Some(dump) = try_start(plan)? {
            return Ok(dump);
        }
        tries += 1;
        if tries >= START_TRIES && began.elapsed() >= plan.access.lock_wait {
            return Err(Error::new(Code::LockTimeout, "pg_lock_contention").with("tries", tries));
        }
    }
}

/// Nothing where somebody who wants a table for himself alone came between our locks and the program's: he waits for us, the program waits
/// for him, and we would wait for the program. Then everything is given back and begun anew.
fn try_start(plan: &Plan<'_>) -> Result<Option<PgDump>> {
    let (session, options) = open(plan)?;
    let Snapshot {
        mut session,
        name,
        selection,
    } = take_snapshot(session, plan)?;
    let database = plan.server.database.as_str();
    let environment = Environment::new(plan.server, database, plan.program, &plan.access.runtime, options.as_deref())?;
    let invocation = environment.apply(invocation(plan, name.as_deref(), &selection));
    let counted: Vec<Table> = selection.counted(plan.seen.standby).cloned().collect();
    let program = plan.program.clone();
    let output = ChildOutput::start(
        &invocation,
        Limits {
            stall: plan.access.stall,
            cancel: plan.access.cancel.clone(),
        },
        Box::new(move |ended| failure::meaning(&program, ended)),
    )?;
    let mut dump = PgDump {
        output: Some(output),
        counting: None,
        checker: match plan.format {
            DumpFormat::Sql => Box::new(PlainChecker::new(true)),
            _ => Box::new(Archive::new()),
        },
        parsed: None,
        failure: None,
        scope: scope(plan, &selection),
        counted: counted.iter().map(Table::display).collect(),
        server: plan.server.clone(),
        _environment: environment,
    };
    let began = Instant::now();
    while let Some(output) = &mut dump.output
        && !output.look(began)?
    {
        if is_in_the_way(&mut session, plan)? {
            drop(session);
            return Ok(None);
        }
    }
    if name.is_some() {
        dump.counting = Some(Counting::start(session, counted, plan.access.stall)?);
    }
    Ok(Some(dump))
}

/// Whether the program waits for somebody who waits for this session.
fn is_in_the_way(session: &mut Session, plan: &Plan<'_>) -> Result<bool> {
    if session.version().series < Series(9, 6) {
        return Ok(false);
    }
    // A transaction goes on seeing the sessions that there were when it first looked, and the program may have come later.
    session.run("SELECT pg_catalog.pg_stat_clear_snapshot()")?;
    let rows = session.query_within(
        "SELECT 1 FROM pg_catalog.pg_stat_activity a, pg_catalog.unnest(pg_catalog.pg_blocking_pids(a.pid)) other
          WHERE a.application_name = $1 AND a.wait_event_type = 'Lock' AND a.pid <> pg_catalog.pg_backend_pid()
            AND pg_catalog.pg_backend_pid() = ANY (pg_catalog.pg_blocking_pids(other))",
        &[(&plan.server.application, Type::TEXT)],
        plan.access.stall,
    )?;
    Ok(!rows.is_empty())
}

/// Locks every table that is dumped, takes a snapshot *afterwards*, and names it. In this order nothing that is not transactional (TRUNCATE)
/// can come between the snapshot and the rows.
fn take_snapshot(mut session: Session, plan: &Plan<'_>) -> Result<Snapshot> {
    let mut tries = LOCK_TRIES;
    let selection = loop {
        let known = choose(&mut session, plan.options)?;
        counts::begin_beside_dump(&mut session)?;
        let locked = lock(&mut session, &locked_kinds(&known)).and_then(|()| {
            // The first query of the transaction: from here on everything is seen as it is now.
            let selection = choose(&mut session, plan.options)?;
            let new: Vec<&Table> = locked_kinds(&selection)
                .into_iter()
                .filter(|table| !known.taken.iter().any(|old| old.oid == table.oid))
                .collect();
            lock(&mut session, &new)?;
            Ok(selection)
        });
        tries -= 1;
        match locked {
            Ok(selection) => break selection,
            Err(error) => {
                let dropped_meanwhile = error.detail("sqlstate").as_deref() == Some("42P01");
                if !(dropped_meanwhile && tries > 0) && error.code() != Code::LockTimeout {
                    return Err(error);
                }
                session.run("ROLLBACK")?;
                if error.code() == Code::LockTimeout {
                    return Err(with_holder(&mut session, error, &known));
                }
            }
        }
    };
    // A standby can do it since 10; `pg_dump` can use it since 9.5.
    let can = (!plan.seen.standby || session.version().series.0 >= 10) && plan.program.version.series >= Series(9, 5);
    let name = match can {
        true => Some(session.value("SELECT pg_catalog.pg_export_snapshot()")?),
        false => None,
    };
    Ok(Snapshot {
        session,
        name,
        selection,
    })
}

fn choose(session: &mut Session, options: &SourceOptions) -> Result<Selection> {
    let all = tables::list(session)?;
    let mut selection = tables::select(&all, options)?;
    tables::settle_dependents(session, &all, &mut selection)?;
    Ok(selection)
}

/// What `pg_dump` locks as well.
fn locked_kinds(selection: &Selection) -> Vec<&Table> {
    let kinds = [Kind::Ordinary, Kind::Partitioned];
    selection.taken.iter().filter(|table| kinds.contains(&table.kind)).collect()
}

fn lock(session: &mut Session, tables: &[&Table]) -> Result<()> {
    for some in tables.chunks(LOCKED_AT_ONCE) {
        let names: Vec<_> = some.iter().map(|table| format!("ONLY {}", table.sql())).collect();
        session.run(&format!("LOCK TABLE {} IN ACCESS SHARE MODE", names.join(", ")))?;
    }
    Ok(())
}

/// Says which table is locked, and who holds it. By now the lock may be free; then the lock timeout stays as it is.
fn with_holder(session: &mut Session, error: Error, known: &Selection) -> Error {
    let oids: Vec<u32> = known.taken.iter().map(|table| table.oid).collect();
    let holders = session.query(
        "SELECT l.relation, l.pid, COALESCE(a.usename::text, ''), COALESCE(a.application_name, '')
           FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
          WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.relation = ANY ($1)
            AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
          ORDER BY l.granted DESC LIMIT 1",
        &[(&oids, Type::OID_ARRAY)],
    );
    // The lock timeout is the error to be told, also where nothing more can be found out.
    let Ok(rows) = holders else { return error };
    let Some(row) = rows.first() else { return error };
    let of = |oid: u32| known.taken.iter().find(|table| table.oid == oid);
    let table = row.try_get(0).ok().and_then(of);
    let text = |at| row.try_get::<_, String>(at).unwrap_or_default();
    Error::new(Code::LockTimeout, "pg_lock_held")
        .with("table", table.map(Table::display).unwrap_or_default())
        .with("holder_pid", row.try_get::<_, i32>(1).unwrap_or_default())
        .with("holder_user", text(2))
        .with("holder_application", text(3))
        .with("seconds", session.lock_wait().as_secs())
}

fn invocation(plan: &Plan<'_>, snapshot: Option<&str>, selection: &Selection) -> Invocation {
    let program = plan.program;
    let mut call = Invocation::new(&program.path, &plan.access.runtime).arg("--no-password");
    call = match plan.format {
        DumpFormat::Sql => call.arg("--format=plain"),
        // Compression is the pipeline's: many times faster than gzip inside the archive, on one processor.
        _ => call.arg("--format=custom").arg("--compress=0"),
    };
    let wait = plan.access.lock_wait.as_millis().max(1);
    call = call.arg(format!("--lock-wait-timeout={wait}"));
    if let Some(name) = snapshot {
        call = call.arg(format!("--snapshot={name}"));
    }
    if plan.options.no_owner {
        call = call.arg("--no-owner");
    }
    if plan.options.no_privileges {
        call = call.arg("--no-privileges");
    }
    if plan.options.no_large_objects {
        let since_16 = program.version.series >= Series(16, 0);
        call = call.arg(if since_16 { "--no-large-objects" } else { "--no-blobs" });
    }
    if plan.seen.standby {
        call = call.arg("--no-unlogged-table-data");
    }
    for table in &selection.excluded {
        // A pattern in double quotes is a plain name.
        call = call.arg(format!("--exclude-table={}", table.sql()));
    }
    call
}

/// What the tables are made of, as an archive without a row. The stream ends well when the program has.
pub(crate) fn schema_only(server: &Server, access: &Access, program: &Program) -> Result<SchemaOnly> {
    let environment = Environment::new(server, &server.database, program, &access.runtime, None)?;
    let call = Invocation::new(&program.path, &access.runtime)
        .arg("--no-password")
        .arg("--format=custom")
        .arg("--schema-only")
        .arg(format!("--lock-wait-timeout={}", access.lock_wait.as_millis().max(1)));
    let judged = program.clone();
    let output = ChildOutput::start(
        &environment.apply(call),
        Limits {
            stall: access.stall,
            cancel: access.cancel.clone(),
        },
        Box::new(move |ended| failure::meaning(&judged, ended)),
    )?;
    Ok(SchemaOnly {
        output,
        _environment: environment,
    })
}

/// An archive without rows, as it comes.
pub(crate) struct SchemaOnly {
    output: ChildOutput,
    /// Keeps the password file until the program has ended.
    _environment: Environment,
}

impl Read for SchemaOnly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.output.read(buffer)
    }
}

/// What is in the dump, and what is not.
fn scope(plan: &Plan<'_>, selection: &Selection) -> Scope {
    let options = plan.options;
    let has = |kind| selection.taken.iter().any(|table| table.kind == kind);
    let mut included = vec![
        "schemas",
        "tables",
        "indexes",
        "constraints",
        "sequences",
        "views",
        "functions",
        "types",
        "triggers",
        "extensions",
    ];
    // Roles and tablespaces belong to the whole server (`pg_dumpall --globals-only`), settings of the database to its entry there.
    let mut not_included = vec![
        "roles",
        "tablespaces",
        "other_databases",
        "server_settings",
        "database_parameters",
    ];
    for (left_out, word) in [
        (options.no_owner, "owners"),
        (options.no_privileges, "privileges"),
        (options.no_large_objects, "large_objects"),
    ] {
        if left_out { &mut not_included } else { &mut included }.push(word);
    }
    if has(Kind::Foreign) {
        not_included.push("foreign_data");
    }
    if has(Kind::MaterialisedView) {
        // They are computed anew at the end of a restore.
        not_included.push("materialised_rows");
    }
    if plan.seen.standby && selection.taken.iter().any(|table| table.unlogged) {
        not_included.push("unlogged_data");
    }
    if !selection.excluded.is_empty() {
        not_included.push("excluded_tables");
    }
    let words = |list: Vec<&str>| list.into_iter().map(str::to_owned).collect();
    Scope {
        included: words(included),
        not_included: words(not_included),
        excluded_tables: selection.excluded.iter().map(Table::display).collect(),
    }
}

impl PgDump {
    fn read_checked(&mut self, buffer: &mut [u8]) -> Result<usize> {
        // A lost snapshot makes the rest worthless.
        if let Some(error) = self.counting.as_ref().and_then(Counting::failure) {
            return Err(error);
        }
        let output = self
            .output
            .as_mut()
            .ok_or_else(|| Error::internal("read a dump", "it was not started"))?;
        let n = output
            .read(buffer)
            .map_err(|e| coffre_model::error::from_io(e, |e| Error::internal("read a dump", e)))?;
        if n > 0 {
            self.checker.feed(&buffer[..n])?;
        } else {
            self.parsed = Some(self.checker.finish()?);
        }
        Ok(n)
    }

    /// What `pg_dump` said although it ended well.
    fn remarks(&self) -> Vec<Error> {
        let ended = self.output.as_ref().and_then(ChildOutput::ended);
        let words = ended.map(|ended| ended.stderr.last_lines()).unwrap_or_default();
        if words.is_empty() {
            return Vec::new();
        }
        vec![Error::new(Code::DumpFailed, "pg_dump_remarks").with("stderr", words)]
    }
}

impl Read for PgDump {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(error) = &self.failure {
            return Err(error.clone().into());
        }
        if self.parsed.is_some() || buffer.is_empty() {
            return Ok(0);
        }
        self.read_checked(buffer).map_err(|error| {
            self.failure = Some(error.clone());
            error.into()
        })
    }
}

impl Dump for PgDump {
    fn finish(mut self: Box<Self>) -> Result<DumpFacts> {
        if let Some(error) = self.failure.take() {
            return Err(error);
        }
        let Some(parsed) = self.parsed.clone() else {
            let error = Error::internal("finish a dump", "it was not read to its end");
            self.failure = Some(error.clone());
            return Err(error);
        };
        let mut remarks = self.remarks();
        let counts = match self.counting.take() {
            Some(counting) => {
                let counts = counting.finish().inspect_err(|error| self.failure = Some(error.clone()))?;
                counts::compare(&counts, &parsed)?;
                counts
            }
            None => {
                remarks.push(Error::new(Code::DumpFailed, "pg_counts_from_dump"));
                let mut counts = parsed.counts;
                counts.retain(|count| self.counted.contains(&count.table));
                counts
            }
        };
        Ok(DumpFacts {
            counts,
            scope: std::mem::take(&mut self.scope),
            remarks,
        })
    }
}

impl Drop for PgDump {
    fn drop(&mut self) {
        let whole = self.parsed.is_some() && self.failure.is_none();
        // First the program: it gets the chance to cancel its query at the server.
        self.output = None;
        self.counting = None;
        if !whole {
            end_sessions(&self.server);
        }
    }
}

/// Ends what is left of this piece of work at the server. Its sessions notice by themselves that their clients are gone, but perhaps only
/// when they next send something.
pub(crate) fn end_sessions(server: &Server) {
    // The work's own flag may be raised already.
    let free = Cancel::new();
    // No way to the server, or no answer: then nothing can be done about what it still does.
    if let Ok(mut session) = Session::open_within(server, &server.database, &free, END_LIMIT) {
        let _what_it_still_does = session.end_others();
    }
}
