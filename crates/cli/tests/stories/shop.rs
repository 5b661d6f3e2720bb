//! What the SQLite stories have in common: a small shop, a large one, and the two or three commands that protect it.

use std::path::{Path, PathBuf};

use coffre_testkit::coffre::Coffre;
use coffre_testkit::run;
use serde_json::Value;

use crate::program;

/// A small shop, made by stock `sqlite3`: a few hundred rows, so that a story can back it up many times.
pub(crate) fn small(path: &Path) {
    let sql = "CREATE TABLE customers(id INTEGER PRIMARY KEY, name TEXT);
        CREATE TABLE prices(code TEXT PRIMARY KEY, cents INTEGER) WITHOUT ROWID;
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<900) INSERT INTO customers SELECT i, 'customer '||i FROM n;
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<100) INSERT INTO prices SELECT 'p'||i, i*100 FROM n;";
    sqlite(path, sql);
}

/// A file of about so many megabytes that no compression makes smaller.
pub(crate) fn large(path: &Path, megabytes: u32) {
    let rows = megabytes * 16;
    sqlite(
        path,
        &format!(
            "CREATE TABLE noise(id INTEGER PRIMARY KEY, bytes BLOB);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<{rows}) INSERT INTO noise SELECT i, randomblob(65000) FROM n;"
        ),
    );
}

/// What stock `sqlite3` answers.
pub(crate) fn sqlite(path: &Path, sql: &str) -> String {
    let out = run("sqlite3", [path.to_str().expect("a path that is text"), sql]);
    assert!(out.ok(), "{out:?}");
    out.stdout.trim().to_owned()
}

/// A fingerprint of everything that stock `sqlite3` dumps of a file.
pub(crate) fn content(path: &Path) -> String {
    let script = "set -o pipefail; sqlite3 \"$1\" .dump | sha256sum";
    let out = run(
        "bash",
        ["-ec", script, "content", path.to_str().expect("a path that is text")],
    );
    assert!(out.ok(), "{out:?}");
    out.stdout
}

/// The address of a SQLite file.
pub(crate) fn address(path: &Path) -> String {
    format!("sqlite://{}", path.display())
}

/// A home that protects a small shop called `shop`, and the shop's file.
pub(crate) fn protected() -> (Coffre, PathBuf) {
    let coffre = Coffre::new(program());
    let db = coffre.work("shop.db");
    small(&db);
    coffre.ok(["source", "add", &address(&db), "--name", "shop"]);
    (coffre, db)
}

/// Makes a backup of a source that must become green.
pub(crate) fn back_up(coffre: &Coffre, source: &str) -> Value {
    let answer = coffre.json(["backup", "--source", source]);
    assert_eq!(answer["backup"]["state"], "verified", "{answer:#}");
    answer["backup"].clone()
}

/// A field that is text.
pub(crate) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field]
        .as_str()
        .unwrap_or_else(|| panic!("no text {field} in {value:#}"))
}

/// Every backup of the home, newest first.
pub(crate) fn backups(coffre: &Coffre) -> Vec<Value> {
    coffre.json(["list", "--per-page", "1000"])["backups"]
        .as_array()
        .expect("a list")
        .clone()
}

/// Where the first copy of a backup lies in the default destination.
pub(crate) fn artifact(coffre: &Coffre, backup: &Value) -> PathBuf {
    coffre.home().join("backups").join(text(&backup["copies"][0], "key"))
}

/// How many files of ours lie below a folder: artifacts, manifests, partials.
pub(crate) fn files(folder: &Path) -> Vec<String> {
    let found = run(
        "find",
        [folder.to_str().expect("a path that is text"), "-type", "f", "-printf", "%P\n"],
    );
    let mut names: Vec<String> = found
        .stdout
        .lines()
        .filter(|name| *name != "coffre-destination.json" && *name != "ballast")
        .map(str::to_owned)
        .collect();
    names.sort();
    names
}
