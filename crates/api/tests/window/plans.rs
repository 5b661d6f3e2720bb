//! Plans as the window knows them: when they would run, what would leave, what became of each slot; and the journal written out.

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::desk::{Desk, home, make_database, plan_draft};

struct Planned {
    home: tempfile::TempDir,
    desk: Desk,
    source: Value,
    folder: Value,
    plan: Value,
}

/// A plan that nobody starts but its test: due once a month, on a day that is not today.
fn planned() -> Planned {
    let home = home();
    let desk = Desk::on(home.path());
    let path = home.path().join("shop.db");
    make_database(&path, 3);
    let source = desk.add_sqlite("shop", &path);
    let folder = desk.add_folder("kept", &home.path().join("kept"));
    let plan = desk.ask("add_plan", json!({"draft": plan_draft("nightly", &source, &[&folder])}));
    Planned {
        home,
        desk,
        source,
        folder,
        plan,
    }
}

impl Planned {
    /// Verified backups of the last `count` days, as if they had been made: rows only.
    fn history(&self, count: u32) {
        let begun = self
            .desk
            .ask("run_backup", json!({"plan_id": self.plan["id"], "source_id": null}));
        self.desk.end_of(&begun["id"]);
        let raw = Connection::open(self.home.path().join("catalogue.db")).unwrap();
        raw.execute_batch(&format!(
            "BEGIN; CREATE TEMP TABLE n AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
                SELECT i, printf('00000000-0000-7000-8000-%012d', i) AS id, strftime('%Y-%m-%dT%H:%M:%S.000Z', 'now', printf('-%d days', i)) AS at FROM n;
             INSERT INTO backups (id, code, source_id, source_name, aim, plan_id, plan_name, \"trigger\", type, kind, state, started_at, ended_at, compression, flags, note, pinned,
                    sha256, raw_sha256, stored_bytes, raw_bytes, tables, rows, database, format, scope, tool_name, tool_version, server_version)
                SELECT n.id, printf('BKP-20260101000000-A%03d', i), b.source_id, b.source_name, b.aim, b.plan_id, b.plan_name, 'scheduled', 'daily', 'full', 'running', n.at, n.at,
                    'zstd:3', '[]', '', 0, b.sha256, b.raw_sha256, b.stored_bytes, b.raw_bytes, b.tables, b.rows, b.database, b.format, b.scope, b.tool_name, b.tool_version, b.server_version
                FROM n, backups b;
             INSERT INTO copies (backup_id, destination_id, key, state, stored_bytes, sha256)
                SELECT n.id, c.destination_id, printf('old/%d', i), 'writing', 0, c.sha256 FROM n, copies c;
             UPDATE copies SET state = 'verified', stored_bytes = 1000, verified_at = '2026-01-01T00:00:00.000Z' WHERE state = 'writing';
             UPDATE backups SET state = 'verified' WHERE state = 'running'; COMMIT;"
        ))
        .unwrap();
    }

    fn preview(&self, change: impl FnOnce(&mut Value)) -> Value {
        let mut draft = plan_draft("nightly", &self.source, &[&self.folder]);
        change(&mut draft);
        self.desk.ask("preview_plan", json!({"id": self.plan["id"], "draft": draft}))
    }
}

#[test]
fn a_form_has_commands_and_takes_them_out_again() {
    let planned = planned();
    let edited = |hooks: Value| {
        let mut draft = plan_draft("nightly", &planned.source, &[&planned.folder]);
        draft["hooks"] = hooks;
        planned
            .desk
            .ask("edit_plan", json!({"id": planned.plan["id"], "draft": draft}))
    };
    let hooks = json!({"before": ["/bin/true", "a b"], "after": [], "limit_seconds": 60, "on_failure": "abort"});
    assert_eq!(edited(hooks.clone())["hooks"], hooks);
    assert_eq!(edited(Value::Null)["hooks"], hooks, "nothing was said");
    let wrong = json!({"before": ["bin/x"], "after": [], "limit_seconds": 60, "on_failure": "abort"});
    let preview = planned.preview(|draft| draft["hooks"] = wrong);
    assert_eq!(preview["errors"]["hooks"]["text"], "hook_program");
    let none = json!({"before": [], "after": [], "limit_seconds": 60, "on_failure": "abort"});
    assert_eq!(edited(none)["hooks"], Value::Null);
}

#[test]
fn a_form_says_weekdays_days_minutes_and_what_is_waited_for() {
    let planned = planned();
    let desk = &planned.desk;
    for (every, at, more, cron) in [
        ("hourly", "03:45", json!({}), "45 * * * *"),
        ("daily", "02:30", json!({"wait_for_power": true}), "30 2 * * *"),
        (
            "weekly",
            "02:30",
            json!({"weekday": 5, "wait_for_network": true}),
            "30 2 * * 5",
        ),
        ("weekly", "00:00", json!({"weekday": 0}), "0 0 * * 0"),
        ("monthly", "23:59", json!({"month_day": 28}), "59 23 28 * *"),
    ] {
        let mut draft = plan_draft("nightly", &planned.source, &[&planned.folder]);
        draft["every"] = json!(every);
        draft["at"] = json!(at);
        draft["time_zone"] = json!("Asia/Kathmandu");
        for (name, value) in more.as_object().unwrap() {
            draft[name] = value.clone();
        }
        let plan = desk.ask("edit_plan", json!({"id": planned.plan["id"], "draft": draft}));
        assert_eq!((&plan["schedule"]["cron"], &plan["every"]), (&json!(cron), &json!(every)));
        let shown = desk.ask("list_plans", json!({}))[0]["draft"].clone();
        for name in ["every", "cron", "time_zone", "wait_for_network", "wait_for_power"] {
            assert_eq!(shown[name], draft[name], "{cron} {name}");
        }
        for name in ["weekday", "month_day"] {
            assert!(draft[name].is_null() || shown[name] == draft[name], "{cron} {name}");
        }
        assert_eq!(&shown["at"].as_str().unwrap()[3..], &at[3..]);
        // What is shown means the same again.
        let again = desk.ask("edit_plan", json!({"id": planned.plan["id"], "draft": shown}));
        assert_eq!(again["schedule"], plan["schedule"]);
    }
    for (field, value) in [("weekday", json!(7)), ("month_day", json!(0)), ("month_day", json!(29))] {
        let refused = planned.preview(|draft| {
            draft["every"] = json!(if field == "weekday" { "weekly" } else { "monthly" });
            draft[field] = value;
        });
        assert_eq!(refused["errors"][field]["text"], "plan_at", "{field}");
    }
    let zero = planned.preview(|draft| draft["retention"]["keep_last"] = json!(0));
    assert_eq!(zero["errors"]["retention"]["text"], "keep_zero");
}

#[test]
fn what_would_leave_is_told_day_by_day_with_what_kept_it() {
    let planned = planned();
    planned.history(5);
    let rules = |name: &str, number: u32| {
        planned.preview(|draft| {
            draft["retention"]["keep_daily"] = Value::Null;
            draft["retention"][name] = json!(number);
        })
    };
    let told = rules("keep_last", 3);
    let departures = told["departures"].as_array().unwrap();
    // Six are there, 90 come, three stay, and what was chosen within the last three days is still in the bin.
    assert_eq!(told["kept_now"], 6);
    assert_eq!(
        told["kept_then"].as_u64().unwrap() + departures.len() as u64,
        6 + 90,
        "what is there, and what comes"
    );
    assert!(
        departures
            .iter()
            .skip(4)
            .all(|d| d["kept_by"] == json!({"rule": "last", "number": 3}))
    );
    assert!(
        departures[10]["id"].is_null() && departures[0]["id"].is_string(),
        "the first ones exist already"
    );
    let days: Vec<&str> = departures.iter().map(|d| d["day"].as_str().unwrap()).collect();
    assert!(days.is_sorted() && days[0] > "2026", "{days:?}");
    assert_eq!((&told["bin_days"], &told["departures_until"]), (&json!(3), &Value::Null));

    let daily = planned.preview(|draft| {
        draft["every"] = json!("hourly");
        draft["retention"]["keep_daily"] = json!(2);
    });
    let replaced = daily["departures"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|d| d["replaced"] == true)
        .count();
    assert!(replaced > 80 * 20, "of each day one stays: {replaced}");

    let nothing = planned.preview(|draft| draft["retention"]["keep_daily"] = Value::Null);
    assert_eq!(nothing["departures"], json!([]));
    // A plan of every minute is played through as far as a person waits.
    let minutes = planned.preview(|draft| {
        draft["every"] = Value::Null;
        draft["cron"] = json!("* * * * *");
        draft["retention"]["keep_last"] = json!(5000);
    });
    assert!(
        minutes["departures_until"].is_string(),
        "{:?}",
        minutes["departures"].as_array().map(Vec::len)
    );
    // And one that does not exist yet.
    let mut draft = plan_draft("another", &planned.source, &[&planned.folder]);
    draft["retention"]["keep_daily"] = json!(7);
    let new = planned.desk.ask("preview_plan", json!({"id": null, "draft": draft}));
    assert!(new["departures"].as_array().is_some_and(|d| d.len() > 70), "{new}");
}

#[test]
fn where_retention_stands_still_a_person_sees_what_would_go_and_says_yes() {
    let planned = planned();
    let desk = &planned.desk;
    planned.history(20);
    let id = &planned.plan["id"];
    let mut draft = plan_draft("nightly", &planned.source, &[&planned.folder]);
    draft["retention"]["keep_daily"] = Value::Null;
    draft["retention"]["keep_last"] = json!(3);
    desk.ask("edit_plan", json!({"id": id, "draft": draft}));
    let begun = desk.ask("run_backup", json!({"plan_id": id, "source_id": null}));
    desk.end_of(&begun["id"]);
    desk.until("retention has stopped", || {
        !desk.ask("list_plans", json!({}))[0]["retention_stopped"].is_null()
    });
    let preview = desk.ask("preview_plan", json!({"id": id, "draft": draft}));
    assert_eq!(preview["retention_stopped"]["text"], "retention_implausible");
    let shown = desk.ask("preview_retention", json!({"id": id}));
    assert_eq!((&shown["leaving_count"], &shown["kept_verified"]), (&json!(19), &json!(3)));
    assert_eq!(shown["leaving"].as_array().unwrap().len(), 19);

    // Something else changed since it was shown: it is not carried out.
    let pinned = &shown["leaving"][0]["id"];
    desk.ask("pin_backup", json!({"id": pinned, "pinned": true}));
    let confirm = |word: &Value| json!({"plan_id": id, "confirmation": word});
    assert_eq!(
        desk.refused("confirm_retention", confirm(&shown["confirmation"])).text,
        "confirmation_other"
    );
    let shown = desk.ask("preview_retention", json!({"id": id}));
    let done = desk.ask("confirm_retention", confirm(&shown["confirmation"]));
    assert_eq!((&done["leaving"], &done["removed"]), (&json!(18), &json!(0)));
    assert_eq!(
        desk.refused("confirm_retention", confirm(&shown["confirmation"])).text,
        "confirmation_old"
    );
    let preview = desk.ask("preview_plan", json!({"id": id, "draft": draft}));
    assert_eq!(preview["retention_stopped"], Value::Null);
    let bin = preview["departures"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|d| d["chosen_at"].is_null());
    let bin: Vec<&Value> = bin.collect();
    assert_eq!(bin.len(), 18);
    // Taken back out of the bin.
    desk.ask("pin_backup", json!({"id": bin[0]["id"], "pinned": true}));
    assert_eq!(
        desk.ask("show_backup", json!({"id": bin[0]["id"]}))["backup"]["leaves_at"],
        Value::Null
    );
}

#[test]
fn an_unusual_backup_is_told_with_its_plan_and_counts_once_somebody_says_so() {
    let planned = planned();
    planned.history(2);
    let raw = Connection::open(planned.home.path().join("catalogue.db")).unwrap();
    raw.execute("UPDATE backups SET flags = '[\"shrunk\"]' WHERE code LIKE '%A001'", [])
        .unwrap();
    let told = planned.preview(|_| {});
    assert_eq!(told["unusual"][0]["flags"], json!(["shrunk"]));
    let id = &told["unusual"][0]["id"];
    planned.desk.ask("acknowledge_backup", json!({"id": id}));
    assert_eq!(planned.preview(|_| {})["unusual"], json!([]));
    let other = json!({"id": "00000000-0000-7000-8000-000000000002"});
    assert_eq!(planned.desk.refused("acknowledge_backup", other).text, "nothing_unusual");
}

#[test]
fn every_slot_is_told_also_those_that_left_no_backup() {
    let planned = planned();
    planned.history(1);
    let raw = Connection::open(planned.home.path().join("catalogue.db")).unwrap();
    let plan = planned.plan["id"].as_str().unwrap();
    raw.execute_batch(&format!(
        "INSERT INTO slots (plan_id, slot, state, reason, tries, seen_at, ended_at)
         SELECT '{plan}', strftime('%Y-%m-%dT%H:%M:%S.000Z', 'now', value ->> 0), value ->> 1, value ->> 2, 0, '2026-01-01T00:00:00.000Z', '2026-01-01T00:00:00.000Z'
         FROM json_each('[[\"-5 days\",\"missed\",\"{{\\\"code\\\":\\\"BUSY\\\",\\\"text\\\":\\\"slots_missed\\\",\\\"details\\\":{{\\\"slots_count\\\":7}}}}\"],
                          [\"-4 days\",\"skipped\",\"{{\\\"code\\\":\\\"BUSY\\\",\\\"text\\\":\\\"slot_still_running\\\",\\\"details\\\":{{}}}}\"],
                          [\"-3 days\",\"failed\",\"{{\\\"code\\\":\\\"BUSY\\\",\\\"text\\\":\\\"slot_paused\\\",\\\"details\\\":{{}}}}\"]]')"
    ))
    .unwrap();
    let slots = planned.desk.ask("list_slots", json!({"plan_id": plan, "limit": 10}));
    let told: Vec<(&str, u64)> = slots
        .as_array()
        .unwrap()
        .iter()
        .map(|slot| (slot["state"].as_str().unwrap(), slot["count"].as_u64().unwrap()))
        .collect();
    assert_eq!(told, [("failed", 1), ("skipped", 1), ("missed", 7)]);
    assert_eq!(slots[1]["reason"]["text"], "slot_still_running");
    let row = planned.desk.ask("list_plans", json!({}))[0].clone();
    assert_eq!(row["missed"], 7);
    let overview = planned.desk.ask("overview", json!({}));
    let days = overview["calendar"].as_array().unwrap();
    let sum = |name: &str| days.iter().filter_map(|day| day[name].as_u64()).sum::<u64>();
    assert_eq!((sum("missed"), sum("other"), sum("failed")), (7, 1, 1));
    assert_eq!(
        overview["sources"][0]["outcomes"],
        json!(["missed", "skipped", "failed", "verified", "verified"])
    );
    assert!(overview["sources"][0]["next_run_at"].is_string());
    assert_eq!(
        planned.desk.refused("list_slots", json!({"plan_id": plan, "limit": 0})).text,
        "page_range"
    );
}

#[test]
fn the_journal_is_filtered_and_taken_away() {
    let planned = planned();
    let desk = &planned.desk;
    let begun = desk.ask("run_backup", json!({"plan_id": planned.plan["id"], "source_id": null}));
    desk.end_of(&begun["id"]);
    let other = home();
    desk.add_sqlite("=HYPERLINK(\"http://x\")", &other.path().join("x.db"));
    let found = |more: Value| {
        let mut query = json!({"page": 1, "per_page": 50});
        for (name, value) in more.as_object().unwrap() {
            query[name] = value.clone();
        }
        desk.ask("list_journal", json!({"query": query}))["total"].as_u64().unwrap()
    };
    assert_eq!(
        (found(json!({"action": "backup.run"})), found(json!({"action": "backup"}))),
        (1, 1)
    );
    assert_eq!((found(json!({"action": "back"})), found(json!({"action": "%"}))), (0, 0));
    assert_eq!(
        found(json!({"source_id": planned.source["id"]})),
        3,
        "the source, its plan, its backup"
    );
    assert_eq!(found(json!({"since": "2100-01-01T00:00:00Z"})), 0);
    assert_eq!(found(json!({"until": "2100-01-01T00:00:00Z"})), found(json!({})));

    let csv = other.path().join("j.csv");
    *desk.shell.chosen.lock().unwrap() = Some(csv.clone());
    let all = json!({"wanted": {"action": "source"}, "format": "csv"});
    assert_eq!(desk.ask("export_journal", all.clone())["path"], csv.to_str().unwrap());
    let text = std::fs::read_to_string(&csv).unwrap();
    let lines: Vec<&str> = text.split("\r\n").collect();
    assert_eq!(lines.len(), 1 + 2 + 1, "{text}");
    assert!(text.contains(",\"'=HYPERLINK(\"\"http://x\"\")\",ok"), "{text}");
    *desk.shell.chosen.lock().unwrap() = Some(csv.clone());
    assert_eq!(desk.refused("export_journal", all).text, "file_exists");
    let path = other.path().join("j.json");
    *desk.shell.chosen.lock().unwrap() = Some(path.clone());
    desk.ask("export_journal", json!({"wanted": {}, "format": "json"}));
    let written: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let entries = written["entries"].as_array().unwrap();
    assert_eq!(entries[0]["action"], "journal.export", "also that it was taken away before");
    assert!(
        entries
            .iter()
            .all(|entry| entry["author"] == "app" && entry["actor"] == "anna")
    );
}
