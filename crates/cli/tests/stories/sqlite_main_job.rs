//! A person protects a SQLite file, proves it, and brings it back.

use std::path::Path;

use coffre_testkit::coffre::Coffre;
use coffre_testkit::invariants::Invariants;
use coffre_testkit::run;
use serde_json::Value;

use crate::program;

/// A small shop, made by stock `sqlite3`.
fn shop(path: &Path) {
    let sql = "PRAGMA journal_mode=wal; PRAGMA user_version=7; PRAGMA application_id=42;
        CREATE TABLE customers(id INTEGER PRIMARY KEY, name TEXT);
        CREATE TABLE prices(code TEXT PRIMARY KEY, cents INTEGER) WITHOUT ROWID;
        CREATE VIRTUAL TABLE notes USING fts5(body);
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<5000) INSERT INTO customers SELECT i, 'customer '||i FROM n;
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<300) INSERT INTO prices SELECT 'p'||i, i*100 FROM n;
        INSERT INTO notes VALUES('the vault is open'),('the door is shut');";
    let made = run("sqlite3", [path.to_str().unwrap(), sql]);
    assert!(made.ok(), "{made:?}");
}

fn sqlite(path: &Path, sql: &str) -> String {
    let out = run("sqlite3", [path.to_str().unwrap(), sql]);
    assert!(out.ok(), "{out:?}");
    out.stdout.trim().to_owned()
}

fn rows(value: &Value, table: &str) -> Option<u64> {
    value.as_array()?.iter().find(|c| c["table"] == table)?["rows"].as_u64()
}

#[test]
fn a_file_is_protected_proved_and_brought_back() {
    let coffre = Coffre::new(program());
    let db = coffre.work("shop.db");
    shop(&db);
    let disk = coffre.destination_folder("disk");
    coffre.ok(["source", "add", &format!("sqlite://{}", db.display()), "--name", "shop"]);
    coffre.ok(["destination", "add", &format!("file://{}", disk.display()), "--name", "disk"]);

    let answer = coffre.json(["backup", "--source", "shop", "--to", "disk"]);
    let backup = &answer["backup"];
    assert_eq!(backup["state"], "verified");
    assert_eq!(backup["copies"][0]["state"], "verified");
    assert_eq!(backup["type"], "manual");
    assert_eq!(backup["compression"], "zstd:3");
    let code = backup["code"].as_str().unwrap();

    let shown = coffre.json(["show", code]);
    assert_eq!(rows(&shown["manifest"]["table_counts"], "customers"), Some(5000), "{shown:#}");
    assert_eq!(rows(&shown["manifest"]["table_counts"], "prices"), Some(300));
    assert_eq!(shown["manifest"]["schema"], 1);

    let checked = coffre.json(["verify", code]);
    assert_eq!(checked["checks"][0]["ok"], true);

    let listed = coffre.json(["list", "--source", "shop"]);
    assert_eq!(
        (listed["total"].as_u64(), listed["stats"]["verified"].as_u64()),
        (Some(1), Some(1))
    );

    let back = coffre.work("back.db");
    let restored = coffre.json([
        "restore",
        "latest",
        "--source",
        "shop",
        "--into",
        &format!("sqlite://{}", back.display()),
    ]);
    assert_eq!(restored["restore"]["state"], "done");
    let counts = restored["restore"]["counts"].as_array().unwrap();
    assert!(
        counts
            .iter()
            .any(|c| c["table"] == "customers" && c["after"] == 5000 && c["backup"] == 5000),
        "{counts:?}"
    );
    assert_eq!(
        sqlite(&back, "PRAGMA user_version; PRAGMA application_id; PRAGMA integrity_check;"),
        "7\n42\nok"
    );
    assert_eq!(
        sqlite(&back, "SELECT body FROM notes WHERE notes MATCH 'vault'"),
        "the vault is open"
    );
    assert_eq!(sqlite(&back, ".dump"), sqlite(&db, ".dump"));

    Invariants::of(&coffre).destination(&disk).assert();
}

#[test]
fn the_recovery_sheet_restores_without_coffre() {
    let coffre = Coffre::new(program());
    let db = coffre.work("shop.db");
    shop(&db);
    coffre.ok(["source", "add", &format!("sqlite://{}", db.display()), "--name", "shop"]);
    coffre.ok(["key", "create", "main"]);
    let key = coffre.work("key.txt");
    coffre.ok(["key", "export", "main", "--to", key.to_str().unwrap()]);
    let answer = coffre.json(["backup", "--source", "shop", "--encrypt", "main", "--compression", "gzip:9"]);
    assert_eq!(answer["backup"]["encryption"], "main");
    let bytes = std::fs::read(
        coffre
            .home()
            .join("backups")
            .join(answer["backup"]["copies"][0]["key"].as_str().unwrap()),
    )
    .unwrap();
    assert!(bytes.starts_with(b"age-encryption.org/v1"));

    let recovery: Vec<String> = coffre.json(["show", "latest", "--source", "shop"])["manifest"]["recovery"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line.as_str().unwrap().to_owned())
        .collect();
    let folder = coffre.work("elsewhere");
    std::fs::create_dir(&folder).unwrap();
    coffre.ok(["download", "latest", "--source", "shop", "--to", folder.to_str().unwrap()]);
    std::fs::copy(&key, folder.join("key.txt")).unwrap();
    let script = format!("cd '{}' && set -e\n{}", folder.display(), recovery.join("\n"));
    let done = run("sh", ["-ec", &script]);
    assert!(done.ok(), "{script}\n{done:?}");
    let sheet = coffre.work("sheet.html");
    coffre.ok(["recovery-sheet", "--to", sheet.to_str().unwrap()]);
    let html = std::fs::read_to_string(&sheet).unwrap();
    let private = std::fs::read_to_string(&key)
        .unwrap()
        .lines()
        .find(|l| l.starts_with("AGE-SECRET-KEY-1"))
        .unwrap()
        .to_owned();
    assert!(html.contains(answer["backup"]["code"].as_str().unwrap()) && !html.contains(&private));
}
