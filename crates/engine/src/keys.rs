//! Keys that backups are encrypted with: making, exporting and importing them as text that stock `age` understands.
//!
//! Pure: no file, no clock, no store. What is kept where is decided by the callers: the catalogue keeps the [`Key`], the secret
//! store the secret, and only an export shows it.

use age::secrecy::ExposeSecret;
use age::x25519;
use chrono::{DateTime, SecondsFormat, Utc};
use coffre_model::key::{Key, KeyKind};
use coffre_model::source::check_name;
use coffre_model::{Code, Error, Id, Result, Secret};
use zeroize::{Zeroize, Zeroizing};

/// Passphrases below this length get a remark. They are not refused: a person may have reasons, and backups that exist must open.
pub const PASSPHRASE_SHORT: usize = 12;

/// How identities begin.
const IDENTITY: &str = "AGE-SECRET-KEY-1";
/// Says in an export that the next line is a passphrase, whatever it looks like.
const PASSPHRASE_MARK: &str = "# coffre-passphrase-on-the-next-line";

/// What an import found.
#[derive(Clone)]
pub enum Imported {
    /// An age X25519 pair.
    Pair {
        /// `age1…`.
        recipient: String,
        /// `AGE-SECRET-KEY-1…`.
        secret: Secret,
    },
    /// A passphrase.
    Passphrase(Secret),
}

fn usage(text: &'static str) -> Error {
    Error::new(Code::Usage, text)
}

/// Makes a new age X25519 pair.
///
/// # Errors
/// `USAGE` for a bad name.
pub fn create(name: &str, now: DateTime<Utc>) -> Result<(Key, Secret)> {
    let identity = x25519::Identity::generate();
    let secret = Secret::new(identity.to_string().expose_secret());
    let recipient = identity.to_public().to_string();
    from_import(name, Imported::Pair { recipient, secret }, now)
}

/// Makes a key of a passphrase that a person gave. See [`passphrase_remark`] for what to tell them about it.
///
/// # Errors
/// `USAGE` for a bad name, and for a passphrase that stock `age` could not be given: nothing, several lines, control characters.
pub fn from_passphrase(name: &str, passphrase: &Secret, now: DateTime<Utc>) -> Result<(Key, Secret)> {
    from_import(name, Imported::Passphrase(import_passphrase(passphrase.expose())?), now)
}

/// Makes a key of what was imported, under a new name.
///
/// # Errors
/// `USAGE` for a bad name.
pub fn from_import(name: &str, imported: Imported, now: DateTime<Utc>) -> Result<(Key, Secret)> {
    check_name(name)?;
    let (kind, recipient, secret) = match imported {
        Imported::Pair { recipient, secret } => (KeyKind::Recipient, Some(recipient), secret),
        Imported::Passphrase(secret) => (KeyKind::Passphrase, None, secret),
    };
    let key = Key {
        id: Id::new(),
        name: name.to_owned(),
        kind,
        recipient,
        created_at: now,
        exported_at: None,
    };
    Ok((key, secret))
}

/// Reads a passphrase as it comes from a file, a pipe or a prompt: everything but one line feed at its end.
///
/// # Errors
/// `USAGE`: `passphrase_empty`, or `passphrase_line` for line feeds and control characters inside, which nobody can type into `age`.
pub fn import_passphrase(text: &str) -> Result<Secret> {
    let text = text
        .strip_suffix('\n')
        .map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    if text.trim().is_empty() {
        return Err(usage("passphrase_empty"));
    }
    if text.chars().any(char::is_control) {
        return Err(usage("passphrase_line"));
    }
    Ok(Secret::new(text))
}

/// What a person should know about a passphrase: that it is short, if it is.
pub fn passphrase_remark(text: &str) -> Option<Error> {
    (text.chars().count() < PASSPHRASE_SHORT).then(|| usage("passphrase_short").with("min", PASSPHRASE_SHORT))
}

/// The text of a key for its owner to keep. For a pair it is an identity file as `age-keygen` writes it (`age -d -i FILE`).
///
/// # Errors
/// `SECRET_UNAVAILABLE` (`key_damaged_store`) where the secret is not the one of this key.
pub fn export(key: &Key, secret: &Secret, now: DateTime<Utc>) -> Result<Secret> {
    match key.kind {
        KeyKind::Recipient => {
            let identity = identity_of(key, secret)?;
            let head = format!("# Coffre key: {}\n", one_line(&key.name));
            let body = identity_file(&identity, key.created_at);
            Ok(joined(&[&head, body.expose()]))
        }
        KeyKind::Passphrase => {
            let head = format!(
                "# Coffre key: {}\n# exported: {}\n# This is a passphrase. To open a backup with it: age -d FILE, then type the passphrase.\n{PASSPHRASE_MARK}\n",
                one_line(&key.name),
                time(now),
            );
            Ok(joined(&[&head, secret.expose(), "\n"]))
        }
    }
}

/// An identity file as `age-keygen` writes it.
pub fn identity_file(identity: &x25519::Identity, created_at: DateTime<Utc>) -> Secret {
    let head = format!("# created: {}\n# public key: {}\n", time(created_at), identity.to_public());
    joined(&[&head, identity.to_string().expose_secret(), "\n"])
}

/// The identity of a pair, out of its secret.
///
/// # Errors
/// `SECRET_UNAVAILABLE` (`key_damaged_store`) where the secret store answered something that is not this key's secret.
pub fn identity_of(key: &Key, secret: &Secret) -> Result<x25519::Identity> {
    let damaged = || Error::new(Code::SecretUnavailable, "key_damaged_store").with("key", key.name.as_str());
    let identity: x25519::Identity = secret.expose().trim().parse().map_err(|_| damaged())?;
    if key.recipient.as_deref() != Some(identity.to_public().to_string().as_str()) {
        return Err(damaged());
    }
    Ok(identity)
}

/// Whether a text is, or was meant as, a key in one of the forms that [`import`] knows or names in its refusals.
pub fn looks_like_key(text: &str) -> bool {
    import_kind(text).is_some()
}

/// What a pasted text is, without looking at whether it is right.
fn import_kind(text: &str) -> Option<&'static str> {
    let upper = Zeroizing::new(text.to_ascii_uppercase());
    let has = |word: &str| upper.contains(word);
    if text.lines().any(|line| line.trim_end() == PASSPHRASE_MARK) {
        Some("passphrase")
    } else if has("AGE-SECRET-KEY-PQ-") || has("AGE-PLUGIN-") {
        Some("age_other")
    } else if has("AGE-SECRET-KEY-") {
        Some("identity")
    } else if has("AGE-ENCRYPTION.ORG/") || has("BEGIN AGE ENCRYPTED FILE") {
        Some("encrypted")
    } else if has("-----BEGIN") || lines(text).any(|line| line.starts_with("ssh-")) {
        Some("foreign")
    } else if lines(text).any(|line| line.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("age1"))) {
        Some("public")
    } else {
        None
    }
}

/// The lines that are not empty and not comments, without spaces around them.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.trim_start_matches('\u{feff}')
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Reads a key from a text: an identity file, a bare `AGE-SECRET-KEY-1…`, or an export of a passphrase key. A bare passphrase cannot
/// be told from a mistake and goes through [`import_passphrase`], where a person says so.
///
/// # Errors
/// `USAGE`, with a text of its own for each usual mistake: a public key alone (its backups could never be read back here, so none
/// could become *verified*), several identities, a damaged one, a key of another program, an encrypted identity file.
pub fn import(text: &str) -> Result<Imported> {
    match import_kind(text) {
        Some("passphrase") => {
            let mut rest = text.lines().skip_while(|line| line.trim_end() != PASSPHRASE_MARK).skip(1);
            let secret = import_passphrase(rest.next().unwrap_or(""))?;
            match rest.find(|line| !line.trim().is_empty()) {
                None => Ok(Imported::Passphrase(secret)),
                Some(_) => Err(usage("key_several")),
            }
        }
        Some("identity") => import_identity(text),
        Some("public") => Err(Error::new(Code::Refused, "key_public")),
        Some("encrypted") => Err(usage("key_encrypted")),
        Some("age_other" | "foreign") => Err(usage("key_foreign")),
        _ if text.trim().is_empty() => Err(usage("key_empty")),
        _ => Err(usage("key_unrecognised")),
    }
}

fn import_identity(text: &str) -> Result<Imported> {
    let mut found: Option<x25519::Identity> = None;
    for line in lines(text) {
        if line.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("age1")) {
            continue;
        }
        // Typed from paper, letters are often small; age itself only takes large ones. The checksum inside notices every other slip.
        let mut typed = Zeroizing::new(line.to_owned());
        if typed.bytes().all(|b| !b.is_ascii_uppercase()) {
            typed.make_ascii_uppercase();
        }
        if !typed.starts_with(IDENTITY) {
            return Err(usage("key_unrecognised"));
        }
        let identity: x25519::Identity = typed.parse().map_err(|_| usage("key_damaged"))?;
        let secret = |identity: &x25519::Identity| identity.to_string().expose_secret().to_owned();
        if let Some(first) = &found {
            let (mut one, mut two) = (secret(first), secret(&identity));
            let same = one == two;
            one.zeroize();
            two.zeroize();
            if !same {
                return Err(usage("key_several"));
            }
        }
        found = Some(identity);
    }
    // Only a comment spoke of a secret key.
    let identity = found.ok_or_else(|| usage("key_unrecognised"))?;
    let recipient = identity.to_public().to_string();
    // A file glued together from two: the person would trust a key that opens something else.
    if text
        .split_whitespace()
        .any(|word| word.starts_with("age1") && word.len() == recipient.len() && word != recipient)
    {
        return Err(usage("key_mixed").with("recipient", recipient));
    }
    let secret = Secret::new(identity.to_string().expose_secret());
    Ok(Imported::Pair { recipient, secret })
}

/// Whether what was imported is the key that already has this name, so that its secret may be stored (again). `stored` is what the
/// secret store holds for it, if anything.
///
/// The check value of a pair is its public half. A passphrase has none: where the store has lost it, only opening a backup can tell.
///
/// # Errors
/// `REFUSED` (`key_name_taken`): under one name there is one key, or the backups of the other could not be opened any more.
pub fn check_same(key: &Key, stored: Option<&Secret>, imported: &Imported) -> Result<()> {
    let same = match (key.kind, imported) {
        (KeyKind::Recipient, Imported::Pair { recipient, .. }) => key.recipient.as_ref() == Some(recipient),
        (KeyKind::Passphrase, Imported::Passphrase(given)) => stored.is_none_or(|kept| kept.expose() == given.expose()),
        _ => false,
    };
    if same {
        Ok(())
    } else {
        Err(Error::new(Code::Refused, "key_name_taken").with("key", key.name.as_str()))
    }
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// A name inside a comment: a line feed in it would end the comment.
fn one_line(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Puts texts together in one buffer of the right size, so that no unwiped copy is left behind.
fn joined(parts: &[&str]) -> Secret {
    let mut text = String::with_capacity(parts.iter().map(|part| part.len()).sum());
    for part in parts {
        text.push_str(part);
    }
    Secret::new(text)
}

#[cfg(test)]
mod tests;
