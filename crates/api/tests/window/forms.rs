//! Forms: checked while they are filled, kept without their secrets, shown again.

use serde_json::{Value, json};

use crate::desk::{Desk, home, make_database, plan_draft};

#[test]
fn sources_are_checked_kept_changed_and_removed() {
    let home = home();
    let desk = Desk::on(home.path());
    let path = home.path().join("shop.db");
    make_database(&path, 3);
    let source = desk.add_sqlite("shop", &path);
    assert_eq!(source["has_secret"], false);
    let check = |id: &Value, draft: Value| desk.ask("check_source", json!({"id": id, "draft": draft}));
    let draft = |name: &str, path: &str| json!({"name": name, "adapter": "sqlite", "values": {"path": path}});
    assert_eq!(check(&Value::Null, draft("shop", "/x.db"))["name"]["text"], "name_taken");
    assert_eq!(check(&source["id"], draft("shop", "/x.db")), json!({}));
    assert_eq!(check(&Value::Null, draft(" ", ""))["name"]["text"], "name_empty");
    assert_eq!(check(&Value::Null, draft("a", ""))["path"]["text"], "field_required");
    assert_eq!(check(&Value::Null, draft("a", "/srv/"))["path"]["text"], "sqlite_path_folder");
    let other = json!({"name": "shop", "adapter": "postgres", "values": {"database": "x"}});
    assert_eq!(check(&source["id"], other)["adapter"]["text"], "source_other_kind");
    let refused = desk.refused(
        "add_source",
        json!({"draft": draft("a", "/a.db"), "secret": {"change": "set", "value": "hunter2"}}),
    );
    assert_eq!(refused.text, "sqlite_password");
    assert!(!format!("{refused:?}").contains("hunter2"));

    let shown = desk.ask("show_source", json!({"id": source["id"]}));
    assert_eq!(shown["draft"], draft("shop", path.to_str().unwrap()));
    assert_eq!(shown["place"], path.to_str().unwrap());
    let edited = desk.ask(
        "edit_source",
        json!({"id": source["id"], "draft": draft("boutique", path.to_str().unwrap()), "secret": {"change": "forget"}}),
    );
    assert_eq!((&edited["id"], &edited["name"]), (&source["id"], &json!("boutique")));
    assert_eq!(desk.ask("about", json!({}))["first_start"], false);
    desk.ask("remove_source", json!({"id": source["id"]}));
    assert_eq!(desk.ask("about", json!({}))["first_start"], true, "there is nothing again");
    assert_eq!(
        desk.refused("show_source", json!({"id": source["id"]})).text,
        "source_not_found"
    );
}

#[test]
fn a_name_that_looks_like_an_id_is_a_name() {
    let home = home();
    let desk = Desk::on(home.path());
    let first = desk.add_sqlite("first", &home.path().join("a.db"));
    let second = desk.add_sqlite(first["id"].as_str().unwrap(), &home.path().join("b.db"));
    assert_eq!(desk.ask("show_source", json!({"id": first["id"]}))["source"]["name"], "first");
    desk.ask("remove_source", json!({"id": first["id"]}));
    assert_eq!(desk.ask("list_sources", json!({}))[0]["source"]["id"], second["id"]);
}

#[test]
fn destinations_are_looked_at_before_they_are_kept() {
    let home = home();
    let desk = Desk::on(home.path());
    let folder = home.path().join("kept");
    let draft = json!({"name": "kept", "adapter": "local", "values": {"path": folder}});
    let test = |id: &Value| json!({"id": id, "draft": draft, "secret": {"change": "keep"}});
    let found = desk.ask("test_destination", test(&Value::Null));
    assert_eq!((&found["identity"], &found["backups"]), (&json!("new"), &json!(0)));
    assert!(
        found["space"]["total"].as_u64().unwrap() > 0,
        "the disk that it would be made on"
    );
    assert!(!folder.exists(), "a look makes nothing");
    let kept = desk.add_folder("kept", &folder);
    assert_eq!(kept["identity"], Value::Null);
    let twice = desk.ask(
        "check_destination",
        json!({"id": null, "draft": {"name": "b", "adapter": "local", "values": {"path": folder}}}),
    );
    assert_eq!(twice["path"]["text"], "destination_twice");

    let path = home.path().join("shop.db");
    make_database(&path, 3);
    let source = desk.add_sqlite("shop", &path);
    let plan = desk.ask("add_plan", json!({"draft": plan_draft("p", &source, &[&kept])}));
    let begun = desk.ask("run_backup", json!({"plan_id": plan["id"], "source_id": null}));
    desk.end_of(&begun["id"]);
    let found = desk.ask("test_destination", test(&kept["id"]));
    assert_eq!((&found["identity"], &found["backups"]), (&json!("known"), &json!(1)));
    let row = desk.ask("show_destination", json!({"id": kept["id"]}));
    assert_eq!(
        (&row["copies"], &row["verified_copies"], &row["state"]),
        (&json!(1), &json!(1), &json!("answers"))
    );
    assert_eq!((&row["draft"], &row["plans"][0]["name"]), (&draft, &json!("p")));
    assert!(row["destination"]["identity"].is_string());
    assert_eq!(
        desk.refused("remove_destination", json!({"id": kept["id"]})).code.as_str(),
        "REFUSED"
    );
    let renamed = json!({"name": "attic", "adapter": "local", "values": {"path": folder}});
    let edited = desk.ask(
        "edit_destination",
        json!({"id": kept["id"], "draft": renamed, "secret": {"change": "keep"}}),
    );
    assert_eq!(
        (&edited["name"], &edited["identity"]),
        (&json!("attic"), &row["destination"]["identity"])
    );
    assert_eq!(
        desk.ask("show_backup", json!({"id": begun["id"]}))["backup"]["copies"][0]["destination"],
        "attic"
    );

    // Seen from another home it is somebody else's, and can be read from.
    let elsewhere = crate::desk::home();
    let other = Desk::on(elsewhere.path());
    let found = other.ask("test_destination", test(&Value::Null));
    assert_eq!((&found["identity"], &found["backups"]), (&json!("other"), &json!(1)));
}

#[test]
fn plans_are_checked_field_by_field() {
    let home = home();
    let desk = Desk::on(home.path());
    let source = desk.add_sqlite("shop", &home.path().join("shop.db"));
    let folder = desk.add_folder("kept", &home.path().join("kept"));
    let good = plan_draft("nightly", &source, &[&folder]);
    let errors = |id: &Value, draft: &Value| desk.ask("preview_plan", json!({"id": id, "draft": draft}))["errors"].clone();
    assert_eq!(errors(&Value::Null, &good), json!({}));
    for (field, value, text) in [
        ("name", json!(""), "name_empty"),
        ("source_id", json!(""), "field_required"),
        ("source_id", json!("../etc"), "field_required"),
        ("destination_ids", json!([]), "field_required"),
        (
            "destination_ids",
            json!([folder["id"], folder["id"]]),
            "plan_destination_twice",
        ),
        ("kind", json!("incremental"), "not_yet"),
        ("cron", json!("0 0 31 2 *"), "cron_never"),
        ("cron", json!("0 0 3 * * *"), "cron_seconds"),
        ("at", json!("25:30"), "plan_at"),
        ("time_zone", json!("Europe/Pariss"), "time_zone_unknown"),
        ("compression", json!("rar"), "compression"),
        ("key_id", json!("01990000-0000-7000-8000-000000000000"), "key_not_found"),
    ] {
        let mut draft = good.clone();
        draft[field] = value;
        assert_eq!(errors(&Value::Null, &draft)[field]["text"], text, "{field}");
        assert_eq!(desk.refused("add_plan", json!({"draft": draft})).text, text, "{field}");
    }
    let preview = desk.ask("preview_plan", json!({"id": null, "draft": good}));
    assert_eq!((&preview["copies"], &preview["places"]), (&json!(1), &json!(1)));
    assert_eq!(preview["next"].as_array().map(Vec::len), Some(5));
    assert!(
        preview["explanation"].as_str().is_some_and(|words| words.contains("03:00")),
        "{preview}"
    );
    let plan = desk.ask("add_plan", json!({"draft": good}));
    assert_eq!(errors(&Value::Null, &good)["name"]["text"], "name_taken");
    assert_eq!(errors(&plan["id"], &good), json!({}));
    let mut changed = good.clone();
    changed["every"] = Value::Null;
    changed["retention"]["keep_daily"] = Value::Null;
    assert_eq!(plan["schedule"]["cron"], "0 3 * * *");
    let edited = desk.ask("edit_plan", json!({"id": plan["id"], "draft": changed}));
    assert_eq!(
        (&edited["every"], &edited["retention"]["keep_daily"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(edited["created_at"], plan["created_at"]);
    assert_eq!(desk.ask("list_plans", json!({}))[0]["draft"], changed);
    assert_eq!(edited["schedule"], Value::Null);
    desk.ask("pause_plan", json!({"id": plan["id"], "paused": true}));
    assert_eq!(desk.ask("list_plans", json!({}))[0]["paused"], true);
    desk.ask("pause_schedules", json!({"paused": true}));
    assert_eq!(desk.ask("overview", json!({}))["schedules_paused"], true);
    desk.ask("pause_schedules", json!({"paused": false}));
    assert_eq!(
        desk.refused("remove_source", json!({"id": source["id"]})).code.as_str(),
        "REFUSED"
    );
    desk.ask("remove_plan", json!({"id": plan["id"]}));
    assert_eq!(desk.ask("list_plans", json!({})), json!([]));
}

#[test]
fn settings_tools_and_dialogs() {
    let home = home();
    let desk = Desk::on(home.path());
    let settings = desk.ask("list_settings", json!({}));
    let row = |key: &str| settings.as_array().unwrap().iter().find(|row| row["key"] == key).unwrap();
    assert_eq!(
        row("theme")["kind"],
        json!({"type": "choice", "choices": ["system", "light", "dark"]})
    );
    assert_eq!(row("notify_failures")["kind"], json!({"type": "switch"}));
    assert_eq!(
        row("max_parallel_runs")["kind"],
        json!({"type": "number", "min": 1, "max": 64})
    );
    assert_eq!(row("tool_paths")["kind"], json!({"type": "folders"}));
    assert!(desk.window.is_on("close_to_tray"));
    let set = desk.ask("set_setting", json!({"key": "close_to_tray", "value": "off"}));
    assert_eq!((&set["value"], &set["overridden"]), (&json!("off"), &json!(false)));
    assert!(!desk.window.is_on("close_to_tray"));
    assert_eq!(
        desk.refused("set_setting", json!({"key": "close_to_tray", "value": "maybe"}))
            .text,
        "setting_value"
    );
    assert_eq!(
        desk.refused("set_setting", json!({"key": "colour", "value": "x"})).text,
        "setting_unknown"
    );
    let tools = desk.ask("rescan_tools", json!({}));
    assert!(tools.as_array().unwrap().iter().all(|tool| tool["adapter"] == "postgres"));

    assert_eq!(desk.ask("choose_file", json!({"purpose": "database"})), Value::Null);
    *desk.shell.chosen.lock().unwrap() = Some("/srv/a b.db".into());
    assert_eq!(desk.ask("choose_file", json!({"purpose": "restore"})), "/srv/a b.db");
    assert_eq!(desk.ask("choose_folder", json!({})), "/srv/a b.db");
    assert_eq!(desk.ask("choose_new_file", json!({"suggestion": "x.db"})), "/srv/a b.db");
    desk.ask("open_log_folder", json!({}));
    assert_eq!(*desk.shell.opened.lock().unwrap(), [home.path().join("logs")]);
}
