//! What the PostgreSQL stories have in common: a small and a long database, the commands that protect them, and what a failure must look
//! like to the person who sees it.

use std::time::Duration;

use coffre_testkit::coffre::{Coffre, Outcome};
use coffre_testkit::postgres::{Postgres, quote_literal};
use coffre_testkit::proxy::{Direction, Proxy};
use coffre_testkit::wait_until;
use serde_json::Value;

use crate::program;
use crate::shop::{backups, files, text};

/// A few rows in two tables.
pub(crate) const SMALL: &str =
    "CREATE TABLE customers AS SELECT g AS id, 'customer ' || g AS name FROM generate_series(1, 500) g;
    CREATE TABLE orders AS SELECT g AS id, g % 500 AS customer FROM generate_series(1, 700) g";

/// About 24 MB of dump beside the small tables, quickly made.
const LONG: &str = "CREATE TABLE noise AS SELECT g AS id, repeat(md5(g::text), 60) AS words FROM generate_series(1, 12000) g";

/// A new database with the small tables in it.
pub(crate) fn small(server: &Postgres) -> String {
    let database = server.create_database();
    server.sql(&database, SMALL);
    database
}

/// A new database whose dump takes a while.
pub(crate) fn long(server: &Postgres) -> String {
    let database = small(server);
    server.sql(&database, LONG);
    database
}

/// The server's address by way of a proxy.
pub(crate) fn through(proxy: &Proxy, server: &Postgres, database: &str) -> String {
    let (direct, by_proxy) = (format!(":{}/", server.port()), format!(":{}/", proxy.port()));
    server.address(database).replace(&direct, &by_proxy)
}

/// A home that protects what lies at an address, under the name `crm`.
pub(crate) fn protecting(address: &str, password: Option<&str>) -> Coffre {
    let coffre = Coffre::new(program());
    add(&coffre, "crm", address, password);
    coffre
}

/// Adds a source with its password.
pub(crate) fn add(coffre: &Coffre, name: &str, address: &str, password: Option<&str>) {
    let mut line = vec!["source", "add", address, "--name", name];
    line.extend(password.map(|_| "--password-stdin"));
    let added = coffre.run_with_input(line, password.unwrap_or_default().as_bytes());
    assert_eq!(added.status, Some(0), "{added}");
}

/// A backup that must fail: the status, the code, words, a row that is not green, one line in the journal, and nothing at the destination.
/// Answers the error.
pub(crate) fn fails(coffre: &Coffre, code: &str) -> Value {
    let before = files(&coffre.home().join("backups"));
    let outcome = coffre.run(["--json", "backup", "--source", "crm"]);
    let error = failed(coffre, &outcome, code);
    assert_eq!(files(&coffre.home().join("backups")), before, "{outcome}");
    error
}

/// The same for a backup that has ended by itself.
pub(crate) fn failed(coffre: &Coffre, outcome: &Outcome, code: &str) -> Value {
    assert_eq!((outcome.error_code().as_str(), outcome.status), (code, Some(1)), "{outcome}");
    let document = outcome.json();
    let error = document["error"].clone();
    assert!(
        text(&error, "message").len() > 10 && text(&error, "hint").len() > 10,
        "{outcome}"
    );
    assert!(!text(&error, "message").contains('{'), "a fact is missing: {outcome}");
    let row = backups(coffre).into_iter().next().expect("a row");
    assert_eq!(
        (text(&row, "state"), text(&row["error"], "code")),
        ("failed", code),
        "{row:#}"
    );
    assert_eq!(row["copies"].as_array().map(Vec::len), Some(0), "{row:#}");
    let journal = coffre.json(["journal", "--limit", "1000"]);
    let told = journal["entries"]
        .as_array()
        .expect("entries")
        .iter()
        .filter(|entry| entry["subject_id"] == row["id"])
        .count();
    assert_eq!(told, 1, "{journal:#}");
    error
}

/// Whether no session of ours is left in a database within ten seconds.
pub(crate) fn left_alone(server: &Postgres, database: &str) -> bool {
    let sql = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = {} AND application_name LIKE 'coffre%'",
        quote_literal(database)
    );
    wait_until(Duration::from_secs(10), || server.sql("postgres", &sql) == "0")
}

/// Waits until so many bytes have come from the server since `from`.
pub(crate) fn wait_for_bytes(proxy: &Proxy, from: u64, bytes: u64) {
    let come = wait_until(Duration::from_secs(30), || proxy.bytes(Direction::ToClient) >= from + bytes);
    assert!(come, "the dump did not begin");
}

/// What a database holds, table by table, in words.
pub(crate) fn content(server: &Postgres, database: &str) -> String {
    let tables = server.sql(
        database,
        "SELECT string_agg(quote_ident(schemaname) || '.' || quote_ident(tablename), E'\\x01' ORDER BY schemaname, tablename) FROM pg_tables
          WHERE schemaname NOT IN ('pg_catalog', 'information_schema')",
    );
    // A name may have a line's end in it.
    let lines = tables.split('\u{1}').filter(|table| !table.is_empty()).map(|table| {
        let sum = server.sql(
            database,
            &format!("SELECT count(*), md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {table} t"),
        );
        format!("{table}: {sum}\n")
    });
    lines.collect()
}
