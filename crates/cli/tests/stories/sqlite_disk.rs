//! Class "disk": full, limited, read-only, gone, another one.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use coffre_testkit::coffre::Coffre;
use coffre_testkit::disk::{SmallDisk, file_size_limit};
use coffre_testkit::invariants::{Invariants, Snapshot};
use coffre_testkit::is_root;

use crate::program;
use crate::shop::{address, artifact, back_up, files, large, protected, small, text};

/// A home with a small and a large source and a destination `disk`.
fn with_destination(disk: &Path, coffre: &Coffre, megabytes: u32) {
    for (name, path) in [("shop", coffre.work("shop.db")), ("large", coffre.work("large.db"))] {
        if name == "shop" {
            small(&path);
        } else {
            large(&path, megabytes);
        }
        coffre.ok(["source", "add", &address(&path), "--name", name]);
    }
    coffre.ok(["destination", "add", &format!("file://{}", disk.display()), "--name", "disk"]);
}

/// How many failed runs the journal tells of.
fn failures(coffre: &Coffre) -> usize {
    coffre.json(["journal"])["entries"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|e| e["action"] == "backup.run" && e["result"] == "failed")
        .count()
}

#[test]
fn a_full_destination() {
    let mut coffre = Coffre::new(program());
    let mount = coffre.destination_folder("disk");
    with_destination(&mount, &coffre, 48);
    let disk = SmallDisk::mount(&mount, 32);
    coffre.under(disk.prefix());
    let good = coffre.json(["backup", "--source", "shop", "--to", "disk"])["backup"].clone();
    let before = Snapshot::of(&disk.seen());
    let free = disk.free();
    let outcome = coffre.fails(["backup", "--source", "large", "--to", "disk"], "DEST_FULL", 1);
    assert_eq!(outcome.json()["backup"]["state"], "failed", "{outcome}");
    assert_eq!(disk.free(), free, "the space is given back");
    before.assert_kept();
    assert_eq!(Snapshot::of(&disk.seen()).len(), before.len());
    assert_eq!(failures(&coffre), 1);
    coffre.ok(["verify", text(&good, "code")]);

    // Room for less and less of it; among these the artifact that fits without its manifest.
    let mut full = 0;
    for pages in 0..12 {
        disk.fill(pages * 4096);
        let outcome = coffre.run([
            "--json",
            "backup",
            "--source",
            "shop",
            "--to",
            "disk",
            "--compression",
            "none",
        ]);
        disk.relieve();
        if outcome.status == Some(0) {
            coffre.ok(["delete", text(&outcome.json()["backup"], "code"), "--yes"]);
        } else {
            assert_eq!(
                (outcome.error_code().as_str(), outcome.status),
                ("DEST_FULL", Some(1)),
                "{outcome}"
            );
            full += 1;
        }
        assert_eq!(Snapshot::of(&disk.seen()), before, "{pages} pages: {outcome}");
        assert_eq!(failures(&coffre), 1 + full);
    }
    assert!(full >= 8, "it was full only {full} times");
    before.assert_kept();
    assert_eq!(disk.free(), free);
    coffre.json(["backup", "--source", "shop", "--to", "disk"]);
    // One destination full, the other not: a green copy, and yet not status 0.
    let both = coffre
        .fails(
            ["backup", "--source", "large", "--to", "disk", "--to", "local"],
            "DEST_FULL",
            1,
        )
        .json();
    assert_eq!(both["backup"]["state"], "verified", "{both:#}");
    assert_eq!(both["backup"]["flags"][0], "copies_missing");
    assert_eq!(both["backup"]["copies"][1]["state"], "verified");
    coffre.under(Vec::new());
    let wrong: Vec<String> = Invariants::of(&coffre)
        .violations()
        .into_iter()
        .filter(|w| !w.contains(mount.to_str().unwrap()))
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn a_limit_of_file_size() {
    let (mut coffre, _) = protected();
    let db = coffre.work("large.db");
    large(&db, 8);
    coffre.ok(["source", "add", &address(&db), "--name", "large"]);
    let first = back_up(&coffre, "shop");
    coffre.under(file_size_limit(4 << 20));
    let outcome = coffre.fails(["backup", "--source", "large"], "DEST_FULL", 1);
    assert_eq!(outcome.json()["backup"]["state"], "failed");
    coffre.under(Vec::new());
    assert_eq!(files(&coffre.home().join("backups")).len(), 2);
    coffre.ok(["verify", text(&first, "code")]);
    assert_eq!(failures(&coffre), 1);
    Invariants::of(&coffre).assert();
}

#[test]
fn an_unmounted_disk_gets_nothing() {
    let coffre = Coffre::new(program());
    let disk = coffre.destination_folder("disk");
    with_destination(&disk, &coffre, 1);
    let good = coffre.json(["backup", "--source", "shop", "--to", "disk"])["backup"].clone();
    let aside = coffre.work("aside");

    // The mount point alone.
    std::fs::rename(&disk, &aside).unwrap();
    std::fs::create_dir(&disk).unwrap();
    coffre.fails(["backup", "--source", "shop", "--to", "disk"], "DEST_IDENTITY", 4);
    assert!(std::fs::read_dir(&disk).unwrap().next().is_none(), "nothing is written there");
    coffre.fails(["verify", text(&good, "code")], "DEST_IDENTITY", 4);
    let state = &coffre.json(["show", text(&good, "code")])["backup"]["state"];
    assert_eq!(state, "verified", "a disk that is not there says nothing about its copies");
    coffre.fails(["destination", "test", "disk"], "DEST_IDENTITY", 4);

    // Not even that.
    std::fs::remove_dir(&disk).unwrap();
    coffre.fails(["backup", "--source", "shop", "--to", "disk"], "DEST_IDENTITY", 4);
    assert!(!disk.exists(), "it is not made anew");

    // A file in its place, or a link to nowhere.
    std::fs::write(&disk, "not a folder").unwrap();
    let outcome = coffre.run(["--json", "backup", "--source", "shop", "--to", "disk"]);
    assert!(
        matches!(outcome.error_code().as_str(), "DEST_IDENTITY" | "DEST_UNREACHABLE"),
        "{outcome}"
    );
    assert_eq!(std::fs::read_to_string(&disk).unwrap(), "not a folder");
    std::fs::remove_file(&disk).unwrap();

    // Another destination's disk.
    let other = Coffre::new(program());
    let stranger = other.destination_folder("disk");
    with_destination(&stranger, &other, 1);
    other.json(["backup", "--source", "shop", "--to", "disk"]);
    std::os::unix::fs::symlink(&stranger, &disk).unwrap();
    let before = Snapshot::of(&stranger);
    coffre.fails(["backup", "--source", "shop", "--to", "disk"], "DEST_IDENTITY", 4);
    assert_eq!(Snapshot::of(&stranger), before);
    std::fs::remove_file(&disk).unwrap();

    // Back again.
    std::fs::rename(&aside, &disk).unwrap();
    coffre.ok(["verify", text(&good, "code")]);
    coffre.json(["backup", "--source", "shop", "--to", "disk"]);
    assert_eq!(files(&disk).len(), 4);
    Invariants::of(&coffre).destination(&disk).assert();
}

#[test]
fn a_read_only_destination() {
    let mut coffre = Coffre::new(program());
    let disk = coffre.destination_folder("disk");
    with_destination(&disk, &coffre, 1);
    let good = coffre.json(["backup", "--source", "shop", "--to", "disk"])["backup"].clone();
    let mut script: Vec<std::ffi::OsString> = vec!["unshare".into()];
    if !is_root() {
        script.push("--map-root-user".into());
    }
    script.extend(
        [
            "--mount",
            "--propagation",
            "private",
            "/bin/sh",
            "-c",
            "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\" && shift && exec \"$@\"",
            "ro",
        ]
        .map(Into::into),
    );
    script.push(disk.clone().into_os_string());
    coffre.under(script);
    let outcome = coffre.fails(["backup", "--source", "shop", "--to", "disk"], "DEST_AUTH", 1);
    assert_eq!(outcome.json()["backup"]["state"], "failed", "{outcome}");
    coffre.ok(["verify", text(&good, "code")]);
    // Nothing can be deleted there either: it stays known, and is gone as soon as it can be.
    let second = coffre.run(["--json", "list"]);
    assert_eq!(second.status, Some(0), "{second}");
    coffre.under(Vec::new());
    assert_eq!(files(&disk).len(), 2);
    Invariants::of(&coffre).destination(&disk).assert();
}

#[test]
fn a_full_home() {
    let mut coffre = Coffre::without_vault(program());
    let home = coffre.home();
    std::fs::create_dir(&home).unwrap();
    std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o700)).unwrap();
    let disk = coffre.destination_folder("disk");
    let small_disk = SmallDisk::mount(&home, 8);
    coffre.under(small_disk.prefix());
    coffre.ok(["vault", "init"]);
    with_destination(&disk, &coffre, 1);
    let good = coffre.json(["backup", "--source", "shop", "--to", "disk"])["backup"].clone();
    let mut full = 0;
    for leave in [0, 4096, 16384, 65536] {
        small_disk.fill(leave);
        let outcome = coffre.run(["--json", "backup", "--source", "shop", "--to", "disk"]);
        // Loud, never green without a row: it fails, or all of it fitted.
        if outcome.status == Some(0) {
            assert_eq!(outcome.json()["backup"]["state"], "verified", "{outcome}");
        } else {
            assert_eq!(
                (outcome.error_code().as_str(), outcome.status),
                ("HOME_FULL", Some(1)),
                "{outcome}"
            );
            let message = outcome.json()["error"]["message"].as_str().unwrap().to_owned();
            assert!(message.contains(home.to_str().unwrap()), "it says which folder: {outcome}");
            full += 1;
        }
        small_disk.relieve();
    }
    assert!(full > 0, "it was never full");
    // There is room again: it recovers by itself.
    coffre.json(["backup", "--source", "shop", "--to", "disk"]);
    coffre.ok(["verify", "--all"]);
    coffre.ok(["verify", text(&good, "code")]);
    let green = coffre.json(["list", "--state", "verified"])["total"].as_u64().unwrap();
    assert_eq!(files(&disk).len() as u64, green * 2);
    let wrong: Vec<String> = Invariants::at(&small_disk.seen()).destination(&disk).violations();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn what_was_acknowledged_and_is_not_there_is_found_by_the_read_back() {
    type Damage = fn(&Path);
    let lie: [(&str, Damage); 4] = [
        ("cut short", |file| {
            std::fs::File::options().write(true).open(file).unwrap().set_len(100).unwrap()
        }),
        ("emptied", |file| std::fs::write(file, "").unwrap()),
        ("gone", |file| std::fs::remove_file(file).unwrap()),
        ("zeroes", |file| {
            let bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
            std::fs::write(file, bytes).unwrap();
        }),
    ];
    let (mut coffre, _) = protected();
    let first = back_up(&coffre, "shop");
    let folder = artifact(&coffre, &first).parent().unwrap().to_owned();
    let before = Snapshot::of(&folder);
    for (what, damage) in lie {
        // Every sync comes half a second late: between the artifact's name and the read-back there is time for the disk to lie.
        coffre.under(coffre_testkit::strace::inject(
            "fsync",
            coffre_testkit::strace::Injection::Delay(500),
            "1+",
        ));
        let running = coffre.spawn(["--json", "backup", "--source", "shop"]);
        coffre.under(Vec::new());
        let mut found = None;
        coffre_testkit::wait_until(std::time::Duration::from_secs(60), || {
            let names = files(&folder);
            found = names
                .into_iter()
                .find(|f| !before.has(&folder.join(f)) && !f.ends_with(".partial"));
            found.is_some()
        });
        damage(&folder.join(found.expect("the artifact gets its name")));
        let outcome = running.wait();
        assert_eq!(
            (outcome.error_code().as_str(), outcome.status),
            ("VERIFY_MISMATCH", Some(3)),
            "{what}: {outcome}"
        );
        assert_eq!(outcome.json()["backup"]["state"], "failed", "{what}: {outcome}");
        assert_eq!(Snapshot::of(&folder), before, "{what}");
    }
    Invariants::of(&coffre).assert();
}
