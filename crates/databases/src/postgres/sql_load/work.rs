//! The loading thread: owns runtime and session, runs what the lexer finds, commits or takes back.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use bytes::Bytes;
use coffre_model::error::{Code, Error, Result};
use futures_util::SinkExt;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, CopyInSink, SimpleQueryMessage};

use super::super::confined::{IS_CONFINED, make_role};
use super::super::plain::lexer::{Lexer, Next, STATEMENT_MAX, Sink, Statement};
use super::super::plain::statement::{Verdict, judge, shown};
use super::super::plain::words::{Word, Words, roles_of};
use super::super::plain::{EndMark, encoding_refusal};
use super::failure::failure;
use super::queue::{LOOK, Piece, Queue};
use super::session::{Held, Open, Session};
use super::{Guest, LoadLimits, Loaded};

/// How long the server gets for a polite end (a cancelled statement, a closed session) before the socket is just closed.
const PARTING: Duration = Duration::from_secs(1);
/// Left-out lines that are remembered.
const LEFT_OUT_MAX: usize = 100;
/// Settings of newer servers that every dump sets to what older servers do anyway.
const NEWER: &[(&str, &str)] = &[
    ("transaction_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("default_table_access_method", "heap"),
];

/// Loads what comes through the queue. Always tells the queue when it has ended.
pub(super) fn work(queue: &Queue, open: Open, guest: Option<Guest>, limits: LoadLimits) -> Result<Loaded> {
    struct Ended<'a>(&'a Queue);
    impl Drop for Ended<'_> {
        fn drop(&mut self) {
            self.0.end();
        }
    }
    let _ended = Ended(queue);
    let (runtime, session, back, there, extensions_stay) = match guest {
        Some(Guest {
            held,
            back,
            there,
            extensions_stay,
        }) => {
            let driven = Driven {
                client: held.client,
                driver: held.driver,
                interrupt: held.interrupt,
                reported: held.reported,
            };
            (held.runtime, Some(driven), Some(back), there, extensions_stay)
        }
        None => {
            let runtime = Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|e| Error::internal("start the runtime of a load", e))?;
            (runtime, None, None, BTreeSet::new(), false)
        }
    };
    let mut loader = Loader {
        runtime,
        open,
        limits,
        queue,
        session,
        is_guest: back.is_some(),
        there,
        extensions_stay,
        older_than: Vec::new(),
        throw_away: false,
        transaction: String::new(),
        backend: 0,
        piece: Bytes::new(),
        copy: None,
        end: EndMark::default(),
        loaded: Loaded::default(),
        in_flight: std::cell::Cell::new(false),
    };
    let outcome = loader.load();
    if outcome.is_ok()
        && let (Some(back), Some(driven)) = (back, loader.session.take())
    {
        let Loader { runtime, loaded, .. } = loader;
        *back.lock().unwrap_or_else(PoisonError::into_inner) = Some(Held {
            runtime,
            client: driven.client,
            driver: driven.driver,
            interrupt: driven.interrupt,
            reported: driven.reported,
        });
        return Ok(loaded);
    }
    loader.part();
    let Loader { runtime, loaded, .. } = loader;
    // A look-up of a host name that never ends would hold back an ordinary end of the runtime.
    runtime.shutdown_background();
    outcome.map(|()| loaded)
}

/// A session that is being driven.
struct Driven {
    client: Client,
    driver: JoinHandle<()>,
    interrupt: Box<dyn Fn() -> super::Boxed<()> + Send>,
    reported: std::sync::Arc<super::session::Reported>,
}

struct Loader<'a> {
    runtime: Runtime,
    open: Open,
    limits: LoadLimits,
    queue: &'a Queue,
    session: Option<Driven>,
    /// The transaction is somebody else's.
    is_guest: bool,
    /// Schemas that need not be made.
    there: BTreeSet<String>,
    /// Comments on extensions are left out.
    extensions_stay: bool,
    /// Settings of [`NEWER`] that this server does not know.
    older_than: Vec<&'static str>,
    /// The server is one of our own throw-away servers: roles that the text names are made there.
    throw_away: bool,
    /// The number of the one transaction.
    transaction: String,
    backend: i32,
    /// What the lexer reads now: rows are passed on as parts of it, without a copy.
    piece: Bytes,
    copy: Option<Copying>,
    end: EndMark,
    loaded: Loaded,
    /// A request was sent and its answer has not come.
    in_flight: std::cell::Cell<bool>,
}

struct Copying {
    sink: Pin<Box<CopyInSink<Bytes>>>,
    /// The line of its semicolon: rows begin on the next.
    line: u64,
    statement: String,
}

/// Whether the server may be quiet for longer than the stall limit while it says that it works.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quiet {
    WhileWorking,
    Never,
}

impl Loader<'_> {
    fn load(&mut self) -> Result<()> {
        self.connect()?;
        let mut lexer = Lexer::new(STATEMENT_MAX);
        loop {
            match self.queue.pull(&self.limits.cancel)? {
                Piece::Bytes(bytes) => {
                    self.piece = Bytes::from(bytes);
                    let piece = self.piece.clone();
                    lexer.feed(&piece, self)?;
                }
                Piece::Complete => break,
                Piece::Abandoned => return Err(abandoned()),
            }
        }
        if lexer.offset() == 0 {
            return Err(Error::new(Code::DumpEmpty, "dump_empty"));
        }
        lexer.finish(self)?;
        if self.limits.require_end {
            self.end.check(lexer.offset())?;
        }
        // If anything in the text had ended the transaction, this would be another one.
        if self.values("SELECT pg_catalog.txid_current()")? != [self.transaction.clone()] {
            return Err(Error::new(Code::Refused, "sql_transaction_lost"));
        }
        if self.is_guest {
            return Ok(());
        }
        self.run("COMMIT", lexer.line())
    }

    fn connect(&mut self) -> Result<()> {
        if !self.is_guest {
            let opening = (self.open)();
            let session = self.watched(Quiet::Never, opening)??;
            self.session = Some(drive(&self.runtime, session));
        }
        // The time limits of the database or role are not meant for this; `pg_dump` switches them off as well.
        self.run("SET standard_conforming_strings = on", 0)?;
        self.run("SET statement_timeout = 0", 0)?;
        self.run("SET idle_in_transaction_session_timeout = 0", 0)?;
        if !self.is_guest {
            self.run("BEGIN READ WRITE", 0)?;
        }
        let known = self.values("SELECT name FROM pg_catalog.pg_settings")?;
        self.older_than = NEWER
            .iter()
            .map(|(name, _)| *name)
            .filter(|name| !known.iter().any(|k| k == name))
            .collect();
        self.throw_away = self.values(IS_CONFINED)? == ["t"];
        let backend = self.values("SELECT pg_catalog.pg_backend_pid()")?;
        self.backend = backend.first().and_then(|pid| pid.parse().ok()).unwrap_or(0);
        self.transaction = self
            .values("SELECT pg_catalog.txid_current()")?
            .into_iter()
            .next()
            .unwrap_or_default();
        Ok(())
    }

    fn driven(&self) -> Result<&Driven> {
        self.session
            .as_ref()
            .ok_or_else(|| Error::internal("load SQL", "there is no session"))
    }

    /// Runs one statement.
    fn run(&self, statement: &str, line: u64) -> Result<()> {
        let running = self.driven()?.client.batch_execute(statement);
        self.watched(Quiet::WhileWorking, running)?
            .map_err(|error| failure(&error, line, statement))
    }

    /// Runs one statement that must be one for the server too. Where semicolons stand inside (rules, bodies of functions), the
    /// lexer goes by a rule of thumb, as psql does; what is prepared can only be one statement, whatever the lexer thinks.
    fn run_single(&self, statement: &str, line: u64) -> Result<()> {
        let client = &self.driven()?.client;
        let running = async { client.execute(&client.prepare(statement).await?, &[]).await };
        self.watched(Quiet::WhileWorking, running)?
            .map(|_| ())
            .map_err(|error| failure(&error, line, statement))
    }

    /// The first column of what a query answers.
    fn values(&self, query: &str) -> Result<Vec<String>> {
        let asking = self.driven()?.client.simple_query(query);
        let rows = self
            .watched(Quiet::Never, asking)?
            .map_err(|error| failure(&error, 0, query))?;
        Ok(first_column(&rows))
    }

    /// Waits for an answer, looking at the cancel flag, the writer and the clock.
    fn watched<F: Future>(&self, quiet: Quiet, answer: F) -> Result<F::Output> {
        self.in_flight.set(true);
        let outcome = self.runtime.block_on(async {
            let mut answer = pin!(answer);
            loop {
                if let Some(output) = self.within(self.limits.stall, answer.as_mut()).await? {
                    return Ok(output);
                }
                if quiet == Quiet::Never || !self.is_working().await? {
                    return Err(Error::new(Code::Stalled, "sql_stalled").with("seconds", self.limits.stall.as_secs()));
                }
            }
        });
        if outcome.is_ok() {
            self.in_flight.set(false);
        }
        outcome
    }

    /// The answer, if it comes within the limit.
    async fn within<F: Future>(&self, limit: Duration, answer: F) -> Result<Option<F::Output>> {
        let mut answer = pin!(answer);
        let begin = Instant::now();
        loop {
            if let Ok(output) = tokio::time::timeout(LOOK.min(limit), answer.as_mut()).await {
                return Ok(Some(output));
            }
            self.limits.cancel.check()?;
            if self.queue.is_abandoned() {
                return Err(abandoned());
            }
            if begin.elapsed() >= limit {
                return Ok(None);
            }
        }
    }

    /// Asks the server, over a session of its own, whether it still works on our statement. Whatever goes wrong with that is the
    /// answer "no".
    async fn is_working(&self) -> Result<bool> {
        let asking = async {
            let session = (self.open)().await.ok()?;
            let driver = tokio::spawn(session.driver);
            let query = format!(
                "SELECT state = 'active' FROM pg_catalog.pg_stat_activity WHERE pid = {}",
                self.backend
            );
            let rows = session.client.simple_query(&query).await.ok()?;
            drop(session.client);
            driver.await.ok()?;
            Some(first_column(&rows) == ["t"])
        };
        Ok(self.within(self.limits.stall, asking).await?.flatten().unwrap_or(false))
    }

    /// Ends the session, whatever state it is in. What was not committed, the server takes back.
    fn part(&mut self) {
        // Ends a COPY that goes on.
        self.copy = None;
        let Some(session) = self.session.take() else {
            return;
        };
        let in_flight = self.in_flight.get();
        self.runtime.block_on(async {
            // Both are courtesies: without them the server notices the closed socket, only later.
            if in_flight {
                let _late = tokio::time::timeout(PARTING, (session.interrupt)()).await;
            }
            drop(session.client);
            let _late = tokio::time::timeout(PARTING, session.driver).await;
        });
    }

    /// A part of the current piece as bytes of its own, without a copy where it is one.
    fn shared(&self, bytes: &[u8]) -> Bytes {
        let begin = (bytes.as_ptr() as usize).checked_sub(self.piece.as_ptr() as usize);
        match begin {
            Some(begin) if begin + bytes.len() <= self.piece.len() => self.piece.slice(begin..begin + bytes.len()),
            _ => Bytes::copy_from_slice(bytes),
        }
    }

    /// Whether a `SET` is one of those that every newer `pg_dump` writes and this older server does not know.
    fn is_newer(&self, statement: &[u8]) -> bool {
        let text = String::from_utf8_lossy(statement);
        let words: Vec<&str> = text.split([' ', ';', '=']).filter(|word| !word.is_empty()).collect();
        let &["SET", name, value] = words.as_slice() else {
            return false;
        };
        self.older_than.contains(&name) && NEWER.contains(&(name, value))
    }
}

impl Loader<'_> {
    /// Whether a statement makes a schema that is there, or is a comment on an extension that stays what it is.
    fn is_there(&self, statement: &[u8]) -> bool {
        if !self.is_guest && !self.throw_away {
            return false;
        }
        let words: Vec<Word<'_>> = Words::new(statement, true).take(3).collect();
        match words.as_slice() {
            [create, schema, name] if create.is("create") && schema.is("schema") => {
                name.name().is_some_and(|name| self.there.contains(&name))
            }
            [comment, on, extension] if comment.is("comment") && on.is("on") => {
                (self.extensions_stay || self.throw_away) && extension.is("extension")
            }
            _ => false,
        }
    }
}

fn drive(runtime: &Runtime, session: Session) -> Driven {
    Driven {
        client: session.client,
        driver: runtime.spawn(session.driver),
        interrupt: session.interrupt,
        reported: session.reported,
    }
}

fn abandoned() -> Error {
    Error::new(Code::Cancelled, "cancelled")
}

/// Whether a statement hands something to roles.
fn names_roles(statement: &[u8]) -> bool {
    let words: Vec<_> = Words::new(statement, true).take(3).collect();
    match words.as_slice() {
        [first, ..] if first.is("grant") || first.is("revoke") => true,
        [first, second, ..] if first.is("create") && second.is("policy") => true,
        [first, ..] if first.is("alter") => {
            let mut rest = Words::new(statement, true).skip(1);
            rest.any(|word| word.is("owner") || word.is("privileges"))
        }
        _ => false,
    }
}

fn first_column(rows: &[SimpleQueryMessage]) -> Vec<String> {
    let values = rows.iter().filter_map(|row| match row {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    values.collect()
}

impl Sink for Loader<'_> {
    fn statement(&mut self, statement: Statement<'_>) -> Result<Next> {
        self.end.other();
        let reported = &self.driven()?.reported;
        let verdict = judge(&statement, reported.standard_strings());
        if let Some(error) = encoding_refusal(&statement, reported.utf8()) {
            return Err(error);
        }
        let text = str::from_utf8(statement.text).map_err(|e| Error::internal("read a statement", e))?;
        match verdict {
            Verdict::Transaction => {
                if self.loaded.left_out.len() < LEFT_OUT_MAX {
                    self.loaded.left_out.push(statement.line);
                }
                return Ok(Next::Sql);
            }
            Verdict::Refused(error) | Verdict::Stop(error) => return Err(error),
            Verdict::Rows(_) => {
                let begin = self.driven()?.client.copy_in::<_, Bytes>(text);
                let sink = self.watched(Quiet::WhileWorking, begin)?;
                self.copy = Some(Copying {
                    sink: Box::pin(sink.map_err(|error| failure(&error, statement.line, text))?),
                    line: statement.line + text.matches('\n').count() as u64,
                    statement: shown(statement.text),
                });
                self.loaded.statements += 1;
                return Ok(Next::Rows);
            }
            _ if self.is_newer(statement.text) || self.is_there(statement.text) => {}
            _ if self.throw_away && names_roles(statement.text) => {
                for role in roles_of(statement.text) {
                    if let Some(sql) = make_role(&role) {
                        self.run(&sql, statement.line)?;
                    }
                }
                self.run(text, statement.line)?;
            }
            _ if statement.semicolons => self.run_single(text, statement.line)?,
            _ => self.run(text, statement.line)?,
        }
        self.loaded.statements += 1;
        Ok(Next::Sql)
    }

    fn standard_strings(&self) -> bool {
        self.session
            .as_ref()
            .is_none_or(|session| session.reported.standard_strings())
    }

    fn rows(&mut self, bytes: &[u8]) -> Result<()> {
        let bytes = self.shared(bytes);
        let Some(mut copy) = self.copy.take() else {
            return Err(Error::internal("load rows", "no COPY is going on"));
        };
        let sent = self.watched(Quiet::Never, copy.sink.feed(bytes))?;
        sent.map_err(|error| failure(&error, copy.line, &copy.statement))?;
        self.copy = Some(copy);
        Ok(())
    }

    fn rows_end(&mut self, _: u64) -> Result<()> {
        let Some(mut copy) = self.copy.take() else {
            return Err(Error::internal("load rows", "no COPY is going on"));
        };
        let ended = self.watched(Quiet::WhileWorking, copy.sink.as_mut().finish())?;
        self.loaded.rows += ended.map_err(|error| failure(&error, copy.line, &copy.statement))?;
        Ok(())
    }

    fn comment(&mut self, comment: &[u8]) {
        self.end.comment(comment);
    }

    fn restrict(&mut self, begin: bool, token: &[u8]) {
        self.end.restrict(begin, token);
    }
}
