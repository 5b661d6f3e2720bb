//! Plans that run by themselves: the daemon, the clock, laptops that sleep, two daemons, a clean stop.

use std::time::{Duration, Instant};

use coffre_testkit::coffre::Coffre;
use coffre_testkit::invariants::Invariants;
use coffre_testkit::wait_until;
use serde_json::Value;

use crate::shop::{address, backups, files, large, protected, text};

const SIGTERM: i32 = 15;

/// libfaketime names what it shares by the process, and a process that was killed leaves it behind: the next one with the same number cannot
/// begin (`sem_open: File exists`). What belongs to nobody any more goes.
pub(crate) fn forget_dead_clocks() {
    for entry in std::fs::read_dir("/dev/shm").unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let number = name
            .strip_prefix("faketime_shm_")
            .or_else(|| name.strip_prefix("sem.faketime_sem_"));
        if number.is_some_and(|number| !std::path::Path::new("/proc").join(number).exists()) {
            // Somebody else's story may have been quicker.
            let _gone_already = std::fs::remove_file(entry.path());
        }
    }
}

/// What follows is told this time by its clock, which goes on from there. Not by the program `faketime`: signals would reach that alone.
fn faked(time: &str) -> Vec<std::ffi::OsString> {
    forget_dead_clocks();
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
    clock(&mut coffre, "2026-11-19 09:00:00");
    let safe = |coffre: &Coffre| coffre.json(["source", "show", "shop"])["source"]["protection"].clone();
    assert_eq!(safe(&coffre)["state"], "protected", "one slot alone makes nothing stale");
    clock(&mut coffre, "2026-11-21 09:00:00");
    // Nobody watched the clock, so nobody wrote anything down; it is said all the same.
    let unsafe_now = safe(&coffre);
    assert_eq!(
        (&unsafe_now["state"], &unsafe_now["cause"]),
        (&"at_risk".into(), &"slots_missed".into())
    );
    assert_eq!(
        unsafe_now["behind"],
        serde_json::json!({"missed": 3, "failed": 0, "skipped": 0, "since": "2026-11-19T03:00:00Z"})
    );
    let french = coffre.ok(["--lang", "fr", "source", "list"]).stdout;
    assert!(
        french.contains("à risque") && french.contains("3 exécutions manquées depuis"),
        "{french}"
    );
    let ran = coffre.json(["scheduler", "run"]);
    assert_eq!(safe(&coffre)["state"], "protected");
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

/// Coffre's own work: once a day, made up for, shown; and the copy of the catalogue brings back what manifests do not know.
#[test]
fn own_work_is_done_once_a_day_and_a_lost_catalogue_comes_back_from_its_copy() {
    let (mut coffre, _) = protected();
    clock(&mut coffre, "2026-11-17 12:00:00");
    plan(&coffre, &["--every", "daily", "--keep-last", "5"]);
    coffre.ok(["backup", "--plan", "nightly", "--note", "before the copy"]);
    let jobs = |coffre: &Coffre| status(coffre)["jobs"].as_array().unwrap().clone();
    assert!(jobs(&coffre).iter().all(|job| job["last_run"] == Value::Null));
    let serve = |coffre: &Coffre, copies: usize| {
        let daemon = coffre.spawn(["serve"]);
        let kept = || coffre.json(["catalogue", "copies"])["copies"].as_array().unwrap().len();
        assert!(wait_until(Duration::from_secs(30), || kept() == copies));
        let all = || {
            jobs(coffre)
                .iter()
                .all(|job| job["last_run"] != Value::Null && job["last_error"] == Value::Null)
        };
        assert!(wait_until(Duration::from_secs(30), all), "{:#?}", jobs(coffre));
        daemon.signal(SIGTERM);
        assert_eq!(daemon.wait().status, Some(0));
    };
    serve(&coffre, 1);
    let next: Vec<Value> = jobs(&coffre).iter().map(|job| job["next_run"].clone()).collect();
    assert_eq!(
        next,
        ["2026-11-18T03:00:00Z", "2026-11-18T03:30:00Z", "2026-11-18T04:00:00Z"],
        "in the order of the day"
    );
    // Not again on the same day; and once for four nights in which nobody was there.
    clock(&mut coffre, "2026-11-17 13:00:00");
    serve(&coffre, 1);
    clock(&mut coffre, "2026-11-21 13:00:00");
    serve(&coffre, 2);
    assert_eq!(jobs(&coffre)[2]["next_run"], "2026-11-22T04:00:00Z");
    let refused = coffre.fails(["catalogue", "restore"], "REFUSED", 4);
    assert!(!refused.stdout.is_empty());

    let notes = |coffre: &Coffre| -> Vec<String> { backups(coffre).iter().map(|b| text(b, "note").to_owned()).collect() };
    let (known, plans) = (notes(&coffre), coffre.json(["plan", "list"])["plans"].clone());
    std::fs::write(coffre.home().join("catalogue.db"), "not a catalogue any more").unwrap();
    coffre.fails(["list"], "CATALOGUE_CORRUPT", 1);
    // The newest copy is damaged as well: the one before it is taken.
    let newest = text(&coffre.json(["catalogue", "copies"])["copies"][0], "path").to_owned();
    let whole = std::fs::read(&newest).unwrap();
    std::fs::write(&newest, &whole[..whole.len() / 2]).unwrap();
    let back = coffre.json(["catalogue", "restore"])["catalogue"].clone();
    assert_ne!(text(&back, "copy"), newest);
    assert!(std::path::Path::new(text(&back, "aside")).exists());
    let old = notes(&coffre);
    assert!(old.contains(&"before the copy".to_owned()), "{old:?}");
    assert_eq!(coffre.json(["plan", "list"])["plans"][0]["name"], plans[0]["name"]);
    // Nothing leaves until a person has looked; what came since is taken in again.
    coffre.ok(["plan", "edit", "nightly", "--keep-last", "1"]);
    let made = coffre.json(["backup", "--plan", "nightly"]);
    assert_eq!(text(&made["retention"]["stopped"], "code"), "REFUSED", "{made:#}");
    coffre.ok(["catalogue", "rebuild", "--from", "safe"]);
    assert_eq!(backups(&coffre).len(), known.len() + 1);
    real_clock(&mut coffre);
    let wrong = Invariants::of(&coffre).violations();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The machine sleeps while the daemon runs: elapsed time stands still, and the wall clock has gone on.
#[test]
fn a_daemon_that_slept_for_three_days_catches_up_once() {
    let (mut coffre, _) = protected();
    coffre.set("TZ", "UTC");
    plan(&coffre, &["--every", "daily"]);
    let offset = coffre.work("clock");
    std::fs::write(&offset, "+0").unwrap();
    let mut prefix = faked("unused");
    prefix.retain(|word| !word.to_string_lossy().starts_with("FAKETIME="));
    prefix.push(format!("FAKETIME_TIMESTAMP_FILE={}", offset.display()).into());
    prefix.push("FAKETIME_NO_CACHE=1".into());
    coffre.under(prefix);
    let daemon = coffre.spawn(["serve"]);
    assert!(wait_until(Duration::from_secs(30), || status(&coffre)["running"] == true));
    assert!(backups(&coffre).is_empty());
    std::fs::write(&offset, "+3d").unwrap();
    let woken = Instant::now();
    let caught_up = || backups(&coffre).iter().any(|b| b["state"] == "verified");
    assert!(wait_until(Duration::from_secs(60), caught_up), "{:#}", status(&coffre));
    assert!(woken.elapsed() < Duration::from_secs(60));
    assert_eq!(triggers(&coffre), ["catch_up"]);
    daemon.signal(SIGTERM);
    assert_eq!(daemon.wait().status, Some(0));
    let plan = status(&coffre)["plans"][0].clone();
    assert_eq!((&plan["successes"], &plan["missed"]), (&1.into(), &2.into()), "{plan:#}");
}
