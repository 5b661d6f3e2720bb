//! A live file becomes exactly the backup, and exactly what it was again.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use coffre_model::cancel::Reason;
use coffre_model::replace::Standing;
use coffre_model::{Code, Error, Id};
use rusqlite::Connection;

use super::common::{Ground, SHAPES, Shape, as_map, make, plain_counts};
use super::replacing_common::{assert_same, assert_sound, backup, journal, loaded, masked, names, open, pages, without_mark};

/// Shapes over one another: page size, auto-vacuum, encoding, journal mode and reserved bytes change all at once.
#[test]
fn shapes_over_one_another_and_back() {
    let backups: Vec<(Ground, Vec<u8>)> = SHAPES
        .iter()
        .map(|shape| {
            let ground = Ground::new();
            let bytes = backup(&ground, *shape, "INSERT INTO empty_one VALUES ('of the backup')");
            (ground, bytes)
        })
        .collect();
    for (i, live) in SHAPES.iter().enumerate() {
        // Three of eight: itself and two neighbours, so that over all each change is met in both directions.
        for j in [i, (i + 1) % SHAPES.len(), (i + 3) % SHAPES.len()] {
            let bytes = &backups[j].1;
            let what = format!("{i} {live:?} <- {j} {:?}", SHAPES[j]);
            let ground = Ground::new();
            let path = ground.file("shop.db");
            drop(make(&path, *live));
            let (before, mode) = (pages(&path), journal(&path));
            let mut replace = open(&ground.access, &path);
            let mut plan = loaded(replace.as_mut(), bytes).unwrap();
            replace.swap(&mut plan).unwrap();
            assert_same(&without_mark(pages(&path)), &without_mark(masked(bytes.clone())), &what);
            assert_sound(&path);
            assert_eq!(journal(&path), mode, "{what}");
            assert_same(&masked(fs::read(ground.file(&plan.kept)).unwrap()), &before, &what);
            assert_eq!(names(&ground.data()).len(), 2, "{what} {:?}", names(&ground.data()));
            let told: Vec<String> = replace.remarks().iter().map(|e| e.text().to_owned()).collect();
            let expected: &[&str] = if live.encoding == SHAPES[j].encoding {
                &[]
            } else {
                &["sqlite_encoding_differs"]
            };
            assert_eq!(told, expected, "{what}");
            assert_eq!(replace.recover(&plan).unwrap(), Standing::After, "{what}");
            assert!(!replace.is_undone(&plan).unwrap());
            assert_eq!(replace.kept_bytes(&plan).unwrap(), Some(before.len() as u64));

            let after = pages(&path);
            replace.undo(&plan).unwrap();
            assert_same(&pages(&path), &before, &what);
            assert_sound(&path);
            assert_eq!(journal(&path), mode, "{what}");
            assert!(replace.is_undone(&plan).unwrap());
            replace.undo(&plan).unwrap();
            let mut undone = masked(fs::read(ground.file(&plan.scratch)).unwrap());
            let mut swapped = after;
            // The backup of SQLite has no room for a change of the journal mode in between: nothing else differs.
            undone.truncate(swapped.len());
            swapped.truncate(undone.len());
            assert_same(&undone, &swapped, &what);
            assert_eq!(names(&ground.data()).len(), 2, "{what} {:?}", names(&ground.data()));
            replace.forget(&plan).unwrap();
            replace.forget(&plan).unwrap();
            assert_eq!(replace.kept_bytes(&plan).unwrap(), None);
            assert_eq!(names(&ground.data()).into_keys().collect::<Vec<_>>(), ["shop.db"]);
        }
    }
}

/// A database of some megabytes, so that the swap of a file with a rollback journal takes the way of a log.
fn filled(shape: Shape, megabytes: u32, tag: &str) -> (Ground, std::path::PathBuf) {
    let ground = Ground::new();
    let path = ground.file("large.db");
    let db = Connection::open(&path).unwrap();
    db.pragma_update(None, "page_size", shape.page_size).unwrap();
    db.pragma_update(None, "auto_vacuum", shape.auto_vacuum).unwrap();
    db.pragma_update(None, "journal_mode", shape.journal).unwrap();
    db.execute_batch(&format!(
        "PRAGMA synchronous=OFF; CREATE TABLE t(id INTEGER PRIMARY KEY, tag TEXT, body BLOB); BEGIN;
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < {megabytes} * 256)
           INSERT INTO t SELECT i, '{tag}', randomblob(4000) FROM n; COMMIT;"
    ))
    .unwrap();
    drop(db);
    (ground, path)
}

#[test]
fn large_ones_of_any_length_in_either_mode() {
    for shape in [SHAPES[0], SHAPES[1], SHAPES[3], SHAPES[7]] {
        for (live, stored) in [(3, 20), (20, 3), (12, 12)] {
            let (other, path) = filled(shape, stored, "backup");
            let (bytes, _) = other.dump(&path).unwrap();
            let (ground, path) = filled(shape, live, "live");
            // Somebody has it open and reads now and then, as applications do.
            let held = Connection::open(&path).unwrap();
            let tag = |db: &Connection| -> (String, u32) {
                db.query_row("SELECT max(tag), count(*) FROM t", [], |row| Ok((row.get(0)?, row.get(1)?)))
                    .unwrap()
            };
            assert_eq!(tag(&held).0, "live");
            let before = pages(&path);
            let mut replace = open(&ground.access, &path);
            let mut plan = loaded(replace.as_mut(), &bytes).unwrap();
            replace.swap(&mut plan).unwrap();
            assert_eq!(tag(&held), ("backup".to_owned(), stored * 256), "{shape:?}");
            assert_same(&without_mark(pages(&path)), &without_mark(masked(bytes.clone())), "swap");
            held.execute_batch("INSERT INTO t(tag) VALUES ('later')").unwrap();
            assert_sound(&path);
            replace.undo(&plan).unwrap();
            assert_eq!(tag(&held), ("live".to_owned(), live * 256), "{shape:?}");
            assert_same(&pages(&path), &before, "undo");
            drop(held);
            assert_sound(&path);
            // What was written after the swap is not lost.
            let db = Connection::open(ground.file(&plan.scratch)).unwrap();
            assert_eq!(tag(&db), ("later".to_owned(), stored * 256 + 1));
            drop(db);
            assert_sound(&ground.file(&plan.scratch));
        }
    }
}

#[test]
fn a_file_that_is_not_there() {
    let ground = Ground::new();
    let bytes = backup(&ground, SHAPES[3], "");
    let path = ground.file("shop.db");
    let mut replace = open(&ground.access, &path);
    let look = replace.look().unwrap();
    assert!(!look.exists && look.refusals.is_empty() && look.space.is_some());
    let mut plan = loaded(replace.as_mut(), &bytes).unwrap();
    assert!(!plan.existed && plan.kept.is_empty());
    assert_eq!(replace.recover(&plan).unwrap(), Standing::Before);
    assert_eq!(names(&ground.data()).len(), 0);

    let mut plan2 = loaded(replace.as_mut(), &bytes).unwrap();
    replace.swap(&mut plan2).unwrap();
    assert_eq!(replace.recover(&plan2).unwrap(), Standing::After);
    assert_eq!(names(&ground.data()).into_keys().collect::<Vec<_>>(), ["shop.db"]);
    assert_same(&without_mark(pages(&path)), &without_mark(masked(bytes.clone())), "new");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(replace.undo(&plan2).unwrap_err().text(), "sqlite_undo_nothing_kept");
    assert_eq!(replace.kept_bytes(&plan2).unwrap(), None);
    replace.forget(&plan2).unwrap();
    assert!(path.exists());

    // Somebody takes the name between plan and swap.
    fs::remove_file(&path).unwrap();
    plan = loaded(replace.as_mut(), &bytes).unwrap();
    fs::write(&path, b"theirs").unwrap();
    assert_eq!(replace.swap(&mut plan).unwrap_err().text(), "sqlite_live_replaced");
    assert_eq!(replace.recover(&plan).unwrap(), Standing::Before);
    assert_eq!(fs::read(&path).unwrap(), b"theirs");
    assert_eq!(names(&ground.data()).len(), 1);
    fs::remove_file(&path).unwrap();
    fs::write(ground.file("shop.db-wal"), b"of another").unwrap();
    assert_eq!(replace.plan(&Id::new()).unwrap_err().text(), "sqlite_target_leftover");
}

/// Where the live file is gone, what is kept is all there is of it.
#[test]
fn what_is_kept_comes_back_where_the_live_file_is_gone() {
    for shape in SHAPES.iter().copied() {
        let ground = Ground::new();
        let path = ground.file("shop.db");
        drop(make(&path, shape));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let (before, mode) = (pages(&path), journal(&path));
        let bytes = backup(&ground, SHAPES[3], "DELETE FROM customers");
        let mut replace = open(&ground.access, &path);
        let mut plan = loaded(replace.as_mut(), &bytes).unwrap();
        replace.swap(&mut plan).unwrap();
        fs::remove_file(&path).unwrap();
        let error = replace.forget(&plan).unwrap_err();
        assert_eq!((error.code(), error.text()), (Code::Refused, "sqlite_kept_alone"));
        // SQLite would mix it in.
        fs::write(ground.file("shop.db-wal"), b"of another").unwrap();
        assert_eq!(replace.undo(&plan).unwrap_err().text(), "sqlite_target_leftover");
        fs::remove_file(ground.file("shop.db-wal")).unwrap();
        replace.undo(&plan).unwrap();
        assert_same(&pages(&path), &before, "brought back");
        assert_eq!(journal(&path), mode);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_sound(&path);
        assert_eq!(replace.kept_bytes(&plan).unwrap(), None);
        replace.forget(&plan).unwrap();
        assert_same(&pages(&path), &before, "left alone");
    }
}

/// A file that was emptied, which an application has open all the same.
#[test]
fn a_file_without_bytes() {
    for shape in [SHAPES[1], SHAPES[3]] {
        let ground = Ground::new();
        let bytes = backup(&ground, shape, "");
        let path = ground.file("shop.db");
        fs::write(&path, b"").unwrap();
        let held = Connection::open(&path).unwrap();
        assert!(plain_counts(&held).is_empty());
        let mut replace = open(&ground.access, &path);
        let look = replace.look().unwrap();
        assert!(!look.exists);
        assert_eq!(
            look.remarks.iter().map(Error::text).collect::<Vec<_>>(),
            ["sqlite_live_empty"]
        );
        let mut plan = loaded(replace.as_mut(), &bytes).unwrap();
        let counts = as_map(&replace.counts(&plan).unwrap());
        replace.swap(&mut plan).unwrap();
        assert_eq!(plain_counts(&held), counts);
        assert_same(&without_mark(pages(&path)), &without_mark(masked(bytes)), "filled");
        assert_eq!(replace.recover(&plan).unwrap(), Standing::After);
        drop(held);
        assert_eq!(names(&ground.data()).into_keys().collect::<Vec<_>>(), ["shop.db"]);
    }
}

#[test]
fn mode_and_inode_stay_and_a_link_leads_where_it_led() {
    use std::os::unix::fs::MetadataExt;
    let ground = Ground::new();
    let bytes = backup(&ground, SHAPES[3], "");
    let (real, link) = (ground.file("real.db"), ground.access.runtime.join("link.db"));
    drop(make(&real, SHAPES[4]));
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let meta = fs::metadata(&real).unwrap();
    let mut replace = open(&ground.access, &link);
    let mut plan = loaded(replace.as_mut(), &bytes).unwrap();
    replace.swap(&mut plan).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    let now = fs::metadata(&real).unwrap();
    assert_eq!((now.ino(), now.mode(), now.uid()), (meta.ino(), meta.mode(), meta.uid()));
    assert_same(&without_mark(pages(&real)), &without_mark(masked(bytes)), "linked");
    // What is kept lies beside the file, not beside the link, and is nobody else's to read.
    let kept = fs::metadata(ground.file(&plan.kept)).unwrap();
    assert_eq!(kept.mode() & 0o777, 0o600);
    // The link may lead elsewhere by the time of the undo.
    fs::remove_file(&link).unwrap();
    replace.undo(&plan).unwrap();
    assert_eq!(fs::metadata(&real).unwrap().mode(), meta.mode());

    std::os::unix::fs::symlink(ground.file("nowhere"), &link).unwrap();
    let look = replace.look().unwrap();
    assert_eq!(
        look.refusals.iter().map(Error::text).collect::<Vec<_>>(),
        ["sqlite_link_dangling"]
    );
    assert_eq!(replace.plan(&Id::new()).unwrap_err().text(), "sqlite_link_dangling");
}

#[test]
fn hostile_names_are_just_names() {
    let bytes = backup(&Ground::new(), SHAPES[3], "");
    let long = "ü".repeat(120);
    for name in [
        "-rf *; $(x) `y`.db",
        "a\nb",
        "\u{202e}bd.x",
        "%2e%2e?mode=ro&vfs=x#",
        "'\"\\",
        "file:x",
        &long,
    ] {
        let ground = Ground::new();
        let path = ground.file(name);
        drop(make(&path, SHAPES[0]));
        let before = pages(&path);
        let mut replace = open(&ground.access, &path);
        let mut plan = loaded(replace.as_mut(), &bytes).unwrap();
        replace.swap(&mut plan).unwrap();
        assert_same(&without_mark(pages(&path)), &without_mark(masked(bytes.clone())), name);
        assert_eq!(names(&ground.data()).len(), 2, "{name}");
        replace.undo(&plan).unwrap();
        assert_same(&pages(&path), &before, name);
        replace.forget(&plan).unwrap();
        assert_eq!(names(&ground.data()).into_keys().collect::<Vec<_>>(), [name]);
    }
}

#[test]
fn discarding_and_failing_loads_leave_nothing() {
    let ground = Ground::new();
    let bytes = backup(&ground, SHAPES[3], "");
    let path = ground.file("shop.db");
    drop(make(&path, SHAPES[0]));
    let before = (fs::read(&path).unwrap(), names(&ground.data()));
    let unchanged = || assert!((fs::read(&path).unwrap(), names(&ground.data())) == before);
    let mut replace = open(&ground.access, &path);
    let plan = replace.plan(&Id::new()).unwrap();
    replace.discard(&plan).unwrap();
    unchanged();
    let plan = loaded(replace.as_mut(), &bytes).unwrap();
    replace.discard(&plan).unwrap();
    replace.discard(&plan).unwrap();
    assert_eq!(replace.recover(&plan).unwrap(), Standing::Before);
    unchanged();
    for length in [0, 1, 100, 4096, bytes.len() - 1] {
        loaded(replace.as_mut(), &bytes[..length]).unwrap_err();
    }
    // Each plan had a name of its own; nothing is swept but by its plan.
    for (name, _) in names(&ground.data()) {
        if name.contains("coffre-new") {
            assert_eq!(
                fs::metadata(ground.file(&name)).unwrap().len(),
                0,
                "a dropped load gives its room back"
            );
            fs::remove_file(ground.file(&name)).unwrap();
        }
    }
    // Damaged inside: found before anything of the live file changes.
    let mut damaged = bytes.clone();
    let at = damaged.len() / 2 / 4096 * 4096;
    damaged[at..at + 4096].fill(0xee);
    let mut replace = open(&ground.access, &path);
    let mut plan = replace.plan(&Id::new()).unwrap();
    replace.prepare(&mut plan).unwrap();
    let mut load = replace.load(&plan, coffre_model::database::DumpFormat::Sqlite).unwrap();
    std::io::Write::write_all(&mut load, &damaged).unwrap();
    load.finish().unwrap();
    let error = replace.swap(&mut plan).unwrap_err();
    assert!(matches!(error.code(), Code::VerifyMismatch | Code::DumpFailed), "{error}");
    assert_eq!(replace.recover(&plan).unwrap(), Standing::Before);
    unchanged();
    // Cancelled.
    let mut plan = loaded(replace.as_mut(), &bytes).unwrap();
    ground.access.cancel.cancel(Reason::Interrupt);
    assert_eq!(replace.swap(&mut plan).unwrap_err().code(), Code::Cancelled);
    // Taking back is not cancelled with it.
    assert_eq!(replace.recover(&plan).unwrap(), Standing::Before);
    unchanged();
}

#[test]
fn an_undo_is_refused_where_it_would_take_back_something_else() {
    let ground = Ground::new();
    let bytes = backup(&ground, SHAPES[3], "");
    let path = ground.file("shop.db");
    drop(make(&path, SHAPES[3]));
    let first = pages(&path);
    let mut replace = open(&ground.access, &path);
    let mut one = loaded(replace.as_mut(), &bytes).unwrap();
    replace.swap(&mut one).unwrap();
    let between = pages(&path);
    let mut two = loaded(replace.as_mut(), &backup(&ground, SHAPES[3], "DELETE FROM customers")).unwrap();
    replace.swap(&mut two).unwrap();
    // The second one came after the first: in order.
    assert_eq!(replace.undo(&one).unwrap_err().text(), "sqlite_live_not_ours");
    replace.undo(&two).unwrap();
    assert_same(&pages(&path), &between, "second taken back");
    replace.undo(&one).unwrap();
    assert_same(&pages(&path), &first, "first taken back");

    // The schema may change after a swap; it stays ours.
    let mut plan = loaded(replace.as_mut(), &bytes).unwrap();
    replace.swap(&mut plan).unwrap();
    Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE later(a); DROP TABLE empty_one; VACUUM;")
        .unwrap();
    assert_eq!(replace.recover(&plan).unwrap(), Standing::After);
    fs::rename(ground.file(&plan.kept), ground.file("moved away")).unwrap();
    let error = replace.undo(&plan).unwrap_err();
    assert_eq!((error.code(), error.text()), (Code::Refused, "sqlite_kept_missing"));
    fs::rename(ground.file("moved away"), ground.file(&plan.kept)).unwrap();
    replace.undo(&plan).unwrap();
    assert_same(&pages(&path), &first, "taken back");
    let kept = Connection::open(ground.file(&plan.scratch)).unwrap();
    assert!(plain_counts(&kept).contains_key("later"));

    // Another file altogether.
    let mut plan = loaded(replace.as_mut(), &bytes).unwrap();
    replace.swap(&mut plan).unwrap();
    fs::remove_file(&path).unwrap();
    let foreign = make(&path, SHAPES[0]);
    foreign.execute_batch("PRAGMA schema_version=123456").unwrap();
    drop(foreign);
    let error = replace.undo(&plan).unwrap_err();
    assert_eq!((error.code(), error.text()), (Code::Refused, "sqlite_live_not_ours"));
    assert_eq!(replace.recover(&plan).unwrap(), Standing::After);
    assert_eq!(replace.remarks()[0].text(), "sqlite_replace_unclear");
    assert_same(&masked(fs::read(ground.file(&plan.kept)).unwrap()), &first, "still kept");
    // Between plan and swap.
    let mut plan = loaded(replace.as_mut(), &bytes).unwrap();
    drop(make(&ground.file("new"), SHAPES[0]));
    fs::rename(ground.file("new"), &path).unwrap();
    assert_eq!(replace.swap(&mut plan).unwrap_err().text(), "sqlite_live_replaced");
}
