//! A look inside a backup without restoring it: rows, search, pages, one table as a file, one table back under a new name.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use coffre_testkit::coffre::Coffre;
use coffre_testkit::invariants::Invariants;
use coffre_testkit::postgres::{Options, Postgres, Version, quote_identifier};
use coffre_testkit::run;
use serde_json::{Value, json};

use crate::crm::protecting;
use crate::program;
use crate::shop::{address, back_up, sqlite, text};

/// Names that would act somewhere if they were not data.
const NAMES: [&str; 7] = [
    "\"; DROP TABLE good; --",
    "it's",
    "two\nlines",
    "Grüße 日本 🎉",
    "\u{202e}txt.egami",
    "--help",
    "a.b",
];

/// Rows out of a backup.
fn rows(coffre: &Coffre, table: &str, more: &[&str]) -> Value {
    let mut line = vec!["open", "latest", "--source", "crm", "--table", table];
    line.extend(more);
    coffre.json(line)["rows"].clone()
}

/// Every value of the table `values`, whatever database it came from: NULL, nothing, quotes, lines, what CSV and SQL read specially.
fn plain_values() -> Vec<Option<String>> {
    let mut values = vec![None];
    let texts = [
        "",
        " ",
        "'",
        "\"",
        "a,b",
        "l1\nl2",
        "l1\r\nl2",
        "\\N",
        "\\.",
        "NULL",
        "\u{202e}x",
        "😀 é",
        "a\tb",
        "';--",
        "$$",
        "=1+1",
    ];
    values.extend(texts.map(|t| Some(t.to_owned())));
    values
}

fn sql_values(quote: impl Fn(&str) -> String) -> String {
    let values = plain_values();
    let value = |(at, text): (usize, &Option<String>)| {
        let text = text.as_ref().map_or_else(|| "NULL".to_owned(), |t| quote(t));
        format!("({at}, {text})")
    };
    values.iter().enumerate().map(value).collect::<Vec<_>>().join(", ")
}

/// The rows of a page are exactly the values, in order.
fn shows_the_values(page: &Value) {
    let expected: Vec<Value> = plain_values()
        .iter()
        .enumerate()
        .map(|(at, value)| json!([at.to_string(), value]))
        .collect();
    assert_eq!(page["rows"], Value::Array(expected.clone()), "{page:#}");
    assert_eq!(
        (page["total"].as_u64(), &page["columns"]),
        (Some(expected.len() as u64), &json!(["id", "v"]))
    );
}

fn is_private(path: &Path) {
    assert_eq!(
        path.metadata().unwrap().permissions().mode() & 0o777,
        0o600,
        "{}",
        path.display()
    );
}

fn strange_sqlite(coffre: &Coffre) -> std::path::PathBuf {
    let db = coffre.work("strange.db");
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    sqlite(
        &db,
        "CREATE TABLE good(id INTEGER PRIMARY KEY, v TEXT UNIQUE, w TEXT AS (v || '!'), CHECK (good.id >= 0))",
    );
    let script = format!(
        "INSERT INTO good(id, v) VALUES {};",
        sql_values(|text| format!("'{}'", text.replace('\'', "''")))
    );
    sqlite(&db, &script);
    sqlite(&db, "ALTER TABLE good DROP COLUMN w");
    for (at, name) in NAMES.iter().enumerate() {
        sqlite(
            &db,
            &format!("CREATE TABLE {}(x); INSERT INTO {} VALUES ({at})", quoted(name), quoted(name)),
        );
    }
    sqlite(
        &db,
        "CREATE TABLE kinds(a, b REAL, c BLOB, d INTEGER) STRICT"
            .replace("a, ", "a ANY, ")
            .as_str(),
    );
    sqlite(
        &db,
        "INSERT INTO kinds VALUES (1, 0.1, x'00ff27', 9223372036854775807), ('1', 1e300, x'', NULL), (NULL, 9e999, NULL, -1), (CAST(x'610062' AS TEXT), -0.0, zeroblob(3000), 0)",
    );
    sqlite(
        &db,
        "CREATE TABLE long(t); INSERT INTO long SELECT replace(hex(zeroblob(200000)), '0', 'é')",
    );
    sqlite(
        &db,
        "CREATE TABLE many(k TEXT PRIMARY KEY, n INTEGER) WITHOUT ROWID;
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<1000) INSERT INTO many SELECT printf('k%04d', i), 1001 - i FROM n",
    );
    db
}

#[test]
fn a_file_is_looked_into() {
    let coffre = Coffre::new(program());
    let db = strange_sqlite(&coffre);
    coffre.ok(["source", "add", &address(&db), "--name", "crm"]);
    back_up(&coffre, "crm");
    let tables = coffre.json(["open", "latest", "--source", "crm"])["tables"].clone();
    assert_eq!(tables.as_array().unwrap().len(), NAMES.len() + 4, "{tables:#}");
    shows_the_values(&rows(&coffre, "good", &[]));
    for (at, name) in NAMES.iter().enumerate() {
        assert_eq!(rows(&coffre, name, &[])["rows"], json!([[at.to_string()]]), "{name:?}");
    }
    let kinds = rows(&coffre, "kinds", &[]);
    assert_eq!(kinds["rows"][0], json!(["1", "0.1", "X'00FF27'", "9223372036854775807"]));
    assert_eq!(kinds["rows"][1], json!(["1", "1e300", "X''", null]));
    assert_eq!(kinds["rows"][2], json!([null, "Inf", null, "-1"]));
    // A very long value is cut, and says so.
    for (table, column) in [("long", 0), ("kinds", 2)] {
        let page = rows(&coffre, table, &[]);
        let rows = page["rows"].as_array().unwrap();
        let value = rows.last().unwrap()[column].as_str().unwrap().to_owned();
        assert!(value.ends_with('…') && value.chars().count() <= 1001, "{}", value.len());
    }
    pages_and_search(&coffre, "many");
    coffre.fails(["open", "latest", "--source", "crm", "--table", "nope"], "NOT_FOUND", 1);
    coffre.fails(
        ["open", "latest", "--source", "crm", "--table", "sqlite_schema"],
        "NOT_FOUND",
        1,
    );
    Invariants::of(&coffre).assert();
}

/// A thousand rows `k0001`…`k1000`, in the order of their keys.
fn pages_and_search(coffre: &Coffre, table: &str) {
    let page = rows(coffre, table, &["--page", "3", "--per-page", "7"]);
    assert_eq!(
        (page["total"].as_u64(), page["rows"].as_array().unwrap().len()),
        (Some(1000), 7)
    );
    assert_eq!(page["rows"][0], json!(["k0015", "986"]));
    let last = rows(coffre, table, &["--page", "143", "--per-page", "7"]);
    assert_eq!(last["rows"].as_array().unwrap().len(), 6);
    assert_eq!(rows(coffre, table, &["--page", "999"])["rows"], json!([]));
    let found = rows(coffre, table, &["--search", "K099"]);
    assert_eq!(
        (found["total"].as_u64(), &found["rows"][9]),
        (Some(10), &json!(["k0999", "2"])),
        "{found:#}"
    );
    let second = rows(coffre, table, &["--search", "K099", "--per-page", "4", "--page", "3"]);
    assert_eq!(second["rows"], json!([["k0998", "3"], ["k0999", "2"]]));
    // Text, never a pattern, never SQL.
    for nothing in ["%", "_", "k.*", "' OR ''='", "k0001%"] {
        assert_eq!(rows(coffre, table, &["--search", nothing])["total"], 0, "{nothing}");
    }
}

#[test]
fn a_table_of_a_file_is_exported_and_comes_back() {
    let coffre = Coffre::new(program());
    let db = strange_sqlite(&coffre);
    coffre.ok(["source", "add", &address(&db), "--name", "crm"]);
    back_up(&coffre, "crm");
    let open = |table: &str, format: &str, to: &Path| {
        let to = to.to_str().unwrap().to_owned();
        coffre.run([
            "--json", "open", "latest", "--source", "crm", "--table", table, "--export", format, "--to", &to,
        ])
    };
    // SQL, read by stock sqlite3: every table is the same again.
    let tables: Vec<&str> = NAMES.iter().copied().chain(["good", "kinds", "long", "many"]).collect();
    let (copy, sql) = (coffre.work("copy.db"), coffre.work("table.sql"));
    for table in &tables {
        let outcome = open(table, "sql", &sql);
        assert_eq!(outcome.status, Some(0), "{outcome}");
        assert!(outcome.json()["export"]["rows"].as_u64().unwrap() > 0);
        is_private(&sql);
        sqlite(&copy, &format!(".read {}", sql.display()));
        // It is never written over.
        let again = open(table, "sql", &sql);
        assert_eq!((again.status, again.error_code().as_str()), (Some(4), "REFUSED"), "{again}");
        std::fs::remove_file(&sql).unwrap();
    }
    let same = |table: &str, name: &str, there: &Path| {
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let script = format!(
            "ATTACH '{}' AS other; SELECT (SELECT count(*) FROM (SELECT * FROM main.{a} EXCEPT SELECT * FROM other.{b})),
             (SELECT count(*) FROM (SELECT * FROM other.{b} EXCEPT SELECT * FROM main.{a})), (SELECT count(*) FROM other.{b}) = (SELECT count(*) FROM main.{a})",
            there.display(),
            a = quoted(table),
            b = quoted(name)
        );
        assert_eq!(sqlite(&db, &script), "0|0|1", "{table:?} as {name:?}");
    };
    for table in &tables {
        same(table, table, &copy);
    }
    // CSV, read by somebody else: Python's reader.
    let csv = coffre.work("good.csv");
    assert_eq!(open("good", "csv", &csv).status, Some(0));
    is_private(&csv);
    let script = "import csv,json,sys; print(json.dumps(list(csv.reader(open(sys.argv[1], newline='', encoding='utf-8')))))";
    let read = run("python3", ["-c", script, csv.to_str().unwrap()]).stdout;
    let read: Vec<Vec<String>> = serde_json::from_str(&read).unwrap();
    let expected: Vec<Vec<String>> = plain_values()
        .into_iter()
        .enumerate()
        .map(|(at, value)| vec![at.to_string(), value.unwrap_or_default()])
        .collect();
    assert_eq!(read[0], ["id", "v"]);
    assert_eq!(&read[1..], expected);
    // NULL is nothing, an empty text is two quotes.
    assert!(std::fs::read_to_string(&csv).unwrap().starts_with("id,v\r\n0,\r\n1,\"\"\r\n"));

    // One table back beside what is there.
    let before = crate::shop::content(&copy);
    let into = address(&copy);
    let back = |table: &str, more: &[&str]| {
        let mut line = vec![
            "--json", "restore", "latest", "--source", "crm", "--table", table, "--into", &into,
        ];
        line.extend(more);
        coffre.run(line)
    };
    for taken in ["good", "GOOD", "many"] {
        let refused = back("good", &["--as", taken]);
        assert_eq!(
            (refused.status, refused.error_code().as_str()),
            (Some(4), "REFUSED"),
            "{refused}"
        );
    }
    let usage = back("good", &["--as", "sqlite_good"]);
    assert_eq!((usage.status, usage.error_code().as_str()), (Some(2), "USAGE"), "{usage}");
    assert_eq!(crate::shop::content(&copy), before);
    for table in &tables {
        let outcome = back(table, &[]);
        assert_eq!(outcome.status, Some(0), "{outcome}");
        let name = text(&outcome.json()["table"], "name").to_owned();
        assert!(name.starts_with(&format!("{table}_restored_20")), "{name}");
        same(table, &name, &copy);
    }
    for name in NAMES {
        let outcome = back("good", &["--as", &format!("again {name}")]);
        assert_eq!(outcome.status, Some(0), "{outcome}");
    }
    assert_eq!(sqlite(&copy, "PRAGMA integrity_check"), "ok");
    let other = coffre.run([
        "--json",
        "restore",
        "latest",
        "--source",
        "crm",
        "--table",
        "good",
        "--into",
        "postgres://x@127.0.0.1:1/y",
    ]);
    assert_eq!((other.status, other.error_code().as_str()), (Some(4), "REFUSED"), "{other}");
    Invariants::of(&coffre).assert();
}

/// Makes the strange database on a server.
fn strange_postgres(server: &Postgres) -> String {
    let database = server.create_database();
    let mut sql = String::from(
        "CREATE TYPE mood AS ENUM ('sad', 'happy');
         CREATE SCHEMA \"Back Office\";
         CREATE TABLE good(id int PRIMARY KEY, v text, CHECK (id >= 0));
         CREATE TABLE \"Back Office\".\"Order\"(id serial PRIMARY KEY, m mood DEFAULT 'sad', g int GENERATED ALWAYS AS (1 + 1) STORED);
         INSERT INTO \"Back Office\".\"Order\"(m) VALUES ('happy'), (NULL);
         CREATE TABLE kinds(a numeric, b bytea, c jsonb, d timestamptz, e int[], f boolean, g double precision, h char(4), i interval);
         INSERT INTO kinds VALUES (12345678901234567890.12, '\\x00ff', '{\"a\": [1, \"x\"]}', '2026-11-21 08:00+00', '{1,NULL,3}', true, 0.1, 'ab', '1 day 2 hours'),
            (NULL, '', 'null', 'infinity', '{}', false, 'NaN', NULL, '-1 sec');
         CREATE TABLE long AS SELECT repeat('é', 200000) AS t;
         CREATE TABLE many AS SELECT 'k' || lpad(i::text, 4, '0') AS k, 1001 - i AS n FROM generate_series(1, 1000) i;
         ALTER TABLE many ADD PRIMARY KEY (k);
         CREATE TABLE nothing();
         INSERT INTO nothing DEFAULT VALUES;\n",
    );
    sql.push_str(&format!(
        "INSERT INTO good VALUES {};\n",
        sql_values(|text| format!("'{}'", text.replace('\'', "''")))
    ));
    for (at, name) in NAMES.iter().enumerate() {
        let name = quote_identifier(name);
        sql.push_str(&format!("CREATE TABLE {name}(x int); INSERT INTO {name} VALUES ({at});\n"));
    }
    server.sql(&database, &sql);
    database
}

#[test]
fn a_postgres_backup_is_looked_into_and_a_table_comes_back() {
    for version in Version::ALL {
        let server = Postgres::start(version, Options::default());
        let database = strange_postgres(&server);
        let coffre = protecting(&server.address(&database), None);
        coffre.ok(["source", "edit", "crm", "--tool-path", version.bin().to_str().unwrap()]);
        back_up(&coffre, "crm");
        let tables = coffre.json(["open", "latest", "--source", "crm"])["tables"].clone();
        let tables: Vec<String> = tables
            .as_array()
            .unwrap()
            .iter()
            .map(|t| text(t, "table").to_owned())
            .collect();
        assert_eq!(tables.len(), NAMES.len() + 6, "{tables:?}");
        shows_the_values(&rows(&coffre, "public.good", &[]));
        // Each look makes a server: every name on one version, two of them on the others.
        let whole = version == Version::V15;
        let names = if whole { &NAMES[..] } else { &NAMES[..2] };
        let few = ["public.good", "public.kinds", "\"Back Office\".\"Order\""];
        let tables: Vec<String> = tables.into_iter().filter(|t| whole || few.contains(&t.as_str())).collect();
        for (at, name) in names.iter().enumerate() {
            // As a person would type it; the list's own form is used below.
            assert_eq!(rows(&coffre, name, &[])["rows"], json!([[at.to_string()]]), "{name:?}");
        }
        let kinds = rows(&coffre, "public.kinds", &[]);
        assert_eq!(
            kinds["rows"][0],
            json!([
                "12345678901234567890.12",
                "\\x00ff",
                "{\"a\": [1, \"x\"]}",
                "2026-11-21 08:00:00+00",
                "{1,NULL,3}",
                "t",
                "0.1",
                "ab  ",
                "1 day 02:00:00"
            ])
        );
        assert_eq!(
            kinds["rows"][1],
            json!([null, "\\x", "null", "infinity", "{}", "f", "NaN", null, "-00:00:01"])
        );
        let long = rows(&coffre, "long", &[])["rows"][0][0].as_str().unwrap().to_owned();
        assert!(long.ends_with('…') && long.chars().count() == 1001);
        assert_eq!(rows(&coffre, "nothing", &[])["rows"], json!([[]]));
        if whole {
            pages_and_search(&coffre, "many");
        }
        assert_eq!(rows(&coffre, "good", &["--search", "É"])["total"], 1, "{version:?}");
        coffre.fails(
            ["open", "latest", "--source", "crm", "--table", "pg_catalog.pg_class"],
            "NOT_FOUND",
            1,
        );

        // SQL and CSV, read by stock psql, into a new database.
        let copy = server.create_database();
        server.sql(
            &copy,
            "CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE SCHEMA \"Back Office\"",
        );
        let file = coffre.work("table");
        let to = file.to_str().unwrap().to_owned();
        let same = |table: &str, there: &str, name: &str| {
            // With every value in it, in a fixed order.
            let read = |database: &str, table: &str| server.sql(database, &format!("SELECT t::text FROM {table} t ORDER BY 1"));
            assert_eq!(read(&database, table), read(there, name), "{version:?} {table}");
        };
        for table in &tables {
            coffre.ok([
                "open", "latest", "--source", "crm", "--table", table, "--export", "sql", "--to", &to,
            ]);
            is_private(&file);
            coffre.fails(
                [
                    "open", "latest", "--source", "crm", "--table", table, "--export", "sql", "--to", &to,
                ],
                "REFUSED",
                4,
            );
            server.sql(&copy, &std::fs::read_to_string(&file).unwrap());
            same(table, &copy, table);
            std::fs::remove_file(&file).unwrap();
        }
        coffre.ok([
            "open", "latest", "--source", "crm", "--table", "good", "--export", "csv", "--to", &to,
        ]);
        server.sql(&copy, "TRUNCATE good");
        let text_of_file = std::fs::read_to_string(&file).unwrap();
        assert!(text_of_file.starts_with("id,v\r\n0,\r\n1,\"\"\r\n"), "{text_of_file}");
        server.sql(&copy, &format!("\\copy good FROM '{to}' (FORMAT csv, HEADER)"));
        same("public.good", &copy, "public.good");

        // One table back beside what is there: another name, one transaction, and nothing of it where that fails.
        let into = server.address(&database);
        let back = |table: &str, into: &str, more: &[&str]| {
            let mut line = vec![
                "--json", "restore", "latest", "--source", "crm", "--table", table, "--into", into,
            ];
            line.extend(more);
            coffre.run(line)
        };
        for table in &tables {
            let outcome = back(table, &into, &[]);
            assert_eq!(outcome.status, Some(0), "{outcome}");
            let name = text(&outcome.json()["table"], "name").to_owned();
            let schema = if table.contains("Back Office") {
                "\"Back Office\""
            } else {
                "public"
            };
            same(table, &database, &format!("{schema}.{}", quote_identifier(&name)));
        }
        let again = back("good", &into, &[]);
        assert_eq!((again.status, again.error_code().as_str()), (Some(4), "REFUSED"), "{again}");
        for name in names {
            let outcome = back("good", &into, &["--as", &format!("again {name}")]);
            assert_eq!(outcome.status, Some(0), "{outcome}");
        }
        let long = back("good", &into, &["--as", &"x".repeat(64)]);
        assert_eq!((long.status, long.error_code().as_str()), (Some(2), "USAGE"), "{long}");
        let empty = server.create_database();
        let failed = back("\"Back Office\".\"Order\"", &server.address(&empty), &[]);
        assert_eq!(failed.status, Some(1), "{failed}");
        assert_eq!(
            server.sql(&empty, "SELECT count(*) FROM pg_namespace WHERE nspname = 'Back Office'"),
            "0"
        );
        assert!(server.is_rid_of("coffre"));
        Invariants::of(&coffre).server(&server).assert();
    }
}
