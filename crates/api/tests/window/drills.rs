//! Drills, as the window makes them: in sight, to be stopped, told with the backup and with its source.

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::desk::{Desk, home, is_invalidated, make_database, make_slow_database, plan_draft, private_folders, query};

fn of(desk: &Desk, backup: &Value) -> Value {
    desk.ask("show_backup", json!({"id": backup["id"]}))
}

fn journal(desk: &Desk, action: &str) -> Vec<Value> {
    let page = desk.ask("list_journal", json!({"query": {"page": 1, "per_page": 100}}));
    let lines = page["entries"].as_array().unwrap().iter();
    lines.filter(|line| line["action"] == action).cloned().collect()
}

#[test]
fn a_restore_is_rehearsed_in_sight_and_told_everywhere() {
    let home = home();
    let desk = Desk::on(home.path());
    let path = home.path().join("shop.db");
    make_database(&path, 50);
    let source = desk.add_sqlite("shop", &path);
    let backup = desk.back_up(&source);
    let before = of(&desk, &backup);
    assert_eq!(
        (&before["drills"], &before["proofs"]["restored"]),
        (&json!([]), &json!(false))
    );
    assert_eq!(desk.ask("list_sources", json!({}))[0]["last_drill"], Value::Null);
    assert_eq!(before["protection"]["restore_ms"], Value::Null);

    desk.forget_events();
    assert_eq!(desk.ask("drill_backup", json!({"id": backup["id"]})), Value::Null);
    desk.wait_for("news", |event| {
        event["type"] == "progress" && event["progress"]["id"] == backup["id"]
    });
    desk.wait_for("it runs", |event| is_invalidated(event, "running"));
    desk.until_idle();
    for noun in ["backups", "sources", "overview", "journal", "health"] {
        desk.wait_for(noun, |event| is_invalidated(event, noun));
    }

    let after = of(&desk, &backup);
    let drill = &after["drills"][0];
    assert_eq!(
        (&drill["state"], &drill["level"]),
        (&json!("done"), &json!("counted")),
        "{drill}"
    );
    assert_eq!((&drill["tables"], &drill["rows"]), (&json!(1), &json!(50)));
    let proofs = &after["proofs"];
    assert_eq!((&proofs["restored"], &proofs["rows_equal"]), (&json!(true), &json!(true)));
    let took = drill["restore_ms"].as_u64().unwrap();
    assert_eq!(proofs["restore_ms"], took);
    // The measured time is the one of the protection sentence.
    assert_eq!(after["protection"]["restore_ms"], took);
    let told = after["timeline"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&told["event"], &told["facts"]["level"]),
        (&json!("rehearsed"), &json!("counted"))
    );

    let list = desk.ask("list_backups", query(json!({})));
    let last = &list["backups"][0]["last_drill"];
    assert_eq!((&last["id"], &last["level"]), (&drill["id"], &json!("counted")));
    assert_eq!(list["backups"][0]["id"], backup["id"]);
    let row = &desk.ask("list_sources", json!({}))[0];
    assert_eq!(row["last_drill"], *last);
    assert_eq!(desk.ask("overview", json!({}))["sources"][0]["last_drill"], *last);
    assert_eq!(journal(&desk, "drill.run")[0]["author"], "app");
    assert!(private_folders(home.path()).is_empty());
    assert!(desk.shell.notices.lock().unwrap().is_empty());
}

#[test]
fn what_does_not_hold_is_told_and_proves_nothing_any_more() {
    let home = home();
    let desk = Desk::on(home.path());
    let path = home.path().join("shop.db");
    make_database(&path, 50);
    let source = desk.add_sqlite("shop", &path);
    let backup = desk.back_up(&source);
    desk.ask("drill_backup", json!({"id": backup["id"]}));
    desk.until_idle();
    let key = backup["copies"][0]["key"].as_str().unwrap();
    let file = home.path().join("backups").join(key);
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();

    desk.ask("drill_backup", json!({"id": backup["id"]}));
    desk.until_idle();
    let now = of(&desk, &backup);
    assert_eq!(now["drills"].as_array().unwrap().len(), 2);
    let drill = &now["drills"][0];
    assert_eq!(
        (&drill["state"], &drill["level"]),
        (&json!("failed"), &Value::Null),
        "{drill}"
    );
    assert_eq!(drill["error"]["code"], "VERIFY_MISMATCH");
    assert!(!drill["error"]["message"].as_str().unwrap().is_empty());
    assert_eq!(
        now["proofs"],
        json!({"bytes_read": false, "structure_read": false, "restored": false, "rows_equal": false, "restored_at": null, "restore_ms": null})
    );
    assert_ne!(now["backup"]["state"], "verified");
    let events: Vec<&Value> = now["timeline"].as_array().unwrap().iter().map(|t| &t["event"]).collect();
    assert!(
        events.contains(&&json!("rehearsed")) && events.contains(&&json!("not_rehearsed")),
        "{events:?}"
    );
    let row = &desk.ask("list_sources", json!({}))[0];
    assert_eq!(row["last_drill"]["state"], "failed");
    let notices = std::mem::take(&mut *desk.shell.notices.lock().unwrap());
    let [notice] = notices.as_slice() else { panic!("{notices:?}") };
    assert!(notice.urgent && notice.title.contains("shop"), "{notice:?}");
    assert_eq!(notice.route, format!("/backups/{}", backup["id"].as_str().unwrap()));

    // It is good again, and so is the next rehearsal: each said once.
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    for command in ["verify_backup", "drill_backup", "verify_backup", "drill_backup"] {
        desk.ask(command, json!({"id": backup["id"]}));
        desk.until_idle();
    }
    let notices = desk.shell.notices.lock().unwrap();
    let [verified, rehearsed] = notices.as_slice() else {
        panic!("{notices:?}")
    };
    assert!(!verified.urgent && verified.title.contains("is good again"), "{verified:?}");
    assert!(
        !rehearsed.urgent && rehearsed.title.contains("restore is good again"),
        "{rehearsed:?}"
    );
}

#[test]
fn a_drill_that_is_stopped_leaves_nothing_and_says_nothing_of_the_backup() {
    let home = home();
    let desk = Desk::on(home.path());
    let path = home.path().join("noise.db");
    make_slow_database(&path);
    let source = desk.add_sqlite("noise", &path);
    let backup = desk.back_up(&source);
    desk.forget_events();
    desk.ask("drill_backup", json!({"id": backup["id"]}));
    let running = desk.ask("running", json!({}));
    assert_eq!(
        (&running[0]["noun"], &running[0]["id"]),
        (&json!("drill"), &backup["id"]),
        "{running}"
    );
    assert_eq!(running[0]["cancellable"], true);
    // A second one, and anything else that needs the backup for itself, is told so.
    assert_eq!(
        desk.refused("drill_backup", json!({"id": backup["id"]})).code.as_str(),
        "BUSY"
    );
    assert_eq!(desk.refused("open_backup", json!({"id": backup["id"]})).code.as_str(), "BUSY");
    desk.wait_for("news of the load", |event| {
        event["type"] == "progress" && event["progress"]["step"] == "loading"
    });
    desk.ask("cancel_run", json!({"id": backup["id"]}));
    assert_eq!(desk.ask("running", json!({})), json!([]));
    let now = of(&desk, &backup);
    assert_eq!(now["drills"][0]["state"], "cancelled");
    assert_eq!(now["backup"]["state"], "verified");
    assert_eq!(desk.ask("list_sources", json!({}))[0]["last_drill"], Value::Null);
    assert!(private_folders(home.path()).is_empty());
    assert!(desk.shell.notices.lock().unwrap().is_empty(), "a person stopped it");
    // And it is as good as before.
    desk.ask("drill_backup", json!({"id": backup["id"]}));
    desk.until_idle();
    assert_eq!(of(&desk, &backup)["drills"][0]["level"], "counted");
}

#[test]
fn the_end_of_the_window_ends_a_drill_and_what_is_open() {
    let home = home();
    let desk = Desk::on(home.path());
    let path = home.path().join("noise.db");
    make_slow_database(&path);
    let source = desk.add_sqlite("noise", &path);
    let backup = desk.back_up(&source);
    let opened = desk.ask("open_backup", json!({"id": backup["id"]}));
    assert_eq!(opened["tables"][0]["rows"], 120);
    assert_eq!(private_folders(home.path()).len(), 1);
    desk.ask("drill_backup", json!({"id": backup["id"]}));
    desk.window.close().unwrap();
    assert!(private_folders(home.path()).is_empty());
    let again = Desk::on(home.path());
    assert_eq!(of(&again, &backup)["drills"][0]["state"], "cancelled");
}

#[test]
fn another_process_s_drill_is_seen() {
    let home = home();
    let desk = Desk::on(home.path());
    let path = home.path().join("noise.db");
    make_slow_database(&path);
    let source = desk.add_sqlite("noise", &path);
    let backup = desk.back_up(&source);
    // A second Coffre on the same home stands for another process: its register is its own.
    let other = Desk::on(home.path());
    other.ask("drill_backup", json!({"id": backup["id"]}));
    let seen = desk.ask("running", json!({}));
    assert_eq!(
        (&seen[0]["noun"], &seen[0]["elsewhere"], &seen[0]["cancellable"]),
        (&json!("drill"), &json!(true), &json!(false)),
        "{seen}"
    );
    assert_eq!(desk.refused("cancel_run", json!({"id": backup["id"]})).text, "run_elsewhere");
    other.ask("cancel_run", json!({"id": backup["id"]}));
}

#[test]
fn nonsense_is_refused_in_words() {
    let home = home();
    let desk = Desk::on(home.path());
    let nobody = "01990000-0000-7000-8000-000000000000";
    for command in ["drill_backup", "open_backup"] {
        assert_eq!(
            desk.refused_in_words(command, json!({"id": nobody})).code.as_str(),
            "NOT_FOUND"
        );
    }
    // A backup that never came to be.
    let path = home.path().join("shop.db");
    make_database(&path, 3);
    let source = desk.add_sqlite("shop", &path);
    Connection::open(&path).unwrap().execute_batch("DROP TABLE things").unwrap();
    std::fs::write(&path, b"not a database, and long enough to look like something else entirely").unwrap();
    let failed = desk.back_up(&source);
    assert_eq!(failed["state"], "failed");
    assert_eq!(
        desk.refused_in_words("open_backup", json!({"id": failed["id"]})).text,
        "nothing_to_restore"
    );
}

#[test]
fn a_source_is_rehearsed_without_being_asked_and_a_failure_puts_it_at_risk() {
    let home = home();
    let desk = Desk::on(home.path());
    let path = home.path().join("shop.db");
    make_database(&path, 50);
    let source = desk.add_sqlite("shop", &path);
    desk.ask("set_setting", json!({"key": "drill_every", "value": "off"}));
    desk.ask("set_setting", json!({"key": "drill_idle_seconds", "value": "0"}));
    let destination = desk.ask("default_destination", json!({}));
    desk.ask("add_plan", json!({"draft": plan_draft("nightly", &source, &[&destination])}));
    let backup = desk.back_up(&source);
    let row = || desk.ask("list_sources", json!({}))[0].clone();
    assert_eq!(
        (&row()["last_drill"], &row()["protection"]["state"]),
        (&Value::Null, &json!("protected"))
    );
    // On battery nothing is rehearsed, and this machine tells what it lives on.
    desk.ask("set_setting", json!({"key": "drill_every", "value": "weekly"}));
    desk.until("it was rehearsed", || !row()["last_drill"].is_null());
    assert_eq!(of(&desk, &backup)["drills"][0]["level"], "counted");
    let lines = journal(&desk, "drill.run");
    assert_eq!((lines.len(), &lines[0]["author"]), (1, &json!("schedule")));

    // Once a week, not at each look.
    desk.ask("set_setting", json!({"key": "drill_idle_seconds", "value": "0"}));
    desk.until_idle();
    assert_eq!(of(&desk, &backup)["drills"].as_array().unwrap().len(), 1);

    // One that found the backup not to hold, and was not by itself: at risk until one passes again.
    let connection = Connection::open(home.path().join("catalogue.db")).unwrap();
    connection
        .execute(
            "INSERT INTO drills (id, backup_id, source_id, state, level, started_at, ended_at, error) VALUES
             ('01990000-0000-7000-8000-00000000000d', ?1, ?2, 'failed', 'restored', '2027-01-01T00:00:00.000Z', '2027-01-01T00:00:00.000Z', ?3)",
            [
                backup["id"].as_str().unwrap(),
                source["id"].as_str().unwrap(),
                r#"{"code":"VERIFY_MISMATCH","text":"restored_rows_differ","details":{"table":"things","expected_rows":50,"found_rows":49}}"#,
            ],
        )
        .unwrap();
    let now = row();
    assert_eq!(now["last_drill"]["state"], "failed", "{now}");
    let protection = &now["protection"];
    assert_eq!(
        (&protection["state"], &protection["cause"]),
        (&json!("at_risk"), &json!("drill_failed")),
        "{now}"
    );
    assert_eq!(
        (&protection["error_backup_id"], &protection["error"]["text"]),
        (&backup["id"], &json!("restored_rows_differ"))
    );
    connection.execute("DELETE FROM drills WHERE state = 'failed'", []).unwrap();
    connection.close().unwrap();
    assert_eq!(row()["protection"]["state"], "protected");
}
