//! A restore makes a new file or nothing.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use coffre_model::cancel::Reason;
use coffre_model::database::DumpFormat;
use coffre_model::error::from_io;
use coffre_model::{Code, Error};

use super::common::{Ground, SHAPES, as_map, folder_state, make, plain_counts};

/// A dump of a small database, and its rows.
fn dumped() -> (Ground, Vec<u8>) {
    let ground = Ground::new();
    let path = ground.access.runtime.join("shop.db");
    let db = make(&path, SHAPES[3]);
    let (bytes, _) = ground.dump(&path).unwrap();
    drop(db);
    (ground, bytes)
}

#[test]
fn nothing_that_exists_is_touched() {
    let (ground, bytes) = dumped();
    let target = ground.file("new.db");
    let refused = |text: &str| {
        let before = folder_state(&ground.data());
        let error = ground.restore(&target, &bytes).unwrap_err();
        assert_eq!((error.code(), error.text()), (Code::Refused, text), "{error}");
        assert!(folder_state(&ground.data()) == before);
    };
    fs::write(&target, b"").unwrap();
    refused("sqlite_target_exists");
    fs::write(&target, b"precious").unwrap();
    refused("sqlite_target_exists");
    fs::remove_file(&target).unwrap();
    fs::create_dir(&target).unwrap();
    let error = ground.restore(&target, &bytes).unwrap_err();
    assert_eq!(error.text(), "sqlite_target_exists");
    fs::remove_dir(&target).unwrap();
    std::os::unix::fs::symlink(ground.file("nowhere"), &target).unwrap();
    assert_eq!(ground.restore(&target, &bytes).unwrap_err().text(), "sqlite_target_exists");
    assert!(!ground.file("nowhere").exists());
    fs::remove_file(&target).unwrap();
    // A log of a former database with this name: SQLite would read it into the restored one.
    for suffix in ["-wal", "-journal", "-shm"] {
        let left = ground.file(&format!("new.db{suffix}"));
        fs::write(&left, b"of another database").unwrap();
        refused("sqlite_target_leftover");
        fs::remove_file(left).unwrap();
    }
    ground.restore(&target, &bytes).unwrap();
    refused("sqlite_target_exists");
}

#[test]
fn until_it_is_settled_there_is_only_a_private_partial_file() {
    let (ground, bytes) = dumped();
    let target = ground.file("new.db");
    let mut database = ground.open(&target);
    database.prepare_target().unwrap();
    let mut load = database.load(DumpFormat::Sqlite).unwrap();
    load.write_all(&bytes).unwrap();
    let files = folder_state(&ground.data());
    let [(name, written)] = files.iter().collect::<Vec<_>>()[..] else {
        panic!("{:?}", files.keys());
    };
    assert!(name.starts_with(".new.db.coffre-partial-"), "{name}");
    assert!(*written == bytes);
    let mode = fs::metadata(ground.file(name)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    load.finish().unwrap();
    let counts = as_map(&database.counts().unwrap());
    assert_eq!(
        folder_state(&ground.data()).len(),
        1,
        "counting leaves nothing beside the file"
    );
    database.settle_target().unwrap();
    database.discard_target().unwrap();
    drop(database);
    let files = folder_state(&ground.data());
    assert_eq!(files.into_keys().collect::<Vec<_>>(), ["new.db"]);
    assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(plain_counts(&rusqlite::Connection::open(&target).unwrap()), counts);
    // From here on it is a database like any other.
    assert_eq!(as_map(&ground.open(&target).counts().unwrap()), counts);
}

#[test]
fn every_way_out_leaves_nothing() {
    let (ground, bytes) = dumped();
    let target = ground.file("new.db");
    let empty = || assert_eq!(folder_state(&ground.data()).len(), 0);

    let mut database = ground.open(&target);
    database.prepare_target().unwrap();
    database.discard_target().unwrap();
    database.discard_target().unwrap();
    empty();

    let mut database = ground.open(&target);
    database.prepare_target().unwrap();
    let mut load = database.load(DumpFormat::Sqlite).unwrap();
    load.write_all(&bytes[..5000]).unwrap();
    drop(load);
    let [(_, partial)] = &folder_state(&ground.data()).into_iter().collect::<Vec<_>>()[..] else {
        panic!()
    };
    assert_eq!(partial.len(), 0, "a dropped load gives its space back");
    assert!(database.counts().is_err());
    assert_eq!(database.settle_target().unwrap_err().code(), Code::Internal);
    drop(database);
    empty();

    // Cut off anywhere, and without an end.
    for length in [0, 1, 99, 100, 4096, bytes.len() - 4096, bytes.len() - 1] {
        let error = ground.restore(&target, &bytes[..length]).unwrap_err();
        let expected = if length == 0 { Code::DumpEmpty } else { Code::DumpTruncated };
        assert_eq!(error.code(), expected, "{length}");
        empty();
    }
    let error = ground.restore(&target, &vec![7; 8192]).unwrap_err();
    assert_eq!(
        (error.code(), error.text()),
        (Code::VerifyMismatch, "sqlite_bytes_not_database")
    );
    empty();

    // Whole by its length, damaged inside: found before it gets its name.
    let mut damaged = bytes.clone();
    let at = damaged.len() / 2 / 4096 * 4096;
    damaged[at..at + 4096].fill(0xee);
    let error = ground.restore(&target, &damaged).unwrap_err();
    assert!(matches!(error.code(), Code::VerifyMismatch | Code::DumpFailed), "{error}");
    empty();

    let mut database = ground.open(&target);
    database.prepare_target().unwrap();
    let mut load = database.load(DumpFormat::Sqlite).unwrap();
    load.write_all(&bytes).unwrap();
    ground.access.cancel.cancel(Reason::Interrupt);
    let error = from_io(load.write_all(&bytes).unwrap_err(), |e| Error::internal("write", e));
    assert_eq!(error.code(), Code::Cancelled);
    drop((load, database));
    empty();
}

#[test]
fn somebody_takes_the_name_meanwhile() {
    let (ground, bytes) = dumped();
    let target = ground.file("new.db");
    let mut database = ground.open(&target);
    database.prepare_target().unwrap();
    let mut load = database.load(DumpFormat::Sqlite).unwrap();
    load.write_all(&bytes).unwrap();
    load.finish().unwrap();
    fs::write(&target, b"theirs").unwrap();
    assert_eq!(database.settle_target().unwrap_err().code(), Code::Refused);
    database.discard_target().unwrap();
    let files = folder_state(&ground.data());
    assert_eq!(
        files.into_iter().collect::<Vec<_>>(),
        [("new.db".to_owned(), b"theirs".to_vec())]
    );
}

#[test]
fn places_that_cannot_be() {
    let (ground, bytes) = dumped();
    let error = ground.restore(&ground.file("no/such/folder.db"), &bytes).unwrap_err();
    assert_eq!((error.code(), error.text()), (Code::Unreachable, "sqlite_folder_missing"));
    fs::write(ground.file("file"), b"").unwrap();
    let error = ground.restore(&ground.file("file/new.db"), &bytes).unwrap_err();
    assert_eq!((error.code(), error.text()), (Code::Unreachable, "sqlite_folder_missing"));
    ground.restore(&ground.file(&"ü".repeat(120)), &bytes).unwrap();
}

#[test]
fn what_writing_can_end_with() {
    use crate::sqlite::errors::writing;
    let path = std::path::Path::new("/x/new.db");
    for (number, code) in [
        (libc::ENOSPC, Code::DestFull),
        (libc::EDQUOT, Code::DestFull),
        (libc::EFBIG, Code::DestFull),
        (libc::EACCES, Code::Privilege),
        (libc::EROFS, Code::Privilege),
        (libc::EEXIST, Code::Refused),
        (libc::ENOENT, Code::Unreachable),
        (libc::EIO, Code::Internal),
    ] {
        assert_eq!(writing(&std::io::Error::from_raw_os_error(number), path).code(), code);
    }
}
