//! Keys, also in the hands of stock `age`.
#![allow(
    clippy::disallowed_methods,
    reason = "stock tools are started to prove that they take what we write"
)]

use std::io::Write;
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;

fn now() -> DateTime<Utc> {
    "2026-11-05T10:00:00Z".parse().unwrap()
}

fn pair() -> (Key, Secret) {
    create("nightly", now()).unwrap()
}

fn refusal(text: &str) -> String {
    import(text).err().expect("must be refused").text().to_owned()
}

fn recipient_of(text: &str) -> String {
    match import(text).unwrap() {
        Imported::Pair { recipient, .. } => recipient,
        Imported::Passphrase(_) => panic!("a passphrase"),
    }
}

#[test]
fn stock_age_opens_with_an_export_what_was_encrypted_to_its_public_half() {
    let (key, secret) = create("name with\na line feed, '\"$(id)", now()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let text = export(&key, &secret, now()).unwrap();
    std::fs::write(folder.path().join("key.txt"), text.expose()).unwrap();
    let mut encrypt = Command::new("age")
        .args(["-r", key.recipient.as_deref().unwrap(), "-o", "x.age"])
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    encrypt.stdin.take().unwrap().write_all(b"a backup").unwrap();
    assert!(encrypt.wait().unwrap().success());
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(run("age", &["-d", "-i", "key.txt", "x.age"]), "a backup");
    assert_eq!(
        run("age-keygen", &["-y", "key.txt"]).trim(),
        key.recipient.as_deref().unwrap()
    );

    // And the other way round: what age-keygen writes is imported.
    run("age-keygen", &["-o", "theirs.txt"]);
    let theirs = std::fs::read_to_string(folder.path().join("theirs.txt")).unwrap();
    assert_eq!(recipient_of(&theirs), run("age-keygen", &["-y", "theirs.txt"]).trim());
}

#[test]
fn every_way_of_pasting_a_pair() {
    let (key, secret) = pair();
    let (bare, public) = (secret.expose(), key.recipient.as_deref().unwrap());
    for text in [
        bare.to_owned(),
        format!("\n  {bare} \r\n\r\n"),
        format!("\u{feff}# created: x\r\n# public key: {public}\r\n{bare}\r\n"),
        bare.to_ascii_lowercase(),
        format!("{public}\n{bare}"),
        format!("{bare}\n{bare}\n"),
        export(&key, &secret, now()).unwrap().expose().to_owned(),
    ] {
        assert_eq!(recipient_of(&text), public, "{text}");
    }
}

#[test]
fn every_wrong_paste_has_its_own_words() {
    let (key, secret) = pair();
    let (other, second) = pair();
    let (bare, public) = (secret.expose(), key.recipient.as_deref().unwrap());
    let swapped = bare.replacen(&bare[20..22], if &bare[20..22] == "QP" { "PQ" } else { "QP" }, 1);
    for (text, expected) in [
        ("".to_owned(), "key_empty"),
        (" \n\t\n".to_owned(), "key_empty"),
        ("hunter2 hunter2".to_owned(), "key_unrecognised"),
        ("# only AGE-SECRET-KEY- in a comment".to_owned(), "key_unrecognised"),
        (format!("export KEY={bare}"), "key_unrecognised"),
        (public.to_owned(), "key_public"),
        (format!("# public key: x\n{public}\n"), "key_public"),
        (bare[..bare.len() - 1].to_owned(), "key_damaged"),
        (format!("{bare}Q"), "key_damaged"),
        (swapped, "key_damaged"),
        (format!("{bare}\n{}", second.expose()), "key_several"),
        (format!("# public key: {}\n{bare}", other.recipient.unwrap()), "key_mixed"),
        ("AGE-SECRET-KEY-PQ-1QQQ".to_owned(), "key_foreign"),
        ("AGE-PLUGIN-YUBIKEY-1QQQ".to_owned(), "key_foreign"),
        ("ssh-ed25519 AAAA joe@host".to_owned(), "key_foreign"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nx".to_owned(), "key_foreign"),
        ("-----BEGIN PGP PRIVATE KEY BLOCK-----\nx".to_owned(), "key_foreign"),
        ("age-encryption.org/v1\n-> scrypt x 18\n".to_owned(), "key_encrypted"),
        ("-----BEGIN AGE ENCRYPTED FILE-----\nx".to_owned(), "key_encrypted"),
        (format!("{PASSPHRASE_MARK}\n"), "passphrase_empty"),
        (format!("{PASSPHRASE_MARK}\none\ntwo\n"), "key_several"),
    ] {
        assert_eq!(refusal(&text), expected, "{text}");
    }
    assert_eq!(import(public).err().unwrap().code(), Code::Refused);
}

#[test]
fn no_refusal_repeats_what_was_pasted() {
    let (_, secret) = pair();
    let damaged = &secret.expose()[..40];
    for text in [damaged.to_owned(), format!("x{damaged}"), "hunter2".to_owned()] {
        let said = import(&text).err().unwrap().to_string();
        assert!(!said.contains(&text[2..]), "{said}");
    }
}

#[test]
fn one_name_is_one_key() {
    let (key, secret) = pair();
    let (_, other) = pair();
    let again = import(secret.expose()).unwrap();
    check_same(&key, Some(&secret), &again).unwrap();
    check_same(&key, None, &again).unwrap();
    let (passphrase, text) = from_passphrase("p", &Secret::new("correct horse battery"), now()).unwrap();
    let same = Imported::Passphrase(text.clone());
    check_same(&passphrase, Some(&text), &same).unwrap();
    check_same(&passphrase, None, &same).unwrap();
    for (key, stored, imported) in [
        (&key, Some(&secret), import(other.expose()).unwrap()),
        (&key, None, import(other.expose()).unwrap()),
        (&key, Some(&secret), same.clone()),
        (
            &passphrase,
            Some(&text),
            Imported::Passphrase(Secret::new("another passphrase")),
        ),
        (&passphrase, None, again.clone()),
    ] {
        let error = check_same(key, stored, &imported).unwrap_err();
        assert_eq!((error.code(), error.text()), (Code::Refused, "key_name_taken"));
    }
}

#[test]
fn a_secret_that_is_not_the_keys_is_noticed() {
    let (key, secret) = pair();
    let (_, other) = pair();
    assert!(identity_of(&key, &secret).is_ok());
    for wrong in [other.expose(), "", "nonsense"] {
        let error = export(&key, &Secret::new(wrong), now()).err().unwrap();
        assert_eq!((error.code(), error.text()), (Code::SecretUnavailable, "key_damaged_store"));
    }
}

#[test]
fn passphrases_that_age_could_not_be_given_are_refused() {
    for (text, expected) in [
        ("", "passphrase_empty"),
        ("\n", "passphrase_empty"),
        ("   ", "passphrase_empty"),
        ("two\nlines", "passphrase_line"),
        ("nul\0", "passphrase_line"),
        ("escape\u{1b}[0m", "passphrase_line"),
    ] {
        let error = from_passphrase("p", &Secret::new(text), now()).err().unwrap();
        assert_eq!((error.code(), error.text()), (Code::Usage, expected), "{text:?}");
    }
    assert!(passphrase_remark("elevenchars").is_some());
    assert!(passphrase_remark("twelve chars").is_none());
    assert!(passphrase_remark("éééééééééééé").is_none());
    assert_eq!(
        from_passphrase("", &Secret::new("long enough text"), now())
            .err()
            .unwrap()
            .text(),
        "name_empty"
    );
}

proptest! {
    #[test]
    fn an_exported_passphrase_comes_back(text in "\\PC{1,60}", name in ".{1,40}") {
        prop_assume!(!text.trim().is_empty() && !name.trim().is_empty() && !name.contains('\0'));
        let (key, secret) = from_passphrase(&name, &Secret::new(text.as_str()), now()).unwrap();
        let exported = export(&key, &secret, now()).unwrap();
        match import(exported.expose()).unwrap() {
            Imported::Passphrase(back) => prop_assert_eq!(back.expose(), text),
            Imported::Pair { .. } => prop_assert!(false, "became a pair"),
        }
    }

    #[test]
    fn nothing_that_is_pasted_panics(text in "(AGE-SECRET-KEY-1|age1|# |\\PC|\n){0,80}") {
        let _whatever_it_is = import(&text);
    }

    /// Bech32's checksum: no slip of one character is taken for another key.
    #[test]
    fn a_slip_of_the_pen_is_noticed(at in 16usize..74, to in "[02-9AC-HJ-NP-Z]") {
        let (_, secret) = pair();
        let mut text = secret.expose().to_owned();
        prop_assume!(text[at..=at] != to);
        text.replace_range(at..=at, &to);
        prop_assert_eq!(refusal(&text), "key_damaged");
    }
}
