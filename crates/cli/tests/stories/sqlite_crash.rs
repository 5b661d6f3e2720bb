//! Class "crash": killed at every step that makes something durable or visible, and asked to stop in the middle.

use std::time::Duration;

use coffre_testkit::coffre::Coffre;
use coffre_testkit::invariants::{Invariants, Snapshot};
use coffre_testkit::strace::{DURABILITY, Injection, inject};
use coffre_testkit::wait_until;

use crate::shop::{address, artifact, back_up, backups, content, files, large, protected, text};

/// After a kill: the next start puts everything right, and nothing earlier has changed.
fn is_right_again(coffre: &Coffre, before: &Snapshot, what: &str) {
    let all = backups(coffre);
    for backup in &all {
        let state = text(backup, "state");
        assert!(["verified", "interrupted", "failed"].contains(&state), "{what}: {backup:#}");
    }
    before.assert_kept();
    let wrong = Invariants::of(coffre).violations();
    assert!(wrong.is_empty(), "{what}:\n{}", wrong.join("\n"));
    let green = all.iter().filter(|b| b["state"] == "verified").count();
    assert_eq!(
        files(&coffre.home().join("backups")).len(),
        green * 2,
        "{what}: an artifact and a manifest for each green one"
    );
}

/// Kills `command` at its first, second, … call of `calls`, until it comes through. Answers how often it was killed.
fn kill_everywhere(
    coffre: &mut Coffre,
    calls: &str,
    command: &[&str],
    step: usize,
    mut after: impl FnMut(&Coffre, &str),
) -> usize {
    let mut killed = 0;
    for when in (1..).step_by(step) {
        coffre.under(inject(calls, Injection::KillBefore, &when.to_string()));
        let outcome = coffre.run(command);
        coffre.under(Vec::new());
        if outcome.status == Some(0) {
            break;
        }
        killed += 1;
        after(coffre, &format!("killed before the {when}. of {calls}"));
        // It had answered already: what it said must be true, and only its own tidying was cut off.
        if !outcome.stdout.is_empty() {
            let newest = &coffre.json(["list"])["backups"][0];
            assert_eq!(newest["state"], "verified", "{outcome}\n{newest:#}");
            break;
        }
        assert!(when < 400, "it never comes through");
    }
    killed
}

#[test]
fn a_backup_is_killed_before_every_name_it_gives() {
    let (mut coffre, _) = protected();
    let first = back_up(&coffre, "shop");
    let before = Snapshot::of(artifact(&coffre, &first).parent().unwrap());
    let calls = "rename,renameat,renameat2,link,linkat,unlink,unlinkat";
    let killed = kill_everywhere(&mut coffre, calls, &["backup", "--source", "shop"], 1, |coffre, what| {
        is_right_again(coffre, &before, what);
    });
    assert!(killed >= 2, "killed only {killed} times");
    coffre.ok(["verify", "--all"]);
}

#[test]
fn a_backup_is_killed_before_every_sync() {
    let (mut coffre, _) = protected();
    let first = back_up(&coffre, "shop");
    let before = Snapshot::of(artifact(&coffre, &first).parent().unwrap());
    let mut adopted = false;
    let killed = kill_everywhere(
        &mut coffre,
        "fsync,fdatasync",
        &["backup", "--source", "shop"],
        1,
        |coffre, what| {
            is_right_again(coffre, &before, what);
            let journal = coffre.json(["journal", "--limit", "5"]);
            adopted |= journal["entries"]
                .as_array()
                .unwrap()
                .iter()
                .any(|e| e["action"] == "backup.adopt");
        },
    );
    assert!(killed >= 6, "killed only {killed} times");
    assert!(
        adopted,
        "between its manifest and its commit a backup is taken on, after it was read to its end"
    );
    coffre.ok(["verify", "--all"]);
}

#[test]
fn a_backup_is_killed_while_it_writes() {
    let (mut coffre, _) = protected();
    let first = back_up(&coffre, "shop");
    let before = Snapshot::of(artifact(&coffre, &first).parent().unwrap());
    let killed = kill_everywhere(
        &mut coffre,
        "write,pwrite64",
        &["backup", "--source", "shop"],
        9,
        |coffre, what| {
            is_right_again(coffre, &before, what);
        },
    );
    assert!(killed >= 3, "killed only {killed} times");
}

#[test]
fn a_durable_backup_that_was_changed_before_the_next_start_is_never_green() {
    let (mut coffre, _) = protected();
    let before = back_up(&coffre, "shop");
    // Before the catalogue commits, but after the manifest has its name.
    for when in 1..40 {
        coffre.under(inject("fsync,fdatasync", Injection::KillBefore, &when.to_string()));
        let outcome = coffre.run(["backup", "--source", "shop"]);
        coffre.under(Vec::new());
        assert_ne!(
            outcome.status,
            Some(0),
            "it came through without having been killed in between"
        );
        let lying: Vec<String> = files(&coffre.home().join("backups"));
        let Some(manifest) = lying
            .iter()
            .find(|f| f.ends_with(".manifest.json") && !f.contains(text(&before, "code")))
        else {
            coffre.ok(["list"]);
            continue;
        };
        let path = coffre
            .home()
            .join("backups")
            .join(manifest.strip_suffix(".manifest.json").unwrap());
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let newest = &backups(&coffre)[0];
        assert_eq!(newest["state"], "interrupted", "{newest:#}");
        assert_eq!(files(&coffre.home().join("backups")).len(), 2, "what is no backup is gone");
        Invariants::of(&coffre).assert();
        return;
    }
    panic!("no kill left a manifest behind");
}

#[test]
fn a_restore_is_killed_everywhere() {
    let (mut coffre, db) = protected();
    back_up(&coffre, "shop");
    let back = coffre.work("back.db");
    let into = address(&back);
    let calls = DURABILITY;
    let command = ["restore", "latest", "--source", "shop", "--into", into.as_str()];
    let kept = Snapshot::of(&coffre.home().join("backups"));
    let killed = kill_everywhere(&mut coffre, calls, &command, 2, |coffre, what| {
        // I7: nothing, or exactly the backup.
        if back.exists() {
            assert_eq!(content(&back), content(&db), "{what}");
            std::fs::remove_file(&back).unwrap();
        }
        coffre.ok(["list"]);
        let live =
            coffre_testkit::invariants::ask_catalogue(&coffre.home(), "SELECT count(*) FROM restores WHERE state = 'running'");
        assert_eq!(live, ["0"], "{what}");
        kept.assert_kept();
    });
    assert!(killed >= 3, "killed only {killed} times");
    if !back.exists() {
        coffre.ok(command);
    }
    assert_eq!(content(&back), content(&db));
    // What a killed restore was writing is not left beside the target for ever.
    let left: Vec<String> = files(back.parent().unwrap())
        .into_iter()
        .filter(|f| f.contains("back.db") && f != "back.db")
        .collect();
    assert!(left.is_empty(), "left beside the target: {left:?}");
    Invariants::of(&coffre).assert();
}

#[test]
fn a_deletion_is_killed_everywhere_and_goes_on() {
    let (mut coffre, _) = protected();
    let kept = back_up(&coffre, "shop");
    let mut deleted = 0;
    for when in 1..60 {
        let code = text(&back_up(&coffre, "shop"), "code").to_owned();
        coffre.under(inject(DURABILITY, Injection::KillBefore, &(when * 2).to_string()));
        let outcome = coffre.run(["delete", &code, "--yes"]);
        coffre.under(Vec::new());
        let state = coffre.json(["show", &code])["backup"]["state"].as_str().unwrap().to_owned();
        if state == "verified" {
            coffre.ok(["verify", &code]);
            coffre.ok(["delete", &code, "--yes"]);
        } else {
            assert_eq!(state, "deleted", "{outcome}");
            deleted += 1;
        }
        assert_eq!(files(&coffre.home().join("backups")).len(), 2, "{outcome}");
        Invariants::of(&coffre).assert();
        if outcome.status == Some(0) {
            assert!(deleted >= 2, "never killed in the middle");
            coffre.ok(["verify", text(&kept, "code")]);
            return;
        }
    }
    panic!("it never comes through");
}

#[test]
fn a_signal_in_the_middle_ends_it_within_five_seconds() {
    let (coffre, _) = protected();
    back_up(&coffre, "shop");
    let db = coffre.work("large.db");
    large(&db, 120);
    coffre.ok(["source", "add", &address(&db), "--name", "large"]);
    let backups_folder = coffre.home().join("backups");
    for (signal, status) in [(libc::SIGINT, 130), (libc::SIGTERM, 143)] {
        let running = coffre.spawn(["--json", "backup", "--source", "large", "--compression", "none"]);
        assert!(wait_until(Duration::from_secs(30), || {
            files(&backups_folder).iter().any(|f| f.ends_with(".partial"))
        }));
        let began = std::time::Instant::now();
        running.signal(signal);
        let outcome = running.wait();
        assert!(began.elapsed() < Duration::from_secs(5), "{outcome}");
        assert_eq!(
            (outcome.status, outcome.error_code().as_str()),
            (Some(status), "CANCELLED"),
            "{outcome}"
        );
        assert_eq!(outcome.json()["backup"]["state"], "cancelled", "{outcome}");
        assert_eq!(files(&backups_folder).len(), 2, "{outcome}");
        Invariants::of(&coffre).assert();
    }
}
