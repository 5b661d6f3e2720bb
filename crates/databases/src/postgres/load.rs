//! Loading a dump into a target: an archive through `pg_restore`, SQL text through our own session.
//!
//! A load begins with the first bytes, not before: they say which program can read an archive, and which roles it needs.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use coffre_model::database::{Access, Checker, Load, Parsed};
use coffre_model::error::from_io;
use coffre_model::{Cancel, Code, Error, Id, Result};
use tokio_postgres::types::Type;

use super::archive::Archive;
use super::confined;
use super::connect::{self, CONNECT_LIMIT, Server, Session, no_answer, session_options};
use super::dump::end_sessions;
use super::environment::{Environment, connection_argument};
use super::failure;
use super::plain::PlainChecker;
use super::replace::HandedOver;
use super::sql_load::{Guest, LoadLimits, Session as SqlSession, SqlLoad};
use super::tables::listed;
use super::tools::{Found, Series, speaks_to};
use crate::process::{Alive, ChildInput, Invocation, Limits};

/// How often the stall limit may pass while the server is at one and the same piece of work without visible progress (sorting for an index).
const QUIET_LIMITS: u32 = 12;
/// How long asking the server for signs of life may take.
const ALIVE_LIMIT: Duration = Duration::from_secs(5);
/// Size of the pieces that are passed on.
const PIECE: usize = 256 << 10;
/// How SQL text by `pg_dump` begins, carriage returns aside.
const PG_DUMP_HEAD: &[u8] = b"--\n-- PostgreSQL database dump\n";
/// So much must have come to know it.
const HEAD_MAX: usize = 64;

/// What a load works with.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) server: Server,
    pub(crate) access: Access,
    /// Remarks for a person, gathered while loading.
    pub(crate) remarks: Arc<Mutex<Vec<Error>>>,
}

impl Surroundings {
    fn tell(&self, remark: Error) {
        self.remarks.lock().unwrap_or_else(PoisonError::into_inner).push(remark);
    }
}

/// A load of either kind.
pub(crate) struct PgLoad {
    surroundings: Surroundings,
    /// The transaction of somebody else that everything goes into.
    within: Option<HandedOver>,
    state: State,
    failure: Option<Error>,
    finished: bool,
}

enum State {
    /// An archive whose table of contents has not fully come.
    Archive(Box<Archive>, Vec<u8>, Found),
    /// SQL text of which too little has come to see who made it.
    Text(Vec<u8>),
    /// `pg_restore` at work.
    Restoring(Restoring),
    /// `pg_restore` makes SQL text of an archive.
    Converting(Converting),
    /// Our own session at work.
    Sql(Box<SqlLoad>),
    /// Nothing any more.
    Ended,
}

struct Restoring {
    input: ChildInput,
    /// Keeps the password file, and removes the list of entries.
    _environment: Environment,
    _list: Option<ListFile>,
}

impl PgLoad {
    /// Of an archive. `found`: every `pg_restore` there is.
    pub(crate) fn archive(surroundings: Surroundings, found: Found) -> PgLoad {
        Self::new(surroundings, State::Archive(Box::default(), Vec::new(), found))
    }

    /// Of SQL text.
    pub(crate) fn text(surroundings: Surroundings) -> PgLoad {
        Self::new(surroundings, State::Text(Vec::new()))
    }

    /// Loads into a transaction that is going on, and leaves it open.
    pub(crate) fn held(mut self, within: Option<HandedOver>) -> PgLoad {
        self.within = within;
        self
    }

    fn new(surroundings: Surroundings, state: State) -> PgLoad {
        PgLoad {
            surroundings,
            within: None,
            state,
            failure: None,
            finished: false,
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.state {
            State::Archive(archive, kept, _) => {
                kept.extend_from_slice(bytes);
                archive.feed(bytes)?;
                if archive.roles().is_some() {
                    self.begin_archive()?;
                }
                Ok(())
            }
            State::Text(kept) => {
                kept.extend_from_slice(bytes);
                if kept.len() >= HEAD_MAX {
                    self.begin_text()?;
                }
                Ok(())
            }
            State::Restoring(restoring) => restoring.input.write_all(bytes).map_err(unwrapped),
            State::Converting(converting) => converting.take(bytes),
            State::Sql(load) => load.write_all(bytes).map_err(unwrapped),
            State::Ended => Err(Error::internal("load a dump", "the load has ended already")),
        }
    }

    fn begin_archive(&mut self) -> Result<()> {
        let State::Archive(archive, kept, found) = std::mem::replace(&mut self.state, State::Ended) else {
            return Ok(());
        };
        self.state = begin_archive(&self.surroundings, &archive, &found, self.within.take())?;
        self.take(&kept)
    }

    fn begin_text(&mut self) -> Result<()> {
        let State::Text(kept) = std::mem::replace(&mut self.state, State::Ended) else {
            return Ok(());
        };
        let load = sql_load(&self.surroundings, is_by_pg_dump(&kept), self.within.take())?;
        self.state = State::Sql(Box::new(load));
        self.take(&kept)
    }

    fn end(&mut self) -> Result<()> {
        if matches!(self.state, State::Text(_)) {
            self.begin_text()?;
        }
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Archive(mut archive, ..) => {
                // The table of contents has not even ended: the checker says how much is missing.
                archive.finish()?;
                Err(Error::internal("load an archive", "it has no table of contents"))
            }
            State::Restoring(restoring) => {
                let ended = restoring.input.finish()?;
                let words = ended.stderr.last_lines();
                if !words.is_empty() {
                    self.surroundings
                        .tell(Error::new(Code::DumpFailed, "pg_restore_remarks").with("stderr", words));
                }
                Ok(())
            }
            State::Converting(converting) => converting.finish(),
            State::Sql(load) => Load::finish(load),
            State::Text(_) | State::Ended => Err(Error::internal("load a dump", "the load has ended already")),
        }
    }
}

fn unwrapped(error: io::Error) -> Error {
    from_io(error, |e| Error::internal("hand on a dump", e))
}

impl Write for PgLoad {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(error) = &self.failure {
            return Err(error.clone().into());
        }
        match self.take(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(error) => {
                self.failure = Some(error.clone());
                self.state = State::Ended;
                Err(error.into())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Load for PgLoad {
    fn finish(mut self: Box<Self>) -> Result<()> {
        if let Some(error) = self.failure.take() {
            return Err(error);
        }
        self.end()?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for PgLoad {
    fn drop(&mut self) {
        // First whoever loads; a transaction that was not committed is taken back by the server.
        self.state = State::Ended;
        if !self.finished {
            end_sessions(&self.surroundings.server);
        }
    }
}

/// The oldest `pg_restore` that reads an archive of this version (`pg_backup_archiver.h`, `K_VERS_…`).
fn oldest_reader(archive_version: &str) -> Series {
    match archive_version {
        "1.12" => Series(9, 2),
        "1.13" => Series(10, 0),
        "1.14" => Series(12, 0),
        "1.15" => Series(16, 0),
        _ => Series(17, 0),
    }
}

fn begin_archive(surroundings: &Surroundings, archive: &Archive, found: &Found, within: Option<HandedOver>) -> Result<State> {
    let Surroundings { server, access, .. } = surroundings;
    let database = server.database.as_str();
    let header = archive
        .header()
        .ok_or_else(|| Error::internal("load an archive", "no header"))?;
    let mut session = Session::open(server, database, &access.cancel)?;
    let version = session.version().clone();
    let program = found.choose_restore(&version, oldest_reader(&header.archive_version))?;
    let mut rights = rights(&mut session, archive)?;
    let mut schemas = BTreeSet::new();
    let thrown_away = confined::is_throw_away(server, &mut session)?;
    if thrown_away {
        // There, owners and privileges are rehearsed like everything else.
        schemas = confined::open_to(server, Some(archive), &access.cancel)?;
        confined::make_roles(&mut session, rights.unusable.iter())?;
        rights.unusable.clear();
    }
    drop(session);
    let mut call = Invocation::new(&program.path, &access.runtime).arg("--exit-on-error");
    if !rights.unusable.is_empty() {
        call = call.arg("--no-owner").arg("--no-privileges");
        let roles = rights.unusable.iter().map(String::as_str);
        surroundings.tell(
            Error::new(Code::Privilege, "pg_restored_without_owners")
                .with("roles", listed(roles))
                .with("count", rights.unusable.len())
                .with("user", server.user.clone()),
        );
    }
    let nothing = BTreeSet::new();
    let foreign = within.as_ref().map_or(&nothing, |within| &within.foreign);
    if let Some(remark) = confined::left_out(archive).filter(|_| thrown_away) {
        surroundings.tell(remark);
    }
    let list = ListFile::without_foreign(access, archive, rights.superuser, thrown_away.then_some(&schemas), foreign)?;
    if let Some(list) = &list {
        call = call.arg("--use-list").arg(list.0.clone());
    }
    let options = options(server, &access.cancel, &version, rights.superuser)?;
    let environment = Environment::new(server, database, &program, &access.runtime, options.as_deref())?;
    let limits = Limits {
        stall: access.stall,
        cancel: access.cancel.clone(),
    };
    let judged = program.clone();
    let judge = Box::new(move |ended: &crate::process::Ended| failure::meaning(&judged, ended));
    if within.is_none() && speaks_to(program.version.series, version.series) {
        let call = environment.apply(
            call.arg("--single-transaction")
                .arg("--no-password")
                .arg(format!("--dbname={}", connection_argument(database))),
        );
        let alive = signs_of_life(server.clone(), version.series);
        return Ok(State::Restoring(Restoring {
            input: ChildInput::start(&call, limits, judge, alive)?,
            _environment: environment,
            _list: list,
        }));
    }
    let sql = sql_load(surroundings, true, within)?;
    // It does not connect: it gets neither password nor address.
    let (input, output) = ChildInput::start_filter(
        &call.arg("--file=-"),
        limits,
        judge,
        // Our own session watches over the server; here only its thread must still be there.
        Box::new(|| true),
    )?;
    Ok(State::Converting(Converting::start(input, output.into(), sql, list)?))
}

/// The parameters for the program's session that this server takes.
fn options(server: &Server, cancel: &Cancel, version: &super::tools::Version, superuser: bool) -> Result<Option<String>> {
    let Some(options) = session_options(version, superuser) else {
        return Ok(None);
    };
    match Session::open_with(server, &server.database, cancel, Some(&options)) {
        Ok(_) => Ok(Some(options)),
        Err(error) if error.code() == Code::Cancelled => Err(error),
        // They are only good to have.
        Err(_) => Ok(None),
    }
}

/// What the user may do at the target.
struct Rights {
    superuser: bool,
    /// Roles of the archive that are not there, or that the user may not hand anything to.
    unusable: BTreeSet<String>,
}

fn rights(session: &mut Session, archive: &Archive) -> Result<Rights> {
    let superuser: String = session.value("SELECT pg_catalog.current_setting('is_superuser')")?;
    let superuser = superuser == "on";
    let wanted: Vec<String> = archive.roles().into_iter().flatten().cloned().collect();
    let owners: BTreeSet<String> = archive
        .entries()
        .into_iter()
        .flatten()
        .filter_map(|e| e.owner.clone())
        .collect();
    // Since 16, membership alone does not let one hand objects over.
    let may = if session.version().series.0 >= 16 { "SET" } else { "MEMBER" };
    let sql = format!(
        "SELECT r.rolname::text, pg_catalog.pg_has_role(r.oid, '{may}') FROM pg_catalog.pg_roles r WHERE r.rolname::text = ANY ($1)"
    );
    let rows = session.query(&sql, &[(&wanted, Type::TEXT_ARRAY)])?;
    let read = |e| Error::internal("read the roles", e);
    let mut unusable: BTreeSet<String> = wanted.into_iter().collect();
    for row in &rows {
        let name: String = row.try_get(0).map_err(read)?;
        let mine: bool = row.try_get(1).map_err(read)?;
        if superuser || mine || !owners.contains(&name) {
            unusable.remove(&name);
        }
    }
    Ok(Rights { superuser, unusable })
}

/// The entries that `pg_restore` should load, in the archive's order; removed when dropped.
struct ListFile(PathBuf);

impl ListFile {
    /// Everything but comments on extensions, which only an extension's owner may make, and the schemas of somebody else. Nothing where there are
    /// none.
    fn without_foreign(
        access: &Access,
        archive: &Archive,
        superuser: bool,
        thrown_away: Option<&BTreeSet<String>>,
        schemas: &BTreeSet<String>,
    ) -> Result<Option<ListFile>> {
        let failed = |e| Error::writing_home("write a list of entries", &access.runtime, &e);
        let entries = archive.entries().unwrap_or_default();
        let foreign = |entry: &&super::archive::ArchiveEntry| {
            let of_schema = entry.tag.strip_prefix("SCHEMA ").unwrap_or(&entry.tag);
            let itself = matches!(entry.description.as_str(), "SCHEMA" | "COMMENT" | "ACL" | "SECURITY LABEL");
            thrown_away
                .is_some_and(|made| confined::is_left_out(entry) || entry.description == "SCHEMA" && made.contains(&entry.tag))
                || !superuser && entry.description == "COMMENT" && entry.tag.starts_with("EXTENSION ")
                || entry.namespace.as_ref().is_some_and(|name| schemas.contains(name))
                || entry.namespace.is_none() && itself && schemas.contains(of_schema)
        };
        if !entries.iter().any(|entry| foreign(&entry)) {
            return Ok(None);
        }
        let kept = entries.iter().filter(|entry| !foreign(entry));
        let lines: String = kept.map(|entry| format!("{};\n", entry.id)).collect();
        let path = access.runtime.join(format!("entries-{}", Id::new().short()));
        let mut file = File::create_new(&path).map_err(failed)?;
        let list = ListFile(path);
        file.write_all(lines.as_bytes()).map_err(failed)?;
        Ok(Some(list))
    }
}

impl Drop for ListFile {
    fn drop(&mut self) {
        // The whole folder is removed with the run.
        let _removed_with_the_folder = std::fs::remove_file(&self.0);
    }
}

/// Asks the server whether the program's session is at work: building an index can take hours without a byte from anybody.
fn signs_of_life(server: Server, series: Series) -> Alive {
    let progress = match series.0 {
        12.. => {
            "(SELECT pg_catalog.string_agg(p::text, ' ') FROM pg_catalog.pg_stat_progress_create_index p WHERE p.pid = a.pid)"
        }
        _ => "NULL",
    };
    let waiting = if series >= Series(9, 6) { "a.wait_event_type" } else { "NULL" };
    let sql = format!(
        "SELECT pg_catalog.concat_ws(' ', a.pid, a.query_start, {progress})
           FROM pg_catalog.pg_stat_activity a
          WHERE a.application_name = $1 AND a.pid <> pg_catalog.pg_backend_pid()
            AND a.state = 'active' AND COALESCE({waiting}, '') NOT IN ('Client', 'Lock')"
    );
    let mut last = String::new();
    let mut quiet = 0;
    Box::new(move || {
        let ask = || -> Result<Option<String>> {
            let mut session = Session::open_within(&server, &server.database, &Cancel::new(), ALIVE_LIMIT)?;
            let rows = session.query_within(&sql, &[(&server.application, Type::TEXT)], ALIVE_LIMIT)?;
            Ok(rows.first().and_then(|row| row.try_get(0).ok()))
        };
        match ask() {
            Ok(Some(work)) if work != last => {
                last = work;
                quiet = 0;
                true
            }
            Ok(Some(_)) => {
                quiet += 1;
                quiet < QUIET_LIMITS
            }
            // Not at work, or no answer: no sign of life.
            Ok(None) | Err(_) => false,
        }
    })
}

/// Loads SQL text on a session of our own.
fn sql_load(surroundings: &Surroundings, require_end: bool, within: Option<HandedOver>) -> Result<SqlLoad> {
    let server = surroundings.server.clone();
    if confined::may_be_throw_away(&server) {
        confined::open_to(&server, None, &surroundings.access.cancel)?;
    }
    let open = move || -> super::sql_load::Boxed<Result<SqlSession>> {
        let server = server.clone();
        Box::pin(async move {
            let database = server.database.clone();
            let connecting = tokio::time::timeout(CONNECT_LIMIT, connect::connect(&server, &database, None));
            let connected = connecting
                .await
                .map_err(|_| server.named(no_answer(CONNECT_LIMIT), &database))??;
            Ok(SqlSession::new(connected.client, connected.connection, connected.connector))
        })
    };
    let guest = within.map(|within| Guest {
        held: within.held,
        back: within.back,
        there: within.there,
        extensions_stay: within.extensions_stay,
    });
    SqlLoad::start_in(
        guest,
        open,
        LoadLimits {
            require_end,
            stall: surroundings.access.stall,
            cancel: surroundings.access.cancel.clone(),
        },
    )
}

/// An archive that only a `pg_restore` reads which is too new to speak to the server: it makes SQL text of it, and our own session, which knows
/// what older servers do not, loads that.
struct Converting {
    input: Option<ChildInput>,
    passing_on: Option<JoinHandle<Result<SqlLoad>>>,
    _list: Option<ListFile>,
}

impl Converting {
    fn start(input: ChildInput, mut output: File, mut sql: SqlLoad, list: Option<ListFile>) -> Result<Converting> {
        let pass_on = move || {
            let mut piece = vec![0; PIECE];
            loop {
                match output.read(&mut piece) {
                    Ok(0) => return Ok(sql),
                    Ok(n) => sql.write_all(&piece[..n]).map_err(unwrapped)?,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(Error::internal("read from a tool", error)),
                }
            }
        };
        let thread = thread::Builder::new()
            .name("passing-on".into())
            .spawn(pass_on)
            .map_err(|e| Error::internal("start a thread", e))?;
        Ok(Converting {
            input: Some(input),
            passing_on: Some(thread),
            _list: list,
        })
    }

    fn take(&mut self, bytes: &[u8]) -> Result<()> {
        let input = self
            .input
            .as_mut()
            .ok_or_else(|| Error::internal("load an archive", "it has ended"))?;
        input
            .write_all(bytes)
            .map_err(unwrapped)
            .map_err(|error| self.first_cause(error))
    }

    /// Where the program failed because nobody took its text any more, why nobody did.
    fn first_cause(&mut self, error: Error) -> Error {
        self.input = None;
        match self.join() {
            Err(first) => first,
            Ok(_) => error,
        }
    }

    fn join(&mut self) -> Result<SqlLoad> {
        let thread = self.passing_on.take();
        let thread = thread.ok_or_else(|| Error::internal("load an archive", "it has ended"))?;
        thread
            .join()
            .map_err(|_| Error::internal("load an archive", "a thread panicked"))?
    }

    fn finish(mut self) -> Result<()> {
        let input = self
            .input
            .take()
            .ok_or_else(|| Error::internal("load an archive", "it has ended"))?;
        if let Err(error) = input.finish() {
            return Err(self.first_cause(error));
        }
        // Only now, when the program has ended with 0, is the text whole.
        Load::finish(Box::new(self.join()?))
    }
}

impl Drop for Converting {
    fn drop(&mut self) {
        // The program's end closes the pipe, and that ends the thread; the text is dropped with it, and taken back.
        self.input = None;
        if let Some(thread) = self.passing_on.take() {
            let _nobody_asks = thread.join();
        }
    }
}

/// Checks SQL text from elsewhere. Text by `pg_dump` must have `pg_dump`'s end mark; text by something else has none.
#[derive(Default)]
pub struct ForeignText {
    head: Vec<u8>,
    checker: Option<PlainChecker>,
}

impl ForeignText {
    fn begin(&mut self) -> Result<&mut PlainChecker> {
        if self.checker.is_none() {
            let checker = self.checker.insert(PlainChecker::new(is_by_pg_dump(&self.head)));
            checker.feed(&std::mem::take(&mut self.head))?;
        }
        self.checker
            .as_mut()
            .ok_or_else(|| Error::internal("check SQL text", "no checker"))
    }
}

impl Checker for ForeignText {
    fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(checker) = &mut self.checker {
            return checker.feed(bytes);
        }
        self.head.extend_from_slice(bytes);
        if self.head.len() >= HEAD_MAX {
            self.begin()?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Parsed> {
        self.begin()?.finish()
    }
}

/// Whether text that begins so was made by `pg_dump`.
fn is_by_pg_dump(head: &[u8]) -> bool {
    let start: Vec<u8> = head.iter().copied().filter(|byte| *byte != b'\r').collect();
    start.starts_with(PG_DUMP_HEAD)
}
