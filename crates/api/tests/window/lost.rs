//! Green rests on what lies at a destination now, as far as anybody knows: what is gone, cut or out of reach is never green.

use std::path::{Path, PathBuf};

use coffre_api::window::tray::TrayState;
use serde_json::{Value, json};

use crate::desk::{Desk, home, make_database, plan_draft, query};

struct Kept {
    desk: Desk,
    source: Value,
    plan: Value,
    folder: PathBuf,
}

/// A source with a daily plan to one folder.
fn kept(home: &Path) -> Kept {
    let desk = Desk::on(home);
    let path = home.join("shop.db");
    make_database(&path, 30);
    let source = desk.add_sqlite("shop", &path);
    let folder = home.join("usb");
    let destination = desk.add_folder("usb", &folder);
    let plan = desk.ask("add_plan", json!({"draft": plan_draft("nightly", &source, &[&destination])}));
    Kept {
        desk,
        source,
        plan,
        folder,
    }
}

impl Kept {
    fn run(&self) -> Value {
        let begun = self
            .desk
            .ask("run_backup", json!({"plan_id": self.plan["id"], "source_id": null}));
        self.desk.end_of(&begun["id"])
    }

    fn artifact(&self, backup: &Value) -> PathBuf {
        self.folder.join(backup["copies"][0]["key"].as_str().unwrap())
    }

    fn state(&self) -> (String, Value) {
        let protection = self.desk.ask("list_sources", json!({}))[0]["protection"].clone();
        (protection["state"].as_str().unwrap().to_owned(), protection["cause"].clone())
    }

    fn look(&self) -> (String, Value) {
        self.desk.ask("check_health", json!({}));
        let state = self.state();
        let overview = self.desk.ask("overview", json!({}));
        let protected = usize::from(state.0 == "protected");
        assert_eq!(overview["protected"], protected);
        assert_eq!(self.desk.ask("attention", json!({}))["protected"], protected);
        assert_eq!(self.desk.window.tray().state == TrayState::Protected, protected == 1);
        state
    }
}

#[test]
fn the_last_copy_is_gone_and_comes_back() {
    let home = home();
    let kept = kept(home.path());
    let backup = kept.run();
    assert_eq!(kept.look(), ("protected".to_owned(), Value::Null));
    assert!(kept.desk.shell.notices.lock().unwrap().is_empty());
    let artifact = kept.artifact(&backup);
    let hidden = home.path().join("hidden");
    std::fs::rename(&artifact, &hidden).unwrap();
    kept.desk.forget_events();
    assert_eq!(kept.look(), ("unprotected".to_owned(), json!("never")));
    kept.desk
        .wait_for("backups are stale", |event| crate::desk::is_invalidated(event, "backups"));
    let notice = kept.desk.shell.notices.lock().unwrap().pop().unwrap();
    assert!(notice.urgent && notice.title.contains("no longer where it was"), "{notice:?}");
    let detail = kept.desk.ask("show_backup", json!({"id": backup["id"]}));
    assert_eq!(
        (&detail["backup"]["state"], &detail["backup"]["copies"][0]["state"]),
        (&json!("failed"), &json!("missing"))
    );
    assert_eq!(
        (&detail["proofs"]["bytes_read"], &detail["places"]),
        (&json!(false), &json!(0))
    );
    assert_eq!(detail["backup"]["error"]["text"], "copy_missing");
    // Told once.
    kept.look();
    assert!(kept.desk.shell.notices.lock().unwrap().is_empty());
    // That it is back proves nothing before it is read.
    std::fs::rename(&hidden, &artifact).unwrap();
    assert_eq!(kept.look().0, "unprotected");
    kept.desk.ask("verify_backup", json!({"id": backup["id"]}));
    kept.desk.until_idle();
    assert_eq!(kept.look().0, "protected");
}

#[test]
fn a_copy_that_was_cut_is_corrupt() {
    let home = home();
    let kept = kept(home.path());
    let backup = kept.run();
    let artifact = kept.artifact(&backup);
    let bytes = std::fs::read(&artifact).unwrap();
    std::fs::write(&artifact, &bytes[..bytes.len() - 1]).unwrap();
    assert_eq!(kept.look().0, "unprotected");
    let backup = kept.desk.ask("show_backup", json!({"id": backup["id"]}))["backup"].clone();
    assert_eq!(backup["copies"][0]["state"], "corrupt");
    assert_eq!(backup["error"]["text"], "size_differs");
}

#[test]
fn behind_a_lost_one_the_next_is_looked_at_too() {
    let home = home();
    let kept = kept(home.path());
    let (first, second, third) = (kept.run(), kept.run(), kept.run());
    for lost in [&second, &third] {
        std::fs::remove_file(kept.artifact(lost)).unwrap();
    }
    assert_eq!(kept.look(), ("at_risk".to_owned(), json!("last_failed")));
    let notices = std::mem::take(&mut *kept.desk.shell.notices.lock().unwrap());
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert!(notices[0].title.contains("1 other backup"), "{notices:?}");
    let stats = kept.desk.ask("list_backups", query(json!({})))["stats"].clone();
    assert_eq!((&stats["verified"], &stats["failed"]), (&json!(1), &json!(2)));
    std::fs::remove_file(kept.artifact(&first)).unwrap();
    assert_eq!(kept.look().0, "unprotected");
}

#[test]
fn a_place_out_of_reach_is_not_green_and_not_lost() {
    let home = home();
    let kept = kept(home.path());
    let backup = kept.run();
    let unplugged = home.path().join("unplugged");
    std::fs::rename(&kept.folder, &unplugged).unwrap();
    assert_eq!(kept.look(), ("at_risk".to_owned(), json!("few_copies")));
    let row = kept.desk.ask("list_sources", json!({}))[0]["protection"].clone();
    assert_eq!((&row["copies"], &row["places"]), (&json!(0), &json!(0)));
    // It may be as good as ever: nothing is written down against it.
    let shown = kept.desk.ask("show_backup", json!({"id": backup["id"]}))["backup"].clone();
    assert_eq!(
        (&shown["state"], &shown["copies"][0]["state"]),
        (&json!("verified"), &json!("verified"))
    );
    // An empty folder in its place is not the disk.
    std::fs::create_dir(&kept.folder).unwrap();
    assert_eq!(kept.look(), ("at_risk".to_owned(), json!("few_copies")));
    std::fs::remove_dir(&kept.folder).unwrap();
    kept.desk.forget_events();
    std::fs::rename(&unplugged, &kept.folder).unwrap();
    // Nobody has to ask: the window sees by itself that it is back.
    kept.desk.until("it is seen to be back", || kept.state().0 == "protected");
}

#[test]
fn one_destination_of_two_that_fails_is_no_silent_success() {
    let home = home();
    let kept = kept(home.path());
    let second = kept.desk.add_folder("second", &home.path().join("second"));
    let mut draft = kept.desk.ask("list_plans", json!({}))[0]["draft"].clone();
    draft["destination_ids"].as_array_mut().unwrap().push(second["id"].clone());
    kept.desk.ask("edit_plan", json!({"id": kept.plan["id"], "draft": draft}));
    assert_eq!(kept.run()["state"], "verified");
    assert!(kept.desk.shell.notices.lock().unwrap().is_empty());
    let unplugged = home.path().join("unplugged");
    std::fs::rename(&kept.folder, &unplugged).unwrap();
    let partly = kept.run();
    assert_eq!(
        (&partly["state"], &partly["flags"]),
        (&json!("verified"), &json!(["copies_missing"]))
    );
    let notice = kept.desk.shell.notices.lock().unwrap().pop().unwrap();
    assert!(
        notice.urgent && notice.title.ends_with("not at usb") && !notice.body.is_empty(),
        "{notice:?}"
    );
    assert_eq!(kept.state(), ("at_risk".to_owned(), json!("few_copies")));
    assert_eq!(kept.desk.ask("list_destinations", json!({}))[1]["state"], "silent");
    std::fs::rename(&unplugged, &kept.folder).unwrap();
    assert_eq!(kept.run()["state"], "verified");
    let notice = kept.desk.shell.notices.lock().unwrap().pop().unwrap();
    assert!(!notice.urgent && notice.title.contains("work again"), "{notice:?}");
    assert_eq!(kept.state().0, "protected");
}

#[test]
fn a_copy_too_few_is_at_risk() {
    let home = home();
    let kept = kept(home.path());
    let second = kept.desk.add_folder("second", &home.path().join("second"));
    let mut draft = kept.desk.ask("list_plans", json!({}))[0]["draft"].clone();
    let ids = draft["destination_ids"].as_array_mut().unwrap();
    ids.push(second["id"].clone());
    kept.desk.ask("edit_plan", json!({"id": kept.plan["id"], "draft": draft}));
    let backup = kept.run();
    assert_eq!(backup["copies"].as_array().unwrap().len(), 2);
    assert_eq!(kept.look().0, "protected");
    std::fs::remove_file(kept.artifact(&backup)).unwrap();
    assert_eq!(kept.look(), ("at_risk".to_owned(), json!("few_copies")));
    let shown = kept.desk.ask("show_backup", json!({"id": backup["id"]}))["backup"].clone();
    assert_eq!(shown["state"], "verified", "the other copy is good");
    assert_eq!(kept.desk.ask("list_sources", json!({}))[0]["source"]["id"], kept.source["id"]);
}
