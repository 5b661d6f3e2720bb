//! Our own sessions at a server: a synchronous face on tokio-postgres.
//!
//! User text never becomes a connection string: every parameter is set by its own setter, so a database called `host=evil` is a name.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use coffre_model::database::Access;
use coffre_model::source::{Source, Tls};
use coffre_model::{Cancel, Code, Error, Result, Secret};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, Connection, Row, Socket};

use super::sql_load::{Held, Reported, drive, interrupt};
use super::tls::Connector;
use super::tools::Version;

/// How long connecting may take, from the first packet to the end of authentication.
pub(crate) const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long a request to stop a query may take, and a last goodbye.
const GOODBYE: Duration = Duration::from_secs(1);
/// How long the search for sessions that were left behind may take.
pub(crate) const END_LIMIT: Duration = Duration::from_millis(1500);
/// How often the cancel flag is looked at while a query runs.
const SLICE: Duration = Duration::from_millis(100);
/// Longer names are cut off by the server without a word, so that another database could be meant.
const NAME_MAX: usize = 63;

/// A server and a database on it, as a source names them.
#[derive(Clone)]
pub(crate) struct Server {
    /// A host, or a socket's folder (begins with `/`).
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) database: String,
    pub(crate) tls: Tls,
    pub(crate) password: Option<Secret>,
    /// The `application_name` of every session of this piece of work.
    pub(crate) application: String,
    /// How long to wait for a lock.
    pub(crate) lock_wait: Duration,
    /// How long one of our own questions may stay without an answer, unless it says otherwise: the stall limit on top of a lock's.
    patience: Duration,
}

impl Server {
    /// Reads a source. Nothing is looked up or connected.
    pub(crate) fn new(source: &Source, application: String, access: &Access) -> Result<Server> {
        let address = source.parsed()?;
        let port = address.port.unwrap_or(5432);
        let host = address.host.unwrap_or_else(|| usual_host(port));
        let socket = host.starts_with('/');
        Ok(Server {
            tls: source.options.tls.unwrap_or(if socket { Tls::Disable } else { Tls::Prefer }),
            user: address.user.map_or_else(system_user, Ok)?,
            database: address.path,
            host,
            port,
            password: access.password.clone().filter(|password| !password.is_empty()),
            application,
            lock_wait: access.lock_wait,
            patience: access.stall + access.lock_wait,
        })
    }

    /// The same server with another database.
    pub(crate) fn with_database(&self, database: &str) -> Server {
        let mut other = self.clone();
        database.clone_into(&mut other.database);
        other
    }

    /// Whether the server is reached through a socket's folder.
    pub(crate) fn is_socket(&self) -> bool {
        self.host.starts_with('/')
    }

    /// How TLS is asked for. A socket needs none.
    pub(crate) fn tls_demand(&self) -> Tls {
        if self.is_socket() { Tls::Disable } else { self.tls }
    }

    /// The parameters of a session.
    pub(crate) fn config(&self, database: &str) -> Config {
        let mut config = Config::new();
        config
            .host(&self.host)
            .port(self.port)
            .user(&self.user)
            .dbname(database)
            .application_name(&self.application)
            .connect_timeout(CONNECT_LIMIT)
            // A vanished peer is noticed after about a minute.
            .keepalives(true)
            .keepalives_idle(Duration::from_secs(30))
            .keepalives_interval(Duration::from_secs(10))
            .keepalives_retries(3)
            .ssl_mode(match self.tls_demand() {
                Tls::Disable => SslMode::Disable,
                Tls::Prefer => SslMode::Prefer,
                Tls::Require | Tls::VerifyFull => SslMode::Require,
            });
        if let Some(password) = &self.password {
            config.password(password.expose());
        }
        config
    }

    /// Adds where and who to an error, as far as it does not say so yet.
    pub(crate) fn named(&self, error: Error, database: &str) -> Error {
        error
            .or_with("host", self.host.clone())
            .or_with("port", self.port)
            .or_with("user", self.user.clone())
            .or_with("database", database)
    }
}

/// Where a server is looked for when an address names no host: the sockets that packages use, else this machine.
fn usual_host(port: u16) -> String {
    ["/var/run/postgresql", "/tmp"]
        .into_iter()
        .find(|folder| std::path::Path::new(folder).join(format!(".s.PGSQL.{port}")).exists())
        .unwrap_or("localhost")
        .to_owned()
}

/// The user that `psql` would take as well: whoever runs this process.
fn system_user() -> Result<String> {
    let entry = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let id = rustix::process::geteuid().as_raw().to_string();
    let known = entry.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == id).then(|| name.to_owned())
    });
    known
        .or_else(|| std::env::var("USER").ok())
        .filter(|name| !name.is_empty())
        .ok_or_else(|| Error::new(Code::Usage, "pg_user_missing"))
}

/// A session. Dropping it says goodbye to the server and ends what it still does there.
pub(crate) struct Session {
    runtime: Option<Runtime>,
    /// Nothing once the goodbye has begun.
    client: Option<Client>,
    connection: Option<JoinHandle<()>>,
    /// Settings that the server tells whenever they change.
    reported: Arc<Reported>,
    connector: Connector,
    server: Server,
    database: String,
    version: Version,
    pub(super) cancels: Vec<Cancel>,
    /// A query was given up on: the server may still be at it.
    abandoned: bool,
}

/// A connection of tokio-postgres, not yet driven.
pub(crate) struct Connected {
    pub(crate) client: Client,
    pub(crate) connection: Connection<Socket, <Connector as MakeTlsConnect<Socket>>::Stream>,
    pub(crate) connector: Connector,
}

/// Connects; to be limited in time by the caller.
///
/// # Errors
/// `UNREACHABLE`, `AUTH_FAILED`, `TLS_REFUSED`.
pub(crate) async fn connect(server: &Server, database: &str, options: Option<&str>) -> Result<Connected> {
    if database.len() > NAME_MAX {
        let error = Error::new(Code::Unreachable, "pg_name_long").with("max", NAME_MAX);
        return Err(server.named(error, database));
    }
    let first = match connect_once(server, database, options).await {
        Err(error) => error,
        ok => return ok,
    };
    let refused = |error: &Error, state| error.detail("sqlstate").as_deref() == Some(state);
    // "If the server offers it" includes a server that offers TLS and then cannot do it, or takes this user only without; `psql` tries
    // again without, too.
    let again = first.code() == Code::TlsRefused || refused(&first, "28000");
    if server.tls_demand() != Tls::Prefer || !again {
        return Err(first);
    }
    let plain = Server {
        tls: Tls::Disable,
        ..server.clone()
    };
    connect_once(&plain, database, options)
        .await
        .map_err(|second| if refused(&second, "28P01") { second } else { first })
}

async fn connect_once(server: &Server, database: &str, options: Option<&str>) -> Result<Connected> {
    let connector = Connector::new(server.tls_demand())?;
    let mut config = server.config(database);
    if let Some(options) = options {
        config.options(options);
    }
    let (client, connection) = config
        .connect(connector.clone())
        .await
        .map_err(|error| server.named(connect_error(&error), database))?;
    Ok(Connected {
        client,
        connection,
        connector,
    })
}

/// The server took the connection and said nothing, or not even that.
pub(crate) fn no_answer(limit: Duration) -> Error {
    Error::new(Code::Unreachable, "pg_no_answer").with("seconds", limit.as_secs())
}

/// Parameters for sessions, in their first packet. They are good to have, and a connection pool may refuse them: so a session of our own
/// tries them first, and where that fails, everything does without them.
pub(crate) fn session_options(version: &Version, superuser: bool) -> Option<String> {
    let mut options = Vec::new();
    if version.series.0 >= 14 {
        // A session whose client was killed ends within seconds, even while it waits for a lock.
        options.push("-c client_connection_check_interval=2000");
    }
    if superuser {
        // So that the server's messages can be recognised; only a superuser may choose their language.
        options.push("-c lc_messages=C");
    }
    (!options.is_empty()).then(|| options.join(" "))
}

/// Why waiting ended without an answer.
pub(super) enum Stop<E> {
    Failed(E),
    Cancelled(Error),
    TooLong,
}

impl Session {
    /// Connects.
    ///
    /// # Errors
    /// `UNREACHABLE`, `AUTH_FAILED`, `TLS_REFUSED`, `CANCELLED`.
    pub(crate) fn open(server: &Server, database: &str, cancel: &Cancel) -> Result<Session> {
        Self::open_with(server, database, cancel, None)
    }

    /// As [`Session::open`], in at most so long.
    pub(crate) fn open_within(server: &Server, database: &str, cancel: &Cancel, limit: Duration) -> Result<Session> {
        Self::try_open(server, database, cancel, None, limit)
    }

    /// As [`Session::open`], with parameters of the session (`-c name=value`) in the very first packet.
    pub(crate) fn open_with(server: &Server, database: &str, cancel: &Cancel, options: Option<&str>) -> Result<Session> {
        Self::try_open(server, database, cancel, options, CONNECT_LIMIT)
    }

    fn try_open(server: &Server, database: &str, cancel: &Cancel, options: Option<&str>, limit: Duration) -> Result<Session> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| Error::internal("start a runtime", e))?;
        let cancels = vec![cancel.clone()];
        let connected = match wait(&runtime, &cancels, limit, connect(server, database, options)) {
            Ok(connected) => connected,
            Err(stop) => {
                // A name that is still being looked up would otherwise be waited for.
                runtime.shutdown_background();
                return Err(match stop {
                    Stop::Cancelled(error) | Stop::Failed(error) => error,
                    Stop::TooLong => server.named(no_answer(limit), database),
                });
            }
        };
        let Connected {
            client,
            connection,
            connector,
        } = connected;
        let said = connection.parameter("server_version").unwrap_or_default().to_owned();
        // Its end is seen by the next query; an error is told to whoever waits for an answer.
        let reported = Arc::new(Reported::default());
        let connection = runtime.spawn(drive(connection, Arc::clone(&reported)));
        let mut session = Session {
            runtime: Some(runtime),
            client: Some(client),
            connection: Some(connection),
            reported,
            connector,
            server: server.clone(),
            database: database.to_owned(),
            version: Version::parse(&said)
                .ok_or_else(|| Error::new(Code::Unreachable, "pg_not_postgres").with("found", said.clone()))?,
            cancels,
            abandoned: false,
        };
        session.settle(limit)?;
        Ok(session)
    }

    /// Settings of every session, in one message. None of them waits or takes a snapshot, so that they get no longer than connecting.
    fn settle(&mut self, limit: Duration) -> Result<()> {
        let lock_timeout = format!("lock_timeout = {}", self.server.lock_wait.as_millis());
        let settings = [
            (0, "search_path = ''"),
            (0, "statement_timeout = 0"),
            (0, "DateStyle = ISO"),
            // Known since 9.3 and 9.6; nothing that old but 9.2 and 9.5 is left out by asking for 10.
            (10, &lock_timeout),
            (10, "idle_in_transaction_session_timeout = 0"),
            (14, "idle_session_timeout = 0"),
            (17, "transaction_timeout = 0"),
        ];
        let known = settings.iter().filter(|(since, _)| self.version.series.0 >= *since);
        let message: String = known.map(|(_, setting)| format!("SET {setting};")).collect();
        self.run_within(&message, limit)?;
        if self.version.series.0 >= 14 {
            // Ends a query whose client was killed within seconds. Not every system that servers run on can do it, and it is only good
            // to have.
            let _where_it_can = self.run_within("SET client_connection_check_interval = 2000", limit);
            self.cancels.iter().try_for_each(Cancel::check)?;
        }
        Ok(())
    }

    /// Also ends waiting when this flag is raised.
    pub(crate) fn also_cancelled_by(&mut self, cancel: Cancel) {
        self.cancels.push(cancel);
    }

    /// How long it waits for a lock.
    pub(crate) fn lock_wait(&self) -> Duration {
        self.server.lock_wait
    }

    /// The database that it is in.
    pub(crate) fn database(&self) -> &str {
        &self.database
    }

    /// Gives it away as it is, in the middle of a transaction, to a load.
    pub(crate) fn into_held(mut self) -> Result<Held> {
        let gone = || Error::internal("hand a session over", "it is closed");
        let client = self.client.take().ok_or_else(gone)?;
        let (token, tls) = (client.cancel_token(), self.connector.clone());
        Ok(Held {
            runtime: self.runtime.take().ok_or_else(gone)?,
            driver: self.connection.take().ok_or_else(gone)?,
            interrupt: interrupt(token, tls),
            reported: Arc::clone(&self.reported),
            client,
        })
    }

    /// Takes it back.
    pub(crate) fn from_held(held: Held, server: &Server, version: Version, cancel: &Cancel) -> Result<Session> {
        Ok(Session {
            runtime: Some(held.runtime),
            client: Some(held.client),
            connection: Some(held.driver),
            reported: held.reported,
            connector: Connector::new(server.tls_demand())?,
            server: server.clone(),
            database: server.database.clone(),
            version,
            cancels: vec![cancel.clone()],
            abandoned: false,
        })
    }

    /// The server's version.
    pub(crate) fn version(&self) -> &Version {
        &self.version
    }

    /// Whether this session is encrypted; nothing for a socket.
    pub(crate) fn tls(&self) -> Option<bool> {
        (!self.server.is_socket()).then(|| self.connector.used())
    }

    /// Runs commands without an answer, all of them in one message.
    pub(crate) fn run(&mut self, sql: &str) -> Result<()> {
        self.run_within(sql, self.server.patience)
    }

    /// As [`Session::run`], for at most so long.
    pub(crate) fn run_within(&mut self, sql: &str, limit: Duration) -> Result<()> {
        let (runtime, client) = self.open_parts()?;
        let answer = wait(runtime, &self.cancels, limit, client.batch_execute(sql));
        self.answered(answer, limit)
    }

    /// Asks.
    pub(crate) fn query(&mut self, sql: &str, params: &[(&(dyn ToSql + Sync), Type)]) -> Result<Vec<Row>> {
        self.query_within(sql, params, self.server.patience)
    }

    /// Asks, for at most so long. Statements have no name, so that a connection pool in between does no harm.
    pub(crate) fn query_within(
        &mut self,
        sql: &str,
        params: &[(&(dyn ToSql + Sync), Type)],
        limit: Duration,
    ) -> Result<Vec<Row>> {
        let (runtime, client) = self.open_parts()?;
        let answer = wait(runtime, &self.cancels, limit, client.query_typed(sql, params));
        self.answered(answer, limit)
    }

    /// Asks for one value.
    pub(crate) fn value<T: tokio_postgres::types::FromSqlOwned>(&mut self, sql: &str) -> Result<T> {
        let rows = self.query(sql, &[])?;
        let row = rows.first().ok_or_else(|| Error::internal("ask the server", "no row"))?;
        row.try_get(0).map_err(|e| Error::internal("read an answer", e))
    }

    /// Ends every other session of this piece of work at the server.
    ///
    /// # Errors
    /// `STALLED` where one of them does not end; what a query can bring.
    pub(crate) fn end_others(&mut self) -> Result<()> {
        let began = Instant::now();
        let application = self.server.application.clone();
        loop {
            let left = self.query_within(
                "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
                  WHERE application_name = $1 AND usename = current_user AND pid <> pg_catalog.pg_backend_pid()",
                &[(&application, Type::TEXT)],
                END_LIMIT,
            )?;
            if left.is_empty() {
                return Ok(());
            }
            if began.elapsed() >= END_LIMIT {
                let error = Error::new(Code::Stalled, "pg_query_stalled").with("seconds", END_LIMIT.as_secs());
                return Err(self.server.named(error, &self.database));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(super) fn open_parts(&self) -> Result<(&Runtime, &Client)> {
        let closed = || Error::internal("use a session", "it is closed");
        Ok((
            self.runtime.as_ref().ok_or_else(closed)?,
            self.client.as_ref().ok_or_else(closed)?,
        ))
    }

    pub(super) fn answered<T>(
        &mut self,
        answer: std::result::Result<T, Stop<tokio_postgres::Error>>,
        limit: Duration,
    ) -> Result<T> {
        answer.map_err(|stop| match stop {
            Stop::Failed(error) => self.server.named(query_error(&error), &self.database),
            Stop::Cancelled(error) => {
                self.abandoned = true;
                error
            }
            Stop::TooLong => {
                self.abandoned = true;
                let error = Error::new(Code::Stalled, "pg_query_stalled").with("seconds", limit.as_secs());
                self.server.named(error, &self.database)
            }
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let (Some(runtime), Some(client)) = (self.runtime.take(), self.client.take()) else {
            return;
        };
        let token = self.abandoned.then(|| client.cancel_token());
        // Without a client, the connection says goodbye and ends.
        drop(client);
        let connection = self.connection.take();
        let connector = self.connector.clone();
        runtime.block_on(async {
            let goodbye = async {
                if let Some(token) = token {
                    // The server may have finished by itself; it may also be gone, and then there is nobody to tell.
                    drop(token.cancel_query(connector).await);
                }
                if let Some(connection) = connection {
                    drop(connection.await);
                }
            };
            drop(tokio::time::timeout(GOODBYE, goodbye).await);
        });
        runtime.shutdown_background();
    }
}

/// Waits for an answer, and looks at the flags and the clock meanwhile.
pub(super) fn wait<T, E>(
    runtime: &Runtime,
    cancels: &[Cancel],
    limit: Duration,
    answer: impl Future<Output = std::result::Result<T, E>>,
) -> std::result::Result<T, Stop<E>> {
    let began = Instant::now();
    runtime.block_on(async {
        let mut answer = std::pin::pin!(answer);
        loop {
            for cancel in cancels {
                cancel.check().map_err(Stop::Cancelled)?;
            }
            if let Ok(answer) = tokio::time::timeout(SLICE, &mut answer).await {
                return answer.map_err(Stop::Failed);
            }
            if began.elapsed() >= limit {
                return Err(Stop::TooLong);
            }
        }
    })
}

/// The innermost cause, which says most.
fn cause(error: &tokio_postgres::Error) -> String {
    let mut words = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        words = inner.to_string();
        source = inner.source();
    }
    words
}

/// What a failed connection means.
fn connect_error(error: &tokio_postgres::Error) -> Error {
    if let Some(code) = error.code() {
        let (meaning, text) = match code {
            c if *c == SqlState::INVALID_PASSWORD || *c == SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
                (Code::AuthFailed, "pg_auth_failed")
            }
            c if *c == SqlState::UNDEFINED_DATABASE || *c == SqlState::INVALID_CATALOG_NAME => {
                (Code::Unreachable, "pg_database_absent")
            }
            c if *c == SqlState::INSUFFICIENT_PRIVILEGE => (Code::Privilege, "pg_connect_privilege"),
            c if *c == SqlState::CANNOT_CONNECT_NOW => (Code::Unreachable, "pg_not_ready"),
            c if *c == SqlState::TOO_MANY_CONNECTIONS => (Code::Unreachable, "pg_too_many"),
            _ => (Code::Unreachable, "pg_connect_failed"),
        };
        return with_cause(Error::new(meaning, text), error);
    }
    // The kinds of tokio-postgres are private; its words for them are fixed.
    match error.to_string().as_str() {
        "error performing TLS handshake" => with_cause(Error::new(Code::TlsRefused, "pg_tls_refused"), error),
        "invalid configuration" => with_cause(Error::new(Code::AuthFailed, "pg_password_missing"), error),
        "authentication error" => with_cause(Error::new(Code::AuthFailed, "pg_auth_method"), error),
        "timeout waiting for server" => Error::new(Code::Unreachable, "pg_no_answer").with("seconds", CONNECT_LIMIT.as_secs()),
        _ => with_cause(Error::new(Code::Unreachable, "pg_unreachable"), error),
    }
}

/// What a failed query means.
fn query_error(error: &tokio_postgres::Error) -> Error {
    let Some(code) = error.code() else {
        return with_cause(Error::new(Code::DumpFailed, "pg_session_lost"), error);
    };
    let (meaning, text) = match code {
        c if *c == SqlState::INSUFFICIENT_PRIVILEGE => (Code::Privilege, "pg_query_privilege"),
        c if *c == SqlState::LOCK_NOT_AVAILABLE => (Code::LockTimeout, "pg_lock_timeout"),
        c if *c == SqlState::ADMIN_SHUTDOWN || *c == SqlState::CRASH_SHUTDOWN => (Code::DumpFailed, "pg_session_lost"),
        _ => (Code::DumpFailed, "pg_query_failed"),
    };
    with_cause(Error::new(meaning, text), error)
}

fn with_cause(meaning: Error, error: &tokio_postgres::Error) -> Error {
    let meaning = match error.as_db_error() {
        Some(said) => meaning.with("cause", said.message()).with("sqlstate", said.code().code()),
        None => meaning.with("cause", cause(error)),
    };
    match error.as_db_error().and_then(|said| said.table()) {
        Some(table) => meaning.or_with("table", table),
        None => meaning,
    }
}
