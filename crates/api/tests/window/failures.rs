//! What goes wrong is said: in the row, in the overview, in a notification, in the person's language.

use coffre_api::window::tray::TrayState;
use serde_json::{Value, json};

use crate::desk::{Desk, home, is_invalidated, make_database, query};

#[test]
fn a_failure_is_told_with_its_cause_and_the_first_success_after_it_too() {
    let home = home();
    let desk = Desk::on(home.path());
    let path = home.path().join("shop.db");
    let source = desk.add_sqlite("shop <b>1</b>", &path);
    let failed = desk.back_up(&source);
    assert_eq!(failed["state"], "failed");
    let error = &failed["error"];
    assert_eq!(error["text"], "sqlite_missing");
    assert!(!error["message"].as_str().unwrap().is_empty() && !error["hint"].as_str().unwrap().is_empty());
    let detail = desk.ask("show_backup", json!({"id": failed["id"]}));
    assert_eq!((&detail["manifest"], &detail["remedy"]), (&Value::Null, &Value::Null));
    assert_eq!(detail["timeline"][1]["event"], "failed");
    let row = desk.ask("list_sources", json!({}))[0].clone();
    assert_eq!(row["protection"]["state"], "unprotected");
    assert_eq!(row["protection"]["cause"], "no_plan");
    assert_eq!(row["protection"]["error_backup_id"], failed["id"]);
    assert_eq!(row["outcomes"], json!(["failed"]));
    assert_eq!(desk.ask("attention", json!({}))["failures_open"], 1);
    assert_eq!(desk.window.tray().state, TrayState::Attention);
    let notice = desk.shell.notices.lock().unwrap().pop().unwrap();
    assert!(
        notice.urgent && notice.body.contains(error["message"].as_str().unwrap()),
        "{notice:?}"
    );
    assert_eq!(notice.route, format!("/backups/{}", failed["id"].as_str().unwrap()));

    // The same error in the other language: it is kept as a key with facts.
    desk.ask("set_setting", json!({"key": "language", "value": "fr"}));
    let french = desk.ask("show_backup", json!({"id": failed["id"]}))["backup"]["error"].clone();
    assert_eq!(french["text"], error["text"]);
    assert_ne!(french["message"], error["message"]);
    let found = |text: &str| desk.ask("list_backups", query(json!({"text": text})))["total"].clone();
    let word = french["message"].as_str().unwrap().split(' ').next_back().unwrap();
    assert_eq!(found(word), 1, "{word}");
    assert_eq!(found("UNREACHABLE"), 1);
    assert_eq!(found("neither here nor there"), 0);

    make_database(&path, 100);
    let verified = desk.back_up(&source);
    assert_eq!(verified["state"], "verified");
    let notice = desk.shell.notices.lock().unwrap().pop().unwrap();
    assert!(!notice.urgent);
    let protection = desk.ask("list_sources", json!({}))[0]["protection"].clone();
    assert_eq!(
        (&protection["error"], &protection["cause"]),
        (&Value::Null, &json!("no_plan"))
    );
    assert_eq!(desk.back_up(&source)["state"], "verified");
    assert!(desk.shell.notices.lock().unwrap().is_empty(), "a second success is no news");
}

#[test]
fn a_test_of_what_is_not_there_says_so_and_is_remembered() {
    let home = home();
    let desk = Desk::on(home.path());
    let path = home.path().join("shop.db");
    let draft = json!({"name": "shop", "adapter": "sqlite", "values": {"path": path}});
    let test = |id: &Value| json!({"id": id, "draft": draft, "secret": {"change": "keep"}});
    let error = desk.refused("test_source", test(&Value::Null));
    assert_eq!(error.text, "sqlite_missing");
    make_database(&path, 3);
    assert_eq!(desk.ask("test_source", test(&Value::Null))["tables"], 1);
    let source = desk.add_sqlite("shop", &path);
    let health = desk.ask("health", json!({}));
    assert_eq!(health["sources"][0]["state"], "unknown");
    desk.ask("test_source", test(&source["id"]));
    assert_eq!(desk.ask("health", json!({}))["sources"][0]["state"], "answers");
    std::fs::remove_file(&path).unwrap();
    let health = desk.ask("check_health", json!({}));
    let row = &health["sources"][0];
    assert_eq!(
        (&row["state"], &row["error"]["text"]),
        (&json!("silent"), &json!("sqlite_missing"))
    );
    assert_eq!(row["protection"]["state"], "unprotected");
    assert_eq!(health["catalogue"]["damaged"], false);
    assert!(health["memory"]["coffre"].as_u64().unwrap() > 0);
    desk.wait_for("health was told", |event| is_invalidated(event, "health"));
}

#[test]
fn a_disk_that_is_gone_fails_the_run_and_not_the_window() {
    let home = home();
    let desk = Desk::on(home.path());
    let path = home.path().join("shop.db");
    make_database(&path, 3);
    let source = desk.add_sqlite("shop", &path);
    let disk = home.path().join("disk");
    let destination = desk.add_folder("usb", &disk);
    let plan = desk.ask(
        "add_plan",
        json!({"draft": crate::desk::plan_draft("nightly", &source, &[&destination])}),
    );
    let begun = desk.ask("run_backup", json!({"plan_id": plan["id"], "source_id": null}));
    assert_eq!(desk.end_of(&begun["id"])["state"], "verified");
    std::fs::rename(&disk, home.path().join("unplugged")).unwrap();
    let begun = desk.ask("run_backup", json!({"plan_id": plan["id"], "source_id": null}));
    let failed = desk.end_of(&begun["id"]);
    assert_eq!(
        (&failed["state"], &failed["error"]["code"]),
        (&json!("failed"), &json!("DEST_IDENTITY"))
    );
    let row = &desk.ask("list_plans", json!({}))[0];
    assert_eq!((&row["successes"], &row["failures"]), (&json!(1), &json!(1)));
    assert_eq!(row["last_error"]["code"], "DEST_IDENTITY");
    let protection = desk.ask("list_sources", json!({}))[0]["protection"].clone();
    assert_eq!(
        (&protection["state"], &protection["cause"]),
        (&json!("at_risk"), &json!("last_failed"))
    );
    desk.ask("check_health", json!({}));
    let row = &desk.ask("list_destinations", json!({}))[0];
    assert_eq!(
        (&row["state"], &row["copies"], &row["verified_copies"]),
        (&json!("silent"), &json!(1), &json!(1))
    );
}

#[test]
fn a_damaged_catalogue_is_said_set_aside_and_rebuilt() {
    let home = home();
    let source = {
        let desk = Desk::on(home.path());
        let path = home.path().join("shop.db");
        make_database(&path, 3);
        let source = desk.add_sqlite("shop", &path);
        desk.back_up(&source);
        desk.window.close().unwrap();
        source
    };
    std::fs::write(home.path().join("catalogue.db"), vec![7; 4096]).unwrap();
    let desk = Desk::on(home.path());
    let about = desk.ask("about", json!({}));
    assert_eq!(about["catalogue_error"]["code"], "CATALOGUE_CORRUPT");
    let error = desk.refused("list_sources", json!({}));
    assert_eq!(error.code.as_str(), "CATALOGUE_CORRUPT");
    assert!(!error.message.is_empty());
    assert_eq!(desk.window.tray().state, TrayState::Attention);
    let aside = desk.ask("set_catalogue_aside", json!({}));
    assert!(std::path::Path::new(aside["path"].as_str().unwrap()).exists());
    // At once: a window that asks now must not be told of the old one.
    assert_eq!(desk.ask("about", json!({}))["catalogue_error"], Value::Null);
    assert_eq!(desk.ask("list_backups", query(json!({})))["total"], 0);
    let folder = desk.add_folder("local", &home.path().join("backups"));
    let rebuilt = desk.ask("rebuild_from_destination", json!({"id": folder["id"]}));
    assert_eq!(rebuilt, json!({"backups": 1, "sources": 1, "unusable": []}));
    let page = desk.ask("list_backups", query(json!({})));
    assert_eq!(
        (&page["backups"][0]["source"], &page["backups"][0]["state"]),
        (&source["name"], &json!("stored"))
    );
    // Nothing is green before it was read.
    let id = page["backups"][0]["id"].clone();
    desk.ask("verify_backup", json!({"id": id}));
    desk.until_idle();
    assert_eq!(desk.ask("show_backup", json!({"id": id}))["backup"]["state"], "verified");
}
