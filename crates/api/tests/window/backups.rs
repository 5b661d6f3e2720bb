//! Backups in the window: cancel, verify, pin, note, download, delete, quit.

use serde_json::{Value, json};

use crate::desk::{Desk, home, make_database, make_slow_database, plan_draft, query};

/// A desk with a source whose backup takes a while, and the plan that makes it slower still.
fn slow(home: &std::path::Path) -> (Desk, Value, Value) {
    let desk = Desk::on(home);
    let path = home.join("slow.db");
    make_slow_database(&path);
    let source = desk.add_sqlite("slow", &path);
    let folder = desk.add_folder("folder", &home.join("kept"));
    let mut draft = plan_draft("slow", &source, &[&folder]);
    draft["compression"] = json!("zstd:19");
    let plan = desk.ask("add_plan", json!({"draft": draft}));
    (desk, source, plan)
}

fn run(desk: &Desk, plan: &Value) -> Value {
    let begun = desk.ask("run_backup", json!({"plan_id": plan["id"], "source_id": null}));
    let id = begun["id"].clone();
    desk.wait_for("bytes flow", |event| {
        event["type"] == "progress" && event["progress"]["id"] == id && event["progress"]["step"] == "dumping"
    });
    id
}

#[test]
fn cancel_really_cancels() {
    let home = home();
    let (desk, source, plan) = slow(home.path());
    let id = run(&desk, &plan);
    let running = desk.ask("running", json!({}));
    assert_eq!((&running[0]["id"], &running[0]["noun"]), (&id, &json!("backup")));
    assert_eq!(
        (&running[0]["plan"], &running[0]["elsewhere"]),
        (&json!("slow"), &json!(false))
    );
    let again = desk.refused("run_backup", json!({"plan_id": null, "source_id": source["id"]}));
    assert_eq!(again.code.as_str(), "BUSY");
    assert_eq!(desk.ask("list_sources", json!({}))[0]["running"], true);
    assert!(!desk.window.tray().plans[0].enabled);
    assert_eq!(
        desk.refused("remove_source", json!({"id": source["id"]})).code.as_str(),
        "REFUSED"
    );

    assert_eq!(desk.ask("cancel_run", json!({"id": id})), Value::Null);
    let backup = desk.end_of(&id);
    assert_eq!(
        (&backup["state"], &backup["error"]["code"]),
        (&json!("cancelled"), &json!("CANCELLED"))
    );
    assert_eq!(backup["copies"], json!([]));
    let left: Vec<_> = files_below(&home.path().join("kept"));
    assert_eq!(left, ["coffre-destination.json"], "nothing of it is left");
    // A person's own act is no news; and what is over needs no cancelling.
    assert!(desk.shell.notices.lock().unwrap().is_empty());
    assert_eq!(desk.refused("cancel_run", json!({"id": id})).text, "run_over");
    assert_eq!(desk.ask("list_sources", json!({}))[0]["protection"]["cause"], "never");
}

fn files_below(folder: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files_below(&path)),
            false => found.push(path.file_name().unwrap().to_str().unwrap().to_owned()),
        }
    }
    found
}

#[test]
fn quitting_asks_first_then_waits_or_cancels() {
    let home = home();
    let (desk, _, plan) = slow(home.path());
    assert!(desk.window.may_quit());
    let id = run(&desk, &plan);
    assert!(!desk.window.may_quit());
    let event = desk.wait_for("the window is asked", |event| event["type"] == "quit_requested");
    assert_eq!(event["running"][0]["id"], id);
    assert_eq!(*desk.shell.quits.lock().unwrap(), 0);
    desk.ask("quit", json!({"mode": "cancel"}));
    desk.until("the shell is told to quit", || *desk.shell.quits.lock().unwrap() == 1);
    assert_eq!(desk.ask("show_backup", json!({"id": id}))["backup"]["state"], "cancelled");
    // Nothing new begins on the way out.
    let late = desk.refused("run_backup", json!({"plan_id": plan["id"], "source_id": null}));
    assert_eq!(late.text, "closing");
    desk.window.close().unwrap();
    assert_eq!(desk.refused("list_sources", json!({})).text, "closing");
}

#[test]
fn pin_note_verify_download_delete() {
    let home = home();
    let desk = Desk::on(home.path());
    let path = home.path().join("shop.db");
    make_database(&path, 50);
    let source = desk.add_sqlite("shop", &path);
    let first = desk.back_up(&source);
    let by_id = json!({"id": first["id"]});

    let pinned = desk.ask("pin_backup", json!({"id": first["id"], "pinned": true}));
    assert_eq!(pinned["pinned"], true);
    let noted = desk.ask("note_backup", json!({"id": first["id"], "note": "Été <script>"}));
    assert_eq!(noted["note"], "Été <script>");
    assert_eq!(desk.ask("list_backups", query(json!({"text": "ÉTÉ"})))["total"], 1);
    assert_eq!(
        desk.refused("note_backup", json!({"id": first["id"], "note": "x".repeat(10_001)}))
            .text,
        "note_long"
    );

    desk.ask("verify_backup", by_id.clone());
    desk.until_idle();
    // A person who thinks better of it.
    assert_eq!(
        desk.ask("download_backup", json!({"id": first["id"], "raw": true})),
        Value::Null
    );
    let suggested = desk.shell.suggested.lock().unwrap().pop().unwrap();
    assert!(suggested.ends_with(".db"), "{suggested}");
    let plain = home.path().join("plain.db");
    *desk.shell.chosen.lock().unwrap() = Some(plain.clone());
    let answer = desk.ask("download_backup", json!({"id": first["id"], "raw": true}));
    assert_eq!(answer["path"], plain.to_str().unwrap());
    let rows: i64 = rusqlite::Connection::open(&plain)
        .unwrap()
        .query_row("SELECT count(*) FROM things", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 50);
    // What is there is never written over.
    let refused = desk.refused("download_backup", json!({"id": first["id"], "raw": false}));
    assert_eq!(refused.code.as_str(), "REFUSED");
    *desk.shell.chosen.lock().unwrap() = Some(home.path().join("sheet.html"));
    let sheet = desk.ask("save_recovery_sheet", json!({"backup_id": null}));
    assert!(
        std::fs::read_to_string(sheet["path"].as_str().unwrap())
            .unwrap()
            .contains(first["code"].as_str().unwrap())
    );
    let told: Vec<Value> = desk.ask("show_backup", by_id.clone())["timeline"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["event"].clone())
        .collect();
    for event in ["pinned", "noted", "verified", "downloaded"] {
        assert!(told.contains(&json!(event)), "{event}: {told:?}");
    }

    // The last verified one stays, whatever else; a pinned one too.
    let preview = |ids: &[&Value]| desk.ask("preview_delete", json!({"ids": ids}));
    assert_eq!(preview(&[&first["id"]])["refusal"]["text"], "delete_pinned");
    desk.ask("pin_backup", json!({"id": first["id"], "pinned": false}));
    let shown = preview(&[&first["id"]]);
    assert_eq!(
        (&shown["refusal"]["text"], &shown["verified_left"]),
        (&json!("delete_last_verified"), &json!(0))
    );
    let delete = |ids: &[&Value], confirmation: &Value| json!({"ids": ids, "confirmation": confirmation});
    let refused = desk.refused("delete_backups", delete(&[&first["id"]], &shown["confirmation"]));
    assert_eq!(refused.text, "delete_last_verified");

    let second = desk.back_up(&source);
    let shown = preview(&[&first["id"]]);
    assert_eq!((&shown["refusal"], &shown["verified_left"]), (&Value::Null, &json!(1)));
    assert_eq!(shown["stored_bytes"], first["stored_bytes"]);
    let both = desk.refused(
        "delete_backups",
        delete(&[&first["id"], &second["id"]], &shown["confirmation"]),
    );
    assert_eq!(both.text, "confirmation_other");
    assert_eq!(
        desk.refused("delete_backups", delete(&[&first["id"]], &json!("x"))).text,
        "confirmation_old"
    );
    desk.ask("delete_backups", delete(&[&first["id"]], &shown["confirmation"]));
    assert_eq!(
        desk.refused("delete_backups", delete(&[&first["id"]], &shown["confirmation"]))
            .text,
        "confirmation_old"
    );
    assert_eq!(desk.ask("list_backups", query(json!({})))["total"], 1);
    let overview = desk.ask("overview", json!({}));
    assert_eq!(overview["figures"]["stored_bytes"], second["stored_bytes"]);
    assert_eq!(
        overview["sizes"][0]["stored_bytes"], second["stored_bytes"],
        "what was deleted today is gone today"
    );
}

#[test]
fn damage_found_later_is_told() {
    let home = home();
    let desk = Desk::on(home.path());
    let path = home.path().join("shop.db");
    make_database(&path, 50);
    let source = desk.add_sqlite("shop", &path);
    let backup = desk.back_up(&source);
    let file = home.path().join("backups").join(backup["copies"][0]["key"].as_str().unwrap());
    std::fs::write(&file, b"not what it was").unwrap();
    desk.ask("verify_backup", json!({"id": backup["id"]}));
    desk.until_idle();
    let detail = desk.ask("show_backup", json!({"id": backup["id"]}));
    assert_eq!(detail["backup"]["copies"][0]["state"], "corrupt");
    assert_eq!(detail["backup"]["state"], "failed");
    assert_eq!(detail["proofs"]["bytes_read"], false);
    assert_eq!(detail["timeline"].as_array().unwrap().last().unwrap()["event"], "corrupt");
    assert_eq!(detail["protection"]["state"], "unprotected");
    let notices = desk.shell.notices.lock().unwrap();
    assert!(notices[0].urgent, "{notices:?}");
}

#[test]
fn the_last_two_do_not_go_together() {
    let home = home();
    let desk = Desk::on(home.path());
    let path = home.path().join("shop.db");
    make_database(&path, 5);
    let source = desk.add_sqlite("shop", &path);
    let ids = [desk.back_up(&source)["id"].clone(), desk.back_up(&source)["id"].clone()];
    let shown = desk.ask("preview_delete", json!({"ids": ids}));
    assert_eq!(
        (&shown["refusal"]["text"], &shown["verified_left"]),
        (&json!("delete_last_verified"), &json!(0))
    );
    let before = desk.ask("list_backups", query(json!({})));
    let refused = desk.refused("delete_backups", json!({"ids": ids, "confirmation": shown["confirmation"]}));
    assert_eq!(
        (refused.code.as_str(), refused.text.as_str()),
        ("REFUSED", "delete_last_verified")
    );
    assert_eq!(
        desk.ask("list_backups", query(json!({}))),
        before,
        "not even the first of them"
    );
}
