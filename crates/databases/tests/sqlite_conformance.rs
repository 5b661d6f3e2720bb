//! SQLite answers the questions that every database is asked (`coffre_testkit::conformance::database`).

#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use coffre_model::source::SourceOptions;
use coffre_testkit::conformance::database::{Case, Subject, check, source};
use coffre_testkit::run;

/// Tables of several kinds, with enough rows for a dump of some hundred kilobytes.
fn tables() -> String {
    let series = "WITH RECURSIVE series (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < 4000)";
    format!(
        "CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, note TEXT);
         CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER NOT NULL REFERENCES customers (id), total NUMERIC);
         CREATE TABLE empty (id INTEGER PRIMARY KEY);
         CREATE TABLE \"odd \"\"name\"\"; --\" (\"a b\" TEXT);
         CREATE INDEX orders_customer ON orders (customer);
         INSERT INTO customers {series}
             SELECT n, 'customer number ' || n, CASE WHEN n % 7 = 0 THEN NULL ELSE 'é ''quoted'' \\ ' || n END FROM series;
         INSERT INTO orders {series} SELECT n, n, n * 1.25 FROM series;
         INSERT INTO \"odd \"\"name\"\"; --\" VALUES ('one'), (NULL);"
    )
}

#[test]
fn sqlite_keeps_what_the_trait_promises() {
    let fresh = |fill: bool| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.db");
        if fill {
            let made = run("sqlite3", [path.to_str().unwrap(), &tables()]);
            assert!(made.ok(), "{}", made.stderr);
        }
        Case::new(source(format!("sqlite://{}", path.display()), SourceOptions::default())).keep(folder)
    };
    check(&Subject {
        kind: &coffre_databases::sqlite::Sqlite,
        filled: &|| fresh(true),
        target: &|| fresh(false),
        absent: &|| fresh(false),
    });
}
