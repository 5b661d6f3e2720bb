//! Where secrets are kept: the operating system's keychain, or an encrypted vault in the home. Nothing else: there is no plain text
//! to fall back to.
//!
//! What lives here: the one trait, the choice between the two stores, and the names that secrets have. Opening a store does nothing
//! by itself. Keychain and vault are touched by the first secret that is asked for, so that a command without secrets works on a
//! machine that has neither.

pub mod keychain;
pub mod vault;

#[cfg(all(unix, not(target_os = "macos")))]
mod bus;

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use coffre_model::{Code, Error, Id, Result, Secret};
use serde::Serialize;

use keychain::Keychain;
use vault::Vault;

/// A place for secrets. Every answer is of this moment: another process may have written since.
pub trait SecretStore: Send + Sync {
    /// The secret of that name, or nothing where none was kept.
    ///
    /// # Errors
    /// `SECRET_UNAVAILABLE` where the store cannot be asked; its text says what is in the way.
    fn get(&self, name: &str) -> Result<Option<Secret>>;
    /// Keeps a secret, in place of an older one of that name. Once this answers, it is durable.
    fn set(&self, name: &str, secret: &Secret) -> Result<()>;
    /// Forgets a secret. Idempotent: `false` where there was none.
    fn remove(&self, name: &str) -> Result<bool>;
    /// `keychain` or `vault`.
    fn kind(&self) -> &'static str;
    /// How the store stands, without changing it and without asking a person anything.
    fn status(&self) -> Status;
}

/// How a store stands (`coffre vault status --json`). No names of secrets, no secrets.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    /// `keychain` or `vault`.
    pub kind: &'static str,
    /// The vault's file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Whether there is a persistent keychain, or a vault.
    pub exists: bool,
    /// Whether secrets can be read now.
    pub unlocked: bool,
    /// How many secrets of this home it holds, where that can be told.
    pub entries: Option<u64>,
    /// Why it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Error>,
}

/// The name under which a source's password is kept.
pub fn source_secret(id: &Id) -> String {
    format!("source:{id}")
}

/// The name under which a destination's secret is kept.
pub fn destination_secret(id: &Id) -> String {
    format!("destination:{id}")
}

/// The name under which the secret part of a key is kept.
pub fn key_secret(id: &Id) -> String {
    format!("key:{id}")
}

/// The name under which a channel's secret is kept: a password, a secret address, or what signs.
pub fn channel_secret(id: &Id) -> String {
    format!("channel:{id}")
}

/// The secret of that name, where the work cannot go on without it. `of` is the name of the source, destination or key it belongs to.
///
/// # Errors
/// `SECRET_UNAVAILABLE`; with the text `secret_missing` where the store can be asked, but has none.
pub fn needed(store: &dyn SecretStore, name: &str, of: &str) -> Result<Secret> {
    store.get(name)?.ok_or_else(|| {
        Error::new(Code::SecretUnavailable, "secret_missing")
            .with("of", of)
            .with("store", store.kind())
    })
}

/// Which store a person chose (`COFFRE_SECRETS`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Nothing was chosen: the vault of a home that has one, else the keychain. Once a home has a vault, it is its store.
    Automatic,
    /// The keychain, even beside a vault.
    Keychain,
    /// The vault.
    Vault,
}

impl Choice {
    /// Reads the value of `COFFRE_SECRETS`; nothing and an empty text mean [`Choice::Automatic`].
    ///
    /// # Errors
    /// `USAGE` for any other word.
    pub fn parse(text: Option<&str>) -> Result<Self> {
        match text {
            None | Some("") => Ok(Choice::Automatic),
            Some("keychain") => Ok(Choice::Keychain),
            Some("vault") => Ok(Choice::Vault),
            Some(other) => Err(Error::new(Code::Usage, "secrets_choice").with("given", other)),
        }
    }
}

/// What the stores need to know of the environment, read once at the edge.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `COFFRE_VAULT_KEY_FILE` (or `--key-file`).
    pub vault_key_file: Option<PathBuf>,
    /// `COFFRE_VAULT_PASSPHRASE_FD`, as it was given.
    pub vault_passphrase_fd: Option<String>,
    /// Whether a locked keychain may ask a person to unlock it. Without it, a locked keychain is an error at once: a dialog at three
    /// in the morning helps nobody.
    pub may_ask: bool,
}

impl Environment {
    /// Reads the variables with `get` (`std::env::var_os` at the edge). `attended`: a person sits there, at a terminal or a window.
    pub fn read(get: impl Fn(&str) -> Option<OsString>, attended: bool) -> Self {
        let present = |name: &str| get(name).filter(|value| !value.is_empty());
        // Without a display the keychain's own dialog cannot appear, and asking for it only costs time.
        let display = cfg!(not(target_os = "linux")) || present("DISPLAY").is_some() || present("WAYLAND_DISPLAY").is_some();
        Environment {
            vault_key_file: present("COFFRE_VAULT_KEY_FILE").map(PathBuf::from),
            vault_passphrase_fd: present("COFFRE_VAULT_PASSPHRASE_FD").map(|text| text.to_string_lossy().into_owned()),
            may_ask: attended && display,
        }
    }
}

/// Opens the store of a home. Touches neither the keychain nor the vault; only an inherited passphrase descriptor is taken over at
/// once, so that no child process inherits it.
pub fn open(choice: Choice, home: &Path, environment: &Environment) -> Box<dyn SecretStore> {
    match choice {
        Choice::Keychain => Box::new(Keychain::new(home, environment)),
        Choice::Vault => Box::new(Vault::new(home, environment)),
        Choice::Automatic => Box::new(Automatic {
            keychain: Keychain::new(home, environment),
            vault: Vault::new(home, environment),
        }),
    }
}

/// Decides at every use, so that a running daemon follows a `coffre vault init` beside it.
struct Automatic {
    keychain: Keychain,
    vault: Vault,
}

impl Automatic {
    fn store(&self) -> &dyn SecretStore {
        if self.vault.exists() { &self.vault } else { &self.keychain }
    }
}

impl SecretStore for Automatic {
    fn get(&self, name: &str) -> Result<Option<Secret>> {
        self.store().get(name)
    }

    fn set(&self, name: &str, secret: &Secret) -> Result<()> {
        self.store().set(name, secret)
    }

    fn remove(&self, name: &str) -> Result<bool> {
        self.store().remove(name)
    }

    fn kind(&self) -> &'static str {
        self.store().kind()
    }

    fn status(&self) -> Status {
        self.store().status()
    }
}

/// The file in a home that holds its identity. It moves with the home, so that the keychain still knows whose secrets are whose.
const HOME_ID: &str = "home.id";

/// The identity of a home, if it was ever needed.
///
/// # Errors
/// `SECRET_UNAVAILABLE` where the file is there but is not an identity: a new one would silently lose every secret.
fn home_id(home: &Path) -> Result<Option<Id>> {
    let path = home.join(HOME_ID);
    let damaged = |cause: String| {
        Error::new(Code::SecretUnavailable, "home_id")
            .with("path", path.to_string_lossy())
            .with("cause", cause)
    };
    match fs::read_to_string(&path) {
        Ok(text) => match text.trim().parse() {
            Ok(id) => Ok(Some(id)),
            Err(()) => Err(damaged("not a UUID".into())),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(damaged(error.to_string())),
    }
}

/// The identity of a home, made now where there is none. Two processes at once agree on one.
fn home_id_or_new(home: &Path) -> Result<Id> {
    if let Some(id) = home_id(home)? {
        return Ok(id);
    }
    let failed = |error: std::io::Error| {
        Error::new(Code::SecretUnavailable, "home_id")
            .with("path", home.join(HOME_ID).to_string_lossy())
            .with("cause", error.to_string())
    };
    // Written whole under another name, then linked: a link never replaces, and nobody ever reads half an identity.
    let mut file = tempfile::NamedTempFile::new_in(home).map_err(failed)?;
    writeln!(file, "{}", Id::new()).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    match file.persist_noclobber(home.join(HOME_ID)) {
        Ok(_) => sync_folder(home).map_err(failed)?,
        Err(lost) if lost.error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(lost) => return Err(failed(lost.error)),
    }
    home_id(home)?.ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))
}

/// Makes a rename in `folder` durable.
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    if cfg!(unix) {
        fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)], attended: bool) -> Environment {
        Environment::read(
            |name| pairs.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value)),
            attended,
        )
    }

    #[test]
    fn the_choice_is_one_of_two_words() {
        assert_eq!(Choice::parse(None).unwrap(), Choice::Automatic);
        assert_eq!(Choice::parse(Some("")).unwrap(), Choice::Automatic);
        assert_eq!(Choice::parse(Some("keychain")).unwrap(), Choice::Keychain);
        assert_eq!(Choice::parse(Some("vault")).unwrap(), Choice::Vault);
        for wrong in ["plain", "Vault", "none", " vault"] {
            assert_eq!(Choice::parse(Some(wrong)).unwrap_err().code(), Code::Usage, "{wrong}");
        }
    }

    #[test]
    fn nobody_is_asked_without_a_person_and_a_display() {
        assert!(environment(&[("DISPLAY", ":0")], true).may_ask);
        assert!(!environment(&[("DISPLAY", ":0")], false).may_ask);
        if cfg!(target_os = "linux") {
            assert!(!environment(&[("DISPLAY", "")], true).may_ask);
        }
        assert_eq!(environment(&[("COFFRE_VAULT_KEY_FILE", "")], true).vault_key_file, None);
    }

    #[test]
    fn a_home_with_a_vault_uses_it_and_another_does_not() {
        let home = tempfile::tempdir().unwrap();
        let environment = environment(&[], false);
        let store = open(Choice::Automatic, home.path(), &environment);
        assert_eq!(store.kind(), "keychain");
        fs::write(home.path().join("vault.age"), "").unwrap();
        assert_eq!(store.kind(), "vault");
        assert_eq!(open(Choice::Keychain, home.path(), &environment).kind(), "keychain");
    }

    #[test]
    fn a_home_has_one_identity_whoever_asks_first() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(home_id(home.path()).unwrap(), None);
        let ids: Vec<Id> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| home_id_or_new(home.path()).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]));
        assert_eq!(home_id(home.path()).unwrap(), Some(ids[0]));
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_damaged_identity_is_not_replaced() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join(HOME_ID), "nonsense").unwrap();
        let error = home_id_or_new(home.path()).unwrap_err();
        assert_eq!((error.code(), error.text()), (Code::SecretUnavailable, "home_id"));
        assert_eq!(fs::read_to_string(home.path().join(HOME_ID)).unwrap(), "nonsense");
    }
}
