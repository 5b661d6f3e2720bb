//! From a key's name to what encrypts and what opens.

use coffre_model::backup::Backup;
use coffre_model::key::{Key, KeyKind};
use coffre_model::manifest::Manifest;
use coffre_model::{Code, Error, Result};

use crate::context::Engine;
use crate::pipeline::{Decryption, Encryption};

/// What encrypts with a key. A pair needs only its public part.
///
/// # Errors
/// `SECRET_UNAVAILABLE` for a passphrase that cannot be had.
pub fn encryption(engine: &Engine, key: &Key) -> Result<Encryption> {
    match (key.kind, &key.recipient) {
        (KeyKind::Recipient, Some(recipient)) => Ok(Encryption::Recipient(recipient.clone())),
        _ => Ok(Encryption::Passphrase(secret(engine, key)?)),
    }
}

/// What opens a backup made with a key.
///
/// # Errors
/// `SECRET_UNAVAILABLE`.
pub fn decryption(engine: &Engine, key: &Key) -> Result<Decryption> {
    let secret = secret(engine, key)?;
    Ok(match key.kind {
        KeyKind::Recipient => Decryption::Identities(vec![secret]),
        KeyKind::Passphrase => Decryption::Passphrase(secret),
    })
}

fn secret(engine: &Engine, key: &Key) -> Result<coffre_model::Secret> {
    engine.secret(&format!("key:{}", key.id), &key.name)
}

/// What opens this backup: the key with the recipient of its manifest, else the key with its name.
///
/// # Errors
/// `SECRET_UNAVAILABLE` where no key fits.
pub fn for_backup(engine: &Engine, backup: &Backup, manifest: Option<&Manifest>) -> Result<Decryption> {
    let Some(name) = &backup.encryption else {
        return Ok(Decryption::None);
    };
    let keys = engine.catalogue.keys()?;
    let recipient = manifest.and_then(|m| m.recipient.as_ref());
    let key = keys
        .iter()
        .find(|k| recipient.is_some() && k.recipient.as_ref() == recipient)
        .or_else(|| keys.iter().find(|k| recipient.is_none() && k.name == *name))
        .ok_or_else(|| {
            Error::new(Code::SecretUnavailable, "key_missing")
                .with("key", name.as_str())
                .with("recipient", recipient.cloned().unwrap_or_default())
        })?;
    decryption(engine, key)
}
