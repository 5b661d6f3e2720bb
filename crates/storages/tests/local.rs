//! The local storage on real folders.
//!
//! The rules of `model::storage`, as a caller sees them, and what lies in the folder afterwards.

#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use coffre_model::destination::Destination;
use coffre_model::error::{Code, from_io};
use coffre_model::storage::{Storage, StorageAccess};
use coffre_model::{Cancel, Error, Id};
use proptest::prelude::*;

const KEY: &str = "shop-1a2b3c4d/2026/shop_BKP-1.dump.zst";

fn destination(folder: &Path) -> Destination {
    Destination {
        id: Id::new(),
        name: "here".into(),
        address: format!("file://{}", folder.display()),
        has_secret: false,
        identity: None,
        created_at: "2026-01-01T00:00:00Z".parse().unwrap(),
    }
}

fn open(folder: &Path) -> Box<dyn Storage> {
    let access = StorageAccess {
        secret: None,
        stall: std::time::Duration::from_secs(300),
        cancel: Cancel::new(),
    };
    coffre_storages::find("file")
        .unwrap()
        .open(&destination(folder), access)
        .unwrap()
}

fn put(storage: &dyn Storage, key: &str, bytes: &[u8]) {
    let mut upload = storage.begin(key).unwrap();
    upload.write_all(bytes).unwrap();
    assert_eq!(upload.commit().unwrap(), bytes.len() as u64);
}

fn get(storage: &dyn Storage, key: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    storage.open(key).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

fn failure<T>(result: coffre_model::Result<T>) -> Error {
    result.err().expect("an error")
}

/// Every file and folder below `root`, relative, sorted.
fn tree(root: &Path) -> Vec<String> {
    fn walk(at: &Path, root: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            found.push(path.strip_prefix(root).unwrap().to_string_lossy().into_owned());
            if path.symlink_metadata().unwrap().is_dir() {
                walk(&path, root, found);
            }
        }
    }
    let mut found = Vec::new();
    walk(root, root, &mut found);
    found.sort();
    found
}

fn mode(path: impl Into<PathBuf>) -> u32 {
    path.into().symlink_metadata().unwrap().permissions().mode() & 0o7777
}

#[test]
fn what_is_written_is_read_back_and_private() {
    let root = tempfile::tempdir().unwrap();
    let storage = open(root.path());
    let bytes: Vec<u8> = (0..20_000_000u32).flat_map(u32::to_le_bytes).take(20_000_001).collect();
    put(&*storage, KEY, &bytes);
    assert!(get(&*storage, KEY) == bytes);
    let stat = storage.stat(KEY).unwrap().unwrap();
    assert_eq!((stat.key.as_str(), stat.bytes), (KEY, bytes.len() as u64));
    let path = root.path().join(KEY);
    assert_eq!(stat.modified_at.unwrap().timestamp(), path.metadata().unwrap().mtime());
    assert_eq!(mode(path), 0o600);
    assert_eq!(mode(root.path().join("shop-1a2b3c4d")), 0o700);
    assert_eq!(mode(root.path().join("shop-1a2b3c4d/2026")), 0o700);
    assert_eq!(tree(root.path()).len(), 3);
}

#[test]
fn every_length_around_the_blocks_of_the_disk() {
    let root = tempfile::tempdir().unwrap();
    let storage = open(root.path());
    for edge in [0, 1, 512, 4096, 8192, 1 << 20, 2 << 20, 4 << 20] {
        for length in [edge, edge + 1, edge + 511] {
            let bytes: Vec<u8> = (0..length).map(|i: usize| (i * 7 + i / 251) as u8).collect();
            let key = format!("x/{length}");
            put(&*storage, &key, &bytes);
            assert!(get(&*storage, &key) == bytes, "{length}");
            // In pieces that fit nothing.
            let (mut reader, mut back, mut piece) = (storage.open(&key).unwrap(), Vec::new(), vec![0; 1000]);
            loop {
                match reader.read(&mut piece).unwrap() {
                    0 => break,
                    count => back.extend_from_slice(&piece[..count]),
                }
            }
            assert!(back == bytes, "{length}");
            storage.remove(&key).unwrap();
        }
    }
}

#[test]
fn nothing_is_visible_before_the_commit() {
    let root = tempfile::tempdir().unwrap();
    let storage = open(root.path());
    let mut upload = storage.begin(KEY).unwrap();
    upload.write_all(b"half").unwrap();
    upload.flush().unwrap();
    assert_eq!(storage.stat(KEY).unwrap(), None);
    assert_eq!(storage.list("").unwrap(), []);
    assert_eq!(failure(storage.open(KEY).map(drop)).code(), Code::NotFound);
    assert_eq!(mode(root.path().join(format!("{KEY}.partial"))), 0o600);
    upload.commit().unwrap();
    assert_eq!(get(&*storage, KEY), b"half");
    assert!(!root.path().join(format!("{KEY}.partial")).exists());
}

#[test]
fn a_dropped_upload_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let storage = open(root.path());
    put(&*storage, "shop-1a2b3c4d/2025/old.dump", b"old");
    let before = tree(root.path());
    let mut upload = storage.begin(KEY).unwrap();
    upload.write_all(&[7; 100_000]).unwrap();
    drop(upload);
    assert_eq!(tree(root.path()), before);
}

#[test]
fn a_dropped_upload_removes_its_own_file_only() {
    let root = tempfile::tempdir().unwrap();
    let storage = open(root.path());
    let dead = storage.begin(KEY).unwrap();
    assert!(storage.remove_partial(KEY).unwrap());
    let mut alive = storage.begin(KEY).unwrap();
    alive.write_all(b"alive").unwrap();
    drop(dead);
    alive.commit().unwrap();
    assert_eq!(get(&*storage, KEY), b"alive");
}

#[test]
fn an_upload_whose_partial_was_swept_does_not_commit() {
    let root = tempfile::tempdir().unwrap();
    let storage = open(root.path());
    let mut upload = storage.begin(KEY).unwrap();
    upload.write_all(b"x").unwrap();
    assert!(storage.remove_partial(KEY).unwrap());
    assert_eq!(upload.commit().unwrap_err().code(), Code::UploadIncomplete);
    assert_eq!(tree(root.path()), Vec::<String>::new());
}

#[test]
fn a_file_shorter_than_what_was_written_does_not_commit() {
    let root = tempfile::tempdir().unwrap();
    let storage = open(root.path());
    let mut upload = storage.begin(KEY).unwrap();
    upload.write_all(b"12345").unwrap();
    let partial = root.path().join(format!("{KEY}.partial"));
    fs::OpenOptions::new().write(true).open(partial).unwrap().set_len(4).unwrap();
    let error = upload.commit().unwrap_err();
    assert_eq!(error.code(), Code::UploadIncomplete);
    assert_eq!(
        (error.detail("sent").unwrap(), error.detail("arrived").unwrap()),
        ("5".into(), "4".into())
    );
    assert_eq!(tree(root.path()), Vec::<String>::new());
}

#[test]
fn nothing_that_exists_is_overwritten() {
    let root = tempfile::tempdir().unwrap();
    let storage = open(root.path());
    put(&*storage, KEY, b"first");
    assert_eq!(failure(storage.begin(KEY).map(drop)).code(), Code::Refused);
    // Nor what appears while we write.
    let other = "shop-1a2b3c4d/2026/other.dump";
    let mut upload = storage.begin(other).unwrap();
    upload.write_all(b"ours").unwrap();
    fs::write(root.path().join(other), b"theirs").unwrap();
    assert_eq!(upload.commit().unwrap_err().code(), Code::Refused);
    assert_eq!(fs::read(root.path().join(other)).unwrap(), b"theirs");
    assert_eq!(get(&*storage, KEY), b"first");
    // Nor the partial of another run.
    let _running = storage.begin("a/b.dump").unwrap();
    let error = failure(storage.begin("a/b.dump").map(drop));
    assert_eq!((error.code(), error.text()), (Code::Refused, "partial_exists"));
    assert!(root.path().join("a/b.dump.partial").exists());
}

#[test]
fn removing_is_idempotent_and_tidies_up() {
    let root = tempfile::tempdir().unwrap();
    let storage = open(root.path());
    put(&*storage, KEY, b"1");
    put(&*storage, "shop-1a2b3c4d/2025/old.dump", b"2");
    assert!(storage.remove(KEY).unwrap());
    assert!(!storage.remove(KEY).unwrap());
    assert_eq!(
        tree(root.path()),
        ["shop-1a2b3c4d", "shop-1a2b3c4d/2025", "shop-1a2b3c4d/2025/old.dump"]
    );
    assert!(storage.remove("shop-1a2b3c4d/2025/old.dump").unwrap());
    assert_eq!(tree(root.path()), Vec::<String>::new());
    assert!(root.path().exists());
    assert!(!storage.remove_partial(KEY).unwrap());
    // A folder under an object's name is not ours to remove.
    fs::create_dir(root.path().join("folder")).unwrap();
    assert!(!storage.remove("folder").unwrap());
    assert!(root.path().join("folder").exists());
}

#[test]
fn the_list_shows_finished_objects_only() {
    let root = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), b"x").unwrap();
    let storage = open(root.path());
    for key in [
        "b/2026/2.dump",
        "a/2026/1.dump",
        "a/2025/3.dump",
        "ab/2026/4.dump",
        "coffre-destination.json",
    ] {
        put(&*storage, key, key.as_bytes());
    }
    let _unfinished = storage.begin("a/2026/5.dump").unwrap();
    fs::write(root.path().join(".hidden"), b"x").unwrap();
    fs::create_dir(root.path().join(".Trash-0")).unwrap();
    fs::write(root.path().join(".Trash-0/x"), b"x").unwrap();
    fs::write(root.path().join("back\\slash"), b"x").unwrap();
    fs::write(root.path().join(std::ffi::OsStr::new("line\nbreak")), b"x").unwrap();
    fs::write(
        root.path()
            .join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"\xff\xfe")),
        b"x",
    )
    .unwrap();
    symlink(outside.path(), root.path().join("a/link")).unwrap();
    symlink(outside.path().join("secret"), root.path().join("a/2026/linked.dump")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, root.path().join("a/2026/pipe.dump"), rustix::fs::Mode::RWXU).unwrap();
    let mut deep = root.path().join("deep");
    for _ in 0..40 {
        deep.push("d");
    }
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("file"), b"x").unwrap();
    let keys = |prefix: &str| -> Vec<String> { storage.list(prefix).unwrap().into_iter().map(|s| s.key).collect() };
    assert_eq!(
        keys(""),
        [
            "a/2025/3.dump",
            "a/2026/1.dump",
            "ab/2026/4.dump",
            "b/2026/2.dump",
            "coffre-destination.json"
        ]
    );
    assert_eq!(keys("a"), ["a/2025/3.dump", "a/2026/1.dump"]);
    assert_eq!(keys("a/2026"), ["a/2026/1.dump"]);
    assert_eq!(keys("a/2026/1.dump"), ["a/2026/1.dump"]);
    assert_eq!(keys("c"), Vec::<String>::new());
    assert_eq!(storage.list("a/2026/1.dump").unwrap()[0].bytes, 13);
    assert_eq!(failure(storage.list("../x")).code(), Code::Refused);
}

#[test]
fn links_lead_nowhere() {
    let root = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("x.dump"), b"secret").unwrap();
    symlink(outside.path(), root.path().join("link")).unwrap();
    symlink(outside.path().join("x.dump"), root.path().join("x.dump")).unwrap();
    symlink(outside.path().join("new"), root.path().join("y.dump.partial")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, root.path().join("pipe.dump"), rustix::fs::Mode::RWXU).unwrap();
    let storage = open(root.path());
    let before = (tree(root.path()), tree(outside.path()));
    for key in ["link/x.dump", "x.dump", "pipe.dump", "link"] {
        assert_eq!(failure(storage.open(key).map(drop)).code(), Code::NotFound, "{key}");
        assert_eq!(storage.stat(key).unwrap(), None, "{key}");
        assert!(!storage.remove(key).unwrap(), "{key}");
    }
    for key in ["link/new.dump", "x.dump", "y.dump"] {
        assert_eq!(failure(storage.begin(key).map(drop)).code(), Code::Refused, "{key}");
    }
    assert_eq!(failure(storage.replace("link/new.json", b"x")).code(), Code::Refused);
    assert!(storage.replace("y.dump", b"x").is_err());
    assert_eq!((tree(root.path()), tree(outside.path())), before);
    assert_eq!(fs::read(outside.path().join("x.dump")).unwrap(), b"secret");
}

#[test]
fn the_root_may_be_a_link() {
    let real = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let link = other.path().join("link");
    symlink(real.path(), &link).unwrap();
    let storage = open(&link);
    put(&*storage, KEY, b"x");
    assert_eq!(storage.list("").unwrap().len(), 1);
    assert_eq!(storage.place(), link.to_string_lossy());
}

#[test]
fn an_absent_root_is_said_and_not_made() {
    let above = tempfile::tempdir().unwrap();
    let gone = above.path().join("x/gone");
    let storage = open(&gone);
    let errors = [
        failure(storage.begin(KEY).map(drop)),
        failure(storage.open(KEY).map(drop)),
        failure(storage.stat(KEY)),
        failure(storage.list("")),
        failure(storage.remove(KEY)),
        failure(storage.remove_partial(KEY)),
        failure(storage.replace("coffre-destination.json", b"{}")),
        failure(storage.space()),
    ];
    for error in errors {
        assert_eq!(error.code(), Code::DestUnreachable);
        assert_eq!(error.detail("place").unwrap(), gone.to_string_lossy());
    }
    assert_eq!(tree(above.path()), Vec::<String>::new());
    storage.create_root().unwrap();
    storage.create_root().unwrap();
    assert_eq!((mode(above.path().join("x")), mode(&gone)), (0o700, 0o700));
    put(&*storage, KEY, b"x");
    storage.create_root().unwrap();
    assert_eq!(get(&*storage, KEY), b"x");
}

#[test]
fn a_root_that_exists_keeps_its_mode() {
    let root = tempfile::tempdir().unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let storage = open(root.path());
    storage.create_root().unwrap();
    assert_eq!(mode(root.path()), 0o755);
}

#[test]
fn a_file_in_place_of_the_root() {
    let above = tempfile::tempdir().unwrap();
    let file = above.path().join("file");
    fs::write(&file, b"x").unwrap();
    for place in [file.clone(), file.join("below")] {
        let storage = open(&place);
        for error in [
            failure(storage.list("")),
            failure(storage.create_root()),
            failure(storage.begin(KEY).map(drop)),
        ] {
            assert_eq!(
                (error.code(), error.text()),
                (Code::DestUnreachable, "dest_not_a_folder"),
                "{place:?}"
            );
        }
    }
    assert_eq!(fs::read(&file).unwrap(), b"x");
    // And a link to nowhere is no root either.
    let link = above.path().join("link");
    symlink(above.path().join("nowhere"), &link).unwrap();
    assert_eq!(failure(open(&link).create_root()).code(), Code::DestUnreachable);
    assert!(!above.path().join("nowhere").exists());
}

#[test]
fn replacing_is_whole_or_not_at_all() {
    let root = tempfile::tempdir().unwrap();
    let storage = open(root.path());
    let key = "coffre-destination.json";
    storage.replace(key, b"{\"one\": 1}").unwrap();
    storage.replace(key, b"{}").unwrap();
    assert_eq!(get(&*storage, key), b"{}");
    assert_eq!(mode(root.path().join(key)), 0o600);
    // What a dead process left is taken over.
    fs::write(root.path().join(format!("{key}.partial")), b"longer than the new content").unwrap();
    storage.replace(key, b"[]").unwrap();
    assert_eq!(get(&*storage, key), b"[]");
    assert_eq!(tree(root.path()), [key]);
}

#[test]
fn many_replace_at_once_and_every_reader_sees_a_whole_one() {
    let root = tempfile::tempdir().unwrap();
    let storage = open(root.path());
    let key = "coffre-destination.json";
    let contents: Vec<Vec<u8>> = (0..8u8).map(|i| vec![b'a' + i; 3000 + usize::from(i) * 1000]).collect();
    storage.replace(key, &contents[0]).unwrap();
    std::thread::scope(|scope| {
        for content in &contents {
            let storage = &*storage;
            scope.spawn(move || {
                for _ in 0..20 {
                    storage.replace(key, content).unwrap();
                }
            });
        }
        for _ in 0..200 {
            let seen = get(&*storage, key);
            assert!(contents.contains(&seen));
        }
    });
    assert_eq!(tree(root.path()), [key]);
}

#[test]
fn writers_and_removers_share_a_folder() {
    let root = tempfile::tempdir().unwrap();
    let storage = open(root.path());
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let storage = &*storage;
            scope.spawn(move || {
                for turn in 0..60 {
                    // The folder is emptied and removed all the time by the others.
                    let key = format!("shop/2026/{writer}-{turn}.dump");
                    put(storage, &key, key.as_bytes());
                    assert_eq!(get(storage, &key), key.as_bytes());
                    assert!(storage.remove(&key).unwrap());
                }
            });
        }
    });
    assert_eq!(tree(root.path()), Vec::<String>::new());
}

#[test]
fn wrong_addresses_are_refused_when_a_destination_is_added() {
    let kind = coffre_storages::find("file").unwrap();
    let mut wrong = destination(Path::new("/tmp/x"));
    kind.validate(&wrong).unwrap();
    for address in ["s3://bucket/x", "file:///tmp/x?mode=0777", "file://relative", "file:///"] {
        wrong.address = address.into();
        assert_eq!(failure(kind.validate(&wrong)).code(), Code::Usage, "{address}");
    }
}

#[test]
fn errors_travel_through_io() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("x")).unwrap();
    let storage = open(root.path());
    // A folder under the object's name: looked at, it is not there; it is no file to read either.
    let error = storage.open("x").map(|mut r| r.read(&mut [0; 10])).err().unwrap();
    assert_eq!(from_io(error.into(), |e| Error::internal("read", e)).code(), Code::NotFound);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Pieces of any size and number arrive in order and whole.
    #[test]
    fn pieces_of_any_size(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..5000), 0..20)) {
        let root = tempfile::tempdir().unwrap();
        let storage = open(root.path());
        let mut upload = storage.begin("a/b").unwrap();
        for piece in &pieces {
            upload.write_all(piece).unwrap();
        }
        prop_assert_eq!(upload.commit().unwrap(), pieces.concat().len() as u64);
        prop_assert_eq!(get(&*storage, "a/b"), pieces.concat());
    }
}
