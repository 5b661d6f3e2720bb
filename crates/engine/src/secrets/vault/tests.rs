//! The vault against real files, real descriptors, several writers, and the stock `age`.
#![allow(
    clippy::disallowed_methods,
    reason = "stock tools are started to prove that they open what we write"
)]

use std::collections::HashSet;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use proptest::prelude::*;
use tempfile::TempDir;

use super::key::KEY_MAX;
use super::*;

/// Everything that has ever broken a password somewhere, and 1 KB.
fn nasty() -> Vec<String> {
    let mut all: Vec<String> = [
        ":",
        "\\",
        "'",
        "\"",
        "$",
        "#",
        "%",
        "@",
        "/",
        " ",
        "-leading",
        "--help",
        "a b",
        "line\nfeed",
        "\n",
        "\r\n",
        "tab\t",
        "\0nul\0",
        "é漢字🔑",
        "\u{202e}left",
        "$(id)`id`",
        "%00%2f",
        "{}[]",
        "",
        "AGE-SECRET-KEY-1",
        "trailing ",
        " # not a comment",
    ]
    .map(str::to_owned)
    .to_vec();
    all.push("x'\"\\".repeat(256));
    all
}

struct Home {
    folder: TempDir,
    environment: Environment,
}

impl Home {
    /// A home whose key file does not exist yet.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("home")).unwrap();
        let environment = Environment {
            vault_key_file: Some(folder.path().join("key.txt")),
            ..Environment::default()
        };
        Home { folder, environment }
    }

    fn made() -> Self {
        let home = Home::new();
        home.vault().init(now()).unwrap();
        home
    }

    fn with_key(text: impl AsRef<[u8]>) -> Self {
        let home = Home::new();
        home.write_key(text, 0o600);
        home
    }

    fn write_key(&self, text: impl AsRef<[u8]>, mode: u32) {
        std::fs::write(self.key(), text).unwrap();
        std::fs::set_permissions(self.key(), PermissionsExt::from_mode(mode)).unwrap();
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("key.txt")
    }

    /// As another process would open it.
    fn vault(&self) -> Vault {
        Vault::new(&self.path(), &self.environment)
    }

    /// The same home, with a passphrase in a pipe.
    fn with_passphrase(&self, passphrase: &[u8]) -> Vault {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        File::from(writer).write_all(passphrase).unwrap();
        self.with_descriptor(&reader.into_raw_fd().to_string())
    }

    fn with_descriptor(&self, number: &str) -> Vault {
        let environment = Environment {
            vault_passphrase_fd: Some(number.to_owned()),
            ..Environment::default()
        };
        Vault::new(&self.path(), &environment)
    }
}

fn now() -> DateTime<Utc> {
    "2026-11-05T10:00:00Z".parse().unwrap()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// The text key of the refusal, after a look at its code.
fn refusal<T>(result: Result<T>) -> String {
    let error = result.err().expect("must be refused");
    assert_eq!(error.code(), Code::SecretUnavailable, "{error}");
    error.text().to_owned()
}

#[test]
fn any_secret_comes_back_unchanged_to_another_process() {
    let home = Home::made();
    for (i, text) in nasty().iter().enumerate() {
        home.vault().set(&format!("source:{i}"), &Secret::new(text.as_str())).unwrap();
    }
    let vault = home.vault();
    for (i, text) in nasty().iter().enumerate() {
        assert_eq!(vault.get(&format!("source:{i}")).unwrap().unwrap().expose(), text);
    }
    assert!(vault.get("source:none").unwrap().is_none());
    assert!(vault.remove("source:0").unwrap());
    assert!(!vault.remove("source:0").unwrap());
    assert!(home.vault().get("source:0").unwrap().is_none());
    let status = home.vault().status();
    assert_eq!(
        (status.kind, status.exists, status.unlocked, status.entries, status.error),
        ("vault", true, true, Some(nasty().len() as u64 - 1), None)
    );
}

#[test]
fn a_missing_key_file_is_made_and_everything_is_private() {
    let home = Home::new();
    let made = home.vault().init(now()).unwrap();
    assert!(made.key_file_made);
    assert_eq!(made.key_file, Some(home.key()));
    assert!(made.remarks.is_empty());
    let text = std::fs::read_to_string(home.key()).unwrap();
    assert!(
        text.starts_with("# created: 2026-11-05T10:00:00Z\n# public key: age1"),
        "{text}"
    );
    assert!(text.contains(&made.recipient.unwrap()));
    home.vault().set("key:1", &Secret::new("VERY-SECRET-TEXT")).unwrap();
    assert_eq!(mode(&home.key()), 0o600);
    for entry in std::fs::read_dir(home.path()).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{path:?}");
        let bytes = std::fs::read(&path).unwrap();
        assert!(
            memchr::memmem::find(&bytes, b"VERY-SECRET").is_none(),
            "plain text in {path:?}"
        );
    }
    let again = home.vault().init(now()).unwrap_err();
    assert_eq!((again.code(), again.text()), (Code::Refused, "vault_exists"));
    assert!(home.vault().get("key:1").unwrap().is_some(), "a second init destroys nothing");
}

#[test]
fn an_existing_identity_is_used_and_any_other_text_is_a_passphrase() {
    let identity = x25519::Identity::generate();
    let file = keys::identity_file(&identity, now());
    let home = Home::with_key(file.expose());
    let made = home.vault().init(now()).unwrap();
    assert!(!made.key_file_made);
    assert_eq!(made.recipient, Some(identity.to_public().to_string()));
    assert_eq!(
        std::fs::read_to_string(home.key()).unwrap(),
        file.expose(),
        "the key file is untouched"
    );

    for text in [
        "correct horse battery staple",
        " spaces stay ",
        "-- $(id) 'é'",
        "0123456789abcdef\n",
        "windows line\r\n",
    ] {
        let home = Home::with_key(text);
        let made = home.vault().init(now()).unwrap();
        assert_eq!((made.recipient, made.remarks.len()), (None, 0));
        home.vault().set("a", &Secret::new("b")).unwrap();
        assert_eq!(home.vault().get("a").unwrap().unwrap().expose(), "b");
        // The same passphrase from a pipe, with or without the line feed at its end.
        let line = text.trim_end_matches(['\r', '\n']);
        for given in [line.to_owned(), format!("{line}\n")] {
            assert_eq!(
                home.with_passphrase(given.as_bytes()).get("a").unwrap().unwrap().expose(),
                "b"
            );
        }
    }
}

#[test]
fn remarks_about_a_weak_place_for_the_key() {
    let home = Home::with_key("short");
    assert_eq!(home.vault().init(now()).unwrap().remarks[0].text(), "passphrase_short");

    let home = Home::new();
    let environment = Environment {
        vault_key_file: Some(home.path().join("key.txt")),
        ..Environment::default()
    };
    let made = Vault::new(&home.path(), &environment).init(now()).unwrap();
    assert_eq!(made.remarks[0].text(), "vault_key_beside");
}

#[test]
fn init_needs_exactly_one_key() {
    let home = Home::new();
    let none = Vault::new(&home.path(), &Environment::default());
    let error = none.init(now()).unwrap_err();
    assert_eq!((error.code(), error.text()), (Code::Usage, "vault_key_needed"));
    let (reader, _writer) = rustix::pipe::pipe().unwrap();
    let both = Environment {
        vault_passphrase_fd: Some(reader.into_raw_fd().to_string()),
        ..home.environment.clone()
    };
    let error = Vault::new(&home.path(), &both).init(now()).unwrap_err();
    assert_eq!((error.code(), error.text()), (Code::Usage, "vault_key_twice"));
    assert!(!none.exists());
    assert!(!home.key().exists());
}

#[test]
fn stock_age_opens_the_vault() {
    let home = Home::made();
    home.vault().set("source:1", &Secret::new("pa\"ss\nword")).unwrap();
    let output = Command::new("age")
        .args(["-d", "-i"])
        .arg(home.key())
        .arg(home.path().join(FILE))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        value,
        serde_json::json!({"schema": 1, "secrets": {"source:1": "pa\"ss\nword"}})
    );
}

#[test]
fn every_obstacle_has_its_own_words() {
    let mut words = HashSet::new();
    let mut see = |expected: &str, result: String| {
        assert_eq!(result, expected);
        assert!(words.insert(result), "{expected} twice");
    };

    see("vault_absent", refusal(Home::new().vault().get("a")));
    assert_eq!(refusal(Home::new().vault().set("a", &Secret::new("b"))), "vault_absent");
    let home = Home::made();
    see(
        "vault_locked",
        refusal(Vault::new(&home.path(), &Environment::default()).get("a")),
    );

    for loose in [0o640, 0o604, 0o660, 0o644, 0o610] {
        home.write_key(std::fs::read(home.key()).unwrap(), loose);
        let error = home.vault().get("a").err().unwrap();
        assert_eq!(
            (error.text(), error.detail("mode")),
            ("vault_key_open", Some(format!("{loose:04o}")))
        );
    }
    see("vault_key_open", refusal(home.vault().get("a")));

    std::fs::remove_file(home.key()).unwrap();
    see("vault_key_missing", refusal(home.vault().get("a")));
    assert_eq!(refusal(home.vault().set("a", &Secret::new("b"))), "vault_key_missing");
    for empty in ["", "\n", "  \n"] {
        home.write_key(empty, 0o600);
        assert_eq!(refusal(home.vault().get("a")), "vault_key_empty");
    }
    see("vault_key_empty", refusal(home.vault().get("a")));
    home.write_key([0xff, 0xfe, 0x80], 0o600);
    see("vault_key_text", refusal(home.vault().get("a")));
    home.write_key("x".repeat(KEY_MAX as usize + 1), 0o600);
    see("vault_key_long", refusal(home.vault().get("a")));
    home.write_key("AGE-SECRET-KEY-1QQQQ", 0o600);
    see("vault_key_unusable", refusal(home.vault().get("a")));
    home.write_key(keys::identity_file(&x25519::Identity::generate(), now()).expose(), 0o600);
    see("vault_key_wrong", refusal(home.vault().get("a")));
    home.write_key("some passphrase", 0o600);
    see("vault_needs_identity", refusal(home.vault().get("a")));
    std::fs::remove_file(home.key()).unwrap();
    std::fs::create_dir(home.key()).unwrap();
    std::fs::set_permissions(home.key(), PermissionsExt::from_mode(0o700)).unwrap();
    see("vault_key_unreadable", refusal(home.vault().get("a")));

    let home = Home::with_key("the right one");
    home.vault().init(now()).unwrap();
    home.write_key("the wrong one", 0o600);
    assert_eq!(refusal(home.vault().get("a")), "vault_key_wrong");
    home.write_key(keys::identity_file(&x25519::Identity::generate(), now()).expose(), 0o600);
    see("vault_needs_passphrase", refusal(home.vault().get("a")));

    std::fs::remove_file(home.path().join(FILE)).unwrap();
    std::fs::create_dir(home.path().join(FILE)).unwrap();
    see("vault_unreadable", refusal(home.vault().get("a")));
}

#[test]
fn a_corrected_key_is_seen_without_a_restart() {
    let home = Home::made();
    let right = std::fs::read(home.key()).unwrap();
    let daemon = home.vault();
    std::fs::remove_file(home.key()).unwrap();
    assert_eq!(refusal(daemon.get("a")), "vault_key_missing");
    home.write_key(keys::identity_file(&x25519::Identity::generate(), now()).expose(), 0o600);
    assert_eq!(refusal(daemon.get("a")), "vault_key_wrong");
    home.write_key(right, 0o600);
    assert!(daemon.get("a").unwrap().is_none());
    home.vault().set("a", &Secret::new("from beside")).unwrap();
    assert_eq!(daemon.get("a").unwrap().unwrap().expose(), "from beside");
}

#[test]
fn damage_anywhere_is_noticed_and_nothing_is_overwritten() {
    let home = Home::made();
    home.vault().set("a", &Secret::new("b")).unwrap();
    let path = home.path().join(FILE);
    let whole = std::fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let text = refusal(home.vault().get("a"));
        assert!(
            ["vault_damaged", "vault_key_wrong"].contains(&text.as_str()),
            "byte {at}: {text}"
        );
        assert!(home.vault().set("c", &Secret::new("d")).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
    for length in 0..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        refusal(home.vault().get("a"));
    }
    std::fs::write(&path, whole).unwrap();
    assert_eq!(home.vault().get("a").unwrap().unwrap().expose(), "b");
}

#[test]
fn what_is_inside_must_be_ours() {
    let home = Home::made();
    let identity: x25519::Identity = std::fs::read_to_string(home.key())
        .unwrap()
        .lines()
        .last()
        .unwrap()
        .parse()
        .unwrap();
    for (inside, expected) in [
        (r#"{"schema":2,"anything":"else"}"#, "vault_newer"),
        (r#"{"schema":1}"#, "vault_damaged"),
        (r#"{"schema":1,"secrets":{"a":3141592}}"#, "vault_damaged"),
        ("not JSON but HUSH", "vault_damaged"),
    ] {
        let bytes = encrypt(&Opener::Pair(Box::new(identity.clone())), inside.as_bytes()).unwrap();
        std::fs::write(home.path().join(FILE), bytes).unwrap();
        let error = home.vault().get("a").err().unwrap();
        assert_eq!(error.text(), expected);
        assert!(
            !error.to_string().contains("HUSH") && !error.to_string().contains("3141592"),
            "{error}"
        );
    }
}

#[test]
fn writers_at_once_lose_nothing_and_readers_never_stumble() {
    let home = Home::made();
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let home = &home;
            scope.spawn(move || {
                for i in 0..6 {
                    let vault = home.vault();
                    vault.set(&format!("{writer}:{i}"), &Secret::new(format!("{i}"))).unwrap();
                    vault.set("shared", &Secret::new(format!("{writer}"))).unwrap();
                    if i > 0 {
                        assert!(vault.remove(&format!("{writer}:{}", i - 1)).unwrap());
                    }
                    assert_eq!(
                        home.vault().get(&format!("{writer}:{i}")).unwrap().unwrap().expose(),
                        format!("{i}")
                    );
                }
            });
        }
    });
    let status = home.vault().status();
    assert_eq!(status.entries, Some(9), "one a writer, and the shared one");
    assert!(!home.path().join(PARTIAL).exists());
}

#[test]
fn what_a_killed_writer_left_is_in_nobodys_way() {
    let home = Home::made();
    std::fs::write(home.path().join(PARTIAL), "half a vault").unwrap();
    std::fs::set_permissions(home.path().join(PARTIAL), PermissionsExt::from_mode(0o666)).unwrap();
    home.vault().set("a", &Secret::new("b")).unwrap();
    assert!(!home.path().join(PARTIAL).exists());
    assert_eq!(mode(&home.path().join(FILE)), 0o600);
    assert_eq!(home.vault().get("a").unwrap().unwrap().expose(), "b");
}

#[test]
fn the_same_secret_again_writes_nothing() {
    let home = Home::made();
    let vault = home.vault();
    vault.set("a", &Secret::new("b")).unwrap();
    let before = std::fs::read(home.path().join(FILE)).unwrap();
    vault.set("a", &Secret::new("b")).unwrap();
    assert!(!vault.remove("c").unwrap());
    assert_eq!(std::fs::read(home.path().join(FILE)).unwrap(), before);
}

#[test]
fn a_passphrase_descriptor_is_read_once_and_stays_known() {
    let home = Home::with_key("a long enough passphrase");
    home.vault().init(now()).unwrap();
    let vault = home.with_passphrase(b"a long enough passphrase\n");
    vault.set("a", &Secret::new("1")).unwrap();
    vault.set("a", &Secret::new("2")).unwrap();
    assert_eq!(vault.get("a").unwrap().unwrap().expose(), "2");

    let wrong = home.with_passphrase(b"not this one");
    assert_eq!(refusal(wrong.get("a")), "vault_key_wrong");
    assert_eq!(refusal(wrong.get("a")), "vault_key_wrong");
    let empty = home.with_passphrase(b"\n");
    assert_eq!(refusal(empty.get("a")), "vault_key_empty");
    assert_eq!(refusal(empty.get("a")), "vault_key_empty");
}

#[test]
fn only_an_inherited_descriptor_is_taken() {
    let home = Home::with_key("a long enough passphrase");
    home.vault().init(now()).unwrap();
    // Our own files are close-on-exec; a wrong number must neither read nor close them.
    let own = File::open(home.path().join(FILE)).unwrap();
    for number in [
        "",
        "-1",
        "1",
        "2",
        "x",
        "3.5",
        "99999999999",
        "1000000",
        own.as_raw_fd().to_string().as_str(),
    ] {
        assert_eq!(refusal(home.with_descriptor(number).get("a")), "vault_fd", "{number}");
    }
    assert!(own.metadata().is_ok());

    // One that was taken is marked, so that no child inherits it and nobody takes it twice.
    let (reader, _writer) = rustix::pipe::pipe().unwrap();
    let reader: OwnedFd = reader;
    let number = reader.into_raw_fd().to_string();
    let first = home.with_descriptor(&number);
    assert_eq!(refusal(home.with_descriptor(&number).get("a")), "vault_fd");
    drop(first);
}

#[test]
fn status_of_a_home_without_a_vault_changes_nothing() {
    let home = Home::new();
    let status = home.vault().status();
    assert!(!status.exists && !status.unlocked && status.entries.is_none());
    assert_eq!(status.error.unwrap().text(), "vault_absent");
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
fn two_homes_share_nothing() {
    let (one, two) = (Home::made(), Home::made());
    one.vault().set("a", &Secret::new("of one")).unwrap();
    assert!(two.vault().get("a").unwrap().is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_text_under_any_name(name in ".{1,30}", text in any::<String>()) {
        let home = Home::made();
        home.vault().set(&name, &Secret::new(text.as_str())).unwrap();
        let kept = home.vault().get(&name).unwrap().unwrap();
        prop_assert_eq!(kept.expose(), text);
    }
}
