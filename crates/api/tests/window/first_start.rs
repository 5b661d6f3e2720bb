//! The first two minutes: welcome, sample, first backup, green.

use coffre_api::window::tray::TrayState;
use serde_json::{Value, json};

use crate::desk::{Desk, home, is_invalidated, query};

#[test]
fn from_the_welcome_to_green() {
    let home = home();
    let desk = Desk::on(home.path());
    let about = desk.ask("about", json!({}));
    assert_eq!(
        (&about["first_start"], &about["features"]),
        (&json!(true), &json!(["schedule", "retention", "replace", "rebuild"]))
    );
    assert_eq!(about["catalogue_error"], Value::Null);
    assert_eq!(desk.ask("attention", Value::Null)["sources"], 0);
    assert_eq!(desk.window.tray().state, TrayState::Empty);
    let adapters = desk.ask("adapters", json!({}));
    assert_eq!(adapters["databases"][0]["name"], "postgres");
    assert_eq!(adapters["databases"][1]["capability"]["needs_tools"], false);
    assert_eq!(adapters["storages"][0]["fields"][0]["kind"], "folder");

    let made = desk.ask("create_sample", json!({}));
    let id = made["backup_id"].clone();
    desk.wait_for("the run has begun", |event| is_invalidated(event, "running"));
    let backup = desk.end_of(&id);
    assert_eq!((&backup["state"], &backup["type"]), (&json!("verified"), &json!("daily")));
    desk.wait_for("progress of the run", |event| {
        event["type"] == "progress" && event["progress"]["id"] == id
    });
    desk.wait_for("the plan's row changed", |event| is_invalidated(event, "plans"));

    let overview = desk.ask("overview", json!({}));
    assert_eq!(overview["protected"], 1);
    let row = &overview["sources"][0];
    assert_eq!(
        (&row["source"]["name"], &row["adapter"]),
        (&json!("sample-shop"), &json!("sqlite"))
    );
    assert_eq!(row["outcomes"], json!(["verified"]));
    let protection = &row["protection"];
    assert_eq!(
        (&protection["state"], &protection["cause"]),
        (&json!("protected"), &Value::Null)
    );
    assert_eq!((&protection["copies"], &protection["places"]), (&json!(1), &json!(1)));
    let figures = &overview["figures"];
    assert_eq!(
        (&figures["verified"], &figures["kept"], &figures["failures"]),
        (&json!(1), &json!(1), &json!(0))
    );
    assert_eq!(figures["stored_bytes"], backup["stored_bytes"]);
    assert_eq!(figures["last"]["state"], "verified");
    assert_eq!(overview["calendar"].as_array().unwrap().len(), 1);
    assert_eq!(overview["calendar"][0]["verified"], 1);
    assert_eq!(overview["sizes"][0]["stored_bytes"], backup["stored_bytes"]);
    // From now on it runs by itself.
    assert_eq!(overview["next"][0]["plan"], "sample-daily");
    assert_eq!(overview["lanes"], 2);

    let detail = desk.ask("show_backup", json!({"id": id}));
    assert_eq!(detail["proofs"]["structure_read"], true);
    assert_eq!((&detail["proofs"]["restored"], &detail["places"]), (&json!(false), &json!(1)));
    assert_eq!(detail["manifest"]["database"], "sqlite");
    let events: Vec<&str> = detail["timeline"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["event"].as_str().unwrap())
        .collect();
    assert_eq!(events, ["opened", "tool", "read_back", "manifest"]);
    let tables = desk.ask("list_tables", json!({"id": made["source_id"]}));
    assert_eq!(tables["tables"][0], json!({"table": "customers", "rows": 400, "bytes": null}));
    let page = desk.ask("list_backups", query(json!({})));
    assert_eq!((&page["total"], &page["stats"]["verified"]), (&json!(1), &json!(1)));
    assert_eq!(desk.ask("about", json!({}))["first_start"], false);
    assert_eq!(desk.ask("attention", json!({}))["protected"], 1);
    let tray = desk.window.tray();
    assert_eq!(tray.state, TrayState::Protected);
    assert_eq!(tray.plans.len(), 1);
    // One success more or less is no news.
    assert_eq!(*desk.shell.notices.lock().unwrap(), []);
    let journal = desk.ask(
        "list_journal",
        json!({"query": {"text": "sample", "author": "app", "page": 1, "per_page": 10}}),
    );
    assert_eq!(journal["total"], 2, "the source and the plan: {journal}");
    assert_eq!(journal["entries"][0]["actor"], "anna");

    // Asked again, the sample is the one that there is.
    let again = desk.ask("create_sample", json!({}));
    assert_eq!(
        (&again["source_id"], &again["plan_id"]),
        (&made["source_id"], &made["plan_id"])
    );
    desk.end_of(&again["backup_id"]);
}

#[test]
fn progress_is_told_at_most_ten_times_a_second() {
    let home = home();
    let desk = Desk::on(home.path());
    let path = home.path().join("slow.db");
    crate::desk::make_slow_database(&path);
    let source = desk.add_sqlite("slow", &path);
    let backup = desk.back_up(&source);
    assert_eq!(backup["state"], "verified");
    let told: Vec<_> = desk
        .events()
        .into_iter()
        .filter(|(_, event)| event["type"] == "progress" && event["progress"]["id"] == backup["id"])
        .collect();
    assert!(told.len() > 2);
    let (first, last) = (told[0].0, told[told.len() - 1].0);
    let tenths = last.duration_since(first).as_millis() / 100 + 2;
    assert!(told.len() as u128 <= tenths, "{} in {tenths} tenths of a second", told.len());
    let dumping = told.iter().filter(|(_, event)| event["progress"]["step"] == "dumping");
    let done: Vec<u64> = dumping
        .map(|(_, event)| event["progress"]["done"].as_u64().unwrap())
        .collect();
    assert!(done.windows(2).all(|pair| pair[0] <= pair[1]), "{done:?}");
}
