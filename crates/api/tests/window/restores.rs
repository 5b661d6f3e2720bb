//! Restores as the sheet makes them: where to, what would come, then exactly that.

use std::time::Duration;

use coffre_api::model::{Cancel, Id};
use coffre_engine::lease::{Lease, Resource};
use serde_json::{Value, json};

use crate::desk::{Desk, home, make_database};

fn request(backup: &Value, kind: &str, value: &str) -> Value {
    json!({"request": {"backup_id": backup["id"], "file": null, "target": {"kind": kind, "value": value, "secret": null}}})
}

fn check<'a>(plan: &'a Value, name: &str) -> &'a Value {
    let checks = plan["checks"].as_array().unwrap();
    checks
        .iter()
        .find(|check| check["name"] == name)
        .unwrap_or_else(|| panic!("no check {name}: {plan}"))
}

#[test]
fn a_backup_goes_into_a_new_file_and_nowhere_else() {
    let home = home();
    let desk = Desk::on(home.path());
    let path = home.path().join("shop.db");
    make_database(&path, 50);
    let source = desk.add_sqlite("My Shop", &path);
    let backup = desk.back_up(&source);

    let targets = desk.ask("restore_targets", json!({"backup_id": backup["id"], "file": null}));
    assert_eq!(targets[0]["kind"], "new_file");
    let suggestion = targets[0]["suggestion"].as_str().unwrap();
    assert!(
        suggestion.starts_with(home.path().join("my-shop-restored-").to_str().unwrap()),
        "{suggestion}"
    );
    assert_eq!(
        (&targets[1]["kind"], &targets[1]["refusal"]),
        (&json!("replace"), &Value::Null)
    );

    let plan = desk.ask("plan_restore", request(&backup, "new_file", suggestion));
    assert_eq!(
        (&plan["allowed"], &plan["name"], &plan["rows"]),
        (&json!(true), &json!("My Shop"), &json!(50))
    );
    assert_eq!(
        plan["counts"],
        json!([{"table": "things", "before": null, "after": null, "backup": 50}])
    );
    assert_eq!(check(&plan, "read_to_end")["facts"]["destination"], "local");
    assert_eq!(check(&plan, "target_empty")["ok"], true);
    assert!(check(&plan, "space")["facts"]["free"].as_u64().unwrap() > 0);
    assert!(plan["command"].as_str().unwrap().starts_with("coffre restore BKP-"));
    assert!(!std::path::Path::new(suggestion).exists(), "a preview makes nothing");
    assert_eq!(desk.ask("list_restores", json!({"limit": 10})), json!([]));

    let start = |confirmation: &Value, name: &str| json!({"confirmation": confirmation, "name": name});
    let word = &plan["confirmation"];
    assert_eq!(
        desk.refused("start_restore", start(word, "my shop")).text,
        "confirmation_name"
    );
    assert_eq!(
        desk.refused("start_restore", start(&json!("no"), "My Shop"))
            .code
            .exit_status(),
        4
    );
    let restore = desk.ask("start_restore", start(word, "My Shop"));
    desk.until("the restore ends", || {
        desk.ask("show_restore", json!({"id": restore["id"]}))["restore"]["state"] != "running"
    });
    desk.until_idle();
    let restore = desk.ask("show_restore", json!({"id": restore["id"]}))["restore"].clone();
    assert_eq!(restore["state"], "done", "{restore}");
    assert_eq!(
        restore["counts"][0],
        json!({"table": "things", "before": null, "after": 50, "backup": 50})
    );
    assert_eq!(
        desk.refused("start_restore", start(word, "My Shop")).text,
        "confirmation_old",
        "once only"
    );
    let proofs = desk.ask("show_backup", json!({"id": backup["id"]}))["proofs"].clone();
    assert_eq!((&proofs["restored"], &proofs["rows_equal"]), (&json!(true), &json!(true)));
    assert!(desk.ask("list_sources", json!({}))[0]["protection"]["restore_ms"].is_u64());
    assert_eq!(desk.ask("list_restores", json!({"limit": 10})).as_array().unwrap().len(), 1);

    // What exists is never touched: said before anything long is done.
    let plan = desk.ask("plan_restore", request(&backup, "new_file", suggestion));
    assert_eq!((&plan["allowed"], &plan["confirmation"]), (&json!(false), &json!("")));
    assert_eq!(check(&plan, "target_empty")["error"]["text"], "sqlite_target_exists");
    assert_eq!(
        desk.refused("start_restore", start(&json!(""), "My Shop")).text,
        "confirmation_old"
    );
    let plan = desk.ask("plan_restore", request(&backup, "address", "postgres://joe@127.0.0.1:1/x"));
    assert_eq!(check(&plan, "format")["error"]["text"], "target_other_database");
    assert_eq!(
        desk.refused("plan_restore", request(&backup, "new_file", "shop.db")).text,
        "field_path_relative"
    );
}

#[test]
fn a_preview_proves_and_a_bad_copy_is_found_there() {
    let home = home();
    let desk = Desk::on(home.path());
    let path = home.path().join("shop.db");
    make_database(&path, 50);
    let source = desk.add_sqlite("shop", &path);
    let backup = desk.back_up(&source);
    let target = home.path().join("new.db");
    let plan = desk.ask("plan_restore", request(&backup, "new_file", target.to_str().unwrap()));
    let file = home.path().join("backups").join(backup["copies"][0]["key"].as_str().unwrap());
    std::fs::write(&file, b"not what it was").unwrap();
    let bad = desk.ask("plan_restore", request(&backup, "new_file", target.to_str().unwrap()));
    assert_eq!(bad["allowed"], false);
    assert_eq!(check(&bad, "read_to_end")["error"]["code"], "VERIFY_MISMATCH");
    // The first preview was of a backup that was verified then.
    let refused = desk.refused("start_restore", json!({"confirmation": plan["confirmation"], "name": "shop"}));
    assert_eq!(refused.text, "confirmation_changed");
    assert!(!target.exists());
}

#[test]
fn a_file_from_elsewhere_is_recognised() {
    let home = home();
    let desk = Desk::on(home.path());
    let file = home.path().join("found.sqlite3");
    make_database(&file, 7);
    let targets = desk.ask("restore_targets", json!({"backup_id": null, "file": file}));
    assert_eq!(targets.as_array().unwrap().len(), 1);
    let into = home.path().join("again.db");
    let target = json!({"kind": "new_file", "value": into, "secret": null});
    let plan = desk.ask(
        "plan_restore",
        json!({"request": {"backup_id": null, "file": file, "target": target}}),
    );
    assert_eq!(
        (&plan["format"], &plan["name"], &plan["allowed"]),
        (&json!("sqlite"), &json!("found.sqlite3"), &json!(true))
    );
    let restore = desk.ask(
        "start_restore",
        json!({"confirmation": plan["confirmation"], "name": "found.sqlite3"}),
    );
    desk.until_idle();
    assert_eq!(
        desk.ask("show_restore", json!({"id": restore["id"]}))["restore"]["state"],
        "done"
    );
    assert!(into.exists());
    let picture = home.path().join("picture.png");
    std::fs::write(&picture, b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR").unwrap();
    assert_eq!(
        desk.refused("restore_targets", json!({"backup_id": null, "file": picture}))
            .code
            .as_str(),
        "USAGE"
    );
}

#[test]
fn a_file_that_was_changed_after_its_preview_is_not_restored() {
    let home = home();
    let desk = Desk::on(home.path());
    let file = home.path().join("elsewhere.db");
    make_database(&file, 5);
    let target = json!({"kind": "new_file", "value": home.path().join("new.db"), "secret": null});
    let plan = desk.ask(
        "plan_restore",
        json!({"request": {"backup_id": null, "file": file, "target": target}}),
    );
    assert_eq!(plan["allowed"], true, "{plan}");
    make_database(&file, 500);
    let refused = desk.refused(
        "start_restore",
        json!({"confirmation": plan["confirmation"], "name": "elsewhere.db"}),
    );
    assert_eq!(refused.text, "confirmation_changed");
    assert!(!home.path().join("new.db").exists());
}

#[test]
fn a_desktop_without_file_dialogs_says_so() {
    let home = home();
    let desk = Desk::on(home.path());
    *desk.shell.no_dialogs.lock().unwrap() = true;
    for (command, arguments) in [
        ("choose_file", json!({"purpose": "restore"})),
        ("choose_folder", json!({})),
        ("choose_new_file", json!({"suggestion": "shop.db"})),
    ] {
        assert_eq!(desk.refused_in_words(command, arguments).text, "dialog_absent");
    }
    let path = home.path().join("shop.db");
    make_database(&path, 5);
    let backup = desk.back_up(&desk.add_sqlite("shop", &path));
    let refused = desk.refused("download_backup", json!({"id": backup["id"], "raw": false}));
    assert_eq!(refused.text, "dialog_absent");
}

#[test]
fn what_the_system_did_not_show_stands_in_health() {
    let home = home();
    let desk = Desk::on(home.path());
    assert_eq!(desk.ask("health", json!({}))["notices"], Value::Null);
    desk.forget_events();
    desk.window.noticed(Err("no such service".to_owned()));
    desk.wait_for("health is stale", |event| crate::desk::is_invalidated(event, "health"));
    let said = desk.ask("health", json!({}))["notices"].clone();
    assert_eq!(
        (&said["text"], &said["details"]["cause"]),
        (&json!("notices_absent"), &json!("no such service"))
    );
    desk.window.noticed(Ok(()));
    assert_eq!(desk.ask("health", json!({}))["notices"], Value::Null);
}

#[test]
fn a_confirmation_outlives_a_start_that_could_not_be() {
    let home = home();
    let desk = Desk::on(home.path());
    let path = home.path().join("shop.db");
    make_database(&path, 5);
    let backup = desk.back_up(&desk.add_sqlite("shop", &path));
    let target = home.path().join("again.db");
    let plan = desk.ask("plan_restore", request(&backup, "new_file", target.to_str().unwrap()));
    let start = json!({"confirmation": plan["confirmation"], "name": "shop"});
    // Somebody restores there already.
    let coffre = desk.window.coffre().unwrap();
    let there = Resource::Restore(format!("sqlite://{}", target.display()));
    let held = Lease::acquire(
        &coffre.engine.catalogue,
        &there,
        &Id::new(),
        Duration::from_secs(60),
        &Cancel::new(),
    )
    .unwrap();
    for _ in 0..2 {
        assert_eq!(desk.refused("start_restore", start.clone()).code.as_str(), "BUSY");
    }
    drop(held);
    let restore = desk.ask("start_restore", start.clone());
    desk.until_idle();
    assert_eq!(
        desk.ask("show_restore", json!({"id": restore["id"]}))["restore"]["state"],
        "done"
    );
    assert_eq!(
        desk.refused("start_restore", start).text,
        "confirmation_old",
        "carried out once"
    );
}
