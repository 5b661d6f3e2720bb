//! Handing a backup over as a file: the artifact as stored, or the plain dump, checked to its end while it is copied.

use std::io::{Read, Write};
use std::path::Path;

use coffre_model::address::Address;
use coffre_model::backup::{Backup, Copy, CopyState};
use coffre_model::destination::Destination;
use coffre_model::error::from_io;
use coffre_model::progress::{Observer, Step};
use coffre_model::storage::{Storage, Upload};
use coffre_model::{Cancel, Code, Error, Id, Result};

use crate::check::{Expected, with_place};
use crate::context::{Engine, Subject};
use crate::decrypt;
use crate::pipeline::read_back;
use crate::place;
use crate::stream::News;
use crate::verify::{expected, judge, lock, record};

/// Copies a backup to `to` (a file that does not exist, or a folder) and answers the file's path. With `raw` the plain dump:
/// decrypted and decompressed.
///
/// # Errors
/// `REFUSED` where there is a file already; `VERIFY_MISMATCH` where the copy is not what it must be, and then there is no file.
pub fn download(
    engine: &Engine,
    backup: &Backup,
    to: &Path,
    raw: bool,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<std::path::PathBuf> {
    let lease = lock(engine, backup, cancel)?;
    // As it is now that nobody else can change it.
    let backup = &engine.catalogue.backup(&backup.id.to_string())?;
    let manifest = engine.manifest(&backup.id)?;
    let mut copies: Vec<_> = backup
        .copies
        .iter()
        .filter(|c| !matches!(c.state, CopyState::Deleting | CopyState::Deleted))
        .collect();
    copies.sort_by_key(|c| c.state != CopyState::Verified);
    let (Some(manifest), false) = (manifest, copies.is_empty()) else {
        return Err(Error::new(Code::Refused, "nothing_to_restore")
            .with("backup", backup.code.as_str())
            .with("state", backup.state.as_str()));
    };
    let name = if raw {
        plain_name(&manifest.artifact, manifest.format.extension())
    } else {
        manifest.artifact.clone()
    };
    let path = if to.is_dir() { to.join(name) } else { to.to_owned() };
    let outcome = (|| {
        let decryption = decrypt::for_backup(engine, backup, Some(&manifest))?;
        let expected = expected(engine, backup, &manifest, &decryption)?;
        let mut first = None;
        for copy in copies {
            let news = News::new(observer, Some(backup.id), Step::Loading, backup.stored_bytes, false);
            match fetch(engine, copy, &expected, &path, raw, news, cancel) {
                // A bad copy is recorded, and the next one is tried. Anything else (a file that exists, a full disk here) is no copy's fault.
                Err(error) if judge(&error).is_some() || is_away(&error) => {
                    if let Some(state) = judge(&error) {
                        record(engine, backup, copy, state, Some(error.clone()), &lease)?;
                    }
                    first.get_or_insert(error);
                }
                other => return other,
            }
        }
        Err(first.unwrap_or_else(|| Error::internal("download", "no copy")))
    })();
    let subject = Subject {
        kind: "backup",
        id: Some(&backup.id),
        name: backup.code.as_str(),
    };
    engine.record("backup.download", subject, outcome.as_ref().err())?;
    outcome.map(|_| path)
}

/// Whether the place of a copy, not the copy itself, is the reason.
fn is_away(error: &Error) -> bool {
    matches!(error.code(), Code::DestIdentity | Code::DestUnreachable | Code::DestAuth)
}

/// Writes one copy to `path`, whole and checked, or not at all.
fn fetch(
    engine: &Engine,
    copy: &Copy,
    expected: &Expected<'_>,
    path: &Path,
    raw: bool,
    mut news: News<'_>,
    cancel: &Cancel,
) -> Result<u64> {
    let destination = engine.catalogue.known_destination(&copy.destination_id.to_string())?;
    let place = place::open(engine, &destination, cancel)?;
    let source = place.storage.open(&copy.key)?;
    let (folder, name) = local_folder(engine, path, cancel)?;
    let mut upload = folder.begin(&name).map_err(|e| match e.text() {
        // The rule for names at destinations, told in the words of the person who chose this one.
        "key_unsafe" => Error::new(Code::Usage, "file_name").with("path", path.display().to_string()),
        _ => e,
    })?;
    let stall = engine.stall()?;
    if raw {
        let mut sink = |bytes: &[u8]| {
            upload
                .write_all(bytes)
                .map_err(|e| from_io(e, |e| Error::internal("write a file", e)))
        };
        read_back(
            source,
            &expected.bytes(),
            false,
            cancel,
            stall,
            &mut |n| news.tell(n),
            &mut sink,
        )
        .map_err(|e| with_place(e, || place.storage.place()))?;
    } else {
        let (reader, writer) = Tee::new(source, upload);
        read_back(
            Box::new(reader),
            &expected.bytes(),
            false,
            cancel,
            stall,
            &mut |n| news.tell(n),
            &mut |_| Ok(()),
        )
        .map_err(|e| with_place(e, || place.storage.place()))?;
        upload = writer.take()?;
    }
    upload.commit()
}

/// The name of the plain dump inside an artifact: `x_BKP-….dump.zst.age` without what lies over it is `x_BKP-….dump`.
pub fn plain_name(artifact: &str, extension: &str) -> String {
    match artifact.find(extension) {
        Some(at) => artifact[..at + extension.len()].to_owned(),
        None => artifact.to_owned(),
    }
}

/// The folder that a file shall lie in, as a storage (which knows how to write a file whole or not at all), and the file's name.
pub(crate) fn local_folder(engine: &Engine, path: &Path, cancel: &Cancel) -> Result<(Box<dyn Storage>, String)> {
    let usage = || Error::new(Code::Usage, "file_path").with("path", path.display().to_string());
    engine.home.refuse_inside(path)?;
    let absolute = std::path::absolute(path).map_err(|_| usage())?;
    let name = absolute.file_name().and_then(|n| n.to_str()).ok_or_else(usage)?.to_owned();
    let parent = absolute.parent().and_then(Path::to_str).ok_or_else(usage)?;
    let address = Address {
        scheme: "file".to_owned(),
        user: None,
        host: None,
        port: None,
        path: if parent == "/" { "/.".to_owned() } else { parent.to_owned() },
        query: std::collections::BTreeMap::new(),
    };
    let destination = Destination {
        id: Id::new(),
        name: parent.to_owned(),
        address: address.to_string(),
        has_secret: false,
        identity: None,
        created_at: (engine.now)(),
    };
    let kind = engine.adapters.storage("file")?;
    Ok((kind.open(&destination, engine.storage_access(&destination, cancel)?)?, name))
}

/// A reader that writes what it reads to an upload, which can be taken back afterwards.
struct Tee {
    inner: Box<dyn Read + Send>,
    upload: std::sync::Arc<std::sync::Mutex<Option<Box<dyn Upload>>>>,
}

struct Taken(std::sync::Arc<std::sync::Mutex<Option<Box<dyn Upload>>>>);

impl Tee {
    fn new(inner: Box<dyn Read + Send>, upload: Box<dyn Upload>) -> (Tee, Taken) {
        let shared = std::sync::Arc::new(std::sync::Mutex::new(Some(upload)));
        (
            Tee {
                inner,
                upload: shared.clone(),
            },
            Taken(shared),
        )
    }
}

impl Read for Tee {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        let mut upload = self.upload.lock().map_err(|_| std::io::Error::other("a writer panicked"))?;
        if let Some(upload) = upload.as_mut() {
            upload.write_all(&buffer[..n])?;
        }
        Ok(n)
    }
}

impl Taken {
    fn take(&self) -> Result<Box<dyn Upload>> {
        let mut upload = self
            .0
            .lock()
            .map_err(|_| Error::internal("write a file", "a writer panicked"))?;
        upload.take().ok_or_else(|| Error::internal("write a file", "taken twice"))
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_plain_dumps_name() {
        assert_eq!(super::plain_name("shop_BKP-1.dump.zst.age", ".dump"), "shop_BKP-1.dump");
        assert_eq!(super::plain_name("shop_BKP-1.sql.gz", ".sql"), "shop_BKP-1.sql");
    }
}
