//! Keys in a vault. The vault is locked with what the environment says, so the story is told in a process of its own.

use serde_json::{Value, json};

use crate::desk::{Desk, alone, home, make_database, plan_draft, told};

#[test]
fn keys_are_made_handed_out_and_taken_back() {
    let home = home();
    alone(
        "keys::told_in_a_process_of_its_own",
        Vec::new(),
        &[
            ("COFFRE_SECRETS", "vault".as_ref()),
            ("COFFRE_VAULT_KEY_FILE", home.path().join("vault.key").as_ref()),
            ("COFFRE_TEST_HOME", home.path().join("home").as_ref()),
        ],
    );
}

#[test]
#[ignore = "started by keys_are_made_handed_out_and_taken_back"]
fn told_in_a_process_of_its_own() {
    let home = told("COFFRE_TEST_HOME");
    let desk = Desk::on(&home);
    let absent = desk.refused("create_key", json!({"name": "k", "kind": "recipient", "passphrase": null}));
    assert_eq!(absent.code.as_str(), "SECRET_UNAVAILABLE");
    desk.window.coffre().unwrap().init_vault().unwrap();
    desk.ask("check_health", json!({}));
    assert_eq!(desk.ask("about", json!({}))["secrets"]["state"], "ready");

    let key = desk.ask("create_key", json!({"name": "k", "kind": "recipient", "passphrase": null}));
    assert!(key["recipient"].as_str().unwrap().starts_with("age1"));
    assert_eq!(
        desk.refused("create_key", json!({"name": "k", "kind": "recipient", "passphrase": null}))
            .text,
        "name_taken"
    );
    let weak = desk.ask(
        "create_key",
        json!({"name": "weak", "kind": "passphrase", "passphrase": "hunter2"}),
    );
    assert_eq!(weak["remarks"][0]["text"], "passphrase_short");
    assert!(!weak.to_string().contains("hunter2"));

    // A file that is there is not written over, and then nobody has a copy.
    let file = home.join("key.txt");
    std::fs::write(&file, "mine").unwrap();
    *desk.shell.chosen.lock().unwrap() = Some(file.clone());
    assert_eq!(desk.refused("export_key", json!({"id": key["id"]})).code.as_str(), "REFUSED");
    assert_eq!(desk.ask("list_keys", json!({}))[0]["exported_at"], Value::Null);
    std::fs::remove_file(&file).unwrap();
    desk.ask("export_key", json!({"id": key["id"]}));
    assert!(std::fs::read_to_string(&file).unwrap().contains("AGE-SECRET-KEY-1"));
    assert!(desk.ask("list_keys", json!({}))[0]["exported_at"].is_string());
    let again = desk.ask("import_key", json!({"name": "k", "path": file, "passphrase": null}));
    assert_eq!(again["id"], key["id"]);

    let path = home.join("shop.db");
    make_database(&path, 30);
    let source = desk.add_sqlite("shop", &path);
    let folder = desk.add_folder("kept", &home.join("kept"));
    let mut draft = plan_draft("nightly", &source, &[&folder]);
    draft["key_id"] = key["id"].clone();
    let plan = desk.ask("add_plan", json!({"draft": draft}));
    assert_eq!(plan["encryption"], "k");
    let begun = desk.ask("run_backup", json!({"plan_id": plan["id"], "source_id": null}));
    let backup = desk.end_of(&begun["id"]);
    assert_eq!((&backup["state"], &backup["encryption"]), (&json!("verified"), &json!("k")));
    let target = json!({"kind": "new_file", "value": home.join("new.db"), "secret": null});
    let request = json!({"request": {"backup_id": backup["id"], "file": null, "target": target}});
    let shown = desk.ask("plan_restore", request);
    assert_eq!(
        (&shown["checks"][1]["name"], &shown["checks"][1]["ok"]),
        (&json!("key"), &json!(true))
    );
}
