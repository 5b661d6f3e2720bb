//! Opening and closing: pragmas, modes, threads, full and read-only disks, a newer schema.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use coffre_model::journal::{Author, Entry};
use coffre_model::{Code, Error};

use super::super::Filter;
use super::child::{Running, argument, command, say, wait};
use super::*;

/// Every file below a folder with its bytes.
pub(super) fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_file())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect()
}

#[test]
fn every_setting_of_the_connection_is_in_place() {
    let world = World::new();
    let text = |name: &str| -> String {
        world
            .catalogue
            .read(|c| {
                Ok(c.query_row(&format!("PRAGMA {name}"), [], |row| {
                    row.get_ref(0).map(|value| match value.as_str() {
                        Ok(text) => text.to_owned(),
                        Err(_) => value.as_i64().unwrap().to_string(),
                    })
                })?)
            })
            .unwrap()
    };
    for (name, value) in [
        ("journal_mode", "wal"),
        ("synchronous", "2"),
        ("foreign_keys", "1"),
        ("busy_timeout", "5000"),
        ("temp_store", "2"),
        ("cache_size", "-65536"),
        ("mmap_size", "268435456"),
        ("trusted_schema", "0"),
        ("recursive_triggers", "1"),
        ("user_version", "4"),
        ("application_id", "1129268818"),
        ("integrity_check", "ok"),
    ] {
        assert_eq!(text(name), value, "{name}");
    }
    let problems: Vec<String> = world
        .catalogue
        .read(|c| super::super::row::all(c, "x", "PRAGMA foreign_key_check", [], |row| row.text("table")))
        .unwrap();
    assert!(problems.is_empty());
}

#[test]
fn modes_child() {
    let Some(path) = argument("catalogue::tests::opening::modes_child") else {
        return;
    };
    let (umask, path) = path.split_once(' ').unwrap();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(u32::from_str_radix(umask, 8).unwrap()));
    let home = Home::open(Path::new(path)).unwrap();
    let catalogue = Catalogue::open(&home).unwrap();
    catalogue.set_setting("language", "fr").unwrap();
    let dir = home.runtime_dir(&Id::new()).unwrap();
    drop(crate::home::create_private(&dir.path().join("pgpass")).unwrap());
    say("ready");
    wait();
}

#[test]
fn everything_is_private_whatever_the_umask() {
    for umask in ["0", "022", "277", "777"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("above/home");
        let argument = format!("{umask} {}", path.display());
        let mut child = Running::start("catalogue::tests::opening::modes_child", &argument);
        assert_eq!(child.hear().as_deref(), Some("ready"));
        let mut seen = Vec::new();
        let mut folders = vec![path.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let entry = entry.unwrap();
                let mode = entry.metadata().unwrap().permissions().mode() & 0o7777;
                let expected = if entry.path().is_dir() { 0o700 } else { 0o600 };
                assert_eq!(mode, expected, "{} with umask {umask}", entry.path().display());
                seen.push(entry.file_name().into_string().unwrap());
                if entry.path().is_dir() {
                    folders.push(entry.path());
                }
            }
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o700);
        assert_eq!(
            fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o7777,
            0o700
        );
        for name in [
            "catalogue.db",
            "catalogue.db-wal",
            "catalogue.db-shm",
            "logs",
            "runtime",
            "pgpass",
        ] {
            assert!(seen.iter().any(|other| other == name), "{name} in {seen:?}");
        }
        assert!(!seen.iter().any(|name| name == "backups"));
        child.go();
        assert!(child.end());
    }
}

#[test]
fn a_file_that_was_made_readable_is_made_private_again() {
    let world = World::new();
    let path = world.home.catalogue();
    let World {
        catalogue,
        home,
        dir: _dir,
        ..
    } = world;
    catalogue.close().unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let catalogue = Catalogue::open(&home).unwrap();
    catalogue.set_setting("a", "b").unwrap();
    for (name, _) in files(home.root()) {
        let mode = fs::metadata(home.root().join(&name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, 0o600, "{name}");
    }
}

#[test]
fn what_was_written_is_there_after_closing_and_no_log_stays() {
    let world = World::new();
    let backup = world.finished(1, BackupState::Verified);
    let clone = world.catalogue.clone();
    let World {
        catalogue,
        home,
        dir: _dir,
        ..
    } = world;
    assert_eq!(catalogue.list(&Filter::default(), 1, 1).unwrap().total, 1);
    catalogue.checkpoint().unwrap();
    assert_eq!(fs::metadata(home.root().join("catalogue.db-wal")).unwrap().len(), 0);
    catalogue.close().unwrap();
    assert_eq!(files(home.root()).into_keys().collect::<Vec<_>>(), ["catalogue.db"]);
    assert_eq!(clone.sources().unwrap_err().code(), Code::Internal);
    assert_eq!(clone.list(&Filter::default(), 1, 1).unwrap_err().code(), Code::Internal);
    assert_eq!(clone.checkpoint().unwrap_err().code(), Code::Internal);
    clone.close().unwrap();
    let again = Catalogue::open(&home).unwrap();
    assert_eq!(again.backup(backup.code.as_str()).unwrap(), backup);
    // Dropping closes as well.
    again.set_setting("a", "b").unwrap();
    again.stats(&Filter::default()).unwrap();
    drop(again);
    assert_eq!(files(home.root()).into_keys().collect::<Vec<_>>(), ["catalogue.db"]);
}

#[test]
fn several_threads_and_several_catalogues_write_at_once() {
    let world = World::new();
    let second = Catalogue::open(&world.home).unwrap();
    std::thread::scope(|scope| {
        for n in 0..8 {
            let catalogue = if n % 2 == 0 { world.catalogue.clone() } else { second.clone() };
            scope.spawn(move || {
                for i in 0..20 {
                    let entry = Entry {
                        id: 0,
                        at: moment(i),
                        author: Author::System,
                        actor: None,
                        action: "test".into(),
                        subject_kind: "thread".into(),
                        subject_id: None,
                        subject: n.to_string(),
                        result: "ok".into(),
                        error: None,
                    };
                    catalogue.record(&entry).unwrap();
                    catalogue.list(&Filter::default(), 1, 10).unwrap();
                }
            });
        }
    });
    assert_eq!(world.catalogue.journal(1_000, None).unwrap().len(), 160);
}

#[test]
fn a_newer_schema_is_refused_and_nothing_is_touched() {
    let world = World::new();
    let World {
        catalogue,
        home,
        dir: _dir,
        ..
    } = world;
    catalogue.close().unwrap();
    let raw = Connection::open(home.catalogue()).unwrap();
    raw.pragma_update(None, "user_version", super::super::open::SCHEMA + 1)
        .unwrap();
    drop(raw);
    let before = files(home.root());
    assert_eq!(before.keys().collect::<Vec<_>>(), ["catalogue.db"]);
    for _ in 0..2 {
        let error = Catalogue::open(&home).err().unwrap();
        assert_eq!((error.code(), error.text()), (Code::CatalogueNewer, "catalogue_newer"));
        assert_eq!(
            (error.detail("found").as_deref(), error.detail("known").as_deref()),
            (
                Some((super::super::open::SCHEMA + 1).to_string().as_str()),
                Some(super::super::open::SCHEMA.to_string().as_str())
            )
        );
        let error = Catalogue::set_aside(&home, moment(0)).unwrap_err();
        assert_eq!(error.code(), Code::CatalogueNewer);
        assert_eq!(files(home.root()), before);
    }
}

#[test]
fn a_newer_schema_that_lies_in_the_log_is_refused_and_nothing_is_touched() {
    let world = World::new();
    let World {
        catalogue,
        home,
        dir: _dir,
        ..
    } = world;
    catalogue.close().unwrap();
    // A newer Coffre was killed before its migration moved from the log into the file.
    let raw = Connection::open(home.catalogue()).unwrap();
    raw.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .unwrap();
    raw.pragma_update(None, "user_version", 7).unwrap();
    drop(raw);
    let before = files(home.root());
    assert_eq!(before.len(), 3, "file, log and index");
    let error = Catalogue::open(&home).err().unwrap();
    assert_eq!(
        (error.code(), error.detail("found").as_deref()),
        (Code::CatalogueNewer, Some("7"))
    );
    let after = files(home.root());
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    for name in ["catalogue.db", "catalogue.db-wal"] {
        assert_eq!(after[name], before[name], "{name}");
    }
}

#[test]
fn full_disk_child() {
    let Some(path) = argument("catalogue::tests::opening::full_disk_child") else {
        return;
    };
    let path = Path::new(&path);
    let home = Home::open(&path.join("home")).unwrap();
    let catalogue = Catalogue::open(&home).unwrap();
    catalogue.set_setting("a", "before").unwrap();
    // Everything that is left, to the last page.
    let filler = path.join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    let mut size = 1 << 20;
    while size > 0 {
        if std::io::Write::write_all(&mut file, &vec![1; size]).is_err() {
            size /= 2;
        }
    }
    let error = (0..10_000)
        .find_map(|n| catalogue.set_setting(&format!("k{n}"), &"x".repeat(1_000)).err())
        .unwrap();
    assert_eq!((error.code(), error.text()), (Code::HomeFull, "catalogue_full"), "{error}");
    // Reading goes on; a second process that comes now is told the same, or can read.
    assert_eq!(catalogue.setting("a").unwrap().as_deref(), Some("before"));
    if let Err(error) = Home::open(&path.join("home")).and_then(|home| Catalogue::open(&home)) {
        assert_eq!(error.code(), Code::HomeFull, "{error}");
    }
    let error = Home::open(&path.join("other"))
        .and_then(|home| Catalogue::open(&home))
        .err()
        .unwrap();
    assert_eq!(error.code(), Code::HomeFull, "{error}");
    // Space comes back, and with it the same open catalogue.
    drop(file);
    fs::remove_file(&filler).unwrap();
    catalogue.set_setting("a", "after").unwrap();
    catalogue.close().unwrap();
    let catalogue = Catalogue::open(&home).unwrap();
    assert_eq!(catalogue.setting("a").unwrap().as_deref(), Some("after"));
    Catalogue::open(&Home::open(&path.join("other")).unwrap()).unwrap();
    say("fine");
}

#[test]
fn a_full_disk_is_named_and_survived() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let mount = format!("mount -t tmpfs -o size=3m tmpfs '{path}' && exec \"$@\"");
    let mut child = Running::with(command(
        &["unshare", "-m", "sh", "-c", &mount, "sh"],
        "catalogue::tests::opening::full_disk_child",
        path,
    ));
    assert_eq!(child.hear().as_deref(), Some("fine"));
    assert!(child.end());
}

#[test]
fn read_only_child() {
    let Some(path) = argument("catalogue::tests::opening::read_only_child") else {
        return;
    };
    let error = Home::open(Path::new(&path)).err().unwrap();
    say(&format!("{} {}", error.code(), error.text()));
}

#[test]
fn a_read_only_disk_is_named() {
    let world = World::new();
    let World {
        catalogue,
        home,
        dir: _dir,
        ..
    } = world;
    catalogue.close().unwrap();
    let path = home.root().to_str().unwrap();
    let mount = format!("mount --bind '{path}' '{path}' && mount -o remount,bind,ro '{path}' && exec \"$@\"");
    for path in [path.to_owned(), format!("{path}/below")] {
        let mut child = Running::with(command(
            &["unshare", "-m", "sh", "-c", &mount, "sh"],
            "catalogue::tests::opening::read_only_child",
            &path,
        ));
        assert_eq!(child.hear().as_deref(), Some("INTERNAL home_read_only"), "{path}");
    }
}

#[test]
fn a_folder_without_the_right_to_write_is_named() {
    let world = World::new();
    let World {
        catalogue, home, dir, ..
    } = world;
    catalogue.close().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(home.root(), fs::Permissions::from_mode(0o755)).unwrap();
    for path in [home.root().to_owned(), dir.path().join("new")] {
        let mut child = Running::with(command(
            &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"],
            "catalogue::tests::opening::read_only_child",
            path.to_str().unwrap(),
        ));
        assert_eq!(
            child.hear().as_deref(),
            Some("PRIVILEGE home_not_writable"),
            "{}",
            path.display()
        );
    }
}

#[test]
fn many_processes_open_a_fresh_home_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    let argument = home.to_str().unwrap();
    let mut children: Vec<_> = (0..30)
        .map(|_| Running::start("catalogue::tests::opening::first_child", argument))
        .collect();
    for child in &mut children {
        assert_eq!(child.hear().as_deref(), Some("ready"));
    }
    children.iter_mut().for_each(Running::go);
    for child in &mut children {
        assert_eq!(child.hear().as_deref(), Some("open"));
    }
    let catalogue = Catalogue::open(&Home::open(&home).unwrap()).unwrap();
    assert_eq!(catalogue.journal(100, None).unwrap().len(), 30);
    children.iter_mut().for_each(Running::go);
    for child in &mut children {
        assert!(child.end());
    }
}

#[test]
fn first_child() {
    let Some(path) = argument("catalogue::tests::opening::first_child") else {
        return;
    };
    say("ready");
    wait();
    let catalogue = match Home::open(Path::new(&path)).and_then(|home| Catalogue::open(&home)) {
        Ok(catalogue) => catalogue,
        Err(error) => return say(&error.to_string()),
    };
    let entry = Entry {
        id: 0,
        at: moment(0),
        author: Author::Cli,
        actor: None,
        action: "test".into(),
        subject_kind: "process".into(),
        subject_id: None,
        subject: String::new(),
        result: "failed".into(),
        error: Some(Error::new(Code::Busy, "busy_source")),
    };
    catalogue.record(&entry).unwrap();
    say("open");
    wait();
}

#[test]
fn opening_child() {
    let Some(path) = argument("catalogue::tests::opening::opening_child") else {
        return;
    };
    let home = Home::open(Path::new(&path)).unwrap();
    Catalogue::open(&home).unwrap().set_setting("a", "b").unwrap();
}

/// Killed at each system call that changes something, from the first folder to the closing of the file.
#[test]
fn a_first_start_killed_anywhere_can_be_repeated() {
    let calls = "mkdir,pwrite64,write,fdatasync,fsync,ftruncate,fchmod,chmod,rename,unlink";
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    for n in 1.. {
        if home.exists() {
            fs::remove_dir_all(&home).unwrap();
        }
        let inject = format!("inject={calls}:signal=KILL:when={n}");
        let trace = format!("trace={calls}");
        let mut child = Running::with(command(
            &["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject],
            "catalogue::tests::opening::opening_child",
            home.to_str().unwrap(),
        ));
        let survived = child.end();
        let again = Home::open(&home).and_then(|home| Catalogue::open(&home));
        again
            .and_then(|catalogue| catalogue.set_setting("c", "d"))
            .unwrap_or_else(|e| panic!("killed at call {n}: {e}"));
        let names: Vec<_> = files(&home).into_keys().collect();
        assert_eq!(names, ["catalogue.db"], "killed at call {n}");
        if survived {
            assert!(n > 30, "{n}");
            break;
        }
    }
}
