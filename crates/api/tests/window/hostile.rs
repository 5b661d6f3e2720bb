//! Whatever comes through the door is answered with a typed error: never a panic, never an echo of a secret, never a change.

use coffre_api::window::COMMANDS;
use serde_json::{Value, json};

use crate::desk::{Desk, home, query};

/// Things that are no arguments of anything.
fn nonsense() -> Vec<Value> {
    vec![
        json!([]),
        json!("hunter2"),
        json!(7),
        json!(true),
        json!([{"id": 1}]),
        json!({"hunter2": "hunter2"}),
        json!({"id": null}),
        json!({"id": 7}),
        json!({"id": ["hunter2"]}),
        json!({"id": {"$ne": "hunter2"}}),
        json!({"id": "../../etc/passwd"}),
        json!({"id": "' OR 1=1 --"}),
        json!({"id": "a\u{0}b"}),
        json!({"id": "x".repeat(1_000_000)}),
        json!({"id": "0199F000-0000-7000-8000-00000000000G"}),
        json!({"query": {"page": -1}}),
        json!({"query": "hunter2"}),
        json!({"draft": {"name": 7}}),
        json!({"draft": null, "secret": "hunter2"}),
        json!({"secret": {"change": "set", "value": {"hunter2": 1}}}),
        json!({"request": {"target": {"kind": "hunter2"}}}),
        json!({"ids": "hunter2", "confirmation": 1}),
        json!({"ids": [null], "confirmation": "x"}),
        json!({"mode": "hunter2"}),
        json!({"key": "hunter2"}),
    ]
}

#[test]
fn every_command_refuses_nonsense_with_a_typed_error() {
    let home = home();
    let desk = Desk::on(home.path());
    desk.until("the start is over", || {
        desk.ask("about", json!({}))["secrets"]["state"] != "unknown"
    });
    let before = desk.ask("list_journal", json!({"query": {"page": 1, "per_page": 1}}))["total"].clone();
    for command in COMMANDS {
        for arguments in nonsense() {
            let error = desk.refused(command, arguments.clone());
            assert_eq!(error.code.as_str(), "USAGE", "{command} {arguments}: {error:?}");
            let said = format!("{error:?}");
            assert!(!said.contains("hunter2") && said.len() < 2_000, "{command}: {said}");
        }
    }
    for command in ["", "drop_everything", "list_sources ", "LIST_SOURCES", &"x".repeat(1_000_000)] {
        assert_eq!(desk.refused(command, json!({})).text, "command_unknown");
    }
    let after = desk.ask("list_journal", json!({"query": {"page": 1, "per_page": 1}}))["total"].clone();
    assert_eq!(after, before, "nothing of it was done");
    assert_eq!(*desk.shell.quits.lock().unwrap(), 0);
}

#[test]
fn what_is_well_formed_and_absurd_is_refused_too() {
    let home = home();
    let desk = Desk::on(home.path());
    let nobody = "01990000-0000-7000-8000-000000000000";
    for command in [
        "show_source",
        "remove_source",
        "list_tables",
        "show_destination",
        "remove_destination",
        "rebuild_from_destination",
        "remove_plan",
        "show_backup",
        "verify_backup",
        "show_restore",
        "undo_restore",
        "forget_kept",
        "export_key",
        "cancel_run",
    ] {
        assert_eq!(
            desk.refused(command, json!({"id": nobody})).code.as_str(),
            "NOT_FOUND",
            "{command}"
        );
    }
    let huge = "x".repeat(1_000_000);
    let keep = json!({"change": "keep"});
    let draft = |name: &str, adapter: &str, path: &str| json!({"name": name, "adapter": adapter, "values": {"path": path}});
    for (arguments, text) in [
        (json!({"draft": draft(&huge, "sqlite", "/a"), "secret": keep}), "name_long"),
        (json!({"draft": draft("a\u{0}b", "sqlite", "/a"), "secret": keep}), "name_nul"),
        (json!({"draft": draft("a", "sqlite", &huge), "secret": keep}), "field_long"),
        (
            json!({"draft": draft("a", "sqlite", "/a\u{0}b"), "secret": keep}),
            "field_nul",
        ),
        (
            json!({"draft": draft("a", "sqlite", "a/../../etc/passwd"), "secret": keep}),
            "field_path_relative",
        ),
        (json!({"draft": draft("a", "oracle", "/a"), "secret": keep}), "scheme_unknown"),
        (json!({"draft": draft("a", &huge, "/a"), "secret": keep}), "field_long"),
    ] {
        let error = desk.refused("add_source", arguments);
        assert_eq!(error.text, text);
        assert!(format!("{error:?}").len() < 4_000);
    }
    for (more, text) in [
        (json!({"page": 0}), "page_range"),
        (json!({"per_page": 0}), "page_range"),
        (json!({"per_page": u64::MAX}), "page_range"),
        (json!({"text": huge}), "field_long"),
    ] {
        assert_eq!(desk.refused("list_backups", query(more)).text, text);
    }
    assert_eq!(
        desk.ask("list_backups", query(json!({"page": u64::MAX})))["backups"],
        json!([])
    );
    for text in ["%", "_", "' OR 1=1 --", "\\", "[", "*", "\u{202e}", "a\u{0}b"] {
        assert_eq!(desk.ask("list_backups", query(json!({"text": text})))["total"], 0, "{text:?}");
        desk.ask("list_journal", json!({"query": {"text": text, "page": 1, "per_page": 10}}));
    }
    let ids: Vec<String> = (0..1_001).map(|n| format!("01990000-0000-7000-8000-{n:012}")).collect();
    assert_eq!(desk.refused("preview_delete", json!({"ids": ids})).text, "delete_count");
    assert_eq!(desk.refused("preview_delete", json!({"ids": []})).text, "delete_count");
    assert_eq!(
        desk.refused("run_backup", json!({"plan_id": null, "source_id": null})).text,
        "backup_of_what"
    );
    assert_eq!(
        desk.refused("run_backup", json!({"plan_id": nobody, "source_id": nobody}))
            .text,
        "backup_of_what"
    );
    assert_eq!(
        desk.refused("restore_targets", json!({"backup_id": null, "file": null})).text,
        "restore_what"
    );
    assert_eq!(
        desk.refused("restore_targets", json!({"backup_id": null, "file": "a.db"}))
            .text,
        "file_path"
    );
    assert_eq!(desk.refused("choose_new_file", json!({"suggestion": huge})).text, "file_path");
    assert_eq!(
        desk.refused("import_key", json!({"name": "k", "path": "etc/passwd", "passphrase": null}))
            .text,
        "file_path"
    );
    let import = json!({"name": "k", "path": home.path(), "passphrase": null});
    assert_eq!(desk.refused("import_key", import).text, "file_unreadable");
    let create = |kind: &str, passphrase: Value| json!({"name": "k", "kind": kind, "passphrase": passphrase});
    assert_eq!(
        desk.refused("create_key", create("passphrase", Value::Null)).text,
        "passphrase_empty"
    );
    assert_eq!(desk.refused("create_key", create("recipient", json!("x"))).text, "key_mixed");
    assert_eq!(desk.ask("list_keys", json!({})), json!([]));
}

/// Well-formed arguments of every command that takes any. They are about nothing that exists.
fn well_formed() -> Vec<(&'static str, Value)> {
    let nobody = "01990000-0000-7000-8000-000000000000";
    let by_id = json!({"id": nobody});
    let keep = json!({"change": "keep"});
    let source = json!({"name": "x", "adapter": "sqlite", "values": {"path": "/nowhere/x.db"}});
    let folder = json!({"name": "x", "adapter": "local", "values": {"path": "/nowhere/x"}});
    let plan = json!({"name": "x", "source_id": nobody, "destination_ids": [nobody], "kind": "full", "every": null, "at": null, "cron": null,
        "weekday": null, "month_day": null, "wait_for_network": false, "wait_for_power": false, "time_zone": null, "compression": "zstd:3", "key_id": null, "retention": {"keep_last": null, "keep_days": null, "keep_hourly": null,
        "keep_daily": null, "keep_weekly": null, "keep_monthly": null, "keep_yearly": null}});
    let list = query(json!({"source_id": null, "plan_id": null, "state": null, "type": null, "text": null}));
    let target = json!({"kind": "new_file", "value": "/nowhere/y.db", "secret": null});
    vec![
        ("show_source", by_id.clone()),
        ("check_source", json!({"id": null, "draft": source})),
        ("test_source", json!({"id": null, "draft": source, "secret": keep})),
        ("add_source", json!({"draft": source, "secret": keep})),
        ("edit_source", json!({"id": nobody, "draft": source, "secret": keep})),
        ("remove_source", by_id.clone()),
        ("list_tables", by_id.clone()),
        ("show_destination", by_id.clone()),
        ("check_destination", json!({"id": null, "draft": folder})),
        ("test_destination", json!({"id": null, "draft": folder, "secret": keep})),
        ("add_destination", json!({"draft": folder, "secret": keep})),
        ("edit_destination", json!({"id": nobody, "draft": folder, "secret": keep})),
        ("remove_destination", by_id.clone()),
        ("rebuild_from_destination", by_id.clone()),
        ("preview_plan", json!({"id": null, "draft": plan})),
        ("add_plan", json!({"draft": plan})),
        ("edit_plan", json!({"id": nobody, "draft": plan})),
        ("remove_plan", by_id.clone()),
        ("pause_plan", json!({"id": nobody, "paused": true})),
        ("pause_schedules", json!({"paused": true})),
        ("list_slots", json!({"plan_id": nobody, "limit": 10})),
        ("preview_retention", by_id.clone()),
        ("confirm_retention", json!({"plan_id": nobody, "confirmation": "x"})),
        ("acknowledge_backup", by_id.clone()),
        ("list_backups", list),
        ("show_backup", by_id.clone()),
        ("run_backup", json!({"plan_id": nobody, "source_id": null})),
        ("cancel_run", by_id.clone()),
        ("verify_backup", by_id.clone()),
        ("pin_backup", json!({"id": nobody, "pinned": true})),
        ("note_backup", json!({"id": nobody, "note": "x"})),
        ("preview_delete", json!({"ids": [nobody]})),
        ("delete_backups", json!({"ids": [nobody], "confirmation": "x"})),
        ("download_backup", json!({"id": nobody, "raw": true})),
        ("save_recovery_sheet", json!({"backup_id": nobody, "include_keys": false})),
        ("restore_targets", json!({"backup_id": nobody, "file": null})),
        (
            "plan_restore",
            json!({"request": {"backup_id": nobody, "file": null, "target": target}}),
        ),
        ("start_restore", json!({"confirmation": "x", "name": "x"})),
        ("show_restore", by_id.clone()),
        ("undo_restore", by_id.clone()),
        ("forget_kept", by_id.clone()),
        ("list_kept", json!({})),
        ("list_restores", json!({"limit": 10})),
        ("create_key", json!({"name": "", "kind": "recipient", "passphrase": null})),
        ("import_key", json!({"name": "k", "path": "/nowhere/key", "passphrase": null})),
        ("export_key", by_id),
        (
            "list_journal",
            json!({"query": {"text": null, "author": null, "result": null, "page": 1, "per_page": 10}}),
        ),
        (
            "export_journal",
            json!({"wanted": {"text": null, "author": null, "result": null, "action": null, "source_id": null, "since": null, "until": null}, "format": "csv"}),
        ),
        ("set_setting", json!({"key": "nothing", "value": "x"})),
        ("quit", json!({"mode": "wait"})),
        ("choose_file", json!({"purpose": "tool"})),
        ("choose_new_file", json!({"suggestion": "x"})),
    ]
}

/// The places of every value in some arguments, as JSON pointers.
fn places(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let place = format!("{at}/{name}");
                found.push(place.clone());
                places(value, place, found);
            }
        }
        Value::Array(list) => {
            for (number, value) in list.iter().enumerate() {
                let place = format!("{at}/{number}");
                found.push(place.clone());
                places(value, place, found);
            }
        }
        _ => {}
    }
}

/// Every row of the catalogue.
fn everything(home: &std::path::Path) -> Vec<String> {
    let tables = [
        "sources",
        "destinations",
        "plans",
        "backups",
        "copies",
        "restores",
        "keys",
        "settings",
        "journal",
    ];
    let raw = rusqlite::Connection::open(home.join("catalogue.db")).unwrap();
    let rows = |table: &&str| raw.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0));
    tables
        .iter()
        .map(|table| format!("{table} {:?}", rows(table).unwrap()))
        .collect()
}

#[test]
fn every_value_of_every_command_may_be_wrong() {
    let home = home();
    let desk = Desk::on(home.path());
    desk.until("the start is over", || {
        desk.ask("about", json!({}))["secrets"]["state"] != "unknown"
    });
    let takes_none = |name: &str| desk.refused(name, json!({"hunter2": 1})).text == "arguments";
    let known = well_formed();
    for command in COMMANDS {
        assert!(
            known.iter().any(|(name, _)| name == command) || takes_none(command),
            "{command} is missing in this test"
        );
    }
    let before = everything(home.path());
    let huge = "hunter2".repeat(200_000);
    let wrong = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1.5e300),
        json!(u64::MAX),
        json!(huge),
        json!("hunter2\u{0}"),
        json!("\u{202e}hunter2/../../\n"),
        json!([[["hunter2"]]]),
        json!({"hunter2": {"hunter2": null}}),
    ];
    let mut asked = 0;
    for (command, arguments) in &known {
        let mut found = vec![String::new()];
        places(arguments, String::new(), &mut found);
        for place in found {
            let mut tries: Vec<Value> = Vec::new();
            for value in &wrong {
                let mut changed = arguments.clone();
                *changed.pointer_mut(&place).unwrap() = value.clone();
                tries.push(changed);
            }
            let mut more = arguments.clone();
            if let Some(fields) = more.pointer_mut(&place).and_then(Value::as_object_mut) {
                fields.insert("hunter2".to_owned(), json!("hunter2"));
                tries.push(more);
            }
            for arguments in tries {
                // What happens to be right is carried out on nothing; everything else has a code of its own. Those that change
                // something when they are right are not asked for what is right.
                let shown = format!(
                    "{command} {place} {}",
                    arguments.to_string().chars().take(300).collect::<String>()
                );
                if may_be_right(command, &place, &arguments) {
                    continue;
                }
                asked += 1;
                if let Err(error) = desk.window.dispatch(command, arguments) {
                    assert_ne!(error.code.as_str(), "INTERNAL", "{shown}: {error:?}");
                    assert!(
                        !error.message.is_empty() && format!("{error:?}").len() < 6_000,
                        "{shown}: {error:?}"
                    );
                    assert!(
                        error.code.as_str() != "USAGE" || error.text != "arguments" || !error.message.contains("hunter2"),
                        "{shown}"
                    );
                }
            }
        }
    }
    assert!(asked > 1_500, "{asked}");
    assert_eq!(everything(home.path()), before, "nothing of it was done");
    assert_eq!(*desk.shell.quits.lock().unwrap(), 0);
}

/// Whether a command would rightly make something of these.
fn may_be_right(command: &str, place: &str, arguments: &Value) -> bool {
    match command {
        // Any name is a name, and a source or folder need not exist to be added.
        "add_source" | "add_destination" => {
            let free = place.starts_with("/draft/name") || place == "/draft/values/path";
            free && arguments.pointer(place).is_some_and(Value::is_string) || place == "/draft/values"
        }
        // A pause is right whatever else there is.
        "pause_schedules" => place == "/paused",
        "create_key" => place == "/name" || place == "/passphrase",
        _ => false,
    }
}
