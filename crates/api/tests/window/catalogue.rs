//! The catalogue lost, damaged, from the future: said in words, never touched where that could lose something, and the window goes on.

use std::path::Path;

use coffre_api::window::COMMANDS;
use coffre_api::words::Language;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::desk::{Desk, are_words_for_the_same, home, make_database, query};

/// A home with one backup, left in good order.
fn left(home: &Path) {
    let desk = Desk::on(home);
    let path = home.join("shop.db");
    make_database(&path, 3);
    let source = desk.add_sqlite("shop", &path);
    assert_eq!(desk.back_up(&source)["state"], "verified");
    desk.window.close().unwrap();
}

/// Both windows open, none shows anything, each says why in its language.
fn both_say(home: &Path, code: &str) {
    let french = {
        let desk = Desk::speaking(home, Language::Fr);
        desk.refused("overview", json!({}))
    };
    let desk = Desk::on(home);
    let english = desk.refused("overview", json!({}));
    are_words_for_the_same(&english, &french);
    assert_eq!(english.code.as_str(), code);
    let about = desk.ask("about", json!({}));
    assert_eq!(
        (&about["catalogue_error"]["code"], &about["first_start"]),
        (&json!(code), &json!(false)),
        "what is lost is no first start"
    );
    assert_eq!(desk.window.tray().sentence, english.message);
    // What copies there are is known without a catalogue: that is what they are for.
    assert!(desk.ask("list_catalogue_copies", json!({}))["copies"].is_array());
    let others = ["list_tables", "list_deliveries", "list_catalogue_copies"];
    for command in COMMANDS
        .iter()
        .filter(|name| name.starts_with("list_") && !others.contains(name))
    {
        let arguments = match *command {
            "list_backups" => query(json!({})),
            "list_journal" => json!({"query": {"page": 1, "per_page": 10}}),
            "list_restores" => json!({"limit": 10}),
            "list_slots" => json!({"plan_id": "01990000-0000-7000-8000-000000000000", "limit": 10}),
            _ => json!({}),
        };
        assert_eq!(desk.refused(command, arguments).code.as_str(), code, "{command}");
    }
}

#[test]
fn one_from_the_future_is_left_alone() {
    let home = home();
    left(home.path());
    let file = home.path().join("catalogue.db");
    let raw = Connection::open(&file).unwrap();
    raw.execute_batch("PRAGMA user_version = 99; PRAGMA wal_checkpoint(TRUNCATE);")
        .unwrap();
    raw.close().unwrap();
    let before = std::fs::read(&file).unwrap();
    both_say(home.path(), "CATALOGUE_NEWER");
    let desk = Desk::on(home.path());
    assert_eq!(
        desk.refused("set_catalogue_aside", json!({})).code.as_str(),
        "CATALOGUE_NEWER"
    );
    drop(desk);
    assert!(std::fs::read(&file).unwrap() == before, "not a byte of it was changed");
}

#[test]
fn one_that_is_lost_is_not_made_anew_behind_anybodys_back() {
    let home = home();
    left(home.path());
    std::fs::remove_file(home.path().join("catalogue.db")).unwrap();
    both_say(home.path(), "CATALOGUE_CORRUPT");
    assert!(!home.path().join("catalogue.db").exists());
    // Where a person wants it, a new one is made, and filled from what lies at the destination.
    let desk = Desk::on(home.path());
    assert_eq!(desk.ask("set_catalogue_aside", json!({}))["path"], Value::Null);
    desk.until("a new one is there", || {
        desk.window.dispatch("list_sources", json!({})).is_ok()
    });
    let folder = desk.add_folder("local", &home.path().join("backups"));
    assert_eq!(
        desk.ask("rebuild_from_destination", json!({"id": folder["id"]}))["backups"],
        1
    );
    // What was taken in is not green before it is read.
    assert_eq!(desk.ask("list_backups", query(json!({})))["stats"]["verified"], 0);
    let overview = desk.ask("overview", json!({}));
    assert_eq!(
        (&overview["protected"], &overview["figures"]["verified"]),
        (&json!(0), &json!(0))
    );
}

#[test]
fn one_that_vanishes_under_an_open_window_is_noticed_and_comes_back() {
    let home = home();
    left(home.path());
    let desk = Desk::on(home.path());
    desk.ask("overview", json!({}));
    let (file, moved) = (home.path().join("catalogue.db"), home.path().join("moved.db"));
    std::fs::rename(&file, &moved).unwrap();
    desk.until("it is missed", || {
        let said = desk.window.dispatch("overview", json!({}));
        said.is_err_and(|error| error.text == "catalogue_missing")
    });
    std::fs::rename(&moved, &file).unwrap();
    desk.until("it is back", || desk.window.dispatch("overview", json!({})).is_ok());
    assert_eq!(desk.ask("list_backups", query(json!({})))["total"], 1);
}

#[test]
fn one_that_is_damaged_under_an_open_window_can_be_set_aside() {
    let home = home();
    left(home.path());
    let desk = Desk::on(home.path());
    desk.until("the start is over", || {
        desk.ask("about", json!({}))["secrets"]["state"] != "unknown"
    });
    assert_eq!(
        desk.ask("set_catalogue_aside", json!({}))["path"],
        Value::Null,
        "nothing is wrong yet"
    );
    let file = home.path().join("catalogue.db");
    let mut bytes = std::fs::read(&file).unwrap();
    let wal = home.path().join("catalogue.db-wal");
    // The log is emptied, so that every page is read from the file.
    Connection::open(&file)
        .unwrap()
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    assert_eq!(std::fs::metadata(&wal).unwrap().len(), 0);
    for byte in &mut bytes[4096..] {
        *byte ^= 0x55;
    }
    let written = std::fs::OpenOptions::new().write(true).open(&file).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&written, &bytes[4096..], 4096).unwrap();
    let health = desk.window.dispatch("check_health", json!({}));
    let said = match &health {
        Ok(health) => health["catalogue"]["error"]["code"].as_str().unwrap_or_default().to_owned(),
        Err(error) => error.code.as_str().to_owned(),
    };
    assert_eq!(said, "CATALOGUE_CORRUPT", "{health:?}");
    let mut aside = Value::Null;
    desk.until("nobody reads it any more", || {
        desk.window
            .dispatch("set_catalogue_aside", json!({}))
            .is_ok_and(|answer| answer["path"].is_string() || desk.window.dispatch("list_sources", json!({})).is_ok())
    });
    desk.until("a new one is there", || {
        desk.window.dispatch("list_sources", json!({})).is_ok()
    });
    for entry in std::fs::read_dir(home.path()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.starts_with("catalogue") && name.contains("damaged") {
            aside = json!(name);
        }
    }
    assert!(aside.is_string(), "the damaged one was kept");
    assert_eq!(desk.ask("list_backups", query(json!({})))["total"], 0);
}

#[test]
fn a_copy_takes_the_place_of_a_damaged_one_and_nothing_is_lost() {
    let home = home();
    left(home.path());
    let desk = Desk::on(home.path());
    // The clockwork makes the first copy as soon as it looks.
    desk.until("a copy is made", || {
        let kept = desk.ask("list_catalogue_copies", json!({}));
        kept["copies"].as_array().is_some_and(|copies| !copies.is_empty())
    });
    let kept = desk.ask("list_catalogue_copies", json!({}));
    assert_eq!(kept["damaged"], false);
    let copy = kept["copies"][0].clone();
    assert!(
        copy["bytes"].as_u64().is_some_and(|bytes| bytes > 4096) && copy["at"].is_string(),
        "{copy:#}"
    );
    // It may be of a moment before the backup was made: then it does not know of it.
    let held: i64 = Connection::open(copy["path"].as_str().unwrap())
        .and_then(|copy| copy.query_row("SELECT count(*) FROM backups", [], |row| row.get(0)))
        .unwrap();
    let this = json!({"path": copy["path"]});
    assert_eq!(
        desk.refused("restore_catalogue", this.clone()).text,
        "catalogue_sound",
        "what is sound is never replaced"
    );
    desk.window.close().unwrap();
    drop(desk);

    let file = home.path().join("catalogue.db");
    std::fs::write(&file, vec![7; 8192]).unwrap();
    for side in ["catalogue.db-wal", "catalogue.db-shm"] {
        drop(std::fs::remove_file(home.path().join(side)));
    }
    let desk = Desk::on(home.path());
    assert_eq!(desk.ask("about", json!({}))["catalogue_error"]["code"], "CATALOGUE_CORRUPT");
    let kept = desk.ask("list_catalogue_copies", json!({}));
    assert_eq!((&kept["damaged"], &kept["copies"][0]["path"]), (&json!(true), &copy["path"]));
    // A window names no file of its own.
    for other in ["/etc/passwd", "", &format!("{}/../catalogue.db", home.path().display())] {
        let refused = desk.refused("restore_catalogue", json!({"path": other}));
        assert_eq!(refused.text, "catalogue_copy_gone", "{other}");
    }
    let back = desk.ask("restore_catalogue", this.clone());
    assert_eq!(back["copy"], copy["path"]);
    let aside = std::path::PathBuf::from(back["aside"].as_str().unwrap());
    assert_eq!(
        std::fs::read(&aside).unwrap(),
        vec![7; 8192],
        "what was replaced is kept as it was"
    );
    assert!(
        std::path::Path::new(copy["path"].as_str().unwrap()).exists(),
        "the copy stays"
    );
    assert_eq!(desk.ask("about", json!({}))["catalogue_error"], Value::Null);
    assert_eq!(desk.ask("list_backups", query(json!({})))["total"], held);
    assert_eq!(desk.ask("list_catalogue_copies", json!({}))["damaged"], false);
    assert_eq!(desk.refused("restore_catalogue", this).text, "catalogue_sound");
}

#[test]
fn a_copy_that_is_damaged_itself_leaves_what_is_there() {
    let home = home();
    left(home.path());
    let folder = home.path().join("catalogue-copies");
    std::fs::create_dir_all(&folder).unwrap();
    let copy = folder.join("catalogue-2030-01-01_04-00-00.db");
    std::fs::write(&copy, "no database").unwrap();
    std::fs::write(home.path().join("catalogue.db"), vec![7; 8192]).unwrap();
    let desk = Desk::on(home.path());
    let refused = desk.refused("restore_catalogue", json!({"path": copy.display().to_string()}));
    assert_eq!(refused.code.as_str(), "CATALOGUE_CORRUPT", "{refused:?}");
    let kept = std::fs::read_dir(home.path())
        .unwrap()
        .flatten()
        .filter(|entry| std::fs::read(entry.path()).is_ok_and(|bytes| bytes == vec![7; 8192]));
    assert_eq!(kept.count(), 1, "the damaged one is somewhere still");
}
