//! What Coffre needs and does not find: room, a keychain, a program. Each says which, in both languages, and what works goes on working.
//! Each scene is played in a process of its own, in surroundings where the thing is missing.

use std::io::Write;
use std::path::Path;

use coffre_testkit::disk::SmallDisk;
use coffre_testkit::postgres::{Postgres, Version};
use serde_json::{Value, json};

use crate::desk::{Desk, alone, home, make_database, plan_draft, query, told};

/// Fills the disk to the last byte; answers the file to remove.
fn fill(folder: &Path) -> std::path::PathBuf {
    let ballast = folder.join("ballast");
    let mut file = std::fs::File::create(&ballast).unwrap();
    for size in [65_536, 4_096, 512, 1] {
        while file.write_all(&vec![42; size]).is_ok() {}
    }
    ballast
}

#[test]
fn a_full_destination() {
    let folder = home();
    let disk = SmallDisk::mount(folder.path(), 16);
    let elsewhere = home();
    alone(
        "shortage::the_destination_is_full",
        disk.prefix(),
        &[
            ("COFFRE_TEST_HOME", elsewhere.path().as_ref()),
            ("COFFRE_TEST_DISK", folder.path().as_ref()),
        ],
    );
}

#[test]
#[ignore = "started by a_full_destination"]
fn the_destination_is_full() {
    let (home, disk) = (told("COFFRE_TEST_HOME"), told("COFFRE_TEST_DISK"));
    let desk = Desk::on(&home);
    let path = home.join("shop.db");
    make_database(&path, 30);
    let source = desk.add_sqlite("shop", &path);
    let folder = desk.add_folder("usb", &disk.join("kept"));
    let plan = desk.ask("add_plan", json!({"draft": plan_draft("nightly", &source, &[&folder])}));
    let run = || {
        let begun = desk.ask("run_backup", json!({"plan_id": plan["id"], "source_id": null}));
        desk.end_of(&begun["id"])
    };
    let good = run();
    assert_eq!(good["state"], "verified");
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE noise AS SELECT randomblob(1000000) AS bytes FROM (SELECT 1 FROM things LIMIT 30)")
        .unwrap();
    let failed = run();
    assert_eq!(
        (&failed["state"], &failed["error"]["code"]),
        (&json!("failed"), &json!("DEST_FULL"))
    );
    let english = failed["error"]["message"].as_str().unwrap().to_owned();
    let notice = desk.shell.notices.lock().unwrap().pop().unwrap();
    assert!(notice.urgent && notice.body.contains(&english), "{notice:?}");
    desk.ask("set_setting", json!({"key": "language", "value": "fr"}));
    let french = desk.ask("show_backup", json!({"id": failed["id"]}))["backup"]["error"].clone();
    assert_ne!(french["message"], json!(english));
    let protection = desk.ask("list_sources", json!({}))[0]["protection"].clone();
    assert_eq!(
        (&protection["state"], &protection["cause"]),
        (&json!("at_risk"), &json!("last_failed"))
    );
    desk.ask("verify_backup", json!({"id": good["id"]}));
    desk.until_idle();
    let kept = desk.ask("show_backup", json!({"id": good["id"]}))["backup"].clone();
    assert_eq!(kept["state"], "verified", "the earlier one is as it was");
}

#[test]
fn a_full_home() {
    let folder = home();
    let disk = SmallDisk::mount(folder.path(), 8);
    alone(
        "shortage::the_home_is_full",
        disk.prefix(),
        &[("COFFRE_TEST_HOME", folder.path().as_ref())],
    );
}

#[test]
#[ignore = "started by a_full_home"]
fn the_home_is_full() {
    let disk = told("COFFRE_TEST_HOME");
    let home = disk.join("home");
    let desk = Desk::on(&home);
    let path = disk.join("shop.db");
    make_database(&path, 30);
    let source = desk.add_sqlite("shop", &path);
    desk.until("the start is over", || {
        desk.ask("about", json!({}))["secrets"]["state"] != "unknown"
    });
    let ballast = fill(&disk);
    let long = "y".repeat(200);
    let draft = json!({"name": "x", "adapter": "sqlite", "values": {"path": format!("/{long}/{long}.db")}});
    let add = json!({"draft": draft, "secret": {"change": "keep"}});
    let full = desk.refused("add_source", add.clone());
    assert_eq!(full.text, "catalogue_full", "{full:?}");
    assert!(full.message.contains("full") && !full.hint.is_empty(), "{full:?}");
    // What is known is still shown.
    assert_eq!(desk.ask("list_sources", json!({}))[0]["source"]["id"], source["id"]);
    assert_eq!(desk.ask("overview", json!({}))["protected"], 0);
    let refused = desk
        .window
        .dispatch("run_backup", json!({"plan_id": null, "source_id": source["id"]}));
    if let Ok(begun) = refused {
        assert_ne!(desk.end_of(&begun["id"])["state"], "verified");
    }
    // And with room again it goes on by itself.
    std::fs::remove_file(ballast).unwrap();
    desk.ask("add_source", add);
    assert_eq!(desk.back_up(&source)["state"], "verified");
}

#[test]
fn no_keychain() {
    let home = home();
    alone(
        "shortage::there_is_no_keychain",
        Vec::new(),
        &[
            ("COFFRE_TEST_HOME", home.path().as_ref()),
            ("COFFRE_TEST_STATE", "absent".as_ref()),
            ("COFFRE_TEST_TEXT", "keychain_absent".as_ref()),
            ("COFFRE_SECRETS", "keychain".as_ref()),
            ("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere/bus".as_ref()),
            ("XDG_RUNTIME_DIR", home.path().as_ref()),
        ],
    );
}

#[test]
fn a_locked_keychain() {
    let home = home();
    std::fs::create_dir(home.path().join("user")).unwrap();
    // A keyring that was unlocked at the login and is locked now. Nobody sits before a screen: whoever is asked to unlock it does not.
    let script = r#"set -eu
        printf pass > "$HOME/pass"
        gnome-keyring-daemon --components=secrets --foreground --unlock < "$HOME/pass" > "$HOME/log" 2>&1 & keyring=$!
        trap 'kill $keyring; wait $keyring || true' EXIT
        gdbus wait --session --timeout 20 org.freedesktop.secrets
        gdbus call --session -d org.freedesktop.secrets -o /org/freedesktop/secrets -m org.freedesktop.Secret.Service.Lock \
            '[objectpath "/org/freedesktop/secrets/collection/login"]'
        "$@""#;
    let prefix = ["dbus-run-session", "--", "sh", "-c", script, "sh"];
    let user = home.path().join("user");
    alone(
        "shortage::there_is_no_keychain",
        prefix.map(Into::into).to_vec(),
        &[
            ("HOME", user.as_ref()),
            ("XDG_DATA_HOME", user.as_ref()),
            ("XDG_RUNTIME_DIR", user.as_ref()),
            ("COFFRE_TEST_HOME", home.path().join("home").as_ref()),
            ("COFFRE_TEST_STATE", "locked".as_ref()),
            ("COFFRE_TEST_TEXT", "keychain_".as_ref()),
            ("COFFRE_SECRETS", "keychain".as_ref()),
        ],
    );
}

#[test]
#[ignore = "started by no_keychain and a_locked_keychain"]
fn there_is_no_keychain() {
    let home = told("COFFRE_TEST_HOME");
    let (state, text) = (told("COFFRE_TEST_STATE"), told("COFFRE_TEST_TEXT"));
    let desk = Desk::on(&home);
    desk.until("the start is over", || {
        desk.ask("about", json!({}))["secrets"]["state"] != "unknown"
    });
    let secrets = desk.ask("about", json!({}))["secrets"].clone();
    assert_eq!(secrets["state"], json!(state), "{secrets}");
    assert_eq!(secrets["error"]["code"], "SECRET_UNAVAILABLE");
    let before = desk.ask("list_sources", json!({}));
    let values = json!({"host": "127.0.0.1", "port": 1, "database": "shop", "user": "joe"});
    let draft = json!({"name": "shop", "adapter": "postgres", "values": values});
    let add = json!({"draft": draft, "secret": {"change": "set", "value": "hunter2"}});
    let refused = desk.refused_in_words("add_source", add);
    assert_eq!(refused.code.as_str(), "SECRET_UNAVAILABLE");
    assert!(refused.text.starts_with(text.to_str().unwrap()), "{refused:?}");
    assert!(!format!("{refused:?}").contains("hunter2"));
    assert_eq!(
        desk.ask("list_sources", json!({})),
        before,
        "nothing was kept without its password"
    );
    let key = json!({"name": "k", "kind": "recipient", "passphrase": null});
    assert_eq!(desk.refused_in_words("create_key", key).code.as_str(), "SECRET_UNAVAILABLE");
    assert_eq!(desk.ask("list_keys", json!({})), json!([]));
    // What needs no secret works.
    let path = home.join("shop.db");
    make_database(&path, 3);
    let source = desk.add_sqlite("other", &path);
    assert_eq!(desk.back_up(&source)["state"], "verified");
}

#[test]
fn no_pg_dump() {
    let server = Postgres::shared(Version::V15);
    let name = server.create_database();
    let home = home();
    let address = server.address(&name);
    // Where the distribution's programs are, there is an empty disk.
    let disk = SmallDisk::mount(Path::new("/usr/lib/postgresql"), 1);
    let mut prefix = disk.prefix();
    prefix.extend(["/usr/bin/env".into(), "PATH=/nowhere".into()]);
    alone(
        "shortage::there_is_no_pg_dump",
        prefix,
        &[
            ("COFFRE_TEST_HOME", home.path().as_ref()),
            ("COFFRE_TEST_ADDRESS", address.as_ref()),
        ],
    );
}

#[test]
#[ignore = "started by no_pg_dump"]
fn there_is_no_pg_dump() {
    let home = told("COFFRE_TEST_HOME");
    let address = told("COFFRE_TEST_ADDRESS");
    let desk = Desk::on(&home);
    let draft = crate::postgres::draft("shop", address.to_str().unwrap());
    let missing = desk.refused_in_words(
        "test_source",
        json!({"id": null, "draft": draft, "secret": {"change": "keep"}}),
    );
    assert_eq!(
        (missing.code.as_str(), missing.text.as_str()),
        ("TOOL_MISSING", "pg_tool_missing")
    );
    assert!(missing.message.contains("15"), "the version that is needed: {missing:?}");
    assert_eq!(desk.ask("list_tools", json!({})), json!([]));
    let source = desk.ask("add_source", json!({"draft": draft, "secret": {"change": "keep"}}));
    let failed = desk.back_up(&source);
    assert_eq!(
        (&failed["state"], &failed["error"]["code"]),
        (&json!("failed"), &json!("TOOL_MISSING"))
    );
    assert_eq!(failed["copies"], json!([]), "refused before anything is made");
    let remedy = desk.ask("show_backup", json!({"id": failed["id"]}))["remedy"].clone();
    assert!(remedy.as_str().unwrap().contains("postgresql"), "{remedy}");
    assert_eq!(desk.ask("list_backups", query(json!({})))["stats"]["failed"], 1);
    assert_ne!(
        desk.ask("overview", json!({}))["sources"][0]["protection"]["state"],
        Value::from("protected")
    );
}
