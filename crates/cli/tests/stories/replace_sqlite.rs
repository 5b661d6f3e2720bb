//! Classes "restore" and "crash" for live SQLite data: exactly the backup, or exactly as before; and what was there can be brought back.

use std::path::Path;

use coffre_testkit::coffre::Coffre;
use coffre_testkit::invariants::Invariants;

use coffre_testkit::strace::{DURABILITY, Injection, inject};
use serde_json::Value;

use crate::shop::{artifact, back_up, backups, content, protected, sqlite, text};

/// `restore CODE --replace`, with every question answered.
fn replacing(code: &str) -> Vec<&str> {
    vec!["--json", "restore", code, "--replace", "--yes", "--no-countdown"]
}

/// What a bad morning does to a shop.
fn spoil(db: &Path) {
    sqlite(
        db,
        "DELETE FROM customers WHERE id > 500; UPDATE prices SET cents = 0; CREATE TABLE extra(x, created_at TEXT);
         INSERT INTO extra VALUES (1, '2026-11-20 10:00:00')",
    );
}

/// Everything in the folder of the shop, without what SQLite keeps beside it.
fn beside(coffre: &Coffre) -> Vec<String> {
    let folder = coffre.work("");
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with("-wal") && !name.ends_with("-shm"))
        .collect();
    names.sort();
    names
}

fn row<'a>(counts: &'a Value, table: &str) -> &'a Value {
    let found = counts.as_array().unwrap().iter().find(|c| c["table"] == table);
    found.unwrap_or_else(|| panic!("no {table} in {counts:#}"))
}

#[test]
fn live_data_is_previewed_replaced_and_brought_back() {
    let (coffre, db) = protected();
    let made = back_up(&coffre, "shop");
    let good = content(&db);
    spoil(&db);
    let spoilt = content(&db);

    // What would be lost is shown, and nothing is touched.
    let seen = coffre.json(["restore", text(&made, "code"), "--replace", "--dry-run"]);
    let impact = &seen["impact"];
    let customers = row(&impact["counts"], "customers");
    assert_eq!(
        (&customers["before"], &customers["backup"]),
        (&500.into(), &900.into()),
        "{impact:#}"
    );
    assert_eq!(
        (&impact["vanish"], &impact["appear"]),
        (&serde_json::json!(["extra"]), &serde_json::json!([]))
    );
    assert_eq!(impact["refusals"], serde_json::json!([]));
    assert_eq!(seen["restore"]["state"], "planned");
    assert!(text(impact, "confirmation").len() == 36, "{impact:#}");
    assert_eq!(content(&db), spoilt);
    assert_eq!(beside(&coffre), ["shop.db"]);

    // Exactly the backup; what was there is kept, and was backed up before.
    let done = coffre.json(&replacing(text(&made, "code"))[1..]);
    let restore = &done["restore"];
    assert_eq!(
        (text(restore, "state"), text(restore, "mode")),
        ("done", "replace"),
        "{done:#}"
    );
    assert_eq!(content(&db), good);
    assert_eq!(sqlite(&db, "PRAGMA integrity_check"), "ok");
    let customers = row(&restore["counts"], "customers");
    assert_eq!(
        (&customers["before"], &customers["after"], &customers["backup"]),
        (&500.into(), &900.into(), &900.into())
    );
    assert!(
        restore["kept_until"].is_string() && restore["kept_bytes"].as_u64() > Some(0),
        "{restore:#}"
    );
    let steps: Vec<_> = restore["steps"].as_array().unwrap().iter().map(|s| text(s, "name")).collect();
    assert_eq!(
        steps,
        ["look", "verify", "safety", "prepare", "load", "compare", "swap", "check"]
    );
    let safety = coffre.json(["show", text(restore, "safety_backup_id")]);
    assert_eq!(
        (&safety["backup"]["trigger"], &safety["backup"]["state"]),
        (&"safety".into(), &"verified".into())
    );

    // And back, once.
    let undone = coffre.json(["undo", text(restore, "id")]);
    assert_eq!(text(&undone["restore"], "state"), "undone");
    assert_eq!(content(&db), spoilt);
    coffre.fails(["undo", text(restore, "id")], "REFUSED", 4);
    // What was live in between is kept too, and leaves when it is told to.
    let kept = coffre.json(["undo"]);
    assert_eq!(kept["restores"].as_array().map(Vec::len), Some(1), "{kept:#}");
    coffre.ok(["undo", text(restore, "id"), "--forget"]);
    assert_eq!(beside(&coffre), ["shop.db"]);
    assert_eq!(content(&db), spoilt);
    // The safety backup is a backup like any other.
    let into = format!("sqlite://{}", coffre.work("again.db").display());
    coffre.ok(["restore", text(restore, "safety_backup_id"), "--into", &into]);
    assert_eq!(content(&coffre.work("again.db")), spoilt);
    Invariants::of(&coffre).assert();
}

#[test]
fn a_confirmation_is_good_once_for_what_was_shown() {
    let (coffre, db) = protected();
    let (first, second) = (back_up(&coffre, "shop"), back_up(&coffre, "shop"));
    spoil(&db);
    let word = || {
        let seen = coffre.json(["restore", text(&first, "code"), "--replace", "--dry-run"]);
        text(&seen["impact"], "confirmation").to_owned()
    };
    let carry = |code: &str, word: &str, more: &[&str]| {
        let mut line = replacing(code);
        line.extend(["--confirmation", word]);
        line.extend(more);
        coffre.run(line)
    };
    let refused = |outcome: coffre_testkit::coffre::Outcome, what: &str| {
        assert_eq!(
            (outcome.error_code().as_str(), outcome.status),
            ("REFUSED", Some(4)),
            "{what}: {outcome}"
        );
    };
    let before = content(&db);
    refused(carry(text(&second, "code"), &word(), &[]), "another backup");
    refused(carry(text(&first, "code"), "nonsense", &[]), "no word");
    refused(carry(text(&first, "code"), text(&first, "id"), &[]), "another id");
    // The rows changed: refused, and allowed where a person says so.
    let shown = word();
    sqlite(&db, "DELETE FROM customers WHERE id = 1");
    refused(carry(text(&first, "code"), &shown, &[]), "rows");
    let shown = word();
    sqlite(&db, "DELETE FROM customers WHERE id = 2; CREATE TABLE more(x)");
    refused(carry(text(&first, "code"), &shown, &["--rows-may-differ"]), "a new table");
    let shown = word();
    sqlite(&db, "DELETE FROM customers WHERE id = 3");
    let spoilt = content(&db);
    assert_ne!(spoilt, before);
    let done = carry(text(&first, "code"), &shown, &["--rows-may-differ"]);
    assert_eq!(done.status, Some(0), "{done}");
    // Used up.
    refused(carry(text(&first, "code"), &shown, &[]), "used");
    Invariants::of(&coffre).assert();
}

#[test]
fn nothing_is_touched_where_something_is_wrong_before() {
    let (coffre, db) = protected();
    let made = back_up(&coffre, "shop");
    spoil(&db);
    let before = content(&db);
    // Nobody to ask.
    coffre.fails(["restore", text(&made, "code"), "--replace"], "REFUSED", 4);
    // The safety backup cannot be made: its destination is not what it was.
    let identity = coffre.home().join("backups/coffre-destination.json");
    let aside = coffre.work("identity");
    std::fs::rename(&identity, &aside).unwrap();
    // From a file, so that the backup itself can be read.
    let copy = coffre.work("copy.db.zst");
    std::fs::copy(artifact(&coffre, &made), &copy).unwrap();
    let mut line = vec!["--json", "restore", "--file", copy.to_str().unwrap(), "--source", "shop"];
    line.extend(["--replace", "--yes", "--no-countdown"]);
    let outcome = coffre.run(&line);
    assert_eq!(
        (outcome.error_code().as_str(), outcome.status),
        ("REFUSED", Some(4)),
        "{outcome}"
    );
    assert_eq!(content(&db), before);
    std::fs::rename(&aside, &identity).unwrap();
    // The backup is damaged.
    let file = artifact(&coffre, &made);
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let outcome = coffre.run(replacing(text(&made, "code")));
    assert_eq!(
        (outcome.error_code().as_str(), outcome.status),
        ("VERIFY_MISMATCH", Some(3)),
        "{outcome}"
    );
    assert_eq!(content(&db), before);
    assert_eq!(beside(&coffre), ["copy.db.zst", "shop.db"]);
    // A file replaces too, once everything is well.
    let outcome = coffre.run(&line);
    assert_eq!(outcome.status, Some(0), "{outcome}");
    assert_eq!(sqlite(&db, "SELECT count(*) FROM customers"), "900");
}

#[test]
fn what_is_gone_altogether_comes_back() {
    let (coffre, db) = protected();
    let made = back_up(&coffre, "shop");
    let good = content(&db);
    std::fs::remove_file(&db).unwrap();
    let seen = coffre.json(["restore", text(&made, "code"), "--replace", "--dry-run"]);
    assert_eq!(seen["impact"]["exists"], false, "{seen:#}");
    let done = coffre.json(&replacing(text(&made, "code"))[1..]);
    assert_eq!(content(&db), good);
    assert_eq!(done["restore"]["safety_backup_id"], Value::Null);
    // Nothing was there that could be brought back.
    coffre.fails(["undo", text(&done["restore"], "id")], "REFUSED", 4);
    assert_eq!(content(&db), good);
    Invariants::of(&coffre).assert();
}

/// Kills a command at its first, second, … call of `calls`, and looks after each kill, once Coffre was started again.
fn killed_everywhere(
    calls: &str,
    step: usize,
    command: &dyn Fn(&Coffre) -> Vec<String>,
    prepare: &dyn Fn(&Coffre, &Path),
) -> (usize, usize) {
    let (mut coffre, db) = protected();
    back_up(&coffre, "shop");
    let good = content(&db);
    let (mut before, mut after) = (0, 0);
    for when in (1..).step_by(step) {
        prepare(&coffre, &db);
        let spoilt = content(&db);
        let line = command(&coffre);
        coffre.under(inject(calls, Injection::KillBefore, &when.to_string()));
        let outcome = coffre.run(&line);
        coffre.under(Vec::new());
        let what = format!("killed before the {when}. of {calls}");
        // The next start knows what became of it.
        coffre.ok(["list"]);
        let now = content(&db);
        assert!(now == good || now == spoilt, "{what}: a mix");
        assert_eq!(sqlite(&db, "PRAGMA integrity_check"), "ok", "{what}");
        let wrong = Invariants::of(&coffre).violations();
        assert!(wrong.is_empty(), "{what}:\n{}", wrong.join("\n"));
        let kept = coffre.json(["undo"])["restores"].as_array().unwrap().len();
        let files = beside(&coffre).len();
        assert_eq!(files, 1 + kept, "{what}: {:?}", beside(&coffre));
        if outcome.status == Some(0) {
            return (before, after);
        }
        if now == good {
            after += 1
        } else {
            before += 1
        }
        for restore in coffre.json(["undo"])["restores"].as_array().unwrap() {
            coffre.ok(["undo", text(restore, "id"), "--forget"]);
        }
        assert!(when < 2000, "it never comes through");
    }
    unreachable!()
}

#[test]
fn killed_before_every_sync_it_is_before_or_after() {
    let command = |coffre: &Coffre| {
        let first = backups(coffre).pop().unwrap();
        replacing(text(&first, "code")).into_iter().map(str::to_owned).collect()
    };
    let (before, after) = killed_everywhere("fsync,fdatasync", 1, &command, &|_, db| {
        sqlite(db, "DELETE FROM customers WHERE id > 500");
    });
    assert!(before >= 10 && after >= 1, "{before} before, {after} after");
}

#[test]
fn killed_before_every_name_it_is_before_or_after() {
    let command = |coffre: &Coffre| {
        let first = backups(coffre).pop().unwrap();
        replacing(text(&first, "code")).into_iter().map(str::to_owned).collect()
    };
    let calls = "rename,renameat,renameat2,link,linkat,unlink,unlinkat";
    let (before, _) = killed_everywhere(calls, 1, &command, &|_, db| {
        sqlite(db, "DELETE FROM customers WHERE id > 500");
    });
    assert!(before >= 2, "{before}");
}

#[test]
fn an_undo_killed_before_every_sync_is_before_or_after() {
    let (mut coffre, db) = protected();
    let made = back_up(&coffre, "shop");
    let good = content(&db);
    spoil(&db);
    let spoilt = content(&db);
    let mut seen = [0, 0];
    for when in 1..200 {
        let done = coffre.json(&replacing(text(&made, "code"))[1..]);
        let id = text(&done["restore"], "id").to_owned();
        coffre.under(inject(DURABILITY, Injection::KillBefore, &when.to_string()));
        let outcome = coffre.run(["undo", &id]);
        coffre.under(Vec::new());
        coffre.ok(["list"]);
        let now = content(&db);
        assert!(now == good || now == spoilt, "killed before the {when}. sync: a mix");
        assert_eq!(sqlite(&db, "PRAGMA integrity_check"), "ok");
        if outcome.status == Some(0) {
            assert_eq!(now, spoilt);
            assert!(seen[0] > 0, "{seen:?}");
            Invariants::of(&coffre).assert();
            return;
        }
        seen[usize::from(now == spoilt)] += 1;
        // What the catalogue says is what is there.
        let undone = coffre.json(["undo"])["restores"]
            .as_array()
            .unwrap()
            .iter()
            .find(|r| r["id"] == id.as_str())
            .cloned();
        let state = undone.map(|r| text(&r, "state").to_owned());
        assert_eq!(
            state.as_deref(),
            Some(if now == spoilt { "undone" } else { "done" }),
            "{when}"
        );
        if now == good {
            coffre.ok(["undo", &id]);
        }
        assert_eq!(content(&db), spoilt);
        coffre.ok(["undo", &id, "--forget"]);
    }
    panic!("it never comes through");
}

/// What was put aside lies there for days, where anybody can write to it.
#[test]
fn what_is_kept_is_looked_at_before_it_comes_back() {
    let (coffre, db) = protected();
    let made = back_up(&coffre, "shop");
    let good = content(&db);
    spoil(&db);
    let spoilt = content(&db);
    let replaced = || {
        let done = coffre.json(&replacing(text(&made, "code"))[1..]);
        let name = beside(&coffre)
            .into_iter()
            .find(|name| name.contains(".coffre-old-"))
            .unwrap();
        (text(&done["restore"], "id").to_owned(), coffre.work(&name))
    };
    // Damaged: it does not become live, whatever the reason.
    let (id, kept) = replaced();
    let whole = std::fs::read(&kept).unwrap();
    let mut damaged = whole.clone();
    damaged[4096..4196].fill(0xa5);
    std::fs::write(&kept, &damaged).unwrap();
    let refused = coffre.fails(["undo", &id], "VERIFY_MISMATCH", 3);
    assert!(
        refused.json()["error"]["message"].as_str().unwrap().contains("damaged"),
        "{refused}"
    );
    assert_eq!(content(&db), good);
    std::fs::write(&kept, &damaged[..damaged.len() / 2]).unwrap();
    coffre.fails(["undo", &id], "VERIFY_MISMATCH", 3);
    assert_eq!(content(&db), good);
    // Written to, and sound: it comes back, and that somebody wrote is said.
    std::fs::write(&kept, &whole).unwrap();
    sqlite(&kept, "INSERT INTO extra VALUES (2, 'since')");
    let undone = coffre.json(["undo", &id]);
    assert!(
        undone["restore"]["remarks"].to_string().contains("Somebody has written"),
        "{undone:#}"
    );
    assert_eq!(sqlite(&db, "SELECT count(*) FROM extra"), "2");
    coffre.ok(["undo", &id, "--forget"]);
    sqlite(&db, "DELETE FROM extra WHERE x = 2");
    assert_eq!(content(&db), spoilt);
    // Left alone: nothing is said.
    let (id, _) = replaced();
    let undone = coffre.json(["undo", &id]);
    assert_eq!(undone["restore"]["remarks"], serde_json::json!([]), "{undone:#}");
    assert_eq!(content(&db), spoilt);
}

/// A clock that is wrong for a moment removes nothing; one that was wrong when the data was put aside does not shorten its time to nothing.
#[test]
fn what_is_kept_stays_where_the_clock_may_be_wrong() {
    let (mut coffre, db) = protected();
    let made = back_up(&coffre, "shop");
    spoil(&db);
    let spoilt = content(&db);
    let done = coffre.json(&replacing(text(&made, "code"))[1..]);
    let id = text(&done["restore"], "id").to_owned();
    let clock = |days: &str| -> Vec<std::ffi::OsString> {
        crate::schedule::forget_dead_clocks();
        ["faketime", "--exclude-monotonic", "-f", days].map(Into::into).to_vec()
    };
    coffre.under(clock("+3650d"));
    let said = coffre.ok(["list"]);
    assert!(said.stderr.contains(&id), "it is said: {said}");
    coffre.ok(["list"]);
    coffre.under(Vec::new());
    let undone = coffre.json(["undo", &id]);
    assert_eq!(text(&undone["restore"], "state"), "undone");
    assert_eq!(content(&db), spoilt);
    coffre.ok(["undo", &id, "--forget"]);

    coffre.under(clock("-400d"));
    let done = coffre.json(&replacing(text(&made, "code"))[1..]);
    let id = text(&done["restore"], "id").to_owned();
    coffre.under(Vec::new());
    coffre.ok(["list"]);
    assert_eq!(coffre.json(["undo"])["restores"].as_array().map(Vec::len), Some(1));
    // Its time passes as usual then: it is asked for twice, no more.
    coffre.under(clock("+8d"));
    coffre.ok(["list"]);
    coffre.under(Vec::new());
    assert_eq!(beside(&coffre), ["shop.db"], "{id} has had its time");
}

/// What Coffre keeps for itself is nobody's target: `runtime/` is swept, and a catalogue that is replaced forgets.
#[test]
fn files_of_the_home_are_no_target() {
    let (coffre, _) = protected();
    let made = back_up(&coffre, "shop");
    let code = text(&made, "code");
    let catalogue = coffre.home().join("catalogue.db");
    coffre.ok([
        "source",
        "add",
        &format!("sqlite://{}", catalogue.display()),
        "--name",
        "self",
    ]);
    let own = back_up(&coffre, "self");
    let known = backups(&coffre).len();
    coffre.fails(["restore", text(&own, "code"), "--replace", "--dry-run"], "REFUSED", 4);
    coffre.fails(&replacing(text(&own, "code"))[1..], "REFUSED", 4);
    std::os::unix::fs::symlink(coffre.home().join("runtime"), coffre.work("door")).unwrap();
    for place in [
        "home/runtime/x.db",
        "home/backups/x.db",
        "home/logs/x.db",
        "work/door/x.db",
        "home/catalogue.db",
        "home/catalogue.db-wal",
        "home/vault.age",
    ] {
        let path = coffre.folder().join(place);
        let address = format!("sqlite://{}", path.display());
        let path = path.to_str().unwrap();
        let there = std::path::Path::new(path).exists();
        coffre.fails(["restore", code, "--into", &address], "REFUSED", 4);
        coffre.fails(["restore", code, "--table", "customers", "--into", &address], "REFUSED", 4);
        coffre.fails(["download", code, "--to", path], "REFUSED", 4);
        coffre.fails(
            ["open", code, "--table", "customers", "--export", "csv", "--to", path],
            "REFUSED",
            4,
        );
        assert_eq!(std::path::Path::new(path).exists(), there, "{place}");
    }
    assert_eq!(backups(&coffre).len(), known);
}
