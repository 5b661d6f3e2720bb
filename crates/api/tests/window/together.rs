//! Two windows on one home stay consistent; so do a window and a terminal.

use std::path::Path;

use serde_json::{Value, json};

use crate::desk::{Desk, home, is_invalidated, make_database, make_slow_database, plan_draft, query};

/// A backup that takes a while, begun by its plan.
struct SlowRun {
    source: Value,
    folder: Value,
    plan: Value,
    begun: Value,
}

impl SlowRun {
    fn begin(desk: &Desk, home: &Path) -> SlowRun {
        let path = home.join("slow.db");
        make_slow_database(&path);
        let source = desk.add_sqlite("slow", &path);
        let folder = desk.add_folder("kept", &home.join("kept"));
        let mut draft = plan_draft("slow", &source, &[&folder]);
        draft["compression"] = json!("zstd:19");
        let plan = desk.ask("add_plan", json!({"draft": draft}));
        let begun = desk.ask("run_backup", json!({"plan_id": plan["id"], "source_id": null}));
        SlowRun {
            source,
            folder,
            plan,
            begun,
        }
    }
}

#[test]
fn each_sees_what_the_other_changes() {
    let home = home();
    let (one, two) = (Desk::on(home.path()), Desk::on(home.path()));
    one.until("both have started", || {
        [&one, &two]
            .iter()
            .all(|desk| desk.ask("about", json!({}))["secrets"]["state"] != "unknown")
    });
    let path = home.path().join("shop.db");
    make_database(&path, 3);
    two.ask("running", json!({}));
    two.forget_events();
    let source = one.add_sqlite("shop", &path);
    two.wait_for("the other's change", |event| is_invalidated(event, "sources"));
    assert_eq!(two.ask("list_sources", json!({}))[0]["source"], source);
    one.forget_events();
    let backup = two.back_up(&source);
    one.wait_for("the other's backup", |event| is_invalidated(event, "backups"));
    assert_eq!(one.ask("list_backups", query(json!({})))["backups"][0]["id"], backup["id"]);
    assert_eq!(one.ask("overview", json!({}))["figures"]["verified"], 1);
    // The setting of one is the setting of both.
    one.ask("set_setting", json!({"key": "language", "value": "fr"}));
    let refused = two.refused("remove_plan", json!({"id": backup["id"]}));
    assert_eq!(
        refused.message,
        one.refused("remove_plan", json!({"id": backup["id"]})).message
    );
}

#[test]
fn what_runs_in_the_other_is_seen_and_left_alone() {
    let home = home();
    let (one, two) = (Desk::on(home.path()), Desk::on(home.path()));
    let SlowRun { plan, begun, .. } = SlowRun::begin(&one, home.path());
    let seen = two.ask("running", json!({}));
    assert_eq!((&seen[0]["id"], &seen[0]["elsewhere"]), (&begun["id"], &json!(true)));
    assert_eq!(
        (&seen[0]["source"], &seen[0]["progress"]["total"]),
        (&json!("slow"), &Value::Null)
    );
    assert_eq!(two.refused("cancel_run", json!({"id": begun["id"]})).text, "run_elsewhere");
    assert_eq!(
        two.refused("run_backup", json!({"plan_id": plan["id"], "source_id": null}))
            .code
            .as_str(),
        "BUSY"
    );
    assert!(two.window.may_quit(), "what runs elsewhere keeps nobody here");
    one.ask("cancel_run", json!({"id": begun["id"]}));
    one.end_of(&begun["id"]);
    assert_eq!(two.ask("running", json!({})), json!([]));
    assert_eq!(
        two.ask("show_backup", json!({"id": begun["id"]}))["backup"]["state"],
        "cancelled"
    );
}

#[test]
fn what_a_dead_process_left_is_put_to_rest_at_the_start() {
    let home = home();
    {
        let desk = Desk::on(home.path());
        let path = home.path().join("shop.db");
        make_database(&path, 3);
        let source = desk.add_sqlite("shop", &path);
        desk.back_up(&source);
    }
    // A run whose process is gone: its row says that it runs, and nobody holds its lease.
    let raw = rusqlite::Connection::open(home.path().join("catalogue.db")).unwrap();
    raw.execute_batch(
        "INSERT INTO backups (id, code, source_id, source_name, \"trigger\", type, kind, state, started_at, compression, flags, note, pinned)
         SELECT '01990000-0000-7000-8000-000000000001', 'BKP-20260101000000-AAAA', id, name, 'manual', 'manual', 'full', 'running',
            '2026-01-01T00:00:00.000Z', 'zstd:3', '[]', '', 0 FROM sources;",
    )
    .unwrap();
    drop(raw);
    let desk = Desk::on(home.path());
    let id = json!("01990000-0000-7000-8000-000000000001");
    let backup = desk.end_of(&id);
    assert_eq!(backup["state"], "interrupted");
    assert_eq!(backup["error"]["code"], "INTERRUPTED");
}

#[test]
fn what_dies_elsewhere_while_the_window_is_open_is_put_to_rest_too() {
    let home = home();
    let desk = Desk::on(home.path());
    let path = home.path().join("shop.db");
    make_database(&path, 3);
    desk.add_sqlite("shop", &path);
    desk.until("the start is over", || {
        desk.ask("about", json!({}))["secrets"]["state"] != "unknown"
    });
    let raw = rusqlite::Connection::open(home.path().join("catalogue.db")).unwrap();
    raw.execute_batch(
        "INSERT INTO backups (id, code, source_id, source_name, \"trigger\", type, kind, state, started_at, compression, flags, note, pinned)
         SELECT '01990000-0000-7000-8000-000000000001', 'BKP-20260101000000-AAAA', id, name, 'manual', 'manual', 'full', 'running',
            '2026-01-01T00:00:00.000Z', 'zstd:3', '[]', '', 0 FROM sources;",
    )
    .unwrap();
    drop(raw);
    let backup = desk.end_of(&json!("01990000-0000-7000-8000-000000000001"));
    assert_eq!(
        (&backup["state"], &backup["error"]["code"]),
        (&json!("interrupted"), &json!("INTERRUPTED"))
    );
    desk.wait_for("it was told", |event| is_invalidated(event, "backups"));
}

#[test]
fn what_waits_for_its_turn_is_there_at_once() {
    let home = home();
    let desk = Desk::on(home.path());
    desk.ask("set_setting", json!({"key": "max_parallel_runs", "value": "1"}));
    let folder = desk.add_folder("kept", &home.path().join("kept"));
    let begun: Vec<Value> = ["a", "b", "c"]
        .into_iter()
        .map(|name| {
            let path = home.path().join(format!("{name}.db"));
            make_slow_database(&path);
            let mut draft = plan_draft(name, &desk.add_sqlite(name, &path), &[&folder]);
            draft["compression"] = json!("zstd:19");
            let plan = desk.ask("add_plan", json!({"draft": draft}));
            desk.ask("run_backup", json!({"plan_id": plan["id"], "source_id": null}))["id"].clone()
        })
        .collect();
    let running = desk.ask("running", json!({}));
    assert_eq!(running.as_array().unwrap().len(), 3, "{running}");
    let waiting = |running: &Value| {
        let waits = |row: &&Value| row["progress"]["step"] == "waiting";
        running.as_array().unwrap().iter().filter(waits).count()
    };
    assert_eq!(waiting(&running), 2, "{running}");
    // What waits can be cancelled as well as what works; the answer comes when it is over.
    for id in begun.iter().rev() {
        desk.ask("cancel_run", json!({"id": id}));
        assert_eq!(desk.ask("show_backup", json!({"id": id}))["backup"]["state"], "cancelled");
    }
    assert_eq!(desk.ask("running", json!({})), json!([]));
}

#[test]
fn what_is_being_backed_up_is_not_moved_under_its_run() {
    let home = home();
    let desk = Desk::on(home.path());
    let SlowRun {
        source,
        folder,
        plan,
        begun,
    } = SlowRun::begin(&desk, home.path());
    desk.wait_for("it writes", |event| {
        event["type"] == "progress" && event["progress"]["step"] == "dumping"
    });
    let edit = |id: &Value, adapter: &str, path: &str| json!({"id": id, "draft": {"name": "moved", "adapter": adapter, "values": {"path": path}}, "secret": {"change": "keep"}});
    for (command, arguments, code) in [
        ("edit_source", edit(&source["id"], "sqlite", "/elsewhere.db"), "BUSY"),
        ("edit_destination", edit(&folder["id"], "local", "/elsewhere"), "BUSY"),
        ("remove_plan", json!({"id": plan["id"]}), "BUSY"),
        ("remove_source", json!({"id": source["id"]}), "REFUSED"),
        ("remove_destination", json!({"id": folder["id"]}), "REFUSED"),
    ] {
        let refused = desk.refused_in_words(command, arguments);
        assert_eq!(refused.code.as_str(), code, "{command}: {refused:?}");
    }
    desk.ask("cancel_run", json!({"id": begun["id"]}));
    desk.ask("edit_source", edit(&source["id"], "sqlite", "/elsewhere.db"));
}

#[test]
fn both_do_the_same_at_once_and_it_is_done_once() {
    let home = home();
    let (one, two) = (Desk::on(home.path()), Desk::on(home.path()));
    let path = home.path().join("shop.db");
    make_database(&path, 3);
    let source = one.add_sqlite("shop", &path);
    let ids: Vec<Value> = (0..3).map(|_| one.back_up(&source)["id"].clone()).collect();
    let both = |command: &str, arguments: [Value; 2]| {
        let [first, second] = arguments;
        std::thread::scope(|scope| {
            let other = scope.spawn(|| two.window.dispatch(command, second));
            [one.window.dispatch(command, first), other.join().unwrap()]
        })
    };
    // A name is taken once.
    let add =
        json!({"draft": {"name": "twin", "adapter": "sqlite", "values": {"path": "/twin.db"}}, "secret": {"change": "keep"}});
    let added = both("add_source", [add.clone(), add]);
    assert_eq!(added.iter().filter(|answer| answer.is_ok()).count(), 1, "{added:?}");
    // A backup goes once; each window has its own word for it.
    let confirmed = |desk: &Desk| {
        let shown = desk.ask("preview_delete", json!({"ids": [ids[0]]}));
        json!({"ids": [ids[0]], "confirmation": shown["confirmation"]})
    };
    let deleted = both("delete_backups", [confirmed(&one), confirmed(&two)]);
    assert!(deleted.iter().any(Result::is_ok), "{deleted:?}");
    for refused in deleted.iter().filter_map(|answer| answer.as_ref().err()) {
        assert!(["BUSY", "NOT_FOUND"].contains(&refused.code.as_str()), "{refused:?}");
    }
    let stranger = one.ask("preview_delete", json!({"ids": [ids[1]]}))["confirmation"].clone();
    let word = two.refused("delete_backups", json!({"ids": [ids[1]], "confirmation": stranger}));
    assert_eq!(word.text, "confirmation_old", "the word of one window is none of the other's");
    // What one pins while the other writes a note is pinned and noted.
    for number in 0..20 {
        let pinned = number % 2 == 0;
        std::thread::scope(|scope| {
            scope.spawn(|| one.ask("pin_backup", json!({"id": ids[1], "pinned": pinned})));
            two.ask("note_backup", json!({"id": ids[1], "note": format!("note {number}")}));
        });
        let backup = one.ask("show_backup", json!({"id": ids[1]}))["backup"].clone();
        assert_eq!(
            (&backup["pinned"], &backup["note"]),
            (&json!(pinned), &json!(format!("note {number}")))
        );
    }
    for (command, arguments) in [
        ("list_backups", query(json!({}))),
        ("list_sources", json!({})),
        ("list_destinations", json!({})),
        ("list_plans", json!({})),
        ("running", json!({})),
        ("attention", json!({})),
        ("list_settings", json!({})),
        ("list_journal", json!({"query": {"page": 1, "per_page": 500}})),
    ] {
        let (mut first, mut second) = (one.ask(command, arguments.clone()), two.ask(command, arguments));
        for answer in [&mut first, &mut second] {
            // When each of them last looked is its own affair.
            for row in answer.as_array_mut().into_iter().flatten() {
                for own in ["checked_at", "state", "space", "server_version"] {
                    row.as_object_mut().unwrap().remove(own);
                }
            }
        }
        assert_eq!(first, second, "{command}");
    }
}
