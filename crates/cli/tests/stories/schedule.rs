//! Plans that run by themselves: the daemon, the clock, laptops that sleep, two daemons, a clean stop.

use std::time::{Duration, Instant};

use coffre_testkit::coffre::Coffre;
use coffre_testkit::invariants::Invariants;
use coffre_testkit::wait_until;
use serde_json::Value;

use crate::shop::{address, backups, files, large, protected, text};

const SIGTERM: i32 = 15;

/// What follows is told this time by its clock, which goes on from there. Not by the program `faketime`: signals would reach that alone.
fn faked(time: &str) -> Vec<std::ffi::OsString> {
    let library = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64"]
        .iter()
        .map(|folder| format!("{folder}/faketime/libfaketimeMT.so.1"))
        .find(|path| std::path::Path::new(path).exists())
        .expect("libfaketime (./dev setup installs it)");
    vec![
        "env".into(),
        format!("LD_PRELOAD={library}").into(),
        format!("FAKETIME=@{time}").into(),
        "FAKETIME_DONT_FAKE_MONOTONIC=1".into(),
        "DONT_FAKE_MONOTONIC=1".into(),
    ]
}

pub(crate) fn clock(coffre: &mut Coffre, time: &str) {
    coffre.set("TZ", "UTC");
    coffre.under(faked(time));
}

fn real_clock(coffre: &mut Coffre) {
    coffre.under(Vec::new());
}

pub(crate) fn plan(coffre: &Coffre, more: &[&str]) -> Value {
    coffre.ok([
        "destination",
        "add",
        &format!("file://{}", coffre.destination_folder("safe").display()),
        "--name",
        "safe",
    ]);
    let line = ["plan", "add", "--name", "nightly", "--source", "shop", "--to", "safe"];
    coffre.json([&line, more].concat())["plan"].clone()
}

fn status(coffre: &Coffre) -> Value {
    coffre.json(["scheduler", "status"])["scheduler"].clone()
}

fn triggers(coffre: &Coffre) -> Vec<String> {
    backups(coffre)
        .iter()
        .map(|backup| text(backup, "trigger").to_owned())
        .collect()
}

#[test]
fn a_plan_says_when_it_runs_in_both_languages() {
    let (mut coffre, _) = protected();
    clock(&mut coffre, "2027-03-26 12:00:00");
    let made = plan(
        &coffre,
        &["--cron", "30 2 * * *", "--time-zone", "Europe/Paris", "--wait-for-network"],
    );
    assert_eq!(
        (&made["every"], &made["schedule"]["wait_for_network"]),
        (&"daily".into(), &true.into())
    );
    let shown = coffre.json(["plan", "show", "nightly"])["schedule"].clone();
    assert_eq!(shown["words"], "every day, at 02:30 (Europe/Paris)");
    assert_eq!(shown["next"][0]["at"], "2027-03-27T01:30:00Z");
    // Clocks go forward that night: the first instant after the gap.
    assert_eq!(
        (&shown["next"][1]["at"], &shown["next"][1]["remark"]),
        (&"2027-03-28T01:00:00Z".into(), &"clock_forward".into())
    );
    let french = coffre.ok(["--lang", "fr", "plan", "show", "nightly"]).stdout;
    assert!(
        french.contains("chaque jour, à 02:30 (Europe/Paris)") && french.contains("2027-03-28 03:00"),
        "{french}"
    );
    let edited = coffre.json(["plan", "edit", "nightly", "--every", "weekly"])["plan"].clone();
    assert_eq!(
        (&edited["schedule"]["cron"], &edited["schedule"]["time_zone"]),
        (&"0 3 * * 1".into(), &"Europe/Paris".into())
    );
}

#[test]
fn what_never_runs_is_refused_with_the_reason() {
    let (coffre, _) = protected();
    plan(&coffre, &[]);
    for (cron, words) in [
        ("0 0 31 2 *", "never"),
        ("* * * * * *", "econds"),
        ("0 3 * *", "five"),
        ("61 * * * *", "Field 1"),
    ] {
        let refused = coffre.fails(["plan", "edit", "nightly", "--cron", cron], "USAGE", 2).json();
        assert!(text(&refused["error"], "message").contains(words), "{refused:#}");
        assert!(!text(&refused["error"], "hint").is_empty());
    }
    coffre.fails(
        ["plan", "edit", "nightly", "--every", "daily", "--time-zone", "Europe/Pariss"],
        "USAGE",
        2,
    );
    coffre.fails(["plan", "edit", "nightly", "--time-zone", "Europe/Paris"], "USAGE", 2);
    coffre.fails(["serve", "--listen", "127.0.0.1:7878"], "REFUSED", 4);
    assert_eq!(coffre.json(["plan", "show", "nightly"])["plan"]["schedule"], Value::Null);
}

#[test]
fn closed_for_three_days_makes_one_catch_up() {
    let (mut coffre, _) = protected();
    clock(&mut coffre, "2026-11-17 12:00:00");
    plan(&coffre, &["--every", "daily"]);
    assert_eq!(coffre.json(["scheduler", "run"])["ran"], Value::Array(vec![]));
    clock(&mut coffre, "2026-11-18 03:00:10");
    assert_eq!(coffre.json(["scheduler", "run"])["ran"][0]["trigger"], "scheduled");
    clock(&mut coffre, "2026-11-21 09:00:00");
    let ran = coffre.json(["scheduler", "run"]);
    assert_eq!(
        (&ran["ran"][0]["trigger"], &ran["ran"][0]["state"]),
        (&"catch_up".into(), &"verified".into())
    );
    let plan = status(&coffre)["plans"][0].clone();
    assert_eq!(
        (&plan["successes"], &plan["missed"], &plan["failures"]),
        (&2.into(), &2.into(), &0.into())
    );
    assert_eq!(plan["next_run"], "2026-11-22T03:00:00Z");
    assert_eq!(coffre.json(["scheduler", "run"])["ran"], Value::Array(vec![]));
    // Years ahead, and back: no storm, and the next slot still comes.
    clock(&mut coffre, "2030-01-01 12:00:00");
    assert_eq!(coffre.json(["scheduler", "run"])["ran"].as_array().unwrap().len(), 1);
    clock(&mut coffre, "2026-11-21 10:00:00");
    assert_eq!(coffre.json(["scheduler", "run"])["ran"], Value::Array(vec![]));
    clock(&mut coffre, "2026-11-22 03:00:05");
    assert_eq!(coffre.json(["scheduler", "run"])["ran"].as_array().unwrap().len(), 1);
    assert_eq!(triggers(&coffre).len(), 4);
    let by = coffre.json(["journal"])["entries"].clone();
    assert!(
        by.as_array()
            .unwrap()
            .iter()
            .any(|e| e["action"] == "backup.run" && e["author"] == "schedule"),
        "{by:#}"
    );
}

#[test]
fn a_pause_is_not_made_up_for() {
    let (mut coffre, _) = protected();
    clock(&mut coffre, "2026-11-17 12:00:00");
    plan(&coffre, &["--every", "hourly"]);
    coffre.ok(["plan", "pause", "nightly"]);
    clock(&mut coffre, "2026-11-17 15:30:00");
    assert_eq!(coffre.json(["scheduler", "run"])["ran"], Value::Array(vec![]));
    assert_eq!(status(&coffre)["plans"][0]["next_run"], Value::Null);
    coffre.ok(["plan", "resume", "nightly"]);
    assert_eq!(coffre.json(["scheduler", "run"])["ran"], Value::Array(vec![]));
    coffre.ok(["scheduler", "pause"]);
    clock(&mut coffre, "2026-11-17 18:30:00");
    assert_eq!(coffre.json(["scheduler", "run"])["ran"], Value::Array(vec![]));
    coffre.ok(["scheduler", "resume"]);
    clock(&mut coffre, "2026-11-17 19:00:05");
    assert_eq!(coffre.json(["scheduler", "run"])["ran"].as_array().unwrap().len(), 1);
    assert_eq!(status(&coffre)["plans"][0]["missed"], 0);
}

#[test]
fn two_daemons_run_each_slot_once_and_end_in_order() {
    let (mut coffre, _) = protected();
    clock(&mut coffre, "2026-11-17 12:00:00");
    plan(&coffre, &["--cron", "* * * * *"]);
    clock(&mut coffre, "2026-11-17 12:00:56");
    let daemons = [coffre.spawn(["serve"]), coffre.spawn(["serve"])];
    assert!(wait_until(Duration::from_secs(150), || backups(&coffre)
        .iter()
        .filter(|b| b["state"] == "verified")
        .count()
        >= 2));
    assert_eq!(status(&coffre)["running"], true);
    for daemon in &daemons {
        daemon.signal(SIGTERM);
    }
    for daemon in daemons {
        let ended = daemon.wait();
        assert_eq!(ended.status, Some(0), "{ended}");
    }
    assert_eq!(status(&coffre)["running"], false);
    let figures = status(&coffre)["plans"][0].clone();
    assert_eq!(figures["successes"], backups(&coffre).len(), "{figures:#}");
    assert_eq!((&figures["missed"], &figures["failures"]), (&0.into(), &0.into()));
    assert!(!coffre.home().join("catalogue.db-wal").exists());
}

/// A plan whose run takes some seconds.
fn slow(coffre: &Coffre) {
    let db = coffre.work("large.db");
    large(&db, 200);
    coffre.ok(["source", "add", &address(&db), "--name", "large"]);
    coffre.ok([
        "destination",
        "add",
        &format!("file://{}", coffre.destination_folder("safe").display()),
        "--name",
        "safe",
    ]);
    coffre.ok([
        "plan",
        "add",
        "--name",
        "big",
        "--source",
        "large",
        "--to",
        "safe",
        "--every",
        "daily",
        "--compression",
        "zstd:19",
    ]);
}

#[test]
fn asked_to_end_in_the_middle_of_a_run_and_killed_on_its_slot() {
    let (mut coffre, _) = protected();
    clock(&mut coffre, "2026-11-17 12:00:00");
    slow(&coffre);
    clock(&mut coffre, "2026-11-18 03:00:05");
    let begun = |coffre: &Coffre, n: usize| {
        let running = || backups(coffre).len() == n && backups(coffre)[0]["state"] == "running";
        assert!(wait_until(Duration::from_secs(30), running), "{:#?}", backups(coffre));
    };
    let daemon = coffre.spawn(["serve"]);
    begun(&coffre, 1);
    let asked = Instant::now();
    daemon.signal(SIGTERM);
    let ended = daemon.wait();
    assert_eq!(ended.status, Some(0), "{ended}");
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert_eq!(backups(&coffre)[0]["state"], "cancelled");
    // It is still due; killed in the middle of it, it is due again.
    clock(&mut coffre, "2026-11-18 03:01:00");
    let daemon = coffre.spawn(["serve"]);
    begun(&coffre, 2);
    daemon.kill();
    let plan = status(&coffre)["plans"][0].clone();
    assert_eq!(plan["due"], "2026-11-18T03:00:00Z", "{plan:#}");
    assert_eq!(text(&plan["waiting_for"], "code"), "INTERRUPTED");
    assert_eq!(backups(&coffre)[0]["state"], "interrupted");
    clock(&mut coffre, "2026-11-18 03:02:00");
    // In time for the test: what runs now is the same slot.
    coffre.ok(["plan", "edit", "big", "--compression", "none"]);
    let ran = coffre.json(["scheduler", "run"]);
    assert_eq!(ran["ran"][0]["state"], "verified", "{ran:#}");
    assert_eq!(files(&coffre.work("safe")).len(), 2);
    real_clock(&mut coffre);
    let wrong = Invariants::of(&coffre).violations();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn without_a_network_it_waits_and_says_so() {
    let (mut coffre, _) = protected();
    clock(&mut coffre, "2026-11-17 12:00:00");
    plan(&coffre, &["--every", "daily", "--wait-for-network"]);
    let line = ["unshare", "-n"].map(Into::into).to_vec();
    coffre.under([line, faked("2026-11-18 03:00:05")].concat());
    assert_eq!(coffre.json(["scheduler", "run"])["ran"], Value::Array(vec![]));
    let plan = status(&coffre)["plans"][0].clone();
    assert_eq!(
        (&plan["due"], &plan["last_run"]),
        (&"2026-11-18T03:00:00Z".into(), &Value::Null)
    );
    assert!(text(&plan["waiting_for"], "message").contains("network"), "{plan:#}");
    assert!(backups(&coffre).is_empty());
}
