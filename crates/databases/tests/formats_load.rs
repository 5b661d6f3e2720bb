//! SQL text loaded into real servers without `psql`: exactly what was dumped, or nothing.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support_formats;

use std::io::Write;
use std::time::{Duration, Instant};

use coffre_databases::postgres::sql_load::{Boxed, LoadLimits, Loaded, Session, SqlLoad};
use coffre_model::cancel::{Cancel, Reason};
use coffre_model::error::{Code, Error, Result, from_io};
use proptest::prelude::*;
use support_formats::{Postgres, SEED, Version, counts};
use tokio_postgres::{Config, NoTls};

fn open(server: &Postgres, database: &str) -> impl Fn() -> Boxed<Result<Session>> + Send + 'static {
    let mut config = Config::new();
    config
        .host_path(server.socket_folder())
        .port(server.port())
        .user("postgres")
        .dbname(database);
    config.application_name("coffre-load");
    move || {
        let config = config.clone();
        Box::pin(async move {
            let connected = config.connect(NoTls).await;
            let (client, connection) =
                connected.map_err(|e| Error::new(Code::Unreachable, "sql_connection_lost").with("cause", e.to_string()))?;
            Ok(Session::new(client, connection, NoTls))
        })
    }
}

/// Over TLS it is the same type; that this compiles is the test.
#[allow(
    dead_code,
    reason = "compiled, never run: one of the servers here has TLS, and the adapter's own tests use it"
)]
fn over_tls(
    client: tokio_postgres::Client,
    connection: tokio_postgres::Connection<
        tokio_postgres::Socket,
        <tokio_postgres_rustls::MakeRustlsConnect as tokio_postgres::tls::MakeTlsConnect<tokio_postgres::Socket>>::Stream,
    >,
    tls: tokio_postgres_rustls::MakeRustlsConnect,
) -> Session {
    Session::new(client, connection, tls)
}

fn limits() -> LoadLimits {
    LoadLimits {
        require_end: false,
        stall: Duration::from_secs(60),
        cancel: Cancel::new(),
    }
}

fn load_with(server: &Postgres, database: &str, text: &[u8], limits: LoadLimits) -> Result<Loaded> {
    let mut load = SqlLoad::start(open(server, database), limits)?;
    load.write_all(text)
        .map_err(|e| from_io(e, |e| Error::internal("write", e)))?;
    load.finish_with_facts()
}

fn load(server: &Postgres, database: &str, text: &str) -> Result<Loaded> {
    load_with(server, database, text.as_bytes(), limits())
}

/// The text of a dump without what differs from one run to the next.
fn dumped(server: &Postgres, database: &str) -> String {
    let text = String::from_utf8(server.output("pg_dump", database, &[])).unwrap();
    text.lines()
        .filter(|l| !l.starts_with('\\') || l.starts_with("\\.") || l.starts_with("\\N"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn seeded(version: Version) -> (&'static Postgres, String) {
    let server = Postgres::shared(version);
    let database = server.create_database();
    server.sql(&database, SEED);
    (server, database)
}

#[test]
fn what_was_dumped_is_what_is_loaded() {
    for version in Version::ALL {
        let (server, database) = seeded(version);
        for arguments in [&[][..], &["--inserts"], &["--column-inserts", "--rows-per-insert=7"]] {
            let text = server.output("pg_dump", &database, arguments);
            let copy = server.create_database();
            let loaded = load_with(
                server,
                &copy,
                &text,
                LoadLimits {
                    require_end: true,
                    ..limits()
                },
            );
            let loaded = loaded.unwrap_or_else(|e| panic!("{version:?} {arguments:?} {e}"));
            assert_eq!(counts(server, &copy), counts(server, &database), "{version:?}");
            assert_eq!(dumped(server, &copy), dumped(server, &database), "{version:?}");
            let rows: u64 = counts(server, &database).iter().map(|(_, rows)| rows).sum();
            assert_eq!(loaded.rows, if arguments.is_empty() { rows } else { 0 });
            // Large objects are dumped as transactions of their own.
            assert!(loaded.left_out.len() >= 2, "{loaded:?}");
        }
    }
}

#[test]
fn a_dump_by_a_newer_tool_goes_back_into_the_older_server() {
    let (server, database) = seeded(Version::V15);
    for newer in [Version::V16, Version::V18] {
        let output = server.client_of(newer, "pg_dump", &database).output().unwrap();
        let copy = server.create_database();
        load_with(server, &copy, &output.stdout, limits()).unwrap();
        assert_eq!(dumped(server, &copy), dumped(server, &database));
    }
}

#[test]
fn a_cut_dump_loads_nothing() {
    let (server, database) = seeded(Version::V18);
    let text = server.output("pg_dump", &database, &[]);
    let copy = server.create_database();
    let end = text.trim_ascii_end().len();
    for cut in [0, 1, 100, end / 4, end / 2, end - 90, end - 1] {
        let error = load_with(
            server,
            &copy,
            &text[..cut],
            LoadLimits {
                require_end: true,
                ..limits()
            },
        )
        .unwrap_err();
        assert!(
            matches!(error.code(), Code::DumpTruncated | Code::DumpEmpty),
            "{cut}: {error}"
        );
        assert_eq!(
            server.sql(
                &copy,
                "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            ),
            "0",
            "{cut}"
        );
    }
}

#[test]
fn the_first_error_stops_everything_and_names_its_line() {
    let server = Postgres::shared(Version::V15);
    let database = server.create_database();
    for (text, line, sqlstate) in [
        (
            "CREATE TABLE a (x int);\n\n-- c\nINSERT INTO a\n VALUES\n  (nope);\n",
            6,
            "42703",
        ),
        ("CREATE TABLE a (x int);\nSELECT 1/0;\nSELECT 1;\n", 2, "22012"),
        (
            "CREATE TABLE a (x int);\nCOPY a\n(x) FROM stdin;\n1\n2\nthree\n4\n\\.\n",
            6,
            "22P02",
        ),
        ("CREATE TABLE a (x int);\nCOPY b FROM stdin;\n1\n\\.\n", 2, "42P01"),
        (
            "CREATE TABLE a (x int UNIQUE DEFERRABLE INITIALLY DEFERRED);\nINSERT INTO a VALUES (1), (1);\n",
            3,
            "23505",
        ),
        ("CREATE TABLE a (x int);\nSELECT 'é',\n\n nope;", 4, "42703"),
    ] {
        let error = load(server, &database, text).unwrap_err();
        assert_eq!(error.code(), Code::DumpFailed, "{error}");
        assert_eq!(error.detail("sqlstate").as_deref(), Some(sqlstate), "{error}");
        assert_eq!(error.detail("line"), Some(line.to_string()), "{error}");
        assert!(!error.detail("server").unwrap().is_empty());
        assert_eq!(server.sql(&database, "SELECT to_regclass('a') IS NULL"), "t");
    }
}

#[test]
fn the_load_is_one_transaction_whatever_the_text_says() {
    let server = Postgres::shared(Version::V15);
    let database = server.create_database();
    let loaded = load(
        server,
        &database,
        "BEGIN;\nCREATE TABLE a (x int);\nCOMMIT;\nSTART TRANSACTION;\nEND;\n",
    )
    .unwrap();
    assert_eq!((loaded.statements, loaded.left_out), (1, vec![1, 3, 4, 5]));
    assert_eq!(server.sql(&database, "DROP TABLE a; SELECT 1"), "1");
    for text in [
        "BEGIN; CREATE TABLE a (x int); COMMIT; SELECT 1/0;",
        "CREATE TABLE a (x int); ROLLBACK;",
        "CREATE TABLE a (x int); ABORT;",
        "CREATE TABLE a (x int); CREATE DATABASE other;",
        "CREATE TABLE a (x int); ALTER DATABASE postgres SET work_mem = '1MB';",
        "CREATE TABLE a (x int); PREPARE TRANSACTION 'x';",
        "CREATE TABLE a (x int); COPY a TO stdout;",
        "CREATE TABLE a (x int); COPY a FROM PROGRAM 'echo 1';",
        "CREATE TABLE a (x int);\n\\! touch /tmp/x\n",
        "CREATE TABLE a (x int); DO $$ BEGIN COMMIT; END $$;",
        "CREATE TABLE a (x int); CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$; CALL p();",
        // However strings are read: the server is asked.
        "CREATE TABLE a (x int); SELECT set_config('standard_conforming_strings', 'off', false); SELECT 'a\\'; COMMIT; --'; SELECT 1/0;",
        "CREATE TABLE a (x int); DO $$ BEGIN SET standard_conforming_strings = off; END $$; SELECT 'a\\'; COMMIT; --'; SELECT 1/0;",
        "CREATE TABLE a (x int); SET standard_conforming_strings = off; RESET standard_conforming_strings; SELECT 'a\\', ' COMMIT; --'; SELECT 1/0;",
        "CREATE TABLE a (x int); SELECT 'caf",
        // For the lexer one function with a CASE in it, for the server a function and more.
        "CREATE TABLE a (x int); CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1 AS case; END; COMMIT; SELECT 1/0; END;",
        "CREATE TABLE a (x int); CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1 AS case; END; COMMIT; SELECT 1; END;",
        "CREATE TABLE a (x int); SELECT (1; COMMIT; SELECT 2);",
    ] {
        let error = load(server, &database, text).unwrap_err();
        assert_eq!(
            server.sql(&database, "SELECT to_regclass('a') IS NULL"),
            "t",
            "{text}: {error}"
        );
    }
    let rules = "DO $$ BEGIN PERFORM set_config('standard_conforming_strings', 'off', false); END $$;\n\
        CREATE TABLE b AS SELECT 'a\\'; b'::text AS x;\nRESET standard_conforming_strings;\nINSERT INTO b VALUES ('\\');";
    load(server, &database, rules).unwrap();
    assert_eq!(server.sql(&database, "SELECT x FROM b; DROP TABLE b"), "a'; b\n\\");
    let savepoints = "SAVEPOINT s; CREATE TABLE gone (); ROLLBACK TO s; CREATE TABLE stays (); RELEASE s;";
    load(server, &database, savepoints).unwrap();
    assert_eq!(
        server.sql(&database, "SELECT to_regclass('gone') IS NULL, to_regclass('stays') IS NULL"),
        "t|f"
    );
}

#[test]
fn other_encodings_are_loaded_where_that_is_sound() {
    let server = Postgres::shared(Version::V16);
    let database = server.create_database();
    server.sql(
        &database,
        "CREATE TABLE t (a text); INSERT INTO t VALUES ('café €'::text COLLATE \"C\")",
    );
    let text = server.output("pg_dump", &database, &["-E", "WIN1252"]);
    assert!(std::str::from_utf8(&text).is_err());
    let copy = server.create_database();
    load_with(server, &copy, &text, limits()).unwrap();
    assert_eq!(server.sql(&copy, "SELECT a FROM t"), "café €");
    let named = [&b"SET client_encoding = 'LATIN1';\nCREATE TABLE u (\"caf\xe9\" int);\n"[..]].concat();
    let error = load_with(server, &copy, &named, limits()).unwrap_err();
    assert_eq!((error.text(), error.detail("line").as_deref()), ("sql_encoding", Some("2")));
    // As bytes these two could be read either way.
    let utf8 = "SET client_encoding = 'LATIN1';\nSELECT 'é';\n";
    assert_eq!(load(server, &copy, utf8).unwrap_err().text(), "sql_encoding");
}

#[test]
fn dropping_a_load_takes_everything_back() {
    let server = Postgres::shared(Version::V15);
    let database = server.create_database();
    for text in [
        "CREATE TABLE a (x int); COPY a FROM stdin;\n1\n",
        "CREATE TABLE a (x int);",
        "CREATE TABLE a (x int); SELECT pg_sleep(600);",
    ] {
        let mut load = SqlLoad::start(open(server, &database), limits()).unwrap();
        load.write_all(text.as_bytes()).unwrap();
        load.flush().unwrap();
        wait_until(|| server.sessions(&database) != "0");
        let begin = Instant::now();
        drop(load);
        assert!(begin.elapsed() < Duration::from_secs(5));
        wait_until(|| server.sessions(&database) == "0");
        assert_eq!(server.sql(&database, "SELECT to_regclass('a') IS NULL"), "t");
    }
}

fn wait_until(ready: impl Fn() -> bool) {
    let begin = Instant::now();
    while !ready() {
        assert!(begin.elapsed() < Duration::from_secs(10), "it does not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_cancelled_load_ends_at_once() {
    let server = Postgres::shared(Version::V18);
    let database = server.create_database();
    let limits = limits();
    let cancel = limits.cancel.clone();
    let mut load = SqlLoad::start(open(server, &database), limits).unwrap();
    load.write_all(b"CREATE TABLE a (x int); SELECT pg_sleep(600);").unwrap();
    load.flush().unwrap();
    let sleeping = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND query LIKE '%pg_sleep%'");
    wait_until(|| server.sql("postgres", &sleeping) == "1");
    cancel.cancel(Reason::Terminate);
    let error = load.finish_with_facts().unwrap_err();
    assert_eq!(
        (error.code(), error.detail("status").as_deref()),
        (Code::Cancelled, Some("143"))
    );
    wait_until(|| server.sessions(&database) == "0");
    assert_eq!(server.sql(&database, "SELECT to_regclass('a') IS NULL"), "t");
}

#[test]
fn a_writer_that_waits_for_room_hears_of_a_cancel() {
    let server = Postgres::shared(Version::V18);
    let database = server.create_database();
    let limits = limits();
    let cancel = limits.cancel.clone();
    let mut load = SqlLoad::start(open(server, &database), limits).unwrap();
    load.write_all(b"SELECT pg_sleep(600);\n").unwrap();
    let writer = std::thread::spawn(move || {
        let piece = vec![b'\n'; 1 << 20];
        loop {
            if let Err(error) = load.write_all(&piece) {
                return from_io(error, |e| Error::internal("write", e)).code();
            }
        }
    });
    // It holds at most eight pieces: the writer stops by itself, and only the flag ends it.
    std::thread::sleep(Duration::from_millis(300));
    assert!(!writer.is_finished());
    cancel.cancel(Reason::Interrupt);
    assert_eq!(writer.join().unwrap(), Code::Cancelled);
    wait_until(|| server.sessions(&database) == "0");
}

#[test]
fn a_working_server_may_be_quiet_and_a_dead_one_may_not() {
    let server = Postgres::start(Version::V15);
    let limits = || LoadLimits {
        stall: Duration::from_secs(1),
        ..limits()
    };
    // Three times the limit, with the server at work all the time.
    load_with(&server, "postgres", b"SELECT pg_sleep(3);", limits()).unwrap();
    let mut load = SqlLoad::start(open(&server, "postgres"), limits()).unwrap();
    load.write_all(b"CREATE TABLE a (x int);").unwrap();
    load.flush().unwrap();
    wait_until(|| server.sessions("postgres") != "1");
    server.pause(true);
    let rows = [&b"COPY a FROM stdin;\n"[..], &b"1\n".repeat(1000), b"\\.\n"].concat();
    load.write_all(&rows).unwrap();
    let error = load.finish_with_facts().unwrap_err();
    server.pause(false);
    assert_eq!(error.code(), Code::Stalled, "{error}");
    wait_until(|| server.sessions("postgres") == "1");
    assert_eq!(server.sql("postgres", "SELECT to_regclass('a') IS NULL"), "t");
}

#[test]
fn a_session_that_is_ended_is_an_error() {
    let server = Postgres::shared(Version::V16);
    let database = server.create_database();
    let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'");
    let mut load = SqlLoad::start(open(server, &database), limits()).unwrap();
    load.write_all(b"CREATE TABLE a (x int); COPY a FROM stdin;\n1\n").unwrap();
    load.flush().unwrap();
    wait_until(|| server.sql("postgres", &end) == "t");
    let outcome = load
        .write_all(b"2\n\\.\n")
        .map_err(|e| from_io(e, |e| Error::internal("write", e)));
    let error = outcome.and_then(|()| load.finish_with_facts()).unwrap_err();
    assert_eq!(error.code(), Code::Unreachable, "{error}");
    let nobody = load_with(server, "no_such_database", b"SELECT 1;", limits()).unwrap_err();
    assert_eq!(nobody.code(), Code::Unreachable);
}

#[test]
fn rows_pass_unchanged_in_pieces_of_any_size() {
    let server = Postgres::shared(Version::V15);
    let database = server.create_database();
    server.sql(&database, "CREATE TABLE t (a text, b text)");
    let rows: String = (0..50_000)
        .map(|i| format!("{}\t\\N{}\n", "x".repeat(i % 97), if i % 3 == 0 { "" } else { "\\\\." }))
        .collect();
    let rows = rows.replace("\\N\\\\.", "\\\\N\\\\.");
    let text = format!("COPY t FROM stdin;\n{rows}\\.\n");
    for size in [1000, 65_536, 262_143, 262_144, 10_000_000] {
        let mut load = SqlLoad::start(open(server, &database), limits()).unwrap();
        for piece in text.as_bytes().chunks(size) {
            load.write_all(piece).unwrap();
        }
        assert_eq!(load.finish_with_facts().unwrap().rows, 50_000);
        let back = server.output("psql", &database, &["-X", "-q", "-c", "COPY t TO stdout"]);
        // The server chooses the order on its pages.
        let sorted = |bytes: &[u8]| {
            let mut lines: Vec<Vec<u8>> = bytes.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
            lines.sort();
            lines
        };
        assert!(sorted(&back) == sorted(rows.as_bytes()), "in pieces of {size}");
        server.sql(&database, "TRUNCATE t");
    }
}

/// A literal, and the value that it stands for.
fn literal() -> impl Strategy<Value = (String, String)> {
    let inside = "[a-z;$\\-/*\"' \n\\\\(){}é]{0,12}";
    prop_oneof![
        inside.prop_map(|s| (format!("'{}'", s.replace('\'', "''")), s)),
        inside.prop_map(|s| (format!("E'{}'", s.replace('\\', "\\\\").replace('\'', "\\'")), s)),
        inside.prop_map(|s| (format!("U&'{}'", s.replace('\\', "\\\\").replace('\'', "''")), s)),
        (inside, "[a-zé_][a-z0-9_]{0,3}").prop_map(|(s, tag)| (format!("${tag}${s} ${tag}$"), format!("{s} "))),
        inside
            .prop_map(|s| s.replace('$', ""))
            .prop_map(|s| (format!("$${s} $$"), format!("{s} "))),
        (inside, inside).prop_map(|(a, b)| (
            format!("'{}' -- x; '\n '{}'", a.replace('\'', "''"), b.replace('\'', "''")),
            format!("{a}{b}")
        )),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, ..ProptestConfig::default() })]

    /// The lexer and a real server must agree on where each literal ends, or the values differ or nothing loads.
    #[test]
    fn literals_arrive_as_they_were_meant(literals in proptest::collection::vec(literal(), 30)) {
        static DATABASE: std::sync::OnceLock<String> = std::sync::OnceLock::new();
        let server = Postgres::shared(Version::V18);
        let database = DATABASE.get_or_init(|| server.create_database());
        // A tag in its own text would end it.
        let literals: Vec<_> = literals.into_iter().filter(|(l, _)| !l.starts_with('$') || l.matches(&l[..=l[1..].find('$').unwrap() + 1]).count() == 2).collect();
        let mut text = "DROP TABLE IF EXISTS t; CREATE TABLE t (n int, a text);\n".to_owned();
        for (n, (literal, _)) in literals.iter().enumerate() {
            text.push_str(&format!("INSERT INTO t VALUES ({n}, {literal}) /* ; ' */;\n"));
        }
        let loaded = load(server, database, &text).map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?;
        prop_assert_eq!(loaded.statements, literals.len() as u64 + 2);
        let values = server.sql(database, "SELECT '=' || encode(convert_to(a, 'UTF8'), 'hex') FROM t ORDER BY n");
        let hex = |value: &str| value.bytes().fold("=".to_owned(), |hex, byte| format!("{hex}{byte:02x}"));
        let expected: Vec<String> = literals.iter().map(|(_, value)| hex(value)).collect();
        prop_assert_eq!(values.split('\n').collect::<Vec<_>>(), expected);
    }
}
