//! What is seen of a live file before it is replaced, and what forbids it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use coffre_model::{Code, Error, Id};
use rusqlite::Connection;

use super::common::{Ground, SHAPES, application, as_map, checked, folder_state, make, plain_counts};
use super::replacing_common::{backup, loaded, names, open};
use super::writers::Other;

#[test]
fn what_a_look_tells() {
    for shape in SHAPES {
        let ground = Ground::new();
        let path = ground.file("shop.db");
        let db = make(&path, *shape);
        db.execute_batch(
            "CREATE TABLE visits(id INTEGER PRIMARY KEY, created_at TEXT, seen INT, updatedAt INTEGER);
             INSERT INTO visits VALUES (1, '2026-01-02', 3, 1700000001), (2, '2026-03-04', 4, 1700000000);
             CREATE TABLE many(at TEXT, when_it_was DATETIME);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 30000)
               INSERT INTO many SELECT i, printf('%06d', i) FROM n;",
        )
        .unwrap();
        let counts = plain_counts(&db);
        let before = folder_state(&ground.data());
        let mut replace = open(&ground.access, &path);
        let look = replace.look().unwrap();
        assert!(folder_state(&ground.data()) == before, "{shape:?}");
        assert!(look.exists && look.refusals.is_empty(), "{:?}", look.refusals);
        assert_eq!(as_map(&look.counts), counts);
        assert!(look.bytes.unwrap() > 100_000 && look.space.is_some() && look.server_version.is_some());
        let newest: Vec<(&str, &str, &str)> = look
            .newest
            .iter()
            .map(|n| (n.table.as_str(), n.column.as_str(), n.value.as_str()))
            .collect();
        assert_eq!(
            newest,
            [("visits", "updatedAt", "1700000001")],
            "too many rows without an index"
        );
        db.execute_batch("CREATE INDEX many_when ON many(when_it_was)").unwrap();
        let again = replace.look().unwrap();
        assert_eq!(again.identity, look.identity);
        assert_eq!(again.newest[0].value, "30000");
        assert_eq!(replace.plan(&Id::new()).unwrap().identity, look.identity);
        // The stored file is made of the same.
        let (bytes, _) = ground.dump(&path).unwrap();
        assert_eq!(checked(&bytes, 4096).unwrap().shapes, look.shapes, "{shape:?}");
        assert!(
            look.shapes
                .unwrap()
                .iter()
                .any(|t| t.table == "search" && t.columns[0].name == "USING fts5")
        );
    }
}

/// A schema whose text is longer than a page cannot be told from the bytes as they go by: then nothing is said.
#[test]
fn a_table_with_a_very_long_text() {
    let ground = Ground::new();
    let path = ground.file("shop.db");
    let db = Connection::open(&path).unwrap();
    let columns: Vec<String> = (0..600).map(|i| format!("column_number_{i} TEXT")).collect();
    db.execute_batch(&format!("CREATE TABLE wide({})", columns.join(", ")))
        .unwrap();
    let (bytes, _) = ground.dump(&path).unwrap();
    assert_eq!(checked(&bytes, 4096).unwrap().shapes, None);
    let look = open(&ground.access, &path).look().unwrap();
    assert_eq!(look.shapes.unwrap()[0].columns.len(), 600);
}

#[cfg(target_os = "linux")]
#[test]
fn who_has_it_open() {
    for journal in ["delete", "wal"] {
        let ground = Ground::new();
        let path = ground.file("shop.db");
        let db = application(&path, journal);
        db.execute_batch("CREATE TABLE accounts(filler); INSERT INTO accounts VALUES (1); CREATE TABLE log(a)")
            .unwrap();
        let mut replace = open(&ground.access, &path);
        assert_eq!(replace.look().unwrap().sessions, Some(Vec::new()), "ourselves left out");
        let mut other = Other::start("dies while writing", &path);
        other.answer();
        let sessions = replace.look().unwrap().sessions.unwrap();
        assert_eq!(sessions.len(), 1, "{journal}");
        assert!(sessions[0].in_transaction && !sessions[0].program.is_empty(), "{sessions:?}");
    }
}

fn refused(ground: &Ground, path: &Path) -> Vec<(Code, String)> {
    let before = names(&ground.data());
    let mut replace = open(&ground.access, path);
    let look = replace.look().unwrap();
    let told: Vec<(Code, String)> = look.refusals.iter().map(|e| (e.code(), e.text().to_owned())).collect();
    let first = replace.plan(&Id::new()).map_err(|e| (e.code(), e.text().to_owned()));
    assert_eq!(first.err(), told.first().cloned());
    assert_eq!(names(&ground.data()), before);
    told
}

#[test]
fn damaged_files() {
    let ground = Ground::new();
    let path = ground.file("shop.db");
    let damaged = [(Code::Refused, "sqlite_live_damaged".to_owned())];
    fs::write(&path, vec![7; 20_000]).unwrap();
    assert_eq!(refused(&ground, &path), damaged);
    fs::remove_file(&path).unwrap();
    drop(make(&path, SHAPES[0]));
    let sound = fs::read(&path).unwrap();
    fs::write(&path, &sound[..sound.len() / 2]).unwrap();
    assert_eq!(refused(&ground, &path), damaged);
    // Damaged after the plan was made.
    fs::write(&path, &sound).unwrap();
    let bytes = backup(&ground, SHAPES[0], "");
    let mut replace = open(&ground.access, &path);
    let mut plan = loaded(replace.as_mut(), &bytes).unwrap();
    fs::write(&path, vec![7; 20_000]).unwrap();
    assert_eq!(replace.swap(&mut plan).unwrap_err().text(), "sqlite_live_replaced");
    replace.discard(&plan).unwrap();
    assert_eq!(fs::read(&path).unwrap(), vec![7; 20_000]);
    assert_eq!(names(&ground.data()).len(), 1);
}

#[test]
fn what_is_no_file() {
    let ground = Ground::new();
    let failed = |name: &str| open(&ground.access, &ground.file(name)).look().unwrap_err().text().to_owned();
    fs::create_dir(ground.file("folder")).unwrap();
    assert_eq!(failed("folder"), "sqlite_is_folder");
    assert_eq!(failed("no/such/folder.db"), "sqlite_folder_missing");
    fs::write(ground.file("file"), b"x").unwrap();
    assert_eq!(failed("file/x.db"), "sqlite_folder_missing");
    fs::write(ground.file("empty.db"), b"").unwrap();
    fs::write(ground.file("empty.db-journal"), b"of a crash").unwrap();
    assert_eq!(
        refused(&ground, &ground.file("empty.db")),
        [(Code::Refused, "sqlite_target_leftover".to_owned())]
    );
}

/// Does something as a user who owns nothing here. On Linux every thread has its own identity on the file system.
#[cfg(target_os = "linux")]
fn as_nobody<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: changes the identity of this thread alone, for file access alone; the thread ends with it.
            unsafe { libc::setfsuid(65534) };
            work()
        });
        thread.join().unwrap()
    })
}

#[cfg(target_os = "linux")]
#[test]
fn rights_that_are_missing() {
    let ground = Ground::new();
    let modes = |path: &Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let path = ground.file("shop.db");
    drop(make(&path, SHAPES[0]));
    modes(ground.data().parent().unwrap(), 0o777);
    modes(&ground.access.runtime, 0o777);
    modes(&path, 0o666);
    modes(&ground.data(), 0o555);
    let told = as_nobody(|| refused(&ground, &path));
    assert_eq!(
        told,
        [(Code::Privilege, "sqlite_folder_denied".to_owned())],
        "a folder that may only be read"
    );
    modes(&ground.data(), 0o777);
    modes(&path, 0o444);
    let told = as_nobody(|| refused(&ground, &path));
    assert_eq!(
        told,
        [(Code::Privilege, "sqlite_live_denied".to_owned())],
        "a file that may only be read"
    );
    modes(&path, 0o666);
    assert_eq!(refused(&ground, &path), []);
    let _all_are_told: Vec<Error> = open(&ground.access, &path).remarks();
}
