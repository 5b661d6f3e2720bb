//! Green rests on what lies at a destination now, as far as anybody knows: what is gone, cut or out of reach is never green.

use std::path::{Path, PathBuf};
use std::time::Instant;

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

/// The form of the SQLite source at another path.
fn moved_to(kept: &Kept, path: &Path) -> Value {
    let draft = json!({"name": "shop", "adapter": "sqlite", "values": {"path": path}});
    json!({"id": kept.source["id"], "draft": draft, "secret": {"change": "keep"}})
}

#[test]
fn backups_of_another_database_do_not_protect_this_one() {
    let home = home();
    let kept = kept(home.path());
    let old = kept.run();
    assert_eq!(kept.look(), ("protected".to_owned(), Value::Null));
    let other = home.path().join("other.db");
    make_database(&other, 3);
    kept.desk.ask("edit_source", moved_to(&kept, &other));
    assert_eq!(kept.look(), ("unprotected".to_owned(), json!("moved")));
    let row = kept.desk.ask("list_sources", json!({}))[0].clone();
    assert_eq!(
        (&row["protection"]["last_verified_at"], &row["protection"]["copies"]),
        (&Value::Null, &json!(0))
    );
    assert_eq!(
        kept.desk.ask("health", json!({}))["sources"][0]["protection"]["cause"],
        "moved"
    );
    // Counted in the database itself, not in a backup of another one.
    let tables = kept.desk.ask("list_tables", json!({"id": kept.source["id"]}));
    assert_eq!(tables["tables"][0]["rows"], 3);
    // The old one stays in the list, and restorable.
    assert_eq!(kept.desk.ask("list_backups", query(json!({})))["total"], 1);
    let target = json!({"kind": "new_file", "value": home.path().join("again.db"), "secret": null});
    let plan = kept.desk.ask(
        "plan_restore",
        json!({"request": {"backup_id": old["id"], "file": null, "target": target}}),
    );
    assert_eq!(plan["allowed"], true, "{plan}");

    let new = kept.run();
    assert_eq!(new["flags"], json!([]), "another database may be smaller");
    assert_eq!(kept.look(), ("protected".to_owned(), Value::Null));
    // The only one of what the source points to now may not be deleted, whatever there is of others.
    let preview = kept.desk.ask("preview_delete", json!({"ids": [new["id"]]}));
    assert_eq!(preview["refusal"]["text"], "delete_last_verified");
    let preview = kept.desk.ask("preview_delete", json!({"ids": [old["id"]]}));
    assert_eq!(preview["refusal"], Value::Null);

    // Back where it was: those backups are of this very database.
    kept.desk.ask("edit_source", moved_to(&kept, &home.path().join("shop.db")));
    assert_eq!(kept.look(), ("protected".to_owned(), Value::Null));
    let row = kept.desk.ask("list_sources", json!({}))[0]["protection"].clone();
    assert_eq!(row["last_verified_at"], old["ended_at"]);
}

#[test]
fn a_run_that_failed_elsewhere_is_no_news_of_this_database() {
    let home = home();
    let kept = kept(home.path());
    kept.run();
    kept.desk.ask("edit_source", moved_to(&kept, &home.path().join("absent.db")));
    assert_eq!(kept.run()["state"], "failed");
    assert_eq!(kept.state(), ("unprotected".to_owned(), json!("moved")));
    assert_ne!(
        kept.desk.ask("list_sources", json!({}))[0]["protection"]["error"],
        Value::Null
    );
    kept.desk.ask("edit_source", moved_to(&kept, &home.path().join("shop.db")));
    assert_eq!(kept.state(), ("protected".to_owned(), Value::Null));
}

#[test]
fn a_rebuilt_catalogue_does_not_lend_its_backups_to_another_database() {
    let home = home();
    let kept = kept(home.path());
    kept.run();
    kept.desk.window.close().unwrap();
    let (again, usb) = (crate::desk::home(), kept.folder.clone());
    for (path, state) in [("other.db", "moved"), ("shop.db", "")] {
        let home_again = again.path().join(path);
        std::fs::create_dir(&home_again).unwrap();
        let path = home.path().join(path);
        make_database(&path, 3);
        let desk = Desk::on(&home_again);
        let destination = desk.add_folder("usb", &usb);
        desk.ask("rebuild_from_destination", json!({"id": destination["id"]}));
        let source = desk.add_sqlite("shop", &path);
        desk.ask("add_plan", json!({"draft": plan_draft("nightly", &source, &[&destination])}));
        let backup = desk.ask("list_backups", query(json!({})))["backups"][0].clone();
        desk.ask("verify_backup", json!({"id": backup["id"]}));
        desk.until_idle();
        let protection = desk.ask("list_sources", json!({}))[0]["protection"].clone();
        let expected = if state.is_empty() { Value::Null } else { json!(state) };
        assert_eq!(protection["cause"], expected, "{protection}");
    }
}

#[test]
fn a_destination_that_was_moved_proves_nothing_before_it_is_looked_at() {
    let home = home();
    let kept = kept(home.path());
    kept.run();
    assert_eq!(kept.look().0, "protected");
    let destination = kept.desk.ask("list_destinations", json!({}))[0]["destination"].clone();
    let elsewhere = home.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let edit = |path: &Path| {
        let draft = json!({"name": "usb", "adapter": "local", "values": {"path": path}});
        let edit = json!({"id": destination["id"], "draft": draft, "secret": {"change": "keep"}});
        kept.desk.ask("edit_destination", edit);
        kept.state()
    };
    // From the very answer on, not only once somebody has looked there.
    assert_eq!(edit(&elsewhere), ("at_risk".to_owned(), json!("few_copies")));
    assert_eq!(kept.look(), ("at_risk".to_owned(), json!("few_copies")));
    edit(&kept.folder);
    kept.desk.until("it is seen to be back", || kept.state().0 == "protected");
}

#[test]
fn time_alone_takes_the_green_away() {
    let home = home();
    let clock = home.path().join("clock");
    std::fs::write(&clock, "+0").unwrap();
    let library = ["x86_64-linux-gnu", "aarch64-linux-gnu"]
        .map(|machine| format!("/usr/lib/{machine}/faketime/libfaketimeMT.so.1"))
        .into_iter()
        .find(|path| Path::new(path).exists())
        .expect("libfaketime is installed with the test packages");
    crate::desk::alone(
        "lost::days_pass_in_a_process_of_its_own",
        Vec::new(),
        &[
            ("COFFRE_TEST_HOME", home.path().join("home").as_ref()),
            ("COFFRE_TEST_CLOCK", clock.as_ref()),
            ("LD_PRELOAD", library.as_ref()),
            ("FAKETIME_TIMESTAMP_FILE", clock.as_ref()),
            ("FAKETIME_NO_CACHE", "1".as_ref()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".as_ref()),
        ],
    );
}

#[test]
#[ignore = "started by time_alone_takes_the_green_away"]
fn days_pass_in_a_process_of_its_own() {
    let home = crate::desk::told("COFFRE_TEST_HOME");
    std::fs::create_dir(&home).unwrap();
    let kept = kept(&home);
    // Else the plan would catch up as soon as the days have passed, and the green would come back.
    kept.desk.ask("pause_schedules", json!({"paused": true}));
    kept.run();
    assert_eq!(kept.look(), ("at_risk".to_owned(), json!("paused")));
    // Days later, with nothing else going on. How often it was looked at before does not matter.
    let before = Instant::now();
    std::fs::write(crate::desk::told("COFFRE_TEST_CLOCK"), "+3d").unwrap();
    kept.desk.until("the overview is stale", || {
        let events = kept.desk.events();
        events
            .iter()
            .any(|(at, event)| *at > before && crate::desk::is_invalidated(event, "overview"))
    });
    assert_eq!(kept.state(), ("at_risk".to_owned(), json!("stale")));
    assert_eq!(kept.desk.window.tray().state, TrayState::Attention);
}
