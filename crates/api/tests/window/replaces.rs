//! Restores in place of live data, as the sheet makes them: shown first, asked for by name, carried out, taken back, let go.

use std::path::Path;

use coffre_api::model::Id;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::desk::{Desk, home, is_invalidated, make_database};

fn request(backup: &Value) -> Value {
    json!({"request": {"backup_id": backup["id"], "file": null, "target": {"kind": "replace", "value": "", "secret": null}}})
}

fn start(plan: &Value) -> Value {
    json!({"confirmation": plan["confirmation"], "name": plan["name"]})
}

/// Everything in a database, as text.
fn content(path: &Path) -> Vec<(String, Vec<String>)> {
    let connection = Connection::open(path).unwrap();
    let mut tables = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
        .unwrap();
    let names = tables.query_map([], |row| row.get::<_, String>(0)).unwrap();
    names
        .map(|name| {
            let name = name.unwrap();
            let mut rows = connection
                .prepare(&format!("SELECT id || '|' || name FROM \"{name}\" ORDER BY id"))
                .unwrap();
            let rows = rows.query_map([], |row| row.get::<_, String>(0)).unwrap();
            (name, rows.map(Result::unwrap).collect())
        })
        .collect()
}

fn change(path: &Path, sql: &str) {
    Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

/// A source, its backup, and a change since: two rows gone, one other, and a table more.
fn changed(desk: &Desk, path: &Path) -> (Value, Value) {
    make_database(path, 50);
    let source = desk.add_sqlite("shop", path);
    let backup = desk.back_up(&source);
    change(
        path,
        "DELETE FROM things WHERE id <= 2; UPDATE things SET name = 'other' WHERE id = 9;
         CREATE TABLE promo (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO promo (name) VALUES ('a'), ('b'), ('c');",
    );
    (source, backup)
}

#[track_caller]
fn ended(desk: &Desk, restore: &Value) -> Value {
    desk.until_idle();
    desk.ask("show_restore", json!({"id": restore["id"]}))
}

#[test]
fn live_data_is_shown_replaced_taken_back_and_let_go() {
    let home = home();
    let desk = Desk::on(home.path());
    let path = home.path().join("shop.db");
    let (source, backup) = changed(&desk, &path);
    let before = content(&path);
    // An application has it open all along.
    let application = Connection::open(&path).unwrap();

    let targets = desk.ask("restore_targets", json!({"backup_id": backup["id"], "file": null}));
    let option = &targets[1];
    assert_eq!((&option["kind"], &option["refusal"]), (&json!("replace"), &Value::Null));
    assert_eq!(option["sources"][0]["id"], source["id"]);
    assert!(
        desk.ask("about", json!({}))["features"]
            .as_array()
            .unwrap()
            .contains(&json!("replace"))
    );

    let plan = desk.ask("plan_restore", request(&backup));
    assert_eq!((&plan["mode"], &plan["allowed"]), (&json!("replace"), &json!(true)), "{plan}");
    assert_eq!((&plan["name"], &plan["undo_days"]), (&json!("shop"), &json!(7)));
    let impact = &plan["impact"];
    assert_eq!((&impact["vanish"], &impact["appear"]), (&json!(["promo"]), &json!([])));
    assert_eq!(
        impact["counts"],
        json!([{"table": "promo", "before": 3, "after": null, "backup": null},
            {"table": "things", "before": 48, "after": null, "backup": 50}])
    );
    assert_eq!(impact["way"], "swap");
    let checks: Vec<&str> = plan["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["name"].as_str().unwrap())
        .collect();
    assert!(
        checks.starts_with(&["read_to_end"]) && checks.contains(&"replaceable"),
        "{checks:?}"
    );
    assert_eq!(
        plan["command"],
        format!("coffre restore {} --replace", backup["code"].as_str().unwrap())
    );
    assert_eq!(content(&path), before, "a preview changes nothing");
    assert_eq!(desk.ask("list_restores", json!({"limit": 10})), json!([]));

    let other = json!({"confirmation": plan["confirmation"], "name": "Shop"});
    assert_eq!(desk.refused("start_restore", other).text, "confirmation_name");
    desk.forget_events();
    let restore = desk.ask("start_restore", start(&plan));
    let done = ended(&desk, &restore);
    assert_eq!(done["restore"]["state"], "done", "{done}");
    assert_eq!(
        content(&path),
        [(
            "things".to_owned(),
            (1..=50).map(|n| format!("{n}|thing {}", n - 1)).collect()
        )]
    );
    let rows: u32 = application
        .query_row("SELECT count(*) FROM things", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 50, "whoever has it open sees the backup");
    desk.wait_for("steps are told", |event| is_invalidated(event, "restores"));
    assert_eq!((&done["undo"], &done["source"]), (&json!("swap"), &json!("shop")));
    assert_eq!(
        (&done["safety"]["trigger"], &done["safety"]["state"]),
        (&json!("safety"), &json!("verified"))
    );
    assert!(done["restore"]["kept_bytes"].as_u64().unwrap() > 0);
    assert_eq!(
        desk.refused("start_restore", start(&plan)).text,
        "confirmation_old",
        "once only"
    );
    let kept = desk.ask("list_kept", json!({}));
    assert_eq!(
        (kept.as_array().unwrap().len(), &kept[0]["restore"]["id"]),
        (1, &restore["id"])
    );
    let actions = |desk: &Desk| -> Vec<String> {
        let query = json!({"query": {"page": 1, "per_page": 50}});
        let journal = desk.ask("list_journal", query);
        let entries = journal["entries"].as_array().unwrap().iter();
        entries.map(|entry| entry["action"].as_str().unwrap().to_owned()).collect()
    };
    assert!(actions(&desk).contains(&"restore.replace".to_owned()));

    desk.ask("undo_restore", json!({"id": restore["id"]}));
    let undone = ended(&desk, &restore);
    assert_eq!(
        (&undone["restore"]["state"], &undone["undo"]),
        (&json!("undone"), &Value::Null)
    );
    assert_eq!(content(&path), before, "exactly as before");
    let twice = desk.refused_in_words("undo_restore", json!({"id": restore["id"]}));
    assert_eq!((twice.code.exit_status(), twice.text.as_str()), (4, "undo_state"));
    assert_eq!(
        desk.ask("list_kept", json!({}))[0]["restore"]["state"],
        "undone",
        "what the undo took away is kept"
    );
    desk.ask("forget_kept", json!({"id": restore["id"]}));
    assert_eq!(desk.ask("list_kept", json!({})), json!([]));
    assert_eq!(
        desk.refused_in_words("forget_kept", json!({"id": restore["id"]})).text,
        "undo_gone"
    );
    assert_eq!(content(&path), before);
    let beside: Vec<_> = std::fs::read_dir(home.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains("shop") && !["shop.db", "shop.db-wal", "shop.db-shm"].contains(&name.as_str()))
        .collect();
    assert_eq!(beside, Vec::<String>::new(), "nothing of it is left");
    assert!(desk.shell.notices.lock().unwrap().is_empty());
}

#[test]
fn rows_that_came_since_are_asked_about_and_other_tables_are_looked_at_again() {
    let home = home();
    let desk = Desk::on(home.path());
    let path = home.path().join("shop.db");
    let (_, backup) = changed(&desk, &path);
    let plan = desk.ask("plan_restore", request(&backup));
    change(&path, "INSERT INTO things (name) VALUES ('written meanwhile')");
    let now = content(&path);
    let refused = ended(&desk, &desk.ask("start_restore", start(&plan)));
    assert_eq!(
        (&refused["restore"]["state"], &refused["restore"]["error"]["text"]),
        (&json!("failed"), &json!("replace_rows_changed"))
    );
    // What is new stands in the row, beside what was shown.
    assert_eq!(refused["restore"]["counts"][1]["before"], 49);
    assert_eq!(content(&path), now, "nothing was done");
    assert!(
        desk.shell.notices.lock().unwrap().is_empty(),
        "whoever is asked needs no notification"
    );
    // The same answer, and the application may go on writing.
    change(&path, "INSERT INTO things (name) VALUES ('and again')");
    let mut go_on = start(&plan);
    go_on["rows_may_differ"] = json!(true);
    let done = ended(&desk, &desk.ask("start_restore", go_on));
    assert_eq!(done["restore"]["state"], "done", "{done}");
    assert_eq!(done["restore"]["counts"][1]["before"], 50);

    let plan = desk.ask("plan_restore", request(&backup));
    change(&path, "CREATE TABLE more (id INTEGER PRIMARY KEY, name TEXT)");
    let mut go_on = start(&plan);
    go_on["rows_may_differ"] = json!(true);
    let refused = ended(&desk, &desk.ask("start_restore", go_on.clone()));
    assert_eq!(refused["restore"]["error"]["text"], "replace_target_changed");
    assert_eq!(
        desk.refused("start_restore", go_on).text,
        "confirmation_old",
        "that preview is over"
    );
    assert_eq!(done["undo"], "swap");
    let listed = desk.ask("list_restores", json!({"limit": 10}));
    let undoable: Vec<&Value> = listed.as_array().unwrap().iter().filter(|d| !d["undo"].is_null()).collect();
    assert_eq!(undoable.len(), 1, "{listed}");
}

#[test]
fn a_source_that_moved_or_is_gone_is_not_replaced() {
    let home = home();
    let desk = Desk::on(home.path());
    let path = home.path().join("shop.db");
    let (source, backup) = changed(&desk, &path);
    let plan = desk.ask("plan_restore", request(&backup));
    let elsewhere = home.path().join("elsewhere.db");
    make_database(&elsewhere, 3);
    let draft = json!({"name": "shop", "adapter": "sqlite", "values": {"path": elsewhere}});
    desk.ask(
        "edit_source",
        json!({"id": source["id"], "draft": draft, "secret": {"change": "keep"}}),
    );
    assert_eq!(desk.refused("start_restore", start(&plan)).text, "confirmation_changed");
    // Looked at again it is another database than the one that was backed up: allowed, and said.
    let plan = desk.ask("plan_restore", request(&backup));
    assert_eq!(plan["impact"]["remarks"][0]["text"], "replace_other_database");
    desk.ask("remove_source", json!({"id": source["id"]}));
    let targets = desk.ask("restore_targets", json!({"backup_id": backup["id"], "file": null}));
    assert_eq!(targets[1]["refusal"]["text"], "replace_source_gone");
    assert_eq!(
        desk.refused_in_words("plan_restore", request(&backup)).text,
        "replace_source_gone"
    );
    assert_eq!(desk.refused("start_restore", start(&plan)).text, "replace_source_gone");
}

#[test]
fn a_bad_copy_is_found_by_the_preview_and_a_file_replaces_what_is_chosen() {
    let home = home();
    let desk = Desk::on(home.path());
    let path = home.path().join("shop.db");
    let (source, backup) = changed(&desk, &path);
    let stored = home.path().join("backups").join(backup["copies"][0]["key"].as_str().unwrap());
    let aside = home.path().join("from elsewhere.db.zst");
    std::fs::copy(&stored, &aside).unwrap();
    std::fs::write(&stored, b"not what it was").unwrap();
    let bad = desk.ask("plan_restore", request(&backup));
    assert_eq!((&bad["allowed"], &bad["impact"]), (&json!(false), &Value::Null));
    assert_eq!(bad["checks"][0]["name"], "read_to_end");
    assert_eq!(bad["checks"][0]["error"]["code"], "VERIFY_MISMATCH");

    let targets = desk.ask("restore_targets", json!({"backup_id": null, "file": aside}));
    let option = targets
        .as_array()
        .unwrap()
        .iter()
        .find(|option| option["kind"] == "replace")
        .unwrap();
    assert_eq!(
        (&option["suggestion"], &option["sources"][0]["name"]),
        (&json!(""), &json!("shop"))
    );
    let asked = |value: &Value| json!({"request": {"backup_id": null, "file": aside, "target": {"kind": "replace", "value": value, "secret": null}}});
    assert_eq!(desk.refused("plan_restore", asked(&json!(""))).text, "replace_which_source");
    let plan = desk.ask("plan_restore", asked(&source["id"]));
    let done = ended(&desk, &desk.ask("start_restore", start(&plan)));
    assert_eq!(done["restore"]["state"], "done", "{done}");
    assert_eq!(content(&path)[0].1.len(), 50);
}

#[test]
fn kept_data_leaves_in_time_while_the_window_stays_open() {
    let home = home();
    let desk = Desk::on(home.path());
    let path = home.path().join("shop.db");
    let (_, backup) = changed(&desk, &path);
    let plan = desk.ask("plan_restore", request(&backup));
    let done = ended(&desk, &desk.ask("start_restore", start(&plan)));
    let id: Id = done["restore"]["id"].as_str().unwrap().parse().unwrap();
    let replaced = content(&path);
    // Its time comes, for the second time: a clock that jumps is doubted once.
    let coffre = desk.window.coffre().unwrap();
    let kept = done["restore"]["kept_bytes"].as_u64();
    let catalogue = &coffre.engine.catalogue;
    catalogue
        .set_clockwork(&format!("kept_doubted:{id}"), Some(&done["restore"]["started_at"]))
        .unwrap();
    catalogue
        .keep_until(&id, Some("2020-01-01T00:00:00Z".parse().unwrap()), kept)
        .unwrap();
    desk.until("it has left", || desk.ask("list_kept", json!({})) == json!([]));
    let detail = desk.ask("show_restore", json!({"id": id}));
    assert_eq!(
        (&detail["undo"], &detail["restore"]["kept_until"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(desk.refused("undo_restore", json!({"id": id})).text, "undo_gone");
    assert_eq!(content(&path), replaced);
    assert_eq!(desk.ask("health", json!({}))["leftovers"], json!([]));
}

#[test]
fn a_preview_and_a_replacement_can_be_cancelled_and_nothing_is_done() {
    let home = home();
    let desk = Desk::on(home.path());
    let path = home.path().join("noise.db");
    crate::desk::make_slow_database(&path);
    let source = desk.add_sqlite("noise", &path);
    let backup = desk.back_up(&source);
    change(&path, "DELETE FROM noise WHERE id < 5");
    let rows = || {
        let connection = Connection::open(&path).unwrap();
        connection
            .query_row("SELECT count(*) FROM noise", [], |row| row.get::<_, u32>(0))
            .unwrap()
    };
    let cancel = || {
        desk.until("it runs", || !desk.ask("running", json!({})).as_array().unwrap().is_empty());
        let running = desk.ask("running", json!({}));
        assert_eq!(
            running.as_array().unwrap().len(),
            1,
            "one piece of work, whatever its steps: {running}"
        );
        assert_eq!(
            (&running[0]["noun"], &running[0]["cancellable"]),
            (&json!("restore"), &json!(true))
        );
        desk.ask("cancel_run", json!({"id": running[0]["id"]}));
    };
    std::thread::scope(|scope| {
        let preview = scope.spawn(|| desk.refused("plan_restore", request(&backup)));
        cancel();
        assert_eq!(preview.join().unwrap().code.as_str(), "CANCELLED");
    });
    let plan = desk.ask("plan_restore", request(&backup));
    let restore = desk.ask("start_restore", start(&plan));
    cancel();
    let ended = ended(&desk, &restore);
    assert_eq!(
        (&ended["restore"]["state"], &ended["restore"]["error"]["code"]),
        (&json!("failed"), &json!("CANCELLED"))
    );
    assert_eq!(rows(), 116);
    assert_eq!(desk.ask("list_kept", json!({})), json!([]));
}
