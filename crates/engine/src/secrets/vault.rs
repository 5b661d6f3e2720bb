//! The vault: `<home>/vault.age`, an age file around JSON, for machines without a keychain.
//!
//! It is unlocked by a key file (`COFFRE_VAULT_KEY_FILE`) that holds an age identity or any other text as a passphrase, or by a
//! passphrase read from an inherited descriptor (`COFFRE_VAULT_PASSPHRASE_FD`). Stock `age -d` opens it with the same key. A
//! passphrase costs scrypt (about a second and 256 MB) once a process, and again for each write; an identity costs nothing.

mod key;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use age::secrecy::{ExposeSecret, SecretString};
use age::x25519;
use chrono::{DateTime, Utc};
use coffre_model::{Code, Error, Result, Secret};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Environment, SecretStore, Status, sync_folder};
use crate::keys;
use key::{Inherited, read_key_file};

/// The format number of the JSON inside.
const SCHEMA: u32 = 1;
const FILE: &str = "vault.age";
const PARTIAL: &str = "vault.age.partial";
const LOCK: &str = "vault.lock";
/// How long to wait for another process that writes.
const LOCK_WAIT: Duration = Duration::from_secs(10);
/// The largest vault that is read.
const VAULT_MAX: u64 = 64 * 1024 * 1024;
/// scrypt: N = 2^18, as stock `age` uses. Fixed, because the library would otherwise measure this machine and its load.
const WORK_FACTOR: u8 = if cfg!(test) { 10 } else { 18 };
/// The most that is accepted when reading; stock `age` has the same limit.
const WORK_FACTOR_MAX: u8 = 22;

/// What opens a vault.
enum Opener {
    Pair(Box<x25519::Identity>),
    Passphrase(SecretString),
}

type Secrets = BTreeMap<String, Secret>;

/// The vault of one home.
pub struct Vault {
    home: PathBuf,
    key_file: Option<PathBuf>,
    has_passphrase: bool,
    state: Mutex<State>,
}

struct State {
    passphrase: Passphrase,
    /// What opened the vault last.
    opener: Option<Opener>,
    /// The file as it was last read, and what was in it: scrypt is not paid again for a file that did not change.
    seen: Option<(Vec<u8>, Secrets)>,
}

/// The passphrase of `COFFRE_VAULT_PASSPHRASE_FD`.
enum Passphrase {
    /// None was handed down.
    Absent,
    /// Not read yet.
    Ready(Inherited),
    /// It could not be taken or read, for this reason; or it was read and is the opener now.
    Gone(Error),
}

/// What `coffre vault init` did.
#[derive(Debug)]
pub struct Initialised {
    /// The vault.
    pub path: PathBuf,
    /// The key file that opens it; nothing for a passphrase descriptor.
    pub key_file: Option<PathBuf>,
    /// Whether the key file was made now. The person must keep a copy of it elsewhere.
    pub key_file_made: bool,
    /// The public half of the key, where it is a pair.
    pub recipient: Option<String>,
    /// Remarks for the person: a key beside the vault, a short passphrase.
    pub remarks: Vec<Error>,
}

#[derive(Serialize)]
struct Written<'a> {
    schema: u32,
    secrets: BTreeMap<&'a str, &'a str>,
}

#[derive(Deserialize)]
struct Schema {
    schema: u32,
}

#[derive(Deserialize)]
struct Content {
    secrets: BTreeMap<String, String>,
}

fn unavailable(text: &'static str) -> Error {
    Error::new(Code::SecretUnavailable, text)
}

impl Vault {
    /// The vault of `home`. Reads nothing; takes an inherited passphrase descriptor over (see [`super::open`]).
    pub fn new(home: &Path, environment: &Environment) -> Self {
        Vault {
            home: home.to_owned(),
            key_file: environment.vault_key_file.clone(),
            has_passphrase: environment.vault_passphrase_fd.is_some(),
            state: Mutex::new(State {
                passphrase: match environment.vault_passphrase_fd.as_deref().map(Inherited::take) {
                    None => Passphrase::Absent,
                    Some(Ok(inherited)) => Passphrase::Ready(inherited),
                    Some(Err(error)) => Passphrase::Gone(error),
                },
                opener: None,
                seen: None,
            }),
        }
    }

    /// Where the vault is.
    pub fn path(&self) -> PathBuf {
        self.home.join(FILE)
    }

    /// Whether this home has a vault. One that cannot be looked at counts: its error must be seen, not avoided.
    pub fn exists(&self) -> bool {
        self.path().try_exists().unwrap_or(true)
    }

    /// Makes an empty vault (`coffre vault init`). A key file that does not exist is made, with a fresh identity in it.
    ///
    /// # Errors
    /// `REFUSED` where there is a vault already, `USAGE` without a key or with two, `SECRET_UNAVAILABLE` for a key that cannot be used.
    pub fn init(&self, now: DateTime<Utc>) -> Result<Initialised> {
        let _lock = self.lock()?;
        if self.exists() {
            return Err(Error::new(Code::Refused, "vault_exists").with("path", self.path().to_string_lossy()));
        }
        if self.key_file.is_none() && !self.has_passphrase {
            return Err(Error::new(Code::Usage, "vault_key_needed"));
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut remarks = Vec::new();
        let mut key_file_made = false;
        let opener = match self.opener(&mut state) {
            Err(error) if error.text() == "vault_key_missing" => {
                key_file_made = true;
                Opener::Pair(Box::new(self.make_key_file(now)?))
            }
            other => other?,
        };
        let recipient = match &opener {
            Opener::Pair(identity) => Some(identity.to_public().to_string()),
            Opener::Passphrase(text) => {
                remarks.extend(keys::passphrase_remark(text.expose_secret()));
                None
            }
        };
        if let Some(file) = &self.key_file
            && inside(file, &self.home)
        {
            remarks.push(Error::new(Code::SecretUnavailable, "vault_key_beside").with("path", file.to_string_lossy()));
        }
        self.write(&opener, &Secrets::new())?;
        state.opener = Some(opener);
        Ok(Initialised {
            path: self.path(),
            key_file: self.key_file.clone(),
            key_file_made,
            recipient,
            remarks,
        })
    }

    fn make_key_file(&self, now: DateTime<Utc>) -> Result<x25519::Identity> {
        let path = self
            .key_file
            .as_deref()
            .ok_or_else(|| Error::new(Code::Usage, "vault_key_needed"))?;
        let failed = |error: std::io::Error| {
            unavailable("vault_key_make")
                .with("path", path.to_string_lossy())
                .with("cause", error.to_string())
        };
        let identity = x25519::Identity::generate();
        let text = keys::identity_file(&identity, now);
        let mut file = private(OpenOptions::new().write(true).create_new(true))
            .open(path)
            .map_err(failed)?;
        file.write_all(text.expose().as_bytes()).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        sync_folder(folder.unwrap_or(Path::new("."))).map_err(failed)?;
        Ok(identity)
    }

    /// One writer at a time, over all processes.
    fn lock(&self) -> Result<File> {
        let path = self.home.join(LOCK);
        let failed = |error: std::io::Error| write_failed(&path, &error);
        let file = private(OpenOptions::new().write(true).create(true))
            .open(&path)
            .map_err(failed)?;
        let deadline = Instant::now() + LOCK_WAIT;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::new(Code::Busy, "vault_busy").with("path", self.path().to_string_lossy()));
                }
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
    }

    /// The key, from where the environment says.
    fn opener(&self, state: &mut State) -> Result<Opener> {
        let locked = || unavailable("vault_locked").with("path", self.path().to_string_lossy());
        match (&self.key_file, &state.passphrase) {
            (Some(path), Passphrase::Absent) => read_key_file(path),
            (Some(_), _) => Err(Error::new(Code::Usage, "vault_key_twice")),
            (None, Passphrase::Absent) => Err(locked()),
            (None, Passphrase::Gone(error)) => Err(error.clone()),
            (None, Passphrase::Ready(_)) => {
                let Passphrase::Ready(inherited) = std::mem::replace(&mut state.passphrase, Passphrase::Gone(locked())) else {
                    return Err(locked());
                };
                match inherited.read() {
                    Ok(text) => Ok(Opener::Passphrase(SecretString::from(text.expose()))),
                    Err(error) => {
                        state.passphrase = Passphrase::Gone(error.clone());
                        Err(error)
                    }
                }
            }
        }
    }

    /// Reads the vault as it is now.
    fn read<'a>(&self, state: &'a mut State) -> Result<&'a mut Secrets> {
        let path = self.path();
        let bytes = match read_bounded(&path, VAULT_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(unavailable("vault_absent").with("path", path.to_string_lossy()));
            }
            Err(error) => {
                return Err(unavailable("vault_unreadable")
                    .with("path", path.to_string_lossy())
                    .with("cause", error.to_string()));
            }
        };
        let known = state.seen.as_ref().is_some_and(|(seen, _)| *seen == bytes) && state.opener.is_some();
        if !known {
            state.seen = None;
            // A key that did not open the vault is not kept, so that a corrected key file is seen at the next try. A passphrase
            // descriptor can be read only once, therefore a passphrase stays.
            let opener = match state.opener.take() {
                Some(opener) => opener,
                None => self.opener(state)?,
            };
            let secrets = decrypt(&opener, &bytes, &path);
            if secrets.is_ok() || self.has_passphrase {
                state.opener = Some(opener);
            }
            state.seen = Some((bytes, secrets?));
        }
        match &mut state.seen {
            Some((_, secrets)) => Ok(secrets),
            None => Err(unavailable("vault_locked").with("path", path.to_string_lossy())),
        }
    }

    /// Encrypts and publishes. The caller holds the lock.
    fn write(&self, opener: &Opener, secrets: &Secrets) -> Result<Vec<u8>> {
        let content = Written {
            schema: SCHEMA,
            secrets: secrets
                .iter()
                .map(|(name, secret)| (name.as_str(), secret.expose()))
                .collect(),
        };
        // Large enough from the start: a buffer that grows leaves unwiped copies behind. Six bytes are the longest escape of one.
        let room = secrets
            .iter()
            .map(|(name, secret)| 6 * (name.len() + secret.expose().len()) + 8)
            .sum::<usize>()
            + 64;
        let mut plain = Zeroizing::new(Vec::with_capacity(room));
        serde_json::to_writer(&mut *plain, &content).map_err(|error| Error::internal("vault", error))?;
        let bytes = encrypt(opener, &plain)?;
        let partial = self.home.join(PARTIAL);
        let publish = || -> std::io::Result<()> {
            // What a killed process left; ours alone under the lock.
            match fs::remove_file(&partial) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = private(OpenOptions::new().write(true).create_new(true)).open(&partial)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            drop(file);
            // The one copy of every password: looked at before it takes the place of the old one.
            if read_bounded(&partial, VAULT_MAX)? != bytes {
                return Err(std::io::Error::other("read back differently than written"));
            }
            fs::rename(&partial, self.path())?;
            sync_folder(&self.home)
        };
        publish().map_err(|error| write_failed(&self.path(), &error))?;
        Ok(bytes)
    }

    /// Reads, changes and writes under the lock, so that nobody's change is lost. `change` answers whether there is anything to write.
    fn change(&self, change: impl FnOnce(&mut Secrets) -> bool) -> Result<bool> {
        // Looked at first: a home without a vault gets no lock file.
        if !self.exists() {
            return Err(unavailable("vault_absent").with("path", self.path().to_string_lossy()));
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let _lock = self.lock()?;
        let mut secrets = self.read(&mut state)?.clone();
        if !change(&mut secrets) {
            return Ok(false);
        }
        let Some(opener) = &state.opener else {
            return Err(unavailable("vault_locked").with("path", self.path().to_string_lossy()));
        };
        let bytes = self.write(opener, &secrets)?;
        state.seen = Some((bytes, secrets));
        Ok(true)
    }
}

impl SecretStore for Vault {
    fn get(&self, name: &str) -> Result<Option<Secret>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(self.read(&mut state)?.get(name).cloned())
    }

    fn set(&self, name: &str, secret: &Secret) -> Result<()> {
        self.change(|secrets| {
            let same = secrets.get(name).is_some_and(|kept| kept.expose() == secret.expose());
            if !same {
                secrets.insert(name.to_owned(), secret.clone());
            }
            !same
        })?;
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<bool> {
        self.change(|secrets| secrets.remove(name).is_some())
    }

    fn kind(&self) -> &'static str {
        "vault"
    }

    fn status(&self) -> Status {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (entries, error) = match self.read(&mut state) {
            Ok(secrets) => (Some(secrets.len() as u64), None),
            Err(error) => (None, Some(error)),
        };
        Status {
            kind: "vault",
            path: Some(self.path()),
            exists: self.exists(),
            unlocked: error.is_none(),
            entries,
            error,
        }
    }
}

fn write_failed(path: &Path, error: &std::io::Error) -> Error {
    match Error::writing_home("vault", path, error) {
        full if full.code() == Code::HomeFull => full,
        _ => unavailable("vault_write")
            .with("path", path.to_string_lossy())
            .with("cause", error.to_string()),
    }
}

/// 0600 whatever the umask says.
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

/// Whether `file` lies in `folder`, as far as both can be resolved.
fn inside(file: &Path, folder: &Path) -> bool {
    match (file.canonicalize(), folder.canonicalize()) {
        (Ok(file), Ok(folder)) => file.starts_with(folder),
        _ => file.starts_with(folder),
    }
}

fn read_bounded(path: &Path, max: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(std::io::Error::new(ErrorKind::FileTooLarge, format!("more than {max} bytes")));
    }
    Ok(bytes)
}

fn encrypt(opener: &Opener, plain: &[u8]) -> Result<Vec<u8>> {
    let recipient: Box<dyn age::Recipient> = match opener {
        Opener::Pair(identity) => Box::new(identity.to_public()),
        Opener::Passphrase(text) => {
            let mut recipient = age::scrypt::Recipient::new(text.clone());
            recipient.set_work_factor(WORK_FACTOR);
            Box::new(recipient)
        }
    };
    let failed = |error: &dyn std::fmt::Display| Error::internal("vault", error);
    let encryptor = age::Encryptor::with_recipients(std::iter::once(recipient.as_ref())).map_err(|e| failed(&e))?;
    let mut bytes = Vec::with_capacity(plain.len() + 1024);
    let mut writer = encryptor.wrap_output(&mut bytes).map_err(|e| failed(&e))?;
    writer.write_all(plain).map_err(|e| failed(&e))?;
    writer.finish().map_err(|e| failed(&e))?;
    Ok(bytes)
}

fn decrypt(opener: &Opener, bytes: &[u8], path: &Path) -> Result<Secrets> {
    let say = |text: &'static str| unavailable(text).with("path", path.to_string_lossy());
    let damaged = |cause: String| say("vault_damaged").with("cause", cause);
    let decryptor = age::Decryptor::new_buffered(bytes).map_err(|error| damaged(error.to_string()))?;
    let identity: Box<dyn age::Identity> = match opener {
        Opener::Pair(_) if decryptor.is_scrypt() => return Err(say("vault_needs_passphrase")),
        Opener::Passphrase(_) if !decryptor.is_scrypt() => return Err(say("vault_needs_identity")),
        Opener::Pair(identity) => identity.clone(),
        Opener::Passphrase(text) => {
            let mut identity = age::scrypt::Identity::new(text.clone());
            identity.set_max_work_factor(WORK_FACTOR_MAX);
            Box::new(identity)
        }
    };
    let mut reader = decryptor
        .decrypt(std::iter::once(identity.as_ref()))
        .map_err(|error| match error {
            age::DecryptError::NoMatchingKeys | age::DecryptError::DecryptionFailed | age::DecryptError::KeyDecryptionFailed => {
                say("vault_key_wrong")
            }
            other => damaged(other.to_string()),
        })?;
    // The plain text is shorter than the encrypted one, so this never grows and leaves no unwiped copy.
    let mut plain = Zeroizing::new(Vec::with_capacity(bytes.len()));
    reader.read_to_end(&mut plain).map_err(|error| damaged(error.to_string()))?;
    // The error of the parser may quote what it read: its place is told, its words are not.
    let wrong = |error: serde_json::Error| damaged(format!("JSON, line {}, column {}", error.line(), error.column()));
    let Schema { schema } = serde_json::from_slice(&plain).map_err(wrong)?;
    if schema != SCHEMA {
        return Err(say("vault_newer").with("schema", schema));
    }
    let content: Content = serde_json::from_slice(&plain).map_err(wrong)?;
    Ok(content
        .secrets
        .into_iter()
        .map(|(name, text)| (name, Secret::new(text)))
        .collect())
}

#[cfg(test)]
mod tests;
