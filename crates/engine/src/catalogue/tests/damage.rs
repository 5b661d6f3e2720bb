//! Damaged, truncated, foreign and vanished files: told, set aside, replaced.

use std::fs;
use std::path::Path;

use coffre_model::{Code, Error};
use proptest::prelude::*;

use super::super::Filter;
use super::opening::files;
use super::*;

/// A closed catalogue with some content; the folder, the home, the bytes.
fn closed() -> (TempDir, Home, Vec<u8>) {
    let world = World::new();
    for n in 0..20 {
        world.finished(n, BackupState::Verified);
    }
    let World {
        catalogue, home, dir, ..
    } = world;
    catalogue.close().unwrap();
    let bytes = fs::read(home.catalogue()).unwrap();
    (dir, home, bytes)
}

/// Reads everything that a catalogue can be asked.
fn read_all(catalogue: &Catalogue) -> Result<(), Error> {
    catalogue.sources()?;
    catalogue.destinations()?;
    catalogue.plans()?;
    catalogue.keys()?;
    catalogue.settings()?;
    catalogue.journal(1_000, None)?;
    catalogue.restores()?;
    catalogue.stats(&Filter::default())?;
    catalogue.leftovers()?;
    catalogue.dead_runs()?;
    for backup in catalogue.list(&Filter::default(), 1, 1_000)?.backups {
        catalogue.table_counts(&backup.id)?;
        catalogue.manifest(&backup.id)?;
        catalogue.details(&backup.id)?;
        catalogue.copies(&backup.id)?;
    }
    Ok(())
}

/// It is told as damaged, nothing of it is lost, and a fresh one takes its place.
fn is_set_aside(home: &Home) {
    let before = files(home.root());
    let error = Catalogue::open(home).err().unwrap();
    assert_eq!(error.code(), Code::CatalogueCorrupt, "{error}");
    assert!(error.detail("path").is_some());
    assert_eq!(fs::read(home.catalogue()).unwrap(), before["catalogue.db"]);
    let aside = Catalogue::set_aside(home, moment(0)).unwrap().unwrap();
    let name = aside.file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(name, "catalogue.db.damaged-2026-02-05_21-13-02.125");
    assert_eq!(fs::read(&aside).unwrap(), before["catalogue.db"]);
    assert!(!home.catalogue().exists());
    let catalogue = Catalogue::open(home).unwrap();
    assert!(catalogue.sources().unwrap().is_empty());
    read_all(&catalogue).unwrap();
    catalogue.close().unwrap();
}

#[test]
fn a_truncated_file_is_set_aside() {
    let (_dir, home, bytes) = closed();
    let page = 4096;
    for length in [
        0,
        1,
        15,
        16,
        99,
        100,
        101,
        page - 1,
        page,
        page + 1,
        2 * page,
        bytes.len() / 2,
        bytes.len() - page,
        bytes.len() - 1,
    ] {
        fs::write(home.catalogue(), &bytes[..length]).unwrap();
        is_set_aside(&home);
        fs::remove_file(home.catalogue()).unwrap();
        for (name, _) in files(home.root()) {
            fs::remove_file(home.root().join(name)).unwrap();
        }
    }
}

#[test]
fn what_is_not_a_catalogue_is_set_aside() {
    let (_dir, home, bytes) = closed();
    let foreign = home.root().join("foreign");
    let raw = Connection::open(&foreign).unwrap();
    raw.execute_batch("CREATE TABLE customers (name TEXT); PRAGMA user_version = 1;")
        .unwrap();
    drop(raw);
    let foreign_bytes = fs::read(&foreign).unwrap();
    fs::remove_file(&foreign).unwrap();
    let mut no_schema = bytes.clone();
    no_schema[60..64].fill(0);
    let mut no_header = bytes.clone();
    no_header[..16].fill(b'x');
    let mut torn = bytes.clone();
    torn[4096..].fill(0);
    for content in [b"hello".to_vec(), vec![0; 100_000], foreign_bytes, no_schema, no_header, torn] {
        fs::write(home.catalogue(), &content).unwrap();
        is_set_aside(&home);
        for (name, _) in files(home.root()) {
            fs::remove_file(home.root().join(name)).unwrap();
        }
    }
    fs::create_dir(home.catalogue()).unwrap();
    assert_eq!(Catalogue::open(&home).err().unwrap().code(), Code::CatalogueCorrupt);
    assert!(Catalogue::set_aside(&home, moment(0)).unwrap().unwrap().is_dir());
    Catalogue::open(&home).unwrap();
}

#[test]
fn a_vanished_file_is_told_and_not_silently_made_anew() {
    let (_dir, home, bytes) = closed();
    fs::remove_file(home.catalogue()).unwrap();
    for _ in 0..2 {
        let error = Catalogue::open(&home).err().unwrap();
        assert_eq!((error.code(), error.text()), (Code::CatalogueCorrupt, "catalogue_missing"));
        assert!(files(home.root()).is_empty());
    }
    // Put back, it is as before.
    fs::write(home.catalogue(), &bytes).unwrap();
    assert_eq!(
        Catalogue::open(&home).unwrap().list(&Filter::default(), 1, 1).unwrap().total,
        20
    );
    fs::remove_file(home.catalogue()).unwrap();
    assert_eq!(Catalogue::set_aside(&home, moment(0)).unwrap(), None);
    let fresh = Catalogue::open(&home).unwrap();
    assert_eq!(fresh.list(&Filter::default(), 1, 1).unwrap().total, 0);
}

#[test]
fn a_log_without_its_file_is_never_taken_for_the_log_of_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::open(&dir.path().join("home")).unwrap();
    fs::write(home.root().join("catalogue.db-wal"), b"left over").unwrap();
    assert_eq!(Catalogue::open(&home).err().unwrap().text(), "catalogue_missing");
    assert_eq!(Catalogue::set_aside(&home, moment(0)).unwrap(), None);
    Catalogue::open(&home).unwrap().close().unwrap();
    let names: Vec<_> = files(home.root()).into_keys().collect();
    assert_eq!(names, ["catalogue.db", "catalogue.db.damaged-2026-02-05_21-13-02.125-wal"]);
}

#[test]
fn a_damaged_file_keeps_its_log_and_an_earlier_one_is_not_overwritten() {
    let (_dir, home, bytes) = closed();
    for _ in 0..3 {
        fs::write(home.catalogue(), &bytes[..5_000]).unwrap();
        fs::write(home.root().join("catalogue.db-wal"), b"log").unwrap();
        let aside = Catalogue::set_aside(&home, moment(0)).unwrap().unwrap();
        let log = super::super::open::beside(&aside, "-wal");
        assert_eq!(
            (fs::read(aside).unwrap(), fs::read(log).unwrap()),
            (bytes[..5_000].to_vec(), b"log".to_vec())
        );
    }
    let names: Vec<_> = files(home.root())
        .into_keys()
        .filter(|name| !name.ends_with("-shm"))
        .collect();
    let base = "catalogue.db.damaged-2026-02-05_21-13-02.125";
    assert_eq!(
        names,
        [
            base.to_owned(),
            format!("{base}-2"),
            format!("{base}-2-wal"),
            format!("{base}-3"),
            format!("{base}-3-wal"),
            format!("{base}-wal")
        ]
    );
}

#[test]
fn a_sound_catalogue_or_one_in_use_is_not_set_aside() {
    let (_dir, home, _) = closed();
    assert_eq!(Catalogue::set_aside(&home, moment(0)).unwrap(), None);
    let catalogue = Catalogue::open(&home).unwrap();
    let error = Catalogue::set_aside(&home, moment(0)).unwrap_err();
    assert_eq!((error.code(), error.text()), (Code::Busy, "catalogue_in_use"));
    assert_eq!(catalogue.list(&Filter::default(), 1, 1).unwrap().total, 20);
    drop(catalogue);
    assert_eq!(files(home.root()).into_keys().collect::<Vec<_>>(), ["catalogue.db"]);
}

#[test]
fn damage_that_appears_while_it_is_open_is_told() {
    let world = World::new();
    for n in 0..50 {
        world.finished(n, BackupState::Verified);
    }
    world.catalogue.checkpoint().unwrap();
    let path = world.home.catalogue();
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[4096..end].fill(0x5a);
    overwrite(&path, &bytes);
    // Another process, or this one once it reads the pages again.
    let error = Catalogue::open(&world.home).err().unwrap();
    assert_eq!(error.code(), Code::CatalogueCorrupt);
}

/// In place: a rename would leave the old file open.
fn overwrite(path: &Path, bytes: &[u8]) {
    let mut file = fs::OpenOptions::new().write(true).open(path).unwrap();
    std::io::Write::write_all(&mut file, bytes).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
    /// Any bytes flipped anywhere: it opens and reads, or says what is wrong; it never panics, and never says anything else.
    #[test]
    fn flipped_bytes_are_told_or_harmless(flips in proptest::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 1..4)) {
        let (home, bytes) = CLOSED.with(|closed| (closed.1.clone(), closed.2.clone()));
        let mut bytes = bytes;
        for (at, with) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= with;
        }
        for (name, _) in files(home.root()) {
            fs::remove_file(home.root().join(name)).unwrap();
        }
        fs::write(home.catalogue(), &bytes).unwrap();
        match Catalogue::open(&home).and_then(|catalogue| read_all(&catalogue)) {
            Ok(()) => {}
            // `quick_check` does not compare indexes with tables: where they differ, something can be absent.
            Err(error) => prop_assert!(
                matches!(error.code(), Code::CatalogueCorrupt | Code::CatalogueNewer | Code::NotFound), "{}", error
            ),
        }
    }
}

thread_local! {
    static CLOSED: (TempDir, Home, Vec<u8>) = closed();
}
