//! What cannot be dumped is refused with its reason, and stays as it is.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use coffre_model::cancel::Reason;
use coffre_model::{Code, Error};
use rusqlite::Connection;

use super::common::{Ground, SHAPES, application, folder_state, make, plain_counts};
use crate::sqlite::Sqlite;

fn refused(ground: &Ground, path: &Path) -> (Code, String) {
    let before = folder_state(&ground.data());
    let errors: [Error; 3] = [
        ground.open(path).probe().unwrap_err(),
        ground.open(path).dump().err().unwrap(),
        ground.open(path).counts().unwrap_err(),
    ];
    assert!(folder_state(&ground.data()) == before);
    assert!(
        errors
            .iter()
            .all(|e| (e.code(), e.text()) == (errors[0].code(), errors[0].text())),
        "{errors:?}"
    );
    assert_eq!(errors[0].detail("path").as_deref(), path.to_str());
    (errors[0].code(), errors[0].text().to_owned())
}

#[test]
fn what_is_no_database() {
    let ground = Ground::new();
    let path = ground.file("x.db");
    let expect = |code, text: &str| assert_eq!(refused(&ground, &path), (code, text.to_owned()));
    expect(Code::Unreachable, "sqlite_missing");
    assert!(!path.exists(), "never created");

    fs::write(&path, b"").unwrap();
    expect(Code::DumpEmpty, "sqlite_empty");
    // SQLite would delete these two beside an empty file.
    fs::write(ground.file("x.db-wal"), b"something").unwrap();
    fs::write(ground.file("x.db-journal"), b"something").unwrap();
    expect(Code::DumpEmpty, "sqlite_empty");
    assert_eq!(folder_state(&ground.data()).len(), 3);
    fs::remove_file(ground.file("x.db-wal")).unwrap();
    fs::remove_file(ground.file("x.db-journal")).unwrap();

    fs::write(&path, b"SQLite format 2\0").unwrap();
    expect(Code::DumpFailed, "sqlite_not_database");
    // As an encrypted database looks: no magic, only noise.
    let noise: Vec<u8> = (0..20_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    fs::write(&path, noise).unwrap();
    expect(Code::DumpFailed, "sqlite_not_database");

    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let error = ground.open(&path).probe().unwrap_err();
    assert_eq!((error.code(), error.text()), (Code::Unreachable, "sqlite_is_folder"));
    fs::remove_dir(&path).unwrap();

    let pipe = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: a name that ends with NUL. Opening the pipe instead of looking at it would block this test for ever.
    assert_eq!(unsafe { libc::mkfifo(pipe.as_ptr(), 0o600) }, 0);
    let error = ground.open(&path).probe().unwrap_err();
    assert_eq!((error.code(), error.text()), (Code::Unreachable, "sqlite_not_file"));
    fs::remove_file(&path).unwrap();

    std::os::unix::fs::symlink(ground.file("nowhere.db"), &path).unwrap();
    let error = ground.open(&path).probe().unwrap_err();
    assert_eq!((error.code(), error.text()), (Code::Unreachable, "sqlite_missing"));
    assert!(!ground.file("nowhere.db").exists());
}

#[test]
fn damage_in_the_source_never_becomes_a_dump() {
    let ground = Ground::new();
    let path = ground.file("shop.db");
    drop(make(&path, SHAPES[0]));
    let sound = fs::read(&path).unwrap();

    // Cut off: fewer pages than the header says.
    fs::write(&path, &sound[..sound.len() / 2]).unwrap();
    assert_eq!(refused(&ground, &path), (Code::DumpFailed, "sqlite_damaged".to_owned()));

    // A page that is another one: opens, reads to its end, and is found by the check of that state.
    let mut doubled = sound.clone();
    let db = {
        fs::write(&path, &sound).unwrap();
        Connection::open(&path).unwrap()
    };
    let page: i64 = db
        .query_row(
            "SELECT max(pageno) FROM dbstat WHERE name = 'customers' AND pagetype = 'leaf'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    drop(db);
    let at = usize::try_from(page - 1).unwrap() * 512;
    doubled.copy_within(0..512, at);
    fs::write(&path, &doubled).unwrap();
    let error = ground.dump(&path).unwrap_err();
    assert_eq!((error.code(), error.text()), (Code::DumpFailed, "sqlite_check_failed"));
    assert!(error.detail("said").unwrap().contains("Tree"), "{error}");
    assert!(!Sqlite::integrity(&path, &ground.access).unwrap().is_empty());

    // An index that lacks a row.
    fs::write(&path, &sound).unwrap();
    let db = Connection::open(&path).unwrap();
    db.execute_batch(
        "PRAGMA writable_schema=ON;
         UPDATE sqlite_schema SET sql = replace(sql, 'WHERE id % 2 = 0', '') WHERE name = 'some_names';",
    )
    .unwrap();
    drop(db);
    let error = ground.dump(&path).unwrap_err();
    assert_eq!((error.code(), error.text()), (Code::DumpFailed, "sqlite_check_failed"));
    assert!(error.detail("said").unwrap().contains("some_names"), "{error}");

    fs::write(&path, &sound).unwrap();
    assert_eq!(Sqlite::integrity(&path, &ground.access).unwrap(), Vec::<String>::new());
    ground.access.cancel.cancel(Reason::Interrupt);
    assert_eq!(Sqlite::integrity(&path, &ground.access).unwrap_err().code(), Code::Cancelled);
}

/// A program that copies over a live database takes no notice of locks: what is read then is no state at all.
#[test]
fn a_file_that_was_overwritten_meanwhile() {
    let ground = Ground::new();
    let path = ground.file("shop.db");
    drop(make(&path, SHAPES[0]));
    let bytes = fs::read(&path).unwrap();
    let mut database = ground.open(&path);
    database.probe().unwrap();
    let mut dump = database.dump().unwrap();
    dump.read_exact(&mut [0; 5000]).unwrap();
    // By another process, so that no lock of this one is lost.
    let copied = std::thread::spawn({
        let path = path.clone();
        move || {
            fs::OpenOptions::new().write(true).open(path).map(|mut f| {
                std::io::Write::write_all(&mut f, &bytes).unwrap();
                std::mem::forget(f);
            })
        }
    });
    copied.join().unwrap().unwrap();
    dump.read_to_end(&mut Vec::new()).unwrap();
    let error = dump.finish().unwrap_err();
    assert_eq!((error.code(), error.text()), (Code::DumpFailed, "sqlite_changed"));
}

#[test]
fn a_file_that_was_replaced_meanwhile_is_the_old_one_and_said() {
    let ground = Ground::new();
    let path = ground.file("shop.db");
    let expected = plain_counts(&make(&path, SHAPES[0]));
    let mut database = ground.open(&path);
    database.probe().unwrap();
    let mut dump = database.dump().unwrap();
    dump.read_exact(&mut [0; 5000]).unwrap();
    drop(make(&ground.file("new.db"), SHAPES[3]));
    fs::rename(ground.file("new.db"), &path).unwrap();
    dump.read_to_end(&mut Vec::new()).unwrap();
    let facts = dump.finish().unwrap();
    assert_eq!(facts.remarks.iter().map(Error::text).collect::<Vec<_>>(), ["sqlite_replaced"]);
    assert_eq!(super::common::as_map(&facts.counts), expected);
}

/// Does something as a user who owns nothing here. On Linux every thread has its own identity on the file system.
#[cfg(target_os = "linux")]
fn as_nobody<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: changes the identity of this thread alone, for file access alone; the thread ends with it. Where the tests do not
            // run as root nothing changes, and the user is nobody special already.
            unsafe { libc::setfsuid(65534) };
            work()
        });
        thread.join().unwrap()
    })
}

#[cfg(target_os = "linux")]
#[test]
fn rights_that_are_missing() {
    let modes = |path: &Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    for journal in ["delete", "wal"] {
        let ground = Ground::new();
        let path = ground.file("shop.db");
        let db = application(&path, journal);
        db.execute_batch("CREATE TABLE t(a); INSERT INTO t VALUES (1)").unwrap();
        let open_folder = |folder: &Path| modes(folder, 0o777);
        open_folder(ground.data().parent().unwrap());
        open_folder(&ground.access.runtime);

        // A file that may not be read.
        modes(&path, 0o600);
        if fs::File::open(&path).is_ok() {
            let error = as_nobody(|| ground.open(&path).probe().unwrap_err());
            assert_eq!(
                (error.code(), error.text()),
                (Code::Privilege, "sqlite_denied"),
                "{journal} {error}"
            );
        }

        // A folder and a file that may be read, not written; the application is running.
        modes(&path, 0o644);
        modes(&ground.data(), 0o755);
        let counts = as_nobody(|| ground.dump(&path).map(|(_, facts)| facts.counts)).unwrap();
        assert_eq!((counts.len(), counts[0].rows), (1, 1), "{journal}");

        // The same, and the application is not running. A log needs a file beside it then.
        drop(db);
        let before = folder_state(&ground.data());
        let result = as_nobody(|| ground.dump(&path).map(|(_, facts)| facts.counts));
        assert!(folder_state(&ground.data()) == before);
        match journal {
            "delete" => assert_eq!(result.unwrap()[0].rows, 1),
            _ => {
                let error = result.unwrap_err();
                assert_eq!(
                    (error.code(), error.text()),
                    (Code::Privilege, "sqlite_wal_denied"),
                    "{error}"
                );
            }
        }
    }
}

/// On a read-only file system SQLite cannot have the file beside a database that a log needs. Without a log nothing is missing; with
/// one, a private copy has it.
#[cfg(target_os = "linux")]
#[test]
fn read_only_file_systems() {
    use crate::sqlite::reading::{Manner, Reading};
    for crashed in [false, true] {
        let ground = Ground::new();
        let (live, path) = (ground.access.runtime.join("live.db"), ground.file("shop.db"));
        let db = application(&live, "wal");
        db.execute_batch("PRAGMA wal_autocheckpoint=0; CREATE TABLE t(a); INSERT INTO t VALUES (1)")
            .unwrap();
        if crashed {
            fs::copy(ground.access.runtime.join("live.db-wal"), ground.file("shop.db-wal")).unwrap();
        } else {
            db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        }
        fs::copy(&live, &path).unwrap();
        let modes = |path: &Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        modes(ground.data().parent().unwrap(), 0o777);
        modes(&ground.access.runtime, 0o777);
        modes(&ground.data(), 0o555);
        let before = folder_state(&ground.data());
        let reading = as_nobody(|| Reading::attempt(&path, &path, &ground.access, true).unwrap().unwrap());
        assert_eq!(reading.manner(), if crashed { Manner::Copy } else { Manner::Still });
        let sql = "SELECT count(*) FROM t";
        let rows: i64 = reading.connection().unwrap().query_row(sql, [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 1);
        assert_eq!(reading.still_the_same().unwrap(), None);
        if !crashed {
            // Read-only for us is not always read-only for everybody.
            modes(&ground.data(), 0o755);
            fs::write(ground.file("shop.db-wal"), b"").unwrap();
            assert_eq!(reading.still_the_same().unwrap_err().text(), "sqlite_changed");
            fs::remove_file(ground.file("shop.db-wal")).unwrap();
        }
        reading.close().unwrap();
        assert!(folder_state(&ground.data()) == before);
    }
}
