//! The story driver and the invariants, tried on a home made by hand: what looks for faults must itself be able to find them.

#![allow(clippy::unwrap_used, reason = "a test has nobody to hand errors to")]
#![allow(clippy::disallowed_methods, reason = "tests start stock tools")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use coffre_testkit::coffre::Coffre;
use coffre_testkit::invariants::{Invariants, Snapshot, ask_catalogue};
use coffre_testkit::postgres::{Postgres, Version};
use coffre_testkit::{run, wait_until};

const NAME: &str = "shop-1a2b3c4d_2026-02-05_21-13-02_BKP-20260205211302-IWD8.db.zst";

/// A program that behaves, as far as the driver is concerned, like `coffre`.
fn fake_program(folder: &Path, script: &str) -> PathBuf {
    let path = folder.join("coffre");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn the_driver_sees_what_a_person_sees() {
    let folder = tempfile::tempdir().unwrap();
    let script = r#"
        [ "$1" = --home ] || exit 99
        home=$2; shift 2
        case "$1" in
          vault) mkdir -m 700 "$home" ;;
          --json) shift; case "$1" in
              good) echo '{"answer":"'"$COFFRE_SECRETS $EXTRA"'"}' ;;
              bad) echo '{"error":{"code":"REFUSED"}}'; exit 4 ;;
            esac ;;
          cat) cat; echo said >&2 ;;
          hang) echo begun >&2; sleep 100 & wait ;;
        esac"#;
    let mut coffre = Coffre::new(fake_program(folder.path(), script));
    assert!(coffre.home().is_dir());
    coffre.set("EXTRA", "x");
    assert_eq!(coffre.json(["good"])["answer"], "vault x");
    coffre.fails(["bad"], "REFUSED", 4);
    let echoed = coffre.run_with_input(["cat"], b"a password");
    assert_eq!((echoed.stdout.as_str(), echoed.stderr.as_str()), ("a password", "said\n"));
    let mut hanging = coffre.spawn(["hang"]);
    assert!(wait_until(Duration::from_secs(10), || hanging.descendants().len() == 1));
    assert!(!hanging.is_finished());
    let (sleeper, words) = hanging.descendants().remove(0);
    assert_eq!(words[0], "sleep");
    hanging.signal(libc::SIGTERM);
    assert!(wait_until(Duration::from_secs(10), || hanging.is_finished()));
    assert!(hanging.stderr_so_far().contains("begun"));
    // The program's own children are its business; whoever drops it ends what is left, below.
    assert!(Path::new(&format!("/proc/{sleeper}")).exists());
    run("kill", [sleeper.to_string()]);
    let ended = hanging.wait();
    assert_eq!((ended.status, ended.signal), (None, Some(libc::SIGTERM)));
    let left = coffre.spawn(["hang"]);
    assert!(wait_until(Duration::from_secs(10), || left.descendants().len() == 1));
    let (sleeper, _) = left.descendants().remove(0);
    drop(left);
    let gone = || std::fs::read_to_string(format!("/proc/{sleeper}/stat")).map_or(true, |stat| stat.contains(") Z"));
    assert!(wait_until(Duration::from_secs(10), gone));
}

/// A home with one verified backup of a small SQLite database.
struct Made {
    folder: tempfile::TempDir,
}

impl Made {
    fn new() -> Made {
        let made = Made {
            folder: tempfile::tempdir().unwrap(),
        };
        let shop = made.artifact().parent().unwrap().to_owned();
        std::fs::create_dir_all(&shop).unwrap();
        std::fs::create_dir_all(made.home().join("runtime")).unwrap();
        let plain = made.folder.path().join("plain.db");
        made.shell("sqlite3 plain.db \"CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO items VALUES (1, 'lamp'), (2, 'chair')\"");
        made.shell(&format!("zstd -q plain.db -o '{}'", made.artifact().display()));
        let (sha256, bytes) = hash(&made.artifact());
        let (raw_sha256, raw_bytes) = hash(&plain);
        let manifest = serde_json::json!({
            "schema": 1, "artifact": NAME, "format": "sqlite", "sha256": sha256, "stored_bytes": bytes,
            "raw_sha256": raw_sha256, "raw_bytes": raw_bytes, "table_counts": [{"table": "items", "rows": 2}],
        });
        std::fs::write(made.manifest(), manifest.to_string()).unwrap();
        std::fs::remove_file(plain).unwrap();
        made.sql(&format!(
            "CREATE TABLE backups (id, code, state); CREATE TABLE restores (id, state); CREATE TABLE leases (run_id);
             CREATE TABLE copies (backup_id, destination_id, key, state, stored_bytes, sha256); CREATE TABLE destinations (id, address);
             INSERT INTO backups VALUES ('b', 'BKP', 'verified');
             INSERT INTO destinations VALUES ('d', 'file://{}');
             INSERT INTO copies VALUES ('b', 'd', 'shop-1a2b3c4d/2026/{NAME}', 'verified', {bytes}, '{sha256}');",
            made.home().join("backups").display()
        ));
        made.shell("chmod -R go= home");
        made
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    fn artifact(&self) -> PathBuf {
        self.home().join("backups/shop-1a2b3c4d/2026").join(NAME)
    }

    fn manifest(&self) -> PathBuf {
        self.artifact().with_file_name(format!("{NAME}.manifest.json"))
    }

    fn sql(&self, sql: &str) {
        let output = run("sqlite3", [self.home().join("catalogue.db").to_str().unwrap(), sql]);
        assert!(output.ok(), "{}", output.stderr);
    }

    fn shell(&self, line: &str) {
        let status = Command::new("/bin/sh")
            .args(["-euc", line])
            .current_dir(self.folder.path())
            .status()
            .unwrap();
        assert!(status.success(), "{line}");
    }
}

fn hash(path: &Path) -> (String, u64) {
    let output = run("sha256sum", [path]);
    (output.stdout[..64].to_owned(), path.metadata().unwrap().len())
}

/// The invariants that do not hold, as `I1 I3`.
fn broken(made: &Made) -> String {
    let found = Invariants::at(&made.home()).secret("s3cret'\\:%").violations();
    let mut names: Vec<&str> = found.iter().map(|sentence| &sentence[..2]).collect();
    names.dedup();
    names.join(" ")
}

#[test]
fn a_home_in_order_breaks_nothing() {
    let made = Made::new();
    Invariants::at(&made.home()).secret("never to be seen").assert();
    assert_eq!(
        ask_catalogue(&made.home(), "SELECT state, code FROM backups"),
        ["verified|BKP"]
    );
    // What lies beside our own files is nobody's business.
    std::fs::write(made.home().join("backups/somebody's.txt"), "x").unwrap();
    made.shell("chmod 600 home/backups/somebody*");
    assert_eq!(broken(&made), "");
}

#[test]
fn every_damage_is_found() {
    type Damage = fn(&Made);
    let cases: &[(&str, &str, Damage)] = &[
        ("a bit flipped", "I1", |m| {
            m.shell(&format!(
                "printf X | dd of='{}' bs=1 seek=9 conv=notrunc status=none",
                m.artifact().display()
            ))
        }),
        ("cut by a byte", "I1", |m| {
            m.shell(&format!("truncate -s -1 '{}'", m.artifact().display()))
        }),
        ("gone", "I1", |m| std::fs::remove_file(m.artifact()).unwrap()),
        ("manifest gone", "I2", |m| std::fs::remove_file(m.manifest()).unwrap()),
        ("counts that lie", "I1", |m| {
            m.shell(&format!("sed -i 's/\"rows\":2/\"rows\":3/' '{}'", m.manifest().display()))
        }),
        ("raw size that lies", "I1", |m| {
            m.shell(&format!(
                "sed -i 's/\"raw_bytes\":/\"raw_bytes\":1/' '{}'",
                m.manifest().display()
            ))
        }),
        ("a partial", "I2", |m| {
            m.shell("umask 077; touch home/backups/x_BKP-1.db.zst.partial")
        }),
        ("an artifact alone", "I2", |m| {
            m.shell("umask 077; touch home/backups/x_BKP-1.db.zst")
        }),
        ("a run without a lease", "I3", |m| {
            m.sql("INSERT INTO backups VALUES ('r', 'BKP-2', 'running')")
        }),
        ("a restore without a lease", "I3", |m| {
            m.sql("INSERT INTO restores VALUES ('r', 'running')")
        }),
        ("green without a copy", "I3", |m| {
            m.sql("INSERT INTO backups VALUES ('g', 'BKP-3', 'verified')")
        }),
        ("a copy never finished", "I3", |m| {
            m.sql("INSERT INTO copies VALUES ('b', 'e', 'k', 'writing', 0, NULL)");
        }),
        ("a secret in a log", "I8", |m| {
            m.shell("umask 077; printf %s \"s3cret'\\\\:%\" >home/log")
        }),
        ("a secret as JSON", "I8", |m| {
            m.shell("umask 077; printf %s \"s3cret'\\\\\\\\:%\" >home/log")
        }),
        ("a secret in an address", "I8", |m| {
            m.shell("umask 077; printf %s 's3cret%27%5C%3A%25' >home/log")
        }),
        ("a secret as a name", "I8", |m| {
            m.shell("umask 077; touch \"home/s3cret'\\\\:%\"")
        }),
        ("a credential file left", "I8", |m| {
            m.shell("umask 077; mkdir home/runtime/x; touch home/runtime/x/pgpass")
        }),
        ("others may read", "I8", |m| m.shell("chmod 640 home/catalogue.db")),
        ("others may look in", "I8", |m| m.shell("chmod 755 home")),
    ];
    for (what, expected, damage) in cases {
        let made = Made::new();
        damage(&made);
        let found = broken(&made);
        // A copy that is not what it was is seen from both sides, and then some.
        assert!(
            found.starts_with(expected),
            "{what}: {expected} was expected, found {found:?}"
        );
    }
}

#[test]
fn a_run_with_its_lease_is_alive() {
    let made = Made::new();
    made.sql("INSERT INTO backups VALUES ('r', 'BKP-2', 'running'); INSERT INTO leases VALUES ('r')");
    assert_eq!(broken(&made), "");
}

#[test]
fn what_still_runs_is_found() {
    let made = Made::new();
    let server = Postgres::shared(Version::V16);
    let mut client = server.client("psql", "postgres");
    client
        .env("PGAPPNAME", "coffre backup")
        .args(["-X", "-c", "SELECT pg_sleep(30)"])
        .env("PASSFILE", made.home());
    let mut client = client.spawn().unwrap();
    let invariants = Invariants::at(&made.home())
        .server(server)
        .patience(Duration::from_millis(200));
    assert!(wait_until(Duration::from_secs(10), || !server.sessions("coffre").is_empty()));
    let found = invariants.violations();
    assert_eq!(
        found.iter().filter(|sentence| sentence.starts_with("I4: ")).count(),
        2,
        "{found:#?}"
    );
    client.kill().unwrap();
    client.wait().unwrap();
    server.terminate("coffre");
    invariants.assert();
}

#[test]
fn an_encrypted_artifact_is_opened_with_its_key() {
    let made = Made::new();
    made.shell("age-keygen -o key.txt 2>/dev/null");
    let plain = made.artifact();
    let sealed = plain.with_file_name(format!("{NAME}.age"));
    made.shell(&format!(
        "age -r \"$(age-keygen -y key.txt)\" -o '{0}' '{1}'; rm '{1}'",
        sealed.display(),
        plain.display()
    ));
    let (sha256, bytes) = hash(&sealed);
    let mut manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(made.manifest()).unwrap()).unwrap();
    manifest["artifact"] = format!("{NAME}.age").into();
    manifest["sha256"] = sha256.into();
    manifest["stored_bytes"] = bytes.into();
    std::fs::remove_file(made.manifest()).unwrap();
    std::fs::write(
        plain.with_file_name(format!("{NAME}.age.manifest.json")),
        manifest.to_string(),
    )
    .unwrap();
    made.sql("DELETE FROM copies; DELETE FROM backups");
    made.shell("chmod -R go= home");
    let key = made.folder.path().join("key.txt");
    Invariants::at(&made.home()).identity(&key).assert();
    manifest["raw_sha256"] = "0".repeat(64).into();
    std::fs::write(
        plain.with_file_name(format!("{NAME}.age.manifest.json")),
        manifest.to_string(),
    )
    .unwrap();
    assert_eq!(Invariants::at(&made.home()).identity(&key).violations().len(), 1);
}

#[test]
fn a_snapshot_notices_every_change() {
    let made = Made::new();
    let before = Snapshot::of(&made.home().join("backups"));
    assert_eq!(before.len(), 2);
    std::fs::write(made.home().join("backups/new"), "x").unwrap();
    before.assert_kept();
    made.shell(&format!(
        "printf X | dd of='{}' bs=1 seek=9 conv=notrunc status=none",
        made.artifact().display()
    ));
    assert!(std::panic::catch_unwind(|| before.assert_kept()).is_err());
}
