//! A backup, open in the window: tables, rows, search, one table as a file, one table back.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::desk::{Desk, home, make_database, private_folders};

fn rows(opened: &Value, table: &str, more: Value) -> Value {
    let mut asked = json!({"id": opened["id"], "table": table, "search": null, "page": 1, "per_page": 50});
    for (name, value) in more.as_object().unwrap() {
        asked[name] = value.clone();
    }
    asked
}

/// Everything that can look wrong.
fn odd(path: &Path) {
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE odd (id INTEGER PRIMARY KEY, a, b, c);
             INSERT INTO odd VALUES (1, NULL, '', 'NULL'), (2, x'00ff', '<b>&amp;</b>', 'line
             two'), (3, 1.5, printf('%.*c', 5000, 'x'), 'ÉTÉ');
             CREATE TABLE \"empty \"\"one\" (x);
             CREATE TABLE wide (id INTEGER PRIMARY KEY);",
        )
        .unwrap();
    for n in 0..150 {
        connection
            .execute_batch(&format!("ALTER TABLE wide ADD COLUMN c{n} DEFAULT {n}"))
            .unwrap();
    }
    connection
        .execute_batch(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 120) INSERT INTO wide (id) SELECT i FROM n",
        )
        .unwrap();
}

#[test]
fn rows_are_shown_as_they_are_page_by_page() {
    let home = home();
    let desk = Desk::on(home.path());
    let path = home.path().join("shop.db");
    odd(&path);
    let source = desk.add_sqlite("shop", &path);
    let backup = desk.back_up(&source);
    let opened = desk.ask("open_backup", json!({"id": backup["id"]}));
    assert_eq!(opened["backup"]["id"], backup["id"]);
    let tables: Vec<(&str, u64)> = opened["tables"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| (t["table"].as_str().unwrap(), t["rows"].as_u64().unwrap()))
        .collect();
    assert_eq!(tables, [("empty \"one", 0), ("odd", 3), ("wide", 120)]);
    assert!(opened["tables"][1]["new_name"].as_str().unwrap().starts_with("odd_restored_"));
    assert_eq!(opened["sources"][0]["id"], source["id"]);

    let page = desk.ask("read_rows", rows(&opened, "odd", json!({})));
    assert_eq!(page["columns"], json!(["id", "a", "b", "c"]));
    assert_eq!(page["rows"][0], json!(["1", null, "", "NULL"]));
    assert_eq!(page["rows"][1][1], "X'00FF'");
    assert_eq!(page["rows"][1][2], "<b>&amp;</b>");
    let long = page["rows"][2][2].as_str().unwrap();
    assert!(long.ends_with('…') && long.chars().count() == 1001);
    let found = desk.ask("read_rows", rows(&opened, "odd", json!({"search": " été "})));
    assert_eq!((&found["total"], &found["rows"][0][0]), (&json!(1), &json!("3")));
    let none = desk.ask("read_rows", rows(&opened, "odd", json!({"search": "%"})));
    assert_eq!(none["total"], 0, "never a pattern");
    let empty = desk.ask("read_rows", rows(&opened, "empty \"one", json!({})));
    assert_eq!((&empty["columns"], &empty["rows"]), (&json!(["x"]), &json!([])));
    let wide = desk.ask("read_rows", rows(&opened, "wide", json!({"page": 3})));
    assert_eq!(wide["rows"].as_array().unwrap().len(), 20);
    assert_eq!(
        (wide["columns"].as_array().unwrap().len(), &wide["rows"][0][0]),
        (151, &json!("101"))
    );

    for (asked, text) in [
        (rows(&opened, "nope", json!({})), "inside_table_unknown"),
        (rows(&opened, "", json!({})), "inside_name"),
        (rows(&opened, "o\u{0}dd", json!({})), "inside_name"),
        (rows(&opened, &"x".repeat(100_000), json!({})), "inside_name"),
        (rows(&opened, "odd", json!({"page": 0})), "page_range"),
        (rows(&opened, "odd", json!({"per_page": 100_000})), "page_range"),
        (rows(&opened, "odd", json!({"search": "x".repeat(5000)})), "field_long"),
        (
            rows(&json!({"id": "01990000-0000-7000-8000-000000000000"}), "odd", json!({})),
            "inside_closed",
        ),
    ] {
        assert_eq!(desk.refused_in_words("read_rows", asked).text, text);
    }
    // What was asked wrongly closes nothing.
    assert_eq!(desk.ask("read_rows", rows(&opened, "odd", json!({})))["total"], 3);

    assert_eq!(private_folders(home.path()).len(), 1);
    desk.ask("close_opened", json!({"id": opened["id"]}));
    assert_eq!(private_folders(home.path()).len(), 0);
    assert_eq!(
        desk.refused("read_rows", rows(&opened, "odd", json!({}))).text,
        "inside_closed"
    );
    desk.ask("close_opened", json!({"id": opened["id"]}));
}

#[test]
fn one_is_open_at_a_time_and_nothing_is_left_of_a_stopped_one() {
    let home = home();
    let desk = Desk::on(home.path());
    let path = home.path().join("shop.db");
    make_database(&path, 5);
    let source = desk.add_sqlite("shop", &path);
    let backup = desk.back_up(&source);
    let first = desk.ask("open_backup", json!({"id": backup["id"]}));
    let second = desk.ask("open_backup", json!({"id": backup["id"]}));
    assert_eq!(private_folders(home.path()).len(), 1);
    assert_eq!(
        desk.refused("read_rows", rows(&first, "things", json!({}))).text,
        "inside_closed"
    );
    assert_eq!(desk.ask("read_rows", rows(&second, "things", json!({})))["total"], 5);
    // The open one is a copy: the backup itself can go, be read and be rehearsed.
    desk.ask("drill_backup", json!({"id": backup["id"]}));
    desk.until_idle();
    assert_eq!(private_folders(home.path()).len(), 1);
    drop(desk);
    assert_eq!(private_folders(home.path()).len(), 0);
}

#[test]
fn a_table_goes_into_a_file_and_back_beside_what_is_there() {
    let home = home();
    let desk = Desk::on(home.path());
    let path = home.path().join("shop.db");
    make_database(&path, 5);
    let source = desk.add_sqlite("shop", &path);
    let backup = desk.back_up(&source);
    let opened = desk.ask("open_backup", json!({"id": backup["id"]}));

    let asked = json!({"id": opened["id"], "table": "things", "format": "csv"});
    assert_eq!(
        desk.ask("export_table", asked.clone()),
        Value::Null,
        "the person thought better of it"
    );
    assert_eq!(*desk.shell.suggested.lock().unwrap(), ["things.csv"]);
    let to = home.path().join("things.csv");
    *desk.shell.chosen.lock().unwrap() = Some(to.clone());
    let exported = desk.ask("export_table", asked.clone());
    assert_eq!((&exported["rows"], &exported["path"]), (&json!(5), &json!(to)));
    let text = std::fs::read_to_string(&to).unwrap();
    assert!(text.starts_with("id,name\r\n1,thing 0\r\n"), "{text}");
    assert_eq!(std::fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(desk.refused_in_words("export_table", asked).code.as_str(), "REFUSED");
    assert_eq!(std::fs::read_to_string(&to).unwrap(), text, "never over another one");
    *desk.shell.chosen.lock().unwrap() = Some(home.path().join("nowhere/things.sql"));
    let asked = json!({"id": opened["id"], "table": "things", "format": "sql"});
    desk.refused_in_words("export_table", asked);

    let back = json!({"id": opened["id"], "table": "things", "source_id": source["id"], "name": "things 'then'"});
    let restored = desk.ask("restore_table", back.clone());
    assert_eq!((&restored["rows"], &restored["name"]), (&json!(5), &json!("things 'then'")));
    let count = |table: &str| -> i64 {
        let connection = Connection::open(&path).unwrap();
        connection
            .query_row(&format!("SELECT count(*) FROM \"{table}\""), [], |row| row.get(0))
            .unwrap()
    };
    assert_eq!((count("things 'then'"), count("things")), (5, 5));
    assert_eq!(desk.refused_in_words("restore_table", back).text, "inside_name_taken");
    for name in ["", "things", "a\u{0}b"] {
        let wrong = json!({"id": opened["id"], "table": "things", "source_id": source["id"], "name": name});
        desk.refused_in_words("restore_table", wrong);
    }
    let nobody = json!({"id": opened["id"], "table": "things", "source_id": "01990000-0000-7000-8000-000000000000", "name": "x"});
    assert_eq!(desk.refused("restore_table", nobody).code.as_str(), "NOT_FOUND");
    let lines = desk.ask("list_journal", json!({"query": {"page": 1, "per_page": 100}}));
    let actions: Vec<&str> = lines["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| l["action"].as_str().unwrap())
        .collect();
    for action in ["backup.open", "backup.export", "restore.table"] {
        assert!(actions.contains(&action), "{actions:?}");
    }
}
