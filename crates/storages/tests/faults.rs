//! The local storage when the disk, the rights or the process's limits say no.
//!
//! Each test runs itself again in a process of its own: with private mounts (`unshare -m`), with an injected answer of the system
//! (`strace -e inject`), as another user, or with another umask. They need root, like every test that mounts something.

#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]
#![allow(
    clippy::disallowed_methods,
    reason = "the tests start themselves again in prepared surroundings"
)]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use coffre_model::destination::Destination;
use coffre_model::error::{Code, from_io};
use coffre_model::storage::{Storage, StorageAccess};
use coffre_model::{Cancel, Error, Id};

const KEY: &str = "shop-1a2b3c4d/2026/shop_BKP-1.dump.zst";
const PLACE: &str = "COFFRE_TEST_PLACE";

/// Where the test runs inside its prepared surroundings, gives their folder. Elsewhere it starts itself there and waits.
fn inside(test: &str, around: &[&str]) -> Option<std::path::PathBuf> {
    if let Some(place) = std::env::var_os(PLACE) {
        return Some(place.into());
    }
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // A copy that every user may execute, wherever the build folder lies.
    let program = place.path().join("test");
    // Copied by a process of its own: one that another test starts meanwhile would hold the file open for writing, and nobody could run it.
    let copied = Command::new("cp")
        .arg(std::env::current_exe().unwrap())
        .arg(&program)
        .status();
    assert!(copied.unwrap().success());
    let folder = place.path().join("folder");
    fs::create_dir(&folder).unwrap();
    let mut words: Vec<&std::ffi::OsStr> = around.iter().map(std::ffi::OsStr::new).collect();
    words.push(program.as_os_str());
    let output = Command::new(words[0])
        .args(&words[1..])
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(PLACE, &folder)
        .output()
        .unwrap_or_else(|error| panic!("{words:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    None
}

const MOUNTS: &[&str] = &["unshare", "--mount", "--propagation", "private", "--"];

fn mount(words: &[&str], place: &Path) {
    assert!(Command::new("mount").args(words).arg(place).status().unwrap().success());
}

fn open(folder: &Path) -> Box<dyn Storage> {
    let destination = Destination {
        id: Id::new(),
        name: "here".into(),
        address: format!("file://{}", folder.display()),
        has_secret: false,
        identity: None,
        created_at: "2026-01-01T00:00:00Z".parse().unwrap(),
    };
    let access = StorageAccess {
        secret: None,
        stall: std::time::Duration::from_secs(300),
        cancel: Cancel::new(),
    };
    coffre_storages::find("file").unwrap().open(&destination, access).unwrap()
}

fn put(storage: &dyn Storage, key: &str, bytes: &[u8]) -> coffre_model::Result<u64> {
    let mut upload = storage.begin(key)?;
    for piece in bytes.chunks(1 << 16) {
        upload
            .write_all(piece)
            .map_err(|e| from_io(e, |e| Error::internal("write", e)))?;
    }
    upload.commit()
}

fn get(storage: &dyn Storage, key: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    storage.open(key).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

/// Names of everything below, for comparing.
fn names(at: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        found.push(path.to_string_lossy().into_owned());
        if path.is_dir() {
            found.extend(names(&path));
        }
    }
    found.sort();
    found
}

#[test]
fn a_full_disk_gives_its_space_back() {
    let Some(place) = inside("a_full_disk_gives_its_space_back", MOUNTS) else {
        return;
    };
    mount(&["-t", "tmpfs", "-o", "size=4m", "none"], &place);
    let storage = open(&place);
    put(&*storage, "old/2025/x.dump", &[1; 100_000]).unwrap();
    let before = (storage.space().unwrap().unwrap(), names(&place));
    assert_eq!(before.0.total, 4 << 20);
    let error = put(&*storage, KEY, &vec![2; 8 << 20]).unwrap_err();
    assert_eq!((error.code(), error.text()), (Code::DestFull, "dest_full"));
    assert_eq!(error.detail("place").unwrap(), place.to_string_lossy());
    assert_eq!((storage.space().unwrap().unwrap(), names(&place)), before);
    assert_eq!(get(&*storage, "old/2025/x.dump"), [1; 100_000]);
    // After a failed write nothing makes the upload whole again.
    let mut upload = storage.begin(KEY).unwrap();
    assert!(upload.write_all(&vec![2; 8 << 20]).is_err());
    assert!(upload.flush().is_err());
    assert!(upload.write_all(b"x").is_err());
    assert_eq!(upload.commit().unwrap_err().code(), Code::DestFull);
    assert_eq!((storage.space().unwrap().unwrap(), names(&place)), before);
    assert_eq!(
        storage
            .replace("coffre-destination.json", &vec![3; 8 << 20])
            .unwrap_err()
            .code(),
        Code::DestFull
    );
    assert_eq!(names(&place), before.1);
}

#[test]
fn a_disk_without_inodes_is_full_too() {
    let Some(place) = inside("a_disk_without_inodes_is_full_too", MOUNTS) else {
        return;
    };
    mount(&["-t", "tmpfs", "-o", "size=4m,nr_inodes=3", "none"], &place);
    // Root and two folders: none is left for the file.
    let error = open(&place).begin(KEY).map(drop).unwrap_err();
    assert_eq!(error.code(), Code::DestFull);
    assert_eq!(names(&place), Vec::<String>::new());
}

#[test]
fn a_read_only_disk_refuses() {
    let Some(place) = inside("a_read_only_disk_refuses", MOUNTS) else {
        return;
    };
    mount(&["-t", "tmpfs", "none"], &place);
    let storage = open(&place);
    put(&*storage, KEY, b"x").unwrap();
    mount(&["-o", "remount,ro"], &place);
    for error in [
        storage.begin("a/b").map(drop).unwrap_err(),
        storage.begin("shop-1a2b3c4d/2026/b").map(drop).unwrap_err(),
        storage.remove(KEY).map(drop).unwrap_err(),
        storage.replace("coffre-destination.json", b"x").unwrap_err(),
    ] {
        assert_eq!((error.code(), error.text()), (Code::DestAuth, "dest_read_only"));
    }
    assert_eq!(get(&*storage, KEY), b"x");
}

const NOBODY: &[&str] = &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"];

#[test]
fn a_folder_of_somebody_else() {
    let Some(place) = inside("a_folder_of_somebody_else", NOBODY) else {
        return;
    };
    // The folder belongs to root and may be read.
    let storage = open(&place);
    assert_eq!(storage.list("").unwrap(), []);
    let error = storage.begin(KEY).map(drop).unwrap_err();
    assert_eq!((error.code(), error.text()), (Code::DestAuth, "dest_denied"));
    assert_eq!(open(&place.join("new")).create_root().unwrap_err().code(), Code::DestAuth);
    // Root's own folder may not even be looked into.
    assert_eq!(open(Path::new("/proc/1/fd")).list("").unwrap_err().code(), Code::DestAuth);
}

#[test]
fn folders_of_others_are_passed_over_and_our_own_are_not() {
    let Some(place) = inside("folders_of_others_are_passed_over_and_our_own_are_not", MOUNTS) else {
        return;
    };
    mount(&["-t", "tmpfs", "-o", "mode=0777", "none"], &place);
    fs::create_dir(place.join("lost+found")).unwrap();
    fs::set_permissions(place.join("lost+found"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::create_dir(place.join("listed-only")).unwrap();
    fs::write(place.join("listed-only/x"), b"x").unwrap();
    fs::set_permissions(place.join("listed-only"), fs::Permissions::from_mode(0o744)).unwrap();
    // SAFETY: a plain system call without pointers, in a process that runs this test alone.
    assert_eq!(unsafe { libc::setresuid(65534, 65534, 65534) }, 0);
    let storage = open(&place);
    put(&*storage, KEY, b"x").unwrap();
    assert_eq!(storage.list("").unwrap().len(), 1);
    fs::set_permissions(place.join("shop-1a2b3c4d"), fs::Permissions::from_mode(0o000)).unwrap();
    assert_eq!(storage.list("").unwrap_err().code(), Code::DestAuth);
    assert_eq!(storage.stat(KEY).unwrap_err().code(), Code::DestAuth);
}

#[test]
fn the_umask_changes_nothing() {
    let Some(place) = inside("the_umask_changes_nothing", &["env"]) else {
        return;
    };
    for umask in [0o000, 0o777, 0o022] {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(umask));
        let root = place.join(format!("above-{umask}/root"));
        let storage = open(&root);
        storage.create_root().unwrap();
        put(&*storage, KEY, b"x").unwrap();
        storage.replace("coffre-destination.json", b"x").unwrap();
        let partial = storage.begin("a/b").unwrap();
        for (path, mode) in [
            ("..", 0o700),
            (".", 0o700),
            ("shop-1a2b3c4d", 0o700),
            ("shop-1a2b3c4d/2026", 0o700),
            (KEY, 0o600),
            ("coffre-destination.json", 0o600),
            ("a/b.partial", 0o600),
        ] {
            assert_eq!(
                fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o7777,
                mode,
                "{umask:o} {path}"
            );
        }
        drop(partial);
    }
}

#[test]
fn a_limit_on_file_sizes_is_a_full_destination() {
    let Some(place) = inside("a_limit_on_file_sizes_is_a_full_destination", &["env"]) else {
        return;
    };
    // SAFETY: sets a signal to be ignored, before any other thread of ours runs. The program does the same when it starts: the signal's
    // default would end the process without a word.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    let limit = rustix::process::Rlimit {
        current: Some(1 << 20),
        maximum: Some(1 << 20),
    };
    rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).unwrap();
    let storage = open(&place);
    let error = put(&*storage, KEY, &vec![2; 4 << 20]).unwrap_err();
    assert_eq!((error.code(), error.text()), (Code::DestFull, "dest_file_limit"));
    assert_eq!(names(&place), Vec::<String>::new());
}

/// Runs the test's body under strace with an injected answer to one system call, on the files below the test's own folder alone.
macro_rules! injected {
    ($name:ident, $inject:literal, $body:expr) => {
        #[test]
        fn $name() {
            let around = [
                "strace",
                "-f",
                "-qq",
                "-o",
                "/dev/null",
                "-e",
                concat!("inject=", $inject),
                "--",
            ];
            let Some(place) = inside(stringify!($name), &around) else {
                return;
            };
            let storage = open(&place);
            let body: fn(&dyn Storage, &Path) = $body;
            body(&*storage, &place);
        }
    };
}

injected!(a_failing_disk_is_said_at_the_commit, "fsync:error=EIO", |storage, place| {
    let error = put(storage, KEY, b"x").unwrap_err();
    assert_eq!((error.code(), error.text()), (Code::DestUnreachable, "dest_io"));
    assert_eq!(names(place), Vec::<String>::new());
});

injected!(
    space_found_missing_only_by_fsync,
    "fsync:error=ENOSPC:when=1",
    |storage, place| {
        assert_eq!(put(storage, KEY, b"x").unwrap_err().code(), Code::DestFull);
        assert_eq!(names(place), Vec::<String>::new());
    }
);

injected!(
    a_name_that_is_not_durable_is_taken_back,
    "fsync:error=EIO:when=2",
    |storage, place| {
        assert_eq!(put(storage, KEY, b"x").unwrap_err().code(), Code::DestUnreachable);
        assert_eq!(names(place), Vec::<String>::new());
    }
);

injected!(
    folders_that_cannot_be_synced_are_no_failure,
    "fsync:error=EINVAL:when=2+",
    |storage, _| {
        put(storage, KEY, b"x").unwrap();
        assert_eq!(get(storage, KEY), b"x");
    }
);

injected!(
    without_an_exclusive_rename_a_link_does_it,
    "renameat2:error=EINVAL",
    |storage, place| {
        put(storage, KEY, b"x").unwrap();
        assert_eq!(get(storage, KEY), b"x");
        assert_eq!(names(place).len(), 3);
        exclusive(storage, place);
    }
);

injected!(
    without_links_a_look_and_a_rename,
    "renameat2,linkat:error=EPERM",
    |storage, place| {
        // The exclusive rename answers "not permitted" here, which is an answer and no lack of the call.
        assert_eq!(put(storage, KEY, b"x").unwrap_err().code(), Code::DestAuth);
        assert_eq!(names(place), Vec::<String>::new());
    }
);

injected!(
    without_modes_the_file_is_written_all_the_same,
    "fchmod,fchmodat:error=EPERM",
    |storage, _| {
        put(storage, KEY, b"x").unwrap();
        assert_eq!(get(storage, KEY), b"x");
    }
);

injected!(
    without_locks_small_objects_are_written_all_the_same,
    "flock:error=ENOLCK",
    |storage, _| {
        storage.replace("coffre-destination.json", b"x").unwrap();
        assert_eq!(get(storage, "coffre-destination.json"), b"x");
    }
);

injected!(
    without_advice_it_is_read_all_the_same,
    "fadvise64:error=EINVAL",
    |storage, _| {
        put(storage, KEY, b"x").unwrap();
        assert_eq!(get(storage, KEY), b"x");
    }
);

/// What appears under the name while we write is not overwritten, whatever the file system can do.
fn exclusive(storage: &dyn Storage, place: &Path) {
    let mut upload = storage.begin("shop-1a2b3c4d/2026/y").unwrap();
    upload.write_all(b"ours").unwrap();
    fs::write(place.join("shop-1a2b3c4d/2026/y"), b"theirs").unwrap();
    assert_eq!(upload.commit().unwrap_err().code(), Code::Refused);
    assert_eq!(fs::read(place.join("shop-1a2b3c4d/2026/y")).unwrap(), b"theirs");
}

#[test]
fn without_an_exclusive_rename_and_links() {
    let around = [
        "strace",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "inject=renameat2:error=EINVAL",
        "-e",
        "inject=linkat:error=EPERM",
        "--",
    ];
    let Some(place) = inside("without_an_exclusive_rename_and_links", &around) else {
        return;
    };
    let storage = open(&place);
    put(&*storage, KEY, b"x").unwrap();
    assert_eq!(get(&*storage, KEY), b"x");
    exclusive(&*storage, &place);
}

injected!(
    without_direct_reads_it_is_read_all_the_same,
    "fcntl:error=EINVAL",
    |storage, _| {
        let bytes: Vec<u8> = (0..3_000_001u32).flat_map(|i| i.to_le_bytes()).collect();
        put(storage, KEY, &bytes).unwrap();
        assert!(get(storage, KEY) == bytes);
    }
);

/// Injects an answer to `read` on the stored file alone, which must exist before strace starts: in a second copy of the test.
fn with_reads(test: &str, inject: &str, bytes: &[u8], body: fn(&dyn Storage, &[u8])) {
    let Some(place) = inside(test, &["env"]) else { return };
    let file = place.join("data.dump");
    if std::env::var_os("COFFRE_TEST_READS").is_some() {
        return body(&*open(&place), bytes);
    }
    fs::write(&file, bytes).unwrap();
    let output = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("inject=read:{inject}"), "-P"])
        .arg(&file)
        .arg("--")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--test-threads=1"])
        .env("COFFRE_TEST_READS", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_read_that_fails_is_an_unreachable_destination() {
    with_reads(
        "a_read_that_fails_is_an_unreachable_destination",
        "error=EIO:when=2+",
        &[7; 5_000_000],
        |storage, _| {
            let mut bytes = Vec::new();
            let error = storage.open("data.dump").unwrap().read_to_end(&mut bytes).unwrap_err();
            assert_eq!(from_io(error, |e| Error::internal("read", e)).code(), Code::DestUnreachable);
            assert!(!bytes.is_empty());
        },
    );
}

#[test]
fn a_file_system_that_takes_no_direct_reads_after_all() {
    let bytes: Vec<u8> = (0..2_000_003u32).flat_map(|i| i.to_le_bytes()).collect();
    for when in ["1", "2", "3"] {
        with_reads(
            "a_file_system_that_takes_no_direct_reads_after_all",
            &format!("error=EINVAL:when={when}"),
            &bytes,
            |storage, bytes| assert!(get(storage, "data.dump") == bytes),
        );
    }
}
