//! SQL text of real servers: read whole, cut everywhere, and with things in it that act outside of the database.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support_formats;

use coffre_databases::postgres::plain::PlainChecker;
use coffre_model::database::{Checker, Parsed};
use coffre_model::error::{Code, Error, Result};
use proptest::prelude::*;
use support_formats::{Postgres, SEED, Version, counts};

fn read(bytes: &[u8], require_end: bool) -> Result<Parsed> {
    let mut checker = PlainChecker::new(require_end);
    checker.feed(bytes)?;
    checker.finish()
}

fn as_pairs(parsed: &Parsed) -> Vec<(String, u64)> {
    parsed.counts.iter().map(|c| (c.table.clone(), c.rows)).collect()
}

fn seeded(version: Version) -> (&'static Postgres, String) {
    let server = Postgres::shared(version);
    let database = server.create_database();
    server.sql(&database, SEED);
    (server, database)
}

fn small(version: Version) -> Vec<u8> {
    let server = Postgres::shared(version);
    let database = server.create_database();
    server.sql(
        &database,
        "CREATE TABLE t (a int, b text); INSERT INTO t VALUES (1, E'\\\\x'), (2, NULL)",
    );
    server.output("pg_dump", &database, &[])
}

#[test]
fn dumps_of_every_version_are_whole_and_counted() {
    for version in Version::ALL {
        let (server, database) = seeded(version);
        let truth = counts(server, &database);
        for arguments in [
            &[][..],
            &["--data-only"],
            &["-v"],
            &["--disable-triggers", "--data-only"],
            &["-c", "--if-exists"],
        ] {
            let text = server.output("pg_dump", &database, arguments);
            let parsed = read(&text, true).unwrap_or_else(|e| panic!("{version:?} {arguments:?} {e}"));
            assert_eq!(as_pairs(&parsed), truth, "{version:?} {arguments:?}");
            assert!(parsed.objects > 10);
        }
        for arguments in [&["--schema-only"][..], &["--inserts"], &["--section=post-data"]] {
            let text = server.output("pg_dump", &database, arguments);
            assert_eq!(as_pairs(&read(&text, true).unwrap()), [], "{version:?} {arguments:?}");
        }
    }
}

#[test]
fn every_cut_before_the_end_mark_is_found() {
    for version in Version::ALL {
        let text = small(version);
        let whole = text.trim_ascii_end().len();
        for end in 0..text.len() {
            let outcome = read(&text[..end], true);
            if end >= whole {
                outcome.unwrap();
                continue;
            }
            let code = outcome.map(|_| end).unwrap_err().code();
            assert_eq!(
                code,
                if end == 0 { Code::DumpEmpty } else { Code::DumpTruncated },
                "{version:?} {end}"
            );
        }
    }
}

#[test]
fn a_cut_inside_of_something_is_found_without_the_mark_too() {
    let text = String::from_utf8(small(Version::V18)).unwrap();
    for inside in ["CREATE TABLE", "COPY public.t", "\n2\t\\N", "\n\\.\n", "SET statement"] {
        let end = text.find(inside).unwrap() + 2;
        let error = read(&text.as_bytes()[..end], false).unwrap_err();
        assert_eq!(error.code(), Code::DumpTruncated, "{inside}");
    }
}

#[test]
fn text_from_elsewhere_is_read() {
    let ok = |text: &str| read(text.as_bytes(), false).unwrap();
    assert_eq!(ok("INSERT INTO t VALUES (1);\r\nINSERT INTO t VALUES (2);\r\n").objects, 2);
    // Old dumps name no schemas, but set the path.
    let old = "SET search_path = shop, pg_catalog;\nCOPY \"T\" (a) FROM stdin;\n1\n2\n\\.\nCOPY b.t FROM stdin;\n\\.\n";
    assert_eq!(as_pairs(&ok(old)), [("b.t".to_owned(), 0), ("shop.\"T\"".to_owned(), 2)]);
    assert_eq!(as_pairs(&ok("COPY a.t FROM stdin CSV;\n\"1\n2\"\n\\.\n")), []);
    assert_eq!(read(b"INSERT INTO t VALUES (1);\n", true).unwrap_err().text(), "sql_no_end");
    assert_eq!(read(b"INSERT INTO t VALUES ('caf\xe9');", false).unwrap().objects, 1);
}

fn error(text: &str) -> Error {
    read(text.as_bytes(), false).unwrap_err()
}

#[test]
fn what_acts_outside_of_the_database_is_refused() {
    for text in [
        "\\! touch /tmp/x\n",
        "SELECT 1;\n\\copy t FROM PROGRAM 'sh'\n",
        "SELECT 1 \\g |sh\n",
        "\\i /etc/passwd\n",
        "\\connect other\n",
        "\\set x `sh`\n",
        "COPY t FROM PROGRAM 'sh';",
        "copy /* */ (select 1) to program 'sh';",
        "COPY t TO '/tmp/x';",
        "COPY t (a) FROM E'/tmp/x';",
        "COPY t FROM stdin;\n1\n\\.\n\\! sh\n",
        // What hides behind string rules that were changed before.
        "SET standard_conforming_strings = off;\nSELECT 'a\\'; SELECT '\\! sh\n';\n\\! sh\n",
    ] {
        let error = error(text);
        assert_eq!(error.code(), Code::ArchiveUnsafe, "{text}: {error}");
        assert!(error.detail("line").is_some());
    }
    // Inside of values they are just text.
    let harmless = "SELECT '\\! sh', $$\n\\! sh\n$$, E'\\\\! sh';\nCOPY a.t FROM stdin;\n\\\\! sh\n\\! sh\n\\.\n";
    assert_eq!(as_pairs(&read(harmless.as_bytes(), false).unwrap()), [("a.t".to_owned(), 2)]);
}

#[test]
fn what_cannot_be_loaded_is_known_before_a_load() {
    let refusal = |text: &[u8]| {
        let mut checker = PlainChecker::new(false);
        checker.feed(text).unwrap();
        checker.finish().unwrap();
        checker.load_refusal().map(|e| e.text().to_owned())
    };
    assert_eq!(refusal(b"SELECT 1; BEGIN; COMMIT;"), None);
    assert_eq!(refusal(b"SELECT 1; ROLLBACK;").as_deref(), Some("sql_transaction"));
    assert_eq!(refusal(b"CREATE DATABASE x;").as_deref(), Some("sql_outside"));
    assert_eq!(refusal(b"SELECT 'caf\xe9';").as_deref(), Some("sql_encoding"));
    assert_eq!(
        refusal(b"SET client_encoding = 'LATIN1'; SELECT '\xc3\xa9';").as_deref(),
        Some("sql_encoding")
    );
    assert_eq!(
        refusal(b"SET client_encoding = 'LATIN1'; COPY t FROM stdin;\ncaf\xe9\n\\.\n"),
        None
    );
    assert_eq!(refusal("SELECT 'é';".as_bytes()), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn the_size_of_pieces_does_not_matter(sizes in proptest::collection::vec(1_usize..200, 1..30), end in 0_usize..6000) {
        static SMALL: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        let text = SMALL.get_or_init(|| small(Version::V18));
        let text = &text[..end.min(text.len())];
        let mut checker = PlainChecker::new(true);
        let mut rest = text;
        let mut sizes = sizes.iter().cycle();
        let outcome = loop {
            if rest.is_empty() {
                break checker.finish();
            }
            let (now, later) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
            rest = later;
            if let Err(error) = checker.feed(now) {
                break Err(error);
            }
        };
        prop_assert_eq!(outcome, read(text, true));
    }

    #[test]
    fn flips_never_make_it_panic(at in 0_usize..6000, byte: u8) {
        static SMALL: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        let mut text = SMALL.get_or_init(|| small(Version::V15)).clone();
        let at = at % text.len();
        text[at] = byte;
        let _outcome = read(&text, true);
    }
}
