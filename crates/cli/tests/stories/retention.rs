//! Old backups leave by rules that can be foreseen; the last good one never does. Time is a fake clock, everything else is real.

use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};
use coffre_testkit::coffre::Coffre;
use coffre_testkit::invariants::Invariants;
use coffre_testkit::strace::{Injection, inject};
use serde_json::{Value, json};

use crate::program;
use crate::shop::{address, artifact, backups, files, protected, sqlite, text};

/// Night `n` at three, of a winter without a change of clocks; each a minute later than the one before, so that whole days have always
/// passed.
fn night(n: i64) -> DateTime<Utc> {
    "2026-01-05T03:00:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::days(n - 1) + TimeDelta::minutes(n)
}

/// Every later command believes that it is this time.
fn at(coffre: &mut Coffre, time: DateTime<Utc>) {
    let time = time.format("%Y-%m-%dT%H:%M:%SZ").to_string();
    crate::schedule::forget_dead_clocks();
    coffre.under(["faketime", "--exclude-monotonic", &time].map(Into::into).to_vec());
}

/// A home at night 1, with the shop and a plan `nightly` with these rules.
fn planned(rules: &[&str]) -> (Coffre, PathBuf) {
    let mut coffre = Coffre::new(program());
    coffre.set("TZ", "Europe/Paris");
    at(&mut coffre, night(1) - TimeDelta::hours(1));
    plan(coffre, rules)
}

/// The same in a home that is there.
fn plan(coffre: Coffre, rules: &[&str]) -> (Coffre, PathBuf) {
    let db = coffre.work("shop.db");
    crate::shop::small(&db);
    coffre.ok(["source", "add", &address(&db), "--name", "shop"]);
    let disk = coffre.destination_folder("disk");
    coffre.ok(["destination", "add", &format!("file://{}", disk.display()), "--name", "disk"]);
    let mut line = vec![
        "plan", "add", "--name", "nightly", "--source", "shop", "--to", "disk", "--every", "daily",
    ];
    line.extend(rules);
    coffre.ok(line);
    (coffre, disk)
}

/// Makes the plan's backup of a night, and answers what the terminal says.
fn run_night(coffre: &mut Coffre, n: i64) -> Value {
    at(coffre, night(n));
    let answer = coffre.json(["backup", "--plan", "nightly"]);
    assert_eq!(answer["backup"]["state"], "verified", "{answer:#}");
    answer
}

fn cleanup(coffre: &Coffre, more: &[&str]) -> Value {
    let mut line = vec!["cleanup"];
    line.extend(more);
    coffre.json(line)["cleanup"].clone()
}

fn verified(coffre: &Coffre) -> usize {
    backups(coffre).iter().filter(|b| b["state"] == "verified").count()
}

fn artifacts(folder: &Path) -> usize {
    let found = files(folder);
    assert_eq!(found.iter().filter(|name| !name.contains("BKP-")).count(), 0, "{found:?}");
    found.iter().filter(|name| !name.ends_with(".manifest.json")).count()
}

fn reasons(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|told| text(told, "reason")).collect()
}

#[test]
fn old_ones_go_into_the_bin_and_days_later_for_good() {
    let (mut coffre, disk) = planned(&["--keep-last", "3"]);
    for n in 1..=3 {
        let answer = run_night(&mut coffre, n);
        assert_eq!(answer["retention"]["leaving"], 0, "{answer:#}");
    }
    let answer = run_night(&mut coffre, 4);
    assert_eq!(answer["retention"]["leaving"], 1, "{answer:#}");
    assert_eq!(answer["retention"]["removed"], 0);
    // In the bin it is as good as ever: there, green, restorable, and it says when it goes.
    let first = backups(&coffre).pop().unwrap();
    assert_eq!(first["state"], "verified");
    let leaves: DateTime<Utc> = text(&first, "leaves_at").parse().unwrap();
    assert_eq!((leaves - night(4)).num_minutes(), 3 * 24 * 60, "{first:#}");
    assert_eq!(artifacts(&disk), 4);
    coffre.ok(["restore", text(&first, "code"), "--dry-run"]);

    let foreign = disk.join("notes.txt");
    std::fs::write(&foreign, "mine").unwrap();
    let beside = artifact_at(&disk, &first).parent().unwrap().join("holiday.zip");
    std::fs::write(&beside, "mine too").unwrap();
    for n in 5..=6 {
        assert_eq!(run_night(&mut coffre, n)["retention"]["removed"], 0);
    }
    // The first is gone for good, and nothing else.
    let answer = run_night(&mut coffre, 7);
    assert_eq!(answer["retention"]["removed"], 1, "{answer:#}");
    let gone = coffre.json(["show", text(&first, "code")]);
    assert_eq!(gone["backup"]["state"], "deleted");
    assert!(!artifact_at(&disk, &first).exists());
    for path in [&foreign, &beside] {
        assert!(path.exists(), "a file that is not ours");
        std::fs::remove_file(path).unwrap();
    }
    assert_eq!(artifacts(&disk), verified(&coffre));
    let journal = coffre.json(["journal", "--limit", "100"]);
    let actions: Vec<&str> = journal["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| text(e, "action"))
        .collect();
    assert!(
        actions.contains(&"backup.leave") && actions.contains(&"backup.delete"),
        "{actions:?}"
    );
    Invariants::of(&coffre).assert();
}

fn artifact_at(disk: &Path, backup: &Value) -> PathBuf {
    disk.join(text(&backup["copies"][0], "key"))
}

#[test]
fn forty_nights_by_day_week_and_month() {
    let (mut coffre, disk) = planned(&["--retention", "7d-4w-12m"]);
    coffre.ok(["settings", "set", "bin_days", "0"]);
    for n in 1..=40 {
        let answer = run_night(&mut coffre, n);
        assert_eq!(answer["retention"]["stopped"], Value::Null, "{answer:#}");
    }
    let report = cleanup(&coffre, &["--dry-run"]);
    let days: Vec<&str> = report["kept"]
        .as_array()
        .unwrap()
        .iter()
        .map(|b| &text(b, "started_at")[..10])
        .collect();
    let expected = [
        // Seven days, to Saturday the 8th; then the Sundays of four weeks (this one's last is its newest); and the last of January.
        "2026-02-13",
        "2026-02-12",
        "2026-02-11",
        "2026-02-10",
        "2026-02-09",
        "2026-02-08",
        "2026-02-07",
        "2026-02-01",
        "2026-01-31",
        "2026-01-25",
    ];
    assert_eq!(days, expected);
    assert_eq!(
        reasons(&report["kept"])[0],
        "daily 2026-02-13, weekly 2026-W07, monthly 2026-02"
    );
    assert_eq!(
        report["kept"][0]["reasons"][1],
        json!({"rule": "weekly", "period": "2026-W07"})
    );
    assert_eq!(artifacts(&disk), expected.len());
    Invariants::of(&coffre).assert();
}

#[test]
fn a_pin_takes_one_back_and_unpinned_it_leaves_again() {
    let (mut coffre, _) = planned(&["--keep-last", "1"]);
    let first = run_night(&mut coffre, 1)["backup"].clone();
    run_night(&mut coffre, 2);
    let code = text(&first, "code");
    assert!(coffre.json(["show", code])["backup"]["leaves_at"].is_string());
    let pinned = coffre.json(["pin", code]);
    assert_eq!(pinned["backup"]["leaves_at"], Value::Null);
    for n in 3..=7 {
        run_night(&mut coffre, n);
    }
    assert_eq!(coffre.json(["show", code])["backup"]["state"], "verified");
    let kept = cleanup(&coffre, &["--dry-run"])["kept"].clone();
    assert!(reasons(&kept).contains(&"pinned"), "{kept:#}");
    coffre.ok(["unpin", code]);
    let answer = run_night(&mut coffre, 8);
    assert_eq!(
        answer["retention"]["leaving"], 2,
        "the pinned one and last night’s: {answer:#}"
    );
    run_night(&mut coffre, 12);
    assert_eq!(coffre.json(["show", code])["backup"]["state"], "deleted");
}

#[test]
fn backups_made_by_hand_never_leave() {
    let (mut coffre, disk) = planned(&["--keep-last", "1"]);
    for n in 1..=3 {
        at(&mut coffre, night(n));
        coffre.ok(["backup", "--source", "shop", "--to", "disk"]);
    }
    run_night(&mut coffre, 4);
    for n in [60, 61, 120, 121] {
        run_night(&mut coffre, n);
    }
    cleanup(&coffre, &["--keep-days", "1"]);
    at(&mut coffre, night(140));
    cleanup(&coffre, &["--keep-days", "1", "--plan", "nightly", "--yes"]);
    let left = backups(&coffre);
    assert_eq!(left.iter().filter(|b| b["plan"] == Value::Null).count(), 3, "{left:#?}");
    assert_eq!(left.iter().filter(|b| b["plan"] == "nightly").count(), 1, "{left:#?}");
    assert_eq!(artifacts(&disk), 4);
}

#[test]
fn the_last_verified_one_never_leaves() {
    let (mut coffre, disk) = planned(&[]);
    for zero in [["--keep-last", "0"], ["--keep-days", "0"], ["--keep-min", "0"]] {
        let mut line = vec!["plan", "edit", "nightly"];
        line.extend(zero);
        coffre.fails(line, "USAGE", 2);
    }
    coffre.ok(["plan", "edit", "nightly", "--keep-days", "1"]);
    coffre.ok(["settings", "set", "bin_days", "0"]);
    run_night(&mut coffre, 1);
    at(&mut coffre, night(500));
    let report = cleanup(&coffre, &["--plan", "nightly", "--yes"]);
    assert_eq!(reasons(&report["kept"]), ["the fewest to keep: 1"], "{report:#}");
    let report = cleanup(&coffre, &["--plan", "nightly", "--keep-days", "1", "--yes"]);
    assert_eq!((report["removed"].as_array().unwrap().len(), verified(&coffre)), (0, 1));
    assert_eq!(artifacts(&disk), 1);
}

#[test]
fn without_rules_nothing_leaves_and_keep_days_asks_for_this_once() {
    let (mut coffre, disk) = planned(&[]);
    for n in 1..=3 {
        let answer = run_night(&mut coffre, n);
        assert_eq!(answer["retention"], Value::Null, "nothing to decide");
    }
    let report = cleanup(&coffre, &["--dry-run"]);
    assert_eq!(reasons(&report["kept"]), ["no rules"; 3]);
    let dry = cleanup(&coffre, &["--dry-run", "--keep-days", "2"]);
    assert_eq!(reasons(&dry["leaving"]), ["older than 2 days, as asked"]);
    assert_eq!(
        reasons(&dry["kept"]),
        ["younger than 2 days"; 2],
        "what was asked, not the plan's rules"
    );
    assert!(dry["bytes"].as_u64() > Some(0) && dry["leaving"][0]["leaves_at"].is_string());
    assert_eq!(
        backups(&coffre).iter().filter(|b| b["leaves_at"].is_string()).count(),
        0,
        "a dry run changes nothing"
    );
    cleanup(&coffre, &["--keep-days", "2"]);
    // What a person asked for is not taken back because the plan has no rule for it.
    for n in 4..=7 {
        run_night(&mut coffre, n);
    }
    assert_eq!(artifacts(&disk), 6);
    let french = coffre.ok(["--lang", "fr", "cleanup", "--dry-run"]).stdout;
    assert!(
        french.contains("Rien n’a été modifié") && french.contains("pas de règle"),
        "{french}"
    );
}

#[test]
fn so_much_at_once_stops_until_a_person_says_that_it_is_right() {
    let (mut coffre, disk) = planned(&[]);
    for n in 1..=8 {
        run_night(&mut coffre, n);
    }
    coffre.ok(["plan", "edit", "nightly", "--keep-last", "2"]);
    let answer = run_night(&mut coffre, 9);
    assert_eq!(answer["retention"]["stopped"]["code"], "REFUSED", "{answer:#}");
    let message = text(&answer["retention"]["stopped"], "message");
    assert!(message.contains("7 of its 9"), "{message}");
    let dry = cleanup(&coffre, &["--dry-run", "--plan", "nightly"]);
    assert_eq!(dry["leaving"].as_array().unwrap().len(), 7);
    assert_eq!(dry["stopped"]["code"], "REFUSED");
    let refused = coffre.fails(["cleanup"], "REFUSED", 4).json();
    assert_eq!(refused["cleanup"]["removed"], json!([]));
    // It stays so, however many are made meanwhile.
    for n in 10..=18 {
        assert!(run_night(&mut coffre, n)["retention"]["stopped"].is_object());
    }
    assert_eq!(artifacts(&disk), 18);
    let stops = |coffre: &Coffre| {
        let journal = coffre.json(["journal", "--limit", "1000"]);
        journal["entries"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|e| e["action"] == "retention.stop")
            .count()
    };
    assert_eq!(stops(&coffre), 1, "told once, not every night");
    coffre.fails(["cleanup", "--yes"], "USAGE", 2);
    let report = cleanup(&coffre, &["--plan", "nightly", "--yes"]);
    assert_eq!(report["leaving"].as_array().unwrap().len(), 16);
    let removed = (19..=22).map(|n| run_night(&mut coffre, n)["retention"]["removed"].as_u64().unwrap());
    assert!(
        (16..=17).contains(&removed.sum::<u64>()),
        "those sixteen, and perhaps last night’s"
    );
    Invariants::of(&coffre).assert();
}

#[test]
fn a_clock_that_jumped_takes_nothing() {
    let (mut coffre, disk) = planned(&["--keep-days", "3"]);
    for n in 1..=6 {
        run_night(&mut coffre, n);
    }
    assert_eq!(backups(&coffre).iter().filter(|b| b["leaves_at"].is_string()).count(), 3);
    // Ten years ahead: everything would be old, and everything in the bin due.
    let years = TimeDelta::days(3653);
    at(&mut coffre, night(6) + years);
    for _ in 0..2 {
        let refused = coffre.fails(["cleanup"], "REFUSED", 4);
        assert!(refused.stdout.contains("nothing was recorded between"), "{refused}");
    }
    for minutes in [0, 5] {
        at(&mut coffre, night(6) + years + TimeDelta::minutes(minutes));
        let answer = coffre.json(["backup", "--plan", "nightly"]);
        assert_eq!(answer["retention"]["stopped"]["code"], "REFUSED", "{answer:#}");
    }
    assert_eq!(artifacts(&disk), 8);
    // Put right: two backups say that they are of the future, and until they are gone nothing leaves.
    let answer = run_night(&mut coffre, 7);
    assert!(
        text(&answer["retention"]["stopped"], "message").contains("clocks is wrong"),
        "{answer:#}"
    );
    at(&mut coffre, night(7) - TimeDelta::days(3653));
    let answer = coffre.json(["backup", "--plan", "nightly"]);
    assert!(answer["retention"]["stopped"].is_object(), "ten years back: {answer:#}");
    assert_eq!(artifacts(&disk), 10);
    at(&mut coffre, night(8));
    for backup in backups(&coffre) {
        if text(&backup, "started_at") > "2030" {
            coffre.ok(["delete", text(&backup, "code"), "--yes"]);
        }
    }
    let answer = run_night(&mut coffre, 8);
    assert_eq!(answer["retention"]["stopped"], Value::Null, "{answer:#}");
    assert!(answer["retention"]["removed"].as_u64() >= Some(1), "{answer:#}");
    Invariants::of(&coffre).assert();
}

#[test]
fn a_rebuilt_catalogue_waits_for_a_person() {
    let (mut coffre, disk) = planned(&["--keep-last", "2"]);
    let first = run_night(&mut coffre, 1)["backup"].clone();
    coffre.ok(["pin", text(&first, "code")]);
    for n in 2..=4 {
        run_night(&mut coffre, n);
    }
    for name in ["catalogue.db", "catalogue.db-wal", "catalogue.db-shm"] {
        let path = coffre.home().join(name);
        if path.exists() {
            std::fs::remove_file(path).unwrap();
        }
    }
    at(&mut coffre, night(5) - TimeDelta::hours(1));
    coffre.ok(["catalogue", "rebuild", "--from", &format!("file://{}", disk.display())]);
    let db = coffre.work("shop.db");
    coffre.ok(["source", "add", &address(&db), "--name", "shop"]);
    let place = coffre.json(["destination", "list"])["destinations"][0]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    let line = [
        "plan",
        "add",
        "--name",
        "nightly",
        "--source",
        "shop",
        "--to",
        &place,
        "--every",
        "daily",
        "--keep-last",
        "2",
    ];
    coffre.ok(line);
    coffre.ok(["verify", "--all"]);
    for n in 5..=9 {
        let answer = run_night(&mut coffre, n);
        let message = text(&answer["retention"]["stopped"], "message");
        assert!(message.contains("taken in again"), "{answer:#}");
    }
    coffre.fails(["cleanup"], "REFUSED", 4);
    assert_eq!(artifacts(&disk), 9, "the pin is lost, the backup is not");
    coffre.ok(["pin", text(&first, "code")]);
    cleanup(&coffre, &["--plan", "nightly", "--yes"]);
    for n in 10..=13 {
        let answer = run_night(&mut coffre, n);
        assert_eq!(answer["retention"]["stopped"], Value::Null, "{answer:#}");
    }
    assert!(artifacts(&disk) < 10, "the others leave as they should");
    assert_eq!(coffre.json(["show", text(&first, "code")])["backup"]["state"], "verified");
    Invariants::of(&coffre).assert();
}

#[test]
fn a_destination_that_is_away_is_tried_again() {
    let (mut coffre, disk) = planned(&["--keep-last", "2"]);
    let nas = coffre.destination_folder("nas");
    coffre.ok(["destination", "add", &format!("file://{}", nas.display()), "--name", "nas"]);
    coffre.ok(["plan", "edit", "nightly", "--to", "disk", "--to", "nas"]);
    for n in 1..=4 {
        run_night(&mut coffre, n);
    }
    let away = coffre.work("unplugged");
    std::fs::rename(&nas, &away).unwrap();
    at(&mut coffre, night(8));
    let report = cleanup(&coffre, &["--plan", "nightly", "--yes"]);
    assert_eq!(report["removed"], json!([]), "{report:#}");
    assert_eq!(report["waiting"].as_array().unwrap().len(), 2, "{report:#}");
    // Nothing was begun: both copies of both are there.
    assert_eq!((artifacts(&disk), artifacts(&away), verified(&coffre)), (4, 4, 4));
    std::fs::rename(&away, &nas).unwrap();
    let report = cleanup(&coffre, &["--plan", "nightly", "--yes"]);
    assert_eq!(report["removed"].as_array().unwrap().len(), 2, "{report:#}");
    assert_eq!((artifacts(&disk), artifacts(&nas), verified(&coffre)), (2, 2, 2));
    Invariants::of(&coffre).assert();
}

#[test]
fn nothing_goes_when_what_should_stay_is_not_there() {
    let (mut coffre, disk) = planned(&["--keep-last", "2"]);
    let first = run_night(&mut coffre, 1)["backup"].clone();
    let others: Vec<Value> = (2..=3).map(|n| run_night(&mut coffre, n)["backup"].clone()).collect();
    let second = others[0].clone();
    run_night(&mut coffre, 4);
    // Somebody tidies the folder up, and leaves only what is in the bin.
    for backup in &backups(&coffre)[..2] {
        std::fs::remove_file(artifact_at(&disk, backup)).unwrap();
    }
    at(&mut coffre, night(8));
    let stopped = coffre.fails(["cleanup", "--plan", "nightly", "--yes"], "REFUSED", 4);
    assert!(stopped.stdout.contains("none of the backups that stay"), "{stopped}");
    assert!(artifact_at(&disk, &first).exists() && artifact_at(&disk, &second).exists());
    // Found out by reading: the two become the last good ones, and are taken back.
    assert_eq!(coffre.run(["verify", "--all"]).status, Some(3));
    cleanup(&coffre, &["--plan", "nightly", "--yes"]);
    for code in [text(&first, "code"), text(&second, "code")] {
        assert_eq!(coffre.json(["show", code])["backup"]["leaves_at"], Value::Null);
    }
    Invariants::of(&coffre).assert();
}

#[test]
fn killed_while_it_removes_and_continued() {
    let (mut coffre, disk) = plan(Coffre::new(program()), &[]);
    coffre.ok(["settings", "set", "bin_days", "0"]);
    for _ in 0..5 {
        coffre.ok(["backup", "--plan", "nightly"]);
    }
    coffre.ok(["plan", "edit", "nightly", "--keep-last", "2"]);
    let newest: Vec<String> = backups(&coffre)[..2].iter().map(|b| text(b, "code").to_owned()).collect();
    let mut killed = 0;
    for when in 1..60 {
        coffre.under(inject("unlink,unlinkat", Injection::KillBefore, &when.to_string()));
        let outcome = coffre.run(["--json", "cleanup"]);
        coffre.under(Vec::new());
        let left = backups(&coffre);
        let green: Vec<&str> = left
            .iter()
            .filter(|b| b["state"] == "verified")
            .map(|b| text(b, "code"))
            .collect();
        assert!(newest.iter().all(|code| green.contains(&code.as_str())), "{when}: {left:#?}");
        let wrong = Invariants::of(&coffre).violations();
        assert!(wrong.is_empty(), "killed before the {when}.:\n{}", wrong.join("\n"));
        if outcome.status == Some(0) {
            break;
        }
        assert_eq!(outcome.signal, Some(libc::SIGKILL), "{outcome}");
        killed += 1;
    }
    assert!(killed >= 2, "killed only {killed} times");
    assert_eq!((verified(&coffre), artifacts(&disk)), (2, 2));
}

#[test]
fn a_source_that_shrank_pushes_nothing_out_until_it_is_acknowledged() {
    let (mut coffre, _) = planned(&["--keep-last", "2"]);
    for n in 1..=2 {
        run_night(&mut coffre, n);
    }
    sqlite(&coffre.work("shop.db"), "DELETE FROM customers WHERE id > 20");
    for n in 3..=9 {
        let answer = run_night(&mut coffre, n);
        assert_eq!(answer["backup"]["flags"], json!(["shrunk"]), "{answer:#}");
        assert_eq!(answer["retention"]["leaving"], 0, "{answer:#}");
    }
    assert_eq!(verified(&coffre), 9);
    let kept = cleanup(&coffre, &["--dry-run", "--keep-days", "1"])["kept"].clone();
    assert_eq!(kept.as_array().unwrap().len(), 9, "not even when asked: {kept:#}");
    let newest = backups(&coffre).remove(0);
    let seen = coffre.json(["acknowledge", text(&newest, "code")]);
    assert!(seen["backup"]["acknowledged_at"].is_string());
    let answer = run_night(&mut coffre, 10);
    assert_eq!(
        answer["backup"]["flags"],
        json!([]),
        "as large as what was found to be right: {answer:#}"
    );
    assert_eq!(answer["retention"]["leaving"], 2, "the two of before: {answer:#}");
    let usual = text(&answer["backup"], "code").to_owned();
    coffre.fails(["acknowledge", &usual], "REFUSED", 4);
}

#[test]
fn what_failed_leaves_after_thirty_days() {
    let (mut coffre, _) = planned(&["--keep-last", "5"]);
    run_night(&mut coffre, 1);
    let (db, aside) = (coffre.work("shop.db"), coffre.work("aside.db"));
    std::fs::rename(&db, &aside).unwrap();
    at(&mut coffre, night(2));
    assert_eq!(coffre.run(["backup", "--plan", "nightly"]).status, Some(1));
    std::fs::rename(&aside, &db).unwrap();
    for n in [16, 30, 34, 38] {
        run_night(&mut coffre, n);
    }
    let states: Vec<Value> = backups(&coffre).iter().map(|b| b["state"].clone()).collect();
    assert_eq!(
        states, ["verified"; 5],
        "the record of the failure has left, the five have not"
    );
}

#[test]
fn a_simulation_tells_the_next_ninety_days() {
    let (mut coffre, _) = planned(&["--keep-last", "3"]);
    for n in 1..=3 {
        run_night(&mut coffre, n);
    }
    let told = coffre.json(["plan", "simulate", "nightly"]);
    let departures = told["simulation"].as_array().unwrap();
    // One a night from tomorrow on, three days in the bin: the last to go within ninety days is chosen 87 days from now.
    assert_eq!(departures.len(), 87, "{told:#}");
    let oldest = backups(&coffre).pop().unwrap();
    assert_eq!(departures[0]["code"], oldest["code"]);
    assert_eq!(&text(&departures[0], "leaves_at")[..10], "2026-01-11");
    assert_eq!(departures[0]["reason"], "no rule keeps it");
    assert_eq!(departures[86]["code"], Value::Null);
    // What was foretold comes true.
    run_night(&mut coffre, 4);
    let first = coffre.json(["show", text(&oldest, "code")]);
    assert_eq!(
        text(&first["backup"], "leaves_at")[..10],
        text(&departures[0], "leaves_at")[..10]
    );
    coffre.ok(["plan", "edit", "nightly", "--retention", "none"]);
    assert!(
        coffre
            .ok(["plan", "simulate", "nightly"])
            .stdout
            .contains("nothing ever leaves")
    );
}

#[test]
fn a_safety_copy_and_a_guard_are_made_by_hand() {
    let (coffre, _) = protected();
    let first = coffre.json(["backup", "--source", "shop"])["backup"].clone();
    let report = cleanup(&coffre, &["--keep-days", "1"]);
    assert_eq!(report["leaving"], json!([]));
    assert!(artifact(&coffre, &first).exists());
}
