//! Class "catalogue": damaged, cut, gone, from the future. It is a cache: what lies at the destinations brings everything back.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use coffre_testkit::coffre::Coffre;
use coffre_testkit::invariants::{Invariants, Snapshot};
use coffre_testkit::run;
use serde_json::Value;

use crate::shop::{address, artifact, back_up, backups, content, protected, sqlite, text};

/// A small generator of numbers that look random and are the same in every run.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % sides as u64).unwrap()
    }
}

fn own_address(coffre: &Coffre) -> String {
    format!("file://{}", coffre.home().join("backups").display())
}

/// Rebuilds from the default destination, and proves that everything is back: `stored`, then green, then restored.
fn comes_back(coffre: &Coffre, db: &Path, expected: &[String], what: &str) {
    let rebuilt = coffre.json(["catalogue", "rebuild", "--from", &own_address(coffre)]);
    let (new, known) = (&rebuilt["rebuilt"][0]["backups"], &rebuilt["rebuilt"][0]["known"]);
    let all = backups(coffre);
    assert_eq!(all.len(), expected.len(), "{what}: {rebuilt:#}");
    assert_eq!(
        new.as_u64().unwrap() + known.as_u64().unwrap(),
        expected.len() as u64,
        "{what}: {rebuilt:#}"
    );
    for backup in &all {
        assert!(expected.contains(&text(backup, "code").to_owned()), "{what}");
        if known == 0 {
            assert_eq!(backup["state"], "stored", "{what}: nothing is green before it was read");
            assert_eq!(backup["copies"][0]["verified_at"], Value::Null, "{what}");
        }
    }
    let verified = coffre.json(["verify", "--all"]);
    assert_eq!(
        verified["verified"].as_u64(),
        Some(expected.len() as u64),
        "{what}: {verified:#}"
    );
    assert!(backups(coffre).iter().all(|b| b["state"] == "verified"), "{what}");
    let back = coffre.work("back.db");
    // The source is known by its name and address again, also where only the manifests are left.
    coffre.ok(["restore", "latest", "--source", "shop", "--into", &address(&back)]);
    assert_eq!(content(&back), content(db), "{what}");
    std::fs::remove_file(&back).unwrap();
    Invariants::of(coffre).assert();
}

fn remove_catalogue(home: &Path) {
    for name in ["catalogue.db", "catalogue.db-wal", "catalogue.db-shm"] {
        let path = home.join(name);
        if path.exists() {
            std::fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn damaged_at_random_and_rebuilt() {
    let (coffre, db) = protected();
    let mut codes: Vec<String> = (0..2).map(|_| text(&back_up(&coffre, "shop"), "code").to_owned()).collect();
    codes.sort();
    let path = coffre.home().join("catalogue.db");
    let whole = std::fs::read(&path).unwrap();
    let stored = Snapshot::of(&coffre.home().join("backups"));
    let mut dice = Dice(20_261_121);
    let mut damages: Vec<(String, Vec<u8>)> = Vec::new();
    for round in 0..6 {
        let mut bytes = whole.clone();
        // A few bytes in a page, or a whole page, or the header.
        for _ in 0..[1, 40, 400][round % 3] {
            let at = if round == 0 { dice.roll(100) } else { dice.roll(bytes.len()) };
            bytes[at] = u8::try_from(dice.roll(256)).unwrap();
        }
        damages.push((format!("flips {round}"), bytes));
    }
    for length in [1, 512, 4096, 4097, whole.len() / 2, whole.len() - 1] {
        damages.push((format!("cut to {length}"), whole[..length].to_vec()));
    }
    damages.push(("not a database at all".to_owned(), b"hello".repeat(5000)));
    let mut noticed = 0;
    for (what, bytes) in damages {
        remove_catalogue(&coffre.home());
        std::fs::write(&path, &bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let outcome = coffre.run(["--json", "list"]);
        match outcome.status {
            Some(0) => {}
            _ => {
                assert_eq!(
                    (outcome.error_code().as_str(), outcome.status),
                    ("CATALOGUE_CORRUPT", Some(1)),
                    "{what}: {outcome}"
                );
                noticed += 1;
                // Refused, and left as it was found.
                let run = coffre.run(["--json", "backup", "--source", "shop"]);
                assert_eq!(run.error_code(), "CATALOGUE_CORRUPT", "{what}: {run}");
                assert_eq!(std::fs::read(&path).unwrap(), bytes, "{what}: it is only looked at");
            }
        }
        stored.assert_kept();
        if outcome.status != Some(0) {
            comes_back(&coffre, &db, &codes, &what);
            let aside = std::fs::read_dir(coffre.home()).unwrap().filter_map(Result::ok).any(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                name.starts_with("catalogue") && std::fs::read(entry.path()).is_ok_and(|found| found == bytes)
            });
            assert!(aside, "{what}: the damaged one is kept beside");
        }
        assert_eq!(Snapshot::of(&coffre.home().join("backups")), stored, "{what}");
    }
    assert!(noticed >= 8, "only {noticed} damages were noticed");
}

#[test]
fn gone_and_rebuilt() {
    let (coffre, db) = protected();
    let codes: Vec<String> = (0..3).map(|_| text(&back_up(&coffre, "shop"), "code").to_owned()).collect();
    remove_catalogue(&coffre.home());
    // Not taken for a new home: that would look as if nothing had ever been protected.
    for command in [vec!["list"], vec!["backup", "--source", "shop"], vec!["verify", "--all"]] {
        coffre.fails(command, "CATALOGUE_CORRUPT", 1);
    }
    comes_back(&coffre, &db, &codes, "gone");
    // A second time nothing changes: known is known.
    let again = coffre.json(["catalogue", "rebuild", "--from", &own_address(&coffre)]);
    assert_eq!(
        (again["rebuilt"][0]["backups"].as_u64(), again["rebuilt"][0]["known"].as_u64()),
        (Some(0), Some(3))
    );
    assert!(backups(&coffre).iter().all(|b| b["state"] == "verified"));
    // The source can be used again: by adding it under its own name, or as it is.
    let sources = coffre.json(["source", "list"]);
    let next = coffre.run(["--json", "backup", "--source", "shop"]);
    if next.status != Some(0) {
        coffre.ok(["source", "add", &address(&db), "--name", "shop"]);
        back_up(&coffre, "shop");
    }
    assert_eq!(backups(&coffre).len(), 4, "{sources:#}\n{next}");
}

#[test]
fn a_damaged_backup_is_rebuilt_as_stored_and_never_green() {
    let (coffre, _) = protected();
    let good = back_up(&coffre, "shop");
    let bad = back_up(&coffre, "shop");
    let path = artifact(&coffre, &bad);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(&path, bytes).unwrap();
    remove_catalogue(&coffre.home());
    coffre.ok(["catalogue", "rebuild", "--from", &own_address(&coffre)]);
    let outcome = coffre.run(["--json", "verify", "--all"]);
    assert_eq!(outcome.status, Some(3), "{outcome}");
    assert_eq!(
        (outcome.json()["verified"].as_u64(), outcome.json()["failed"].as_u64()),
        (Some(1), Some(1)),
        "{outcome}"
    );
    assert_eq!(coffre.json(["show", text(&good, "code")])["backup"]["state"], "verified");
    assert_ne!(coffre.json(["show", text(&bad, "code")])["backup"]["state"], "verified");
    let latest = coffre.json(["show", "latest", "--source", "shop"]);
    assert_eq!(latest["backup"]["code"], good["code"], "latest is the latest verified one");
}

#[test]
fn one_from_the_future_is_not_touched() {
    let (coffre, _) = protected();
    back_up(&coffre, "shop");
    let path = coffre.home().join("catalogue.db");
    for version in ["999", "2147483647"] {
        sqlite(
            &path,
            &format!("PRAGMA user_version={version}; PRAGMA wal_checkpoint(TRUNCATE);"),
        );
        let catalogue = std::fs::read(&path).unwrap();
        let home = Snapshot::of(&coffre.home().join("backups"));
        for command in [
            vec!["list"],
            vec!["backup", "--source", "shop"],
            vec!["verify", "--all"],
            vec!["catalogue", "rebuild", "--from", "local"],
            vec!["settings", "set", "language", "fr"],
        ] {
            coffre.fails(command, "CATALOGUE_NEWER", 1);
        }
        assert_eq!(std::fs::read(&path).unwrap(), catalogue, "byte for byte");
        assert_eq!(Snapshot::of(&coffre.home().join("backups")), home);
    }
}

#[test]
fn foreign_and_broken_manifests_stop_nothing() {
    let (coffre, _) = protected();
    let good = back_up(&coffre, "shop");
    let folder = artifact(&coffre, &good).parent().unwrap().to_owned();
    for (name, content) in [
        ("notes.manifest.json", "{}"),
        ("a.db.zst.manifest.json", "not json"),
        ("b.db.zst.manifest.json", "{\"schema\": 99}"),
        ("holiday.jpg", "a picture"),
    ] {
        std::fs::write(folder.join(name), content).unwrap();
    }
    // A manifest that names a file elsewhere.
    let manifest = std::fs::read_to_string(folder.join(format!(
        "{}.manifest.json",
        artifact(&coffre, &good).file_name().unwrap().display()
    )))
    .unwrap();
    std::fs::write(
        folder.join("evil.db.zst.manifest.json"),
        manifest.replace(text(&good, "code"), "../../../../etc/passwd"),
    )
    .unwrap();
    let before = Snapshot::of(&folder);
    remove_catalogue(&coffre.home());
    let rebuilt = coffre.json(["catalogue", "rebuild", "--from", &own_address(&coffre)]);
    assert_eq!(rebuilt["rebuilt"][0]["backups"], 1, "{rebuilt:#}");
    assert_eq!(rebuilt["rebuilt"][0]["unusable"].as_array().unwrap().len(), 4, "{rebuilt:#}");
    coffre.ok(["verify", "--all"]);
    assert_eq!(Snapshot::of(&folder), before, "nothing of others is removed");
}

#[test]
fn the_log_beside_it_may_be_damaged_too() {
    let (coffre, _) = protected();
    back_up(&coffre, "shop");
    for (name, content) in [("catalogue.db-wal", vec![7_u8; 9000]), ("catalogue.db-shm", vec![9; 32768])] {
        std::fs::write(coffre.home().join(name), content).unwrap();
        assert_eq!(
            backups(&coffre).len(),
            1,
            "{name}: a log that is not this database's is no part of it"
        );
    }
    let said = run(
        "sqlite3",
        [coffre.home().join("catalogue.db").to_str().unwrap(), "PRAGMA integrity_check"],
    );
    assert_eq!(said.stdout.trim(), "ok");
}
