//! Class "corrupt archive": every format, damaged at many places, swapped, cut, blown up. Found by `verify` (3), and by `restore` before
//! there is a target.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use coffre_testkit::coffre::{Coffre, write_private};
use coffre_testkit::invariants::Invariants;
use coffre_testkit::run;
use serde_json::Value;

use crate::shop::{address, artifact, back_up, content, protected, sqlite, text};
use crate::sqlite_catalogue::Dice;

const MANIFEST: &str = ".manifest.json";

fn manifest_of(artifact: &Path) -> PathBuf {
    PathBuf::from(format!("{}{MANIFEST}", artifact.display()))
}

/// `verify` says 3 and `restore` refuses before the target exists.
fn is_refused(coffre: &Coffre, code: &str, what: &str) {
    let outcome = coffre.run(["--json", "verify", code]);
    assert_eq!(outcome.status, Some(3), "{what}: {outcome}");
    let document = outcome.json();
    assert_eq!(document["checks"][0]["ok"], false, "{what}: {outcome}");
    assert_ne!(document["backup"]["state"], "verified", "{what}: {outcome}");
    let back = coffre.work("refused.db");
    let outcome = coffre.run(["--json", "restore", code, "--into", &address(&back)]);
    assert!(matches!(outcome.status, Some(1 | 3)), "{what}: {outcome}");
    assert!(
        matches!(
            outcome.error_code().as_str(),
            "VERIFY_MISMATCH" | "DECRYPT_FAILED" | "NOT_FOUND"
        ),
        "{what}: {outcome}"
    );
    assert!(!back.exists(), "{what}: the target was touched");
}

/// A shop whose stored size goes over several chunks of 64 KiB, backed up in one format; then the artifact is damaged in many ways.
fn damage(encrypt: Option<&str>) {
    let (coffre, db) = protected();
    sqlite(
        &db,
        "CREATE TABLE noise(b); INSERT INTO noise SELECT randomblob(150000); INSERT INTO noise SELECT randomblob(60000);",
    );
    let mut dice = Dice(encrypt.map_or(1, |k| k.len() as u64));
    match encrypt {
        Some("pair") => {
            coffre.ok(["key", "create", "pair"]);
        }
        Some(name) => {
            let made = coffre.run_with_input(["key", "create", name, "--passphrase-stdin"], b"four words of mine");
            assert_eq!(made.status, Some(0), "{made}");
        }
        None => {}
    }
    // scrypt is slow on purpose, and the layers below it are the same as for a key.
    let formats: &[&str] = if encrypt == Some("passphrase") {
        &["gzip"]
    } else {
        &["zstd", "gzip", "none"]
    };
    for compression in formats.iter().copied() {
        let mut command = vec!["backup", "--source", "shop", "--compression", compression];
        command.extend(encrypt.iter().flat_map(|key| ["--encrypt", key]));
        let backup = coffre.json(command)["backup"].clone();
        let code = text(&backup, "code");
        let path = artifact(&coffre, &backup);
        let whole = std::fs::read(&path).unwrap();
        assert!(whole.len() > 3 * 65536, "{compression}: {}", whole.len());
        let mut damages: Vec<(String, Vec<u8>)> = Vec::new();
        let mut flip = |at: usize, bit: usize| {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            damages.push((format!("bit {bit} of byte {at}"), bytes));
        };
        flip(0, 0);
        flip(65535 + dice.roll(2), dice.roll(8));
        flip(dice.roll(whole.len()), dice.roll(8));
        flip(whole.len() - 1, 7);
        for length in [0, 65536 - 1 + dice.roll(3), 2 * 65536 + 16, whole.len() - 1] {
            damages.push((format!("cut to {length}"), whole[..length].to_vec()));
        }
        damages.push(("garbage after it".to_owned(), [whole.as_slice(), b"more"].concat()));
        damages.push(("itself after it".to_owned(), [whole.as_slice(), whole.as_slice()].concat()));
        for (what, bytes) in damages {
            std::fs::write(&path, bytes).unwrap();
            is_refused(&coffre, code, &format!("{compression} {encrypt:?} {what}"));
        }
        std::fs::write(&path, &whole).unwrap();
        // What is whole again is green again, after it was read.
        let verified = coffre.json(["verify", code]);
        assert_eq!(verified["backup"]["state"], "verified", "{verified:#}");
    }
    let back = coffre.work("back.db");
    coffre.ok(["restore", "latest", "--source", "shop", "--into", &address(&back)]);
    assert_eq!(content(&back), content(&db));
    Invariants::of(&coffre).assert();
}

#[test]
fn plain_artifacts_are_damaged() {
    damage(None);
}

#[test]
fn artifacts_encrypted_to_a_key_are_damaged() {
    damage(Some("pair"));
}

#[test]
fn artifacts_encrypted_with_a_passphrase_are_damaged() {
    damage(Some("passphrase"));
}

#[test]
fn artifacts_and_manifests_are_swapped_edited_and_lost() {
    let (coffre, db) = protected();
    let one = back_up(&coffre, "shop");
    sqlite(&db, "UPDATE customers SET name = 'somebody else'");
    let two = back_up(&coffre, "shop");
    let (code, path, other) = (text(&one, "code"), artifact(&coffre, &one), artifact(&coffre, &two));
    let (bytes, manifest) = (
        std::fs::read(&path).unwrap(),
        std::fs::read_to_string(manifest_of(&path)).unwrap(),
    );

    // The artifact of another backup under this name, alone and with its manifest.
    std::fs::copy(&other, &path).unwrap();
    is_refused(&coffre, code, "another's artifact");
    std::fs::copy(manifest_of(&other), manifest_of(&path)).unwrap();
    is_refused(&coffre, code, "another's artifact and manifest");
    std::fs::write(&path, &bytes).unwrap();
    is_refused(&coffre, code, "another's manifest");

    // A manifest that was edited: whatever it claims, the artifact is what was backed up.
    for (from, to) in [
        (text(&one, "sha256"), "0".repeat(64)),
        (text(&one, "id"), text(&two, "id").to_owned()),
        ("\"rows\": 900", "\"rows\": 901".to_owned()),
        ("\"raw_bytes\": ", "\"raw_bytes\": 1".to_owned()),
        ("zstd -d", "rm -rf / ; zstd -d".to_owned()),
    ] {
        assert!(manifest.contains(from), "{manifest}");
        std::fs::write(manifest_of(&path), manifest.replace(from, &to)).unwrap();
        is_refused(&coffre, code, &format!("{from} → {to}"));
    }
    for broken in ["", "{", "[]", "null"] {
        std::fs::write(manifest_of(&path), broken).unwrap();
        is_refused(&coffre, code, &format!("a manifest {broken:?}"));
    }
    std::fs::remove_file(manifest_of(&path)).unwrap();
    is_refused(&coffre, code, "no manifest");
    std::fs::write(manifest_of(&path), &manifest).unwrap();
    std::fs::remove_file(&path).unwrap();
    is_refused(&coffre, code, "no artifact");
    assert_eq!(coffre.json(["show", code])["backup"]["copies"][0]["state"], "missing");
    // A link or a pipe in its place is not followed.
    std::os::unix::fs::symlink(&other, &path).unwrap();
    is_refused(&coffre, code, "a link");
    std::fs::remove_file(&path).unwrap();
    assert!(run("mkfifo", [path.to_str().unwrap()]).ok());
    is_refused(&coffre, code, "a pipe");
    std::fs::remove_file(&path).unwrap();

    let all = coffre.run(["--json", "verify", "--all"]);
    assert_eq!(all.status, Some(3), "{all}");
    assert_eq!(
        (all.json()["verified"].as_u64(), all.json()["failed"].as_u64()),
        (Some(1), Some(1)),
        "{all}"
    );
    std::fs::write(&path, &bytes).unwrap();
    coffre.ok(["verify", "--all"]);
    for file in [path.clone(), manifest_of(&path)] {
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    Invariants::of(&coffre).assert();
}

#[test]
fn a_healthy_second_copy_serves() {
    let (coffre, db) = protected();
    let (left, right) = (coffre.destination_folder("left"), coffre.destination_folder("right"));
    for (name, folder) in [("left", &left), ("right", &right)] {
        coffre.ok(["destination", "add", &format!("file://{}", folder.display()), "--name", name]);
    }
    let backup = coffre.json(["backup", "--source", "shop", "--to", "left", "--to", "right"])["backup"].clone();
    let (code, key) = (text(&backup, "code"), text(&backup["copies"][0], "key"));
    let whole = std::fs::read(left.join(key)).unwrap();
    let mut bad = whole.clone();
    bad[whole.len() / 2] ^= 4;
    type Damage<'a> = Box<dyn Fn(&Path) + 'a>;
    let damages: [(&str, Damage<'_>); 2] = [
        ("corrupt", Box::new(|file| std::fs::write(file, &bad).unwrap())),
        ("missing", Box::new(|file| std::fs::remove_file(file).unwrap())),
    ];
    for (state, damage) in &damages {
        for folder in [&left, &right] {
            damage(&folder.join(key));
            let file = coffre.work("file.zst");
            coffre.ok(["download", code, "--to", file.to_str().unwrap()]);
            assert_eq!(std::fs::read(&file).unwrap(), whole);
            std::fs::remove_file(&file).unwrap();
            std::fs::write(folder.join(key), &whole).unwrap();
            coffre.ok(["verify", code]);
            damage(&folder.join(key));
            let back = coffre.work("back.db");
            coffre.ok(["restore", code, "--into", &address(&back)]);
            assert_eq!(content(&back), content(&db));
            std::fs::remove_file(&back).unwrap();
            let checked = coffre.run(["--json", "verify", code]);
            assert_eq!(checked.status, Some(3), "{checked}");
            let states: Vec<String> = coffre.json(["show", code])["backup"]["copies"]
                .as_array()
                .unwrap()
                .iter()
                .map(|c| text(c, "state").to_owned())
                .collect();
            assert!(
                states.iter().any(|s| s == state) && states.iter().any(|s| s == "verified"),
                "{states:?}"
            );
            std::fs::write(folder.join(key), &whole).unwrap();
            coffre.ok(["verify", code]);
        }
    }
    // Both bad: nothing is restored.
    for folder in [&left, &right] {
        std::fs::write(folder.join(key), &bad).unwrap();
    }
    is_refused(&coffre, code, "both copies");
}

/// A prefix that gives a program no more than so many megabytes of address space, far below what a bomb would need.
fn memory_limit(megabytes: u32) -> Vec<std::ffi::OsString> {
    [
        "/bin/sh",
        "-c",
        "ulimit -v \"$1\"; shift; exec \"$@\"",
        "limit",
        &(megabytes * 1024).to_string(),
    ]
    .map(Into::into)
    .to_vec()
}

#[test]
fn decompression_bombs_are_defused() {
    let (mut coffre, _) = protected();
    let backup = back_up(&coffre, "shop");
    let path = artifact(&coffre, &backup);
    // Two gigabytes of zeroes behind a plausible header, in a few kilobytes.
    let bomb = coffre.work("bomb.zst");
    let script = "(head -c 100 \"$1\"; head -c 2000000000 /dev/zero) | zstd -q -1 -o \"$2\"";
    let db = coffre.work("shop.db");
    let made = run("sh", ["-c", script, "bomb", db.to_str().unwrap(), bomb.to_str().unwrap()]);
    assert!(made.ok(), "{made:?}");
    let whole = std::fs::read(&path).unwrap();
    let manifest = std::fs::read_to_string(manifest_of(&path)).unwrap();
    let small = std::fs::read(&bomb).unwrap();

    coffre.under(memory_limit(1500));
    std::fs::write(&path, &small).unwrap();
    is_refused(&coffre, text(&backup, "code"), "a bomb");
    // One whose manifest fits as far as it can be forged, taken in by a rebuild.
    let hash = run("sha256sum", [bomb.to_str().unwrap()]).stdout[..64].to_owned();
    let mut forged: Value = serde_json::from_str(&manifest).unwrap();
    forged["sha256"] = hash.clone().into();
    forged["stored_bytes"] = small.len().into();
    forged["copies"][0]["sha256"] = hash.into();
    forged["copies"][0]["stored_bytes"] = small.len().into();
    std::fs::write(manifest_of(&path), forged.to_string()).unwrap();
    for name in ["catalogue.db", "catalogue.db-wal", "catalogue.db-shm"] {
        if coffre.home().join(name).exists() {
            std::fs::remove_file(coffre.home().join(name)).unwrap();
        }
    }
    let own = format!("file://{}", coffre.home().join("backups").display());
    coffre.ok(["catalogue", "rebuild", "--from", &own]);
    let began = std::time::Instant::now();
    is_refused(&coffre, text(&backup, "code"), "a bomb with a forged manifest");
    assert!(began.elapsed().as_secs() < 20, "it is not unpacked to its end");
    let back = coffre.work("back.db");
    let outcome = coffre.run([
        "--json",
        "restore",
        "--file",
        bomb.to_str().unwrap(),
        "--into",
        &address(&back),
    ]);
    assert_ne!(outcome.status, Some(0), "{outcome}");
    assert!(outcome.signal.is_none(), "{outcome}");
    assert!(!back.exists());
    std::fs::write(&path, whole).unwrap();
    std::fs::write(manifest_of(&path), manifest).unwrap();
}

#[test]
fn a_wrong_or_lost_key_says_so_and_blames_no_copy() {
    let (mut coffre, db) = protected();
    coffre.ok(["key", "create", "main"]);
    let backup = coffre.json(["backup", "--source", "shop", "--encrypt", "main"])["backup"].clone();
    let code = text(&backup, "code").to_owned();
    let key_file = coffre.vault_key_file();
    let back = coffre.work("back.db");

    // The vault stays shut.
    coffre.set("COFFRE_VAULT_KEY_FILE", coffre.work("no-such-key"));
    coffre.fails(["verify", &code], "SECRET_UNAVAILABLE", 6);
    coffre.fails(["restore", &code, "--into", &address(&back)], "SECRET_UNAVAILABLE", 6);
    coffre.fails(["backup", "--source", "shop", "--encrypt", "main"], "SECRET_UNAVAILABLE", 6);
    assert_eq!(
        coffre.json(["show", &code])["backup"]["state"],
        "verified",
        "the copy is not to blame"
    );
    // What needs no secret goes on.
    back_up(&coffre, "shop");
    // Somebody else's key.
    write_private(
        &coffre.work("other"),
        "AGE-SECRET-KEY-1QQPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQ\n",
    );
    coffre.set("COFFRE_VAULT_KEY_FILE", coffre.work("other"));
    coffre.fails(["verify", &code], "SECRET_UNAVAILABLE", 6);
    coffre.set("COFFRE_VAULT_KEY_FILE", &key_file);
    coffre.ok(["verify", &code]);
    coffre.ok(["restore", &code, "--into", &address(&back)]);
    assert_eq!(content(&back), content(&db));
    Invariants::of(&coffre).assert();
}
