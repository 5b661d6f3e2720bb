//! Class "concurrency": the same work asked for many times at once.

use std::time::Duration;

use coffre_testkit::coffre::{Coffre, Running};
use coffre_testkit::invariants::{Invariants, Snapshot};
use coffre_testkit::{send_signal, wait_until};

use crate::program;
use crate::shop::{address, artifact, back_up, backups, content, files, large, protected, small, text};

/// A run of a large source that stands still in the middle of its dump until it is dropped or continued.
fn standing_still(coffre: &Coffre) -> Running {
    let db = coffre.work("large.db");
    large(&db, 60);
    coffre.ok(["source", "add", &address(&db), "--name", "large"]);
    let running = coffre.spawn(["--json", "backup", "--source", "large", "--compression", "none"]);
    assert!(wait_until(Duration::from_secs(30), || {
        files(&coffre.home().join("backups")).iter().any(|f| f.ends_with(".partial"))
    }));
    running.signal(libc::SIGSTOP);
    running
}

#[test]
fn a_hundred_at_once_are_one_run_and_ninety_nine_busy() {
    let (mut coffre, _) = protected();
    coffre.set("COFFRE_MAX_PARALLEL_RUNS", "1");
    coffre.set("COFFRE_LEASE_SECONDS", "600");
    // It holds the only place for runs, so that the one of the hundred that gets through is still there when the last one asks.
    let mut other = standing_still(&coffre);
    let mut hundred: Vec<Running> = (0..100)
        .map(|_| coffre.spawn(["--json", "backup", "--source", "shop"]))
        .collect();
    let mut left = 100;
    assert!(
        wait_until(Duration::from_secs(110), || {
            left = hundred.iter_mut().filter_map(|r| (!r.is_finished()).then_some(())).count();
            left <= 1
        }),
        "{left} are still there"
    );
    assert!(!other.is_finished());
    other.signal(libc::SIGCONT);
    let outcomes: Vec<_> = hundred.into_iter().map(Running::wait).collect();
    let (done, busy): (Vec<_>, Vec<_>) = outcomes.iter().partition(|o| o.status == Some(0));
    assert_eq!(done.len(), 1, "{}", busy[0]);
    let id = text(&done[0].json()["backup"], "id").to_owned();
    for outcome in busy {
        assert_eq!(
            (outcome.status, outcome.error_code().as_str()),
            (Some(5), "BUSY"),
            "{outcome}"
        );
        assert!(outcome.json()["error"]["details"].to_string().contains(&id), "{outcome}");
    }
    assert_eq!(other.wait().status, Some(0));
    assert_eq!(backups(&coffre).len(), 2);
    Invariants::of(&coffre).assert();
}

#[test]
fn verifying_restoring_downloading_and_deleting_one_backup_at_once() {
    let (coffre, db) = protected();
    let kept = back_up(&coffre, "shop");
    let before = Snapshot::of(artifact(&coffre, &kept).parent().unwrap());
    for round in 0..3 {
        let code = text(&back_up(&coffre, "shop"), "code").to_owned();
        let (back, file) = (coffre.work(&format!("back{round}.db")), coffre.work(&format!("file{round}")));
        let commands = [
            vec!["verify".to_owned(), code.clone()],
            vec!["restore".into(), code.clone(), "--into".into(), address(&back)],
            vec!["download".into(), code.clone(), "--to".into(), file.display().to_string()],
            vec!["delete".into(), code.clone(), "--yes".into()],
            vec!["verify".into(), code.clone()],
        ];
        let running: Vec<Running> = commands
            .iter()
            .map(|c| coffre.spawn(std::iter::once("--json").chain(c.iter().map(String::as_str))))
            .collect();
        for outcome in running.into_iter().map(Running::wait) {
            let code = outcome.error_code();
            let fine = match outcome.status {
                Some(0) => code.is_empty(),
                Some(5) => code == "BUSY",
                // It was deleted first.
                Some(1) => code == "NOT_FOUND",
                Some(4) => code == "REFUSED",
                _ => false,
            };
            assert!(fine, "{outcome}");
            outcome.json();
        }
        if back.exists() {
            assert_eq!(content(&back), content(&db));
        }
        if coffre.json(["show", &code])["backup"]["state"] != "deleted" {
            coffre.ok(["verify", &code]);
            coffre.ok(["delete", &code, "--yes"]);
        }
        before.assert_kept();
    }
    Invariants::of(&coffre).assert();
}

#[test]
fn two_homes_share_one_destination() {
    let one = Coffre::new(program());
    let two = Coffre::new(program());
    let disk = one.destination_folder("disk");
    for coffre in [&one, &two] {
        let db = coffre.work("shop.db");
        small(&db);
        coffre.ok(["source", "add", &address(&db), "--name", "shop"]);
        coffre.ok(["destination", "add", &format!("file://{}", disk.display()), "--name", "disk"]);
    }
    for _ in 0..2 {
        let running: Vec<Running> = [&one, &two]
            .map(|c| c.spawn(["--json", "backup", "--source", "shop", "--to", "disk"]))
            .into_iter()
            .collect();
        for outcome in running.into_iter().map(Running::wait) {
            assert_eq!(outcome.status, Some(0), "{outcome}");
        }
    }
    assert_eq!(files(&disk).len(), 8);
    for coffre in [&one, &two] {
        coffre.ok(["verify", "--all"]);
        let code = text(&backups(coffre)[1], "code").to_owned();
        coffre.ok(["delete", &code, "--yes"]);
        Invariants::of(coffre).destination(&disk).assert();
    }
    assert_eq!(files(&disk).len(), 4);
    for coffre in [&one, &two] {
        coffre.ok(["verify", "--all"]);
    }
}

#[test]
fn the_places_for_runs_are_counted() {
    let (mut coffre, _) = protected();
    coffre.set("COFFRE_MAX_PARALLEL_RUNS", "1");
    coffre.set("COFFRE_LEASE_SECONDS", "600");
    let other = standing_still(&coffre);
    let mut waiting = coffre.spawn(["--json", "backup", "--source", "shop"]);
    assert!(wait_until(Duration::from_secs(20), || {
        coffre_testkit::invariants::ask_catalogue(&coffre.home(), "SELECT count(*) FROM backups WHERE state = 'running'") == ["2"]
    }));
    assert!(!waiting.is_finished());
    // A second place, and another process gets through while that one waits.
    let db = coffre.work("third.db");
    small(&db);
    coffre.ok(["source", "add", &address(&db), "--name", "third"]);
    coffre.set("COFFRE_MAX_PARALLEL_RUNS", "2");
    back_up(&coffre, "third");
    assert!(!waiting.is_finished());
    // Killed while it stands still: its place is free at once.
    assert!(send_signal(other.id().cast_signed(), libc::SIGKILL));
    assert_eq!(waiting.wait().status, Some(0));
    drop(other);
    let states: Vec<String> = backups(&coffre).iter().map(|b| text(b, "state").to_owned()).collect();
    assert_eq!(states.iter().filter(|s| *s == "interrupted").count(), 1, "{states:?}");
    Invariants::of(&coffre).assert();
}
