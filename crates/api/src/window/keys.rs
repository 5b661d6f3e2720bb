//! Keys: made, taken over from a file, handed out to a file. The secret part is never in an answer.

use std::path::Path;

use coffre_engine::recovery_sheet::KEY_FILE;
use coffre_model::key::{Key, KeyKind};
use coffre_model::{Code, Error, Id, Result, Secret};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::commands::{ById, Nothing};
use super::dialogs::{FileWritten, text_of};
use super::events::Noun;
use super::wire::SecretText;
use super::{Window, tags};
use crate::Coffre;

/// The largest file that is taken for a key.
const FILE_MAX: u64 = 64 << 10;

/// The arguments of `create_key`.
#[derive(Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateKey {
    name: String,
    kind: KeyKind,
    /// For a key from a passphrase.
    passphrase: Option<SecretText>,
}

/// The arguments of `import_key`.
#[derive(Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct ImportKey {
    name: String,
    /// The file with the key; not read where there is a passphrase.
    path: String,
    /// A passphrase that backups were encrypted with, taken over as a key.
    passphrase: Option<SecretText>,
}

/// A key that was made.
#[derive(Debug, Serialize, TS)]
pub struct KeyMade {
    /// The key.
    #[serde(flatten)]
    pub key: Key,
    /// What a person should know about it: a short passphrase.
    pub remarks: Vec<Error>,
}

fn key_by_id(coffre: &Coffre, id: &Id) -> Result<Key> {
    let found = coffre.keys()?.into_iter().find(|key| key.id == *id);
    found.ok_or_else(|| Error::new(Code::NotFound, "key_not_found").with("given", id.to_string()))
}

fn read_key_file(path: &str) -> Result<Secret> {
    let shown: String = path.chars().take(200).collect();
    let unreadable = |cause: String| {
        Error::new(Code::Usage, "file_unreadable")
            .with("path", shown.as_str())
            .with("cause", cause)
    };
    let path = Path::new(path);
    if !path.is_absolute() {
        return Err(Error::new(Code::Usage, "file_path").with("path", shown.as_str()));
    }
    let about = std::fs::metadata(path).map_err(|e| unreadable(e.to_string()))?;
    if !about.is_file() || about.len() > FILE_MAX {
        return Err(unreadable("> 64 KiB".to_owned()));
    }
    std::fs::read_to_string(path)
        .map(Secret::new)
        .map_err(|e| unreadable(e.to_string()))
}

impl Window {
    pub(super) fn list_keys(&self, _: Nothing) -> Result<Vec<Key>> {
        self.coffre()?.keys()
    }

    pub(super) fn create_key(&self, CreateKey { name, kind, passphrase }: CreateKey) -> Result<KeyMade> {
        let coffre = self.coffre()?;
        name_is_free(&coffre, &name)?;
        let passphrase = match (kind, passphrase) {
            (KeyKind::Recipient, None) => None,
            (KeyKind::Passphrase, Some(passphrase)) => Some(passphrase.0),
            (KeyKind::Passphrase, None) => return Err(Error::new(Code::Usage, "passphrase_empty")),
            (KeyKind::Recipient, Some(_)) => return Err(Error::new(Code::Usage, "key_mixed")),
        };
        let (key, remarks) = coffre.create_key(&name, passphrase)?;
        self.keys_changed();
        Ok(KeyMade { key, remarks })
    }

    pub(super) fn import_key(&self, ImportKey { name, path, passphrase }: ImportKey) -> Result<Key> {
        let coffre = self.coffre()?;
        let key = match passphrase {
            Some(passphrase) => coffre.import_key(&name, passphrase.0, true)?,
            None => coffre.import_key(&name, read_key_file(&path)?, false)?,
        };
        self.keys_changed();
        Ok(key)
    }

    /// Asks where to, then writes the key there (0600). Nothing where the person thought better of it.
    pub(super) fn export_key(&self, ById { id }: ById) -> Result<Option<FileWritten>> {
        let coffre = self.coffre()?;
        let key = key_by_id(&coffre, &id)?;
        let Some(to) = self.ask_where(KEY_FILE)? else {
            return Ok(None);
        };
        coffre.export_key_to(&key, &to)?;
        self.keys_changed();
        Ok(Some(FileWritten { path: text_of(to)? }))
    }

    fn keys_changed(&self) {
        self.changed(tags(&[Noun::Keys, Noun::Journal, Noun::Health, Noun::About]));
    }
}

/// Before anything is put into the secret store: a key without a row would lie there for ever.
fn name_is_free(coffre: &Coffre, name: &str) -> Result<()> {
    coffre_model::source::check_name(name)?;
    match coffre.keys()?.iter().any(|key| key.name == name) {
        true => Err(Error::new(Code::Refused, "name_taken").with("name", name)),
        false => Ok(()),
    }
}
