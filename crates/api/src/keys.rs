//! Keys: create, list, export, import. The public part is in the catalogue, the secret part in the secret store, and nowhere else.

use std::io::Write;
use std::path::Path;

use coffre_engine::context::Subject;
use coffre_engine::keys;
use coffre_engine::secrets::key_secret;
use coffre_model::key::Key;
use coffre_model::source::check_name;
use coffre_model::{Code, Error, Result, Secret};

use crate::Coffre;
use crate::secret_change::with_row;

impl Coffre {
    /// Makes a key: an age pair, or one from a passphrase. Answers remarks beside it (a short passphrase).
    ///
    /// # Errors
    /// `REFUSED` for a name that is taken; `SECRET_UNAVAILABLE` where it cannot be kept, and then there is no key.
    pub fn create_key(&self, name: &str, passphrase: Option<Secret>) -> Result<(Key, Vec<Error>)> {
        check_name(name)?;
        let now = (self.engine.now)();
        let (remark, (key, secret)) = match &passphrase {
            Some(text) => (
                keys::passphrase_remark(text.expose()),
                keys::from_passphrase(name, text, now)?,
            ),
            None => (None, keys::create(name, now)?),
        };
        self.keep(&key, &secret)?;
        self.record_key("key.create", &key)?;
        Ok((key, remark.into_iter().collect()))
    }

    fn keep(&self, key: &Key, secret: &Secret) -> Result<()> {
        with_row(&self.engine, &key_secret(&key.id), Some(secret), || {
            self.engine.catalogue.add_key(key)
        })
    }

    /// One key, by name or id.
    pub fn key(&self, name: &str) -> Result<Key> {
        self.engine.catalogue.key(name)
    }

    /// Every key.
    pub fn keys(&self) -> Result<Vec<Key>> {
        self.engine.catalogue.keys()
    }

    /// The secret part as stock `age` reads it. That somebody has a copy now is written down.
    pub fn export_key(&self, key: &Key) -> Result<Secret> {
        let secret = self.engine.secret(&key_secret(&key.id), &key.name)?;
        let now = (self.engine.now)();
        let text = keys::export(key, &secret, now)?;
        self.engine.catalogue.update_key(&Key {
            exported_at: Some(now),
            ..key.clone()
        })?;
        self.record_key("key.export", key)?;
        Ok(text)
    }

    /// Writes the secret part to a new private file (0600), and only then writes down that somebody has a copy.
    ///
    /// # Errors
    /// `REFUSED` where the file exists; `SECRET_UNAVAILABLE`.
    pub fn export_key_to(&self, key: &Key, path: &Path) -> Result<()> {
        let secret = self.engine.secret(&key_secret(&key.id), &key.name)?;
        let now = (self.engine.now)();
        let text = keys::export(key, &secret, now)?;
        self.write_private(path, text.expose().as_bytes())?;
        self.engine.catalogue.update_key(&Key {
            exported_at: Some(now),
            ..key.clone()
        })?;
        self.record_key("key.export", key)
    }

    /// Takes a key over: an age identity, or (`passphrase`) a passphrase. The same key again under the same name changes nothing.
    ///
    /// # Errors
    /// `REFUSED` for another key under a name that is taken; `USAGE` for text that is no key.
    pub fn import_key(&self, name: &str, text: Secret, passphrase: bool) -> Result<Key> {
        check_name(name)?;
        let imported = match passphrase {
            true => keys::Imported::Passphrase(keys::import_passphrase(text.expose())?),
            false => keys::import(text.expose())?,
        };
        match self.engine.catalogue.key(name) {
            Ok(known) => {
                let stored = self.engine.secrets.store()?.get(&key_secret(&known.id))?;
                keys::check_same(&known, stored.as_ref(), &imported)?;
                // The row may have outlived its secret (a new machine, a lost keychain): that is what an import repairs.
                if stored.is_none() {
                    let (_, secret) = keys::from_import(name, imported, known.created_at)?;
                    self.engine.secrets.store()?.set(&key_secret(&known.id), &secret)?;
                }
                self.record_key("key.import", &known)?;
                Ok(known)
            }
            Err(error) if error.code() == Code::NotFound => {
                let (key, secret) = keys::from_import(name, imported, (self.engine.now)())?;
                self.keep(&key, &secret)?;
                self.record_key("key.import", &key)?;
                Ok(key)
            }
            Err(error) => Err(error),
        }
    }

    /// Writes a private file (0600) that must not exist yet.
    pub fn write_private(&self, path: &Path, content: &[u8]) -> Result<()> {
        let wrong = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::AlreadyExists => {
                Error::new(Code::Refused, "file_exists").with("path", path.display().to_string())
            }
            _ => Error::new(Code::Usage, "file_unwritable")
                .with("path", path.display().to_string())
                .with("cause", e.to_string()),
        };
        let mut file = private(path).map_err(wrong)?;
        file.write_all(content).and_then(|()| file.sync_all()).map_err(|e| {
            // Half a key or half a sheet is worse than none.
            drop(std::fs::remove_file(path));
            wrong(e)
        })
    }

    fn record_key(&self, action: &str, key: &Key) -> Result<()> {
        self.engine.record(
            action,
            Subject {
                kind: "key",
                id: Some(&key.id),
                name: &key.name,
            },
            None,
        )
    }
}

/// A new file that only its owner may read.
pub(crate) fn private(path: &Path) -> std::io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
