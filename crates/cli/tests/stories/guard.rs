//! `coffre guard`: a verified backup, the command, its status, and the way back.

use coffre_testkit::invariants::Invariants;

use crate::shop::{backups, content, protected, sqlite, text};

#[test]
fn the_command_runs_after_a_verified_backup_and_its_status_is_passed_on() {
    let (coffre, db) = protected();
    let good = content(&db);
    let path = db.to_str().unwrap();
    let ok = coffre.run([
        "guard",
        "--source",
        "shop",
        "--",
        "sqlite3",
        path,
        "DELETE FROM prices; SELECT 'migrated'",
    ]);
    assert_eq!(ok.status, Some(0), "{ok}");
    assert!(ok.stdout.contains("migrated"), "{ok}");
    let made = backups(&coffre).remove(0);
    assert_eq!((text(&made, "trigger"), text(&made, "state")), ("guard", "verified"));
    assert!(text(&made, "note").contains("sqlite3"), "{made:#}");
    assert_eq!(sqlite(&db, "SELECT count(*) FROM prices"), "0");

    // A command that fails: its own status, and the way back in so many words.
    let failed = coffre.run([
        "guard",
        "--source",
        "shop",
        "--note",
        "migration 7",
        "--",
        "sh",
        "-c",
        "exit 7",
    ]);
    assert_eq!(failed.status, Some(7), "{failed}");
    let made = backups(&coffre).remove(0);
    assert_eq!(text(&made, "note"), "migration 7");
    assert!(
        failed
            .stderr
            .contains(&format!("coffre restore {} --replace", text(&made, "code"))),
        "{failed}"
    );
    let killed = coffre.run(["guard", "--source", "shop", "--", "sh", "-c", "kill -9 $$"]);
    assert_eq!(killed.status, Some(137), "{killed}");

    // The way back works.
    let first = backups(&coffre).pop().unwrap();
    coffre.ok(["restore", text(&first, "code"), "--replace", "--yes", "--no-countdown"]);
    assert_eq!(content(&db), good);
    Invariants::of(&coffre).assert();
}

#[test]
fn json_is_one_document_whatever_the_command_prints() {
    let (coffre, _) = protected();
    let outcome = coffre.run(["--json", "guard", "--source", "shop", "--", "sh", "-c", "echo noise; exit 3"]);
    assert_eq!(outcome.status, Some(3), "{outcome}");
    let document = outcome.json();
    assert_eq!(document["guard"]["status"], 3, "{document:#}");
    assert_eq!(document["backup"]["state"], "verified");
    assert!(outcome.stderr.contains("noise"), "{outcome}");
}

#[test]
fn without_a_verified_backup_the_command_is_not_run() {
    let (coffre, db) = protected();
    std::fs::rename(&db, coffre.work("elsewhere.db")).unwrap();
    let mark = coffre.work("mark");
    let outcome = coffre.run(["guard", "--source", "shop", "--", "touch", mark.to_str().unwrap()]);
    assert_ne!(outcome.status, Some(0), "{outcome}");
    assert!(!mark.exists());
    std::fs::rename(coffre.work("elsewhere.db"), &db).unwrap();
    // Nothing to run, and something that cannot be.
    coffre.fails(["guard", "--source", "shop"], "USAGE", 2);
    coffre.fails(["guard", "--source", "shop", "--", "/no/such/program"], "REFUSED", 4);
    coffre.fails(["guard", "--source", "nobody", "--", "true"], "NOT_FOUND", 1);
    // What looks like a flag belongs to the command.
    let outcome = coffre.run(["guard", "--source", "shop", "--", "echo", "--json", "--help"]);
    assert_eq!(outcome.status, Some(0), "{outcome}");
    assert!(outcome.stdout.contains("--json --help"), "{outcome}");
}
