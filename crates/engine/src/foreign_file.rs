//! A file made elsewhere, as a restore reads it: twice, each time from its beginning, without its layers.

use std::cell::Cell;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use coffre_model::error::from_io;
use coffre_model::{Code, Error, Result};

use crate::pipeline::Decryption;
use crate::pipeline::foreign::{Need, peel};

/// How many plain bytes are looked at to say what a dump is.
const HEAD: u64 = 512;

/// A file whose layers can be taken off.
pub struct ForeignFile {
    path: PathBuf,
    key: Option<Decryption>,
    /// The first plain bytes.
    pub head: Vec<u8>,
    /// Size of the file as it lies there.
    pub bytes: u64,
}

impl ForeignFile {
    /// Opens a file and finds the key that opens it, if it is encrypted.
    ///
    /// # Errors
    /// `USAGE` for what is no readable file; `SECRET_UNAVAILABLE` where no key is known at all; `DECRYPT_FAILED` where none fits.
    pub fn open(path: &Path, keys: &[Decryption]) -> Result<ForeignFile> {
        let about = std::fs::metadata(path).map_err(|e| unreadable(path, &e.to_string()))?;
        if !about.is_file() {
            return Err(unreadable(path, "not a file"));
        }
        let try_with = |key: Option<Decryption>| -> Result<ForeignFile> {
            let mut head = Vec::new();
            let plain = plain(path, key.as_ref())?;
            plain
                .take(HEAD)
                .read_to_end(&mut head)
                .map_err(|e| from_io(e, |e| unreadable(path, &e.to_string())))?;
            Ok(ForeignFile {
                path: path.to_owned(),
                key,
                head,
                bytes: about.len(),
            })
        };
        let mut last = match try_with(None) {
            Err(error) if error.text() == "file_encrypted" => error,
            other => return other,
        };
        for key in keys {
            match try_with(Some(key.clone())) {
                Err(error) if error.code() == Code::DecryptFailed || error.text() == "file_encrypted" => last = error,
                other => return other,
            }
        }
        Err(last)
    }

    /// Its path, for people.
    pub fn shown(&self) -> String {
        self.path.display().to_string()
    }

    /// The plain bytes, from the beginning.
    pub fn reader(&self) -> Result<Box<dyn Read + Send>> {
        plain(&self.path, self.key.as_ref())
    }
}

/// The plain bytes of a file, opened with `key` where it is encrypted.
fn plain(path: &Path, key: Option<&Decryption>) -> Result<Box<dyn Read + Send>> {
    let file = File::open(path).map_err(|e| unreadable(path, &e.to_string()))?;
    // One key opens one layer: what is encrypted twice with it is a trick.
    let asked = Cell::new(false);
    let peeled = peel(Box::new(file), &mut |need| {
        let fits = match (need, key) {
            (Need::Identity, Some(Decryption::Identities(_))) | (Need::Passphrase, Some(Decryption::Passphrase(_))) => {
                key.cloned()
            }
            _ => None,
        };
        if asked.replace(true) {
            return Err(Error::new(Code::Refused, "layers_deep").with("max", 3));
        }
        fits.ok_or_else(|| Error::new(Code::SecretUnavailable, "file_encrypted").with("path", path.display().to_string()))
    })?;
    Ok(peeled.plain)
}

fn unreadable(path: &Path, cause: &str) -> Error {
    Error::new(Code::Usage, "file_unreadable")
        .with("path", path.display().to_string())
        .with("cause", cause)
}
