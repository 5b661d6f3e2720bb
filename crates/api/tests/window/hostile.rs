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
        "export_key",
    ] {
        assert_eq!(
            desk.refused(command, json!({"id": nobody})).code.as_str(),
            "NOT_FOUND",
            "{command}"
        );
    }
    // Too late to cancel is no fault.
    assert_eq!(desk.ask("cancel_run", json!({"id": nobody})), Value::Null);
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
