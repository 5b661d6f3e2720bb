//! A folder on this machine (or on a disk mounted here) as a destination.
//!
//! The rules: everything is private (folders 0700, files 0600), nothing is visible under its name before it is whole and durable,
//! nothing is overwritten, and no name leads out of the root.

mod cache;
mod fault;
mod read;
mod tree;
mod upload;

use std::ffi::CStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use chrono::DateTime;
use coffre_model::destination::Destination;
use coffre_model::error::{Code, Error, Result};
use coffre_model::field::{Field, FieldKind, FieldPart};
use coffre_model::storage::{Space, Storage, StorageAccess, StorageKind, Stored, Upload};
use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::key::{self, PARTIAL};
use fault::io_fault;
use read::FileReader;
use tree::{Folders, Root};
use upload::FileUpload;

/// `file:///folder`.
pub struct Local;

impl StorageKind for Local {
    fn name(&self) -> &'static str {
        "local"
    }

    fn schemes(&self) -> &'static [&'static str] {
        &["file"]
    }

    fn fields(&self) -> Vec<Field> {
        vec![Field {
            name: "path",
            kind: FieldKind::Folder,
            required: true,
            choices: &[],
            default: None,
            part: FieldPart::Path,
        }]
    }

    fn validate(&self, destination: &Destination) -> Result<()> {
        let address = destination.parsed()?;
        if address.scheme != "file" {
            return Err(Error::new(Code::Usage, "destination_scheme")
                .with("given", format!("{}://", address.scheme))
                .with("known", "file://"));
        }
        if let Some(name) = address.query.keys().next() {
            return Err(Error::new(Code::Usage, "destination_option").with("option", name.as_str()));
        }
        if destination.has_secret {
            return Err(Error::new(Code::Usage, "destination_no_secret").with("scheme", "file"));
        }
        Ok(())
    }

    fn open(&self, destination: &Destination, _access: StorageAccess) -> Result<Box<dyn Storage>> {
        self.validate(destination)?;
        Ok(Box::new(Folder {
            root: Root::new(&destination.parsed()?.path),
        }))
    }
}

/// A destination that is a folder.
struct Folder {
    root: Root,
}

impl Storage for Folder {
    fn create_root(&self) -> Result<()> {
        self.root.create()
    }

    fn begin(&self, key: &str) -> Result<Box<dyn Upload>> {
        Ok(Box::new(FileUpload::begin(&self.root, key)?))
    }

    fn open(&self, key: &str) -> Result<Box<dyn Read + Send>> {
        let (folders, name) = self.find(key)?.ok_or_else(|| self.not_found(key, "object_missing"))?;
        // NONBLOCK: a pipe put there instead would otherwise keep us waiting for ever. Plain files know no such thing.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(folders.last(), name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Err(self.not_found(key, "object_missing")),
            Err(Errno::LOOP | Errno::NXIO) => return Err(self.not_found(key, "object_not_a_file")),
            Err(errno) => return Err(self.root.fault(errno, key, "open the file")),
        };
        let stat = rustix::fs::fstat(&file).map_err(|errno| self.root.fault(errno, key, "look at the file"))?;
        if !tree::is_file(&stat) {
            return Err(self.not_found(key, "object_not_a_file"));
        }
        Ok(Box::new(FileReader::new(file.into(), &self.root.place, key)))
    }

    fn stat(&self, key: &str) -> Result<Option<Stored>> {
        let Some((folders, name)) = self.find(key)? else {
            return Ok(None);
        };
        let stat = tree::look(folders.last(), name).map_err(|errno| self.root.fault(errno, key, "look at the file"))?;
        Ok(stat.filter(tree::is_file).map(|stat| stored(key.to_owned(), &stat)))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Stored>> {
        let parts = if prefix.is_empty() { Vec::new() } else { key::parts(prefix)? };
        let mut found = Vec::new();
        match self.root.walk(&parts)? {
            Some(folders) => {
                let folder = folders
                    .last()
                    .try_clone_to_owned()
                    .map_err(|error| io_fault(error, &self.root.place, prefix, "list"))?;
                self.collect(folder, prefix, parts.len(), &mut found)?;
            }
            None => found.extend(self.stat(prefix)?),
        }
        found.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }

    fn remove(&self, key: &str) -> Result<bool> {
        let Some((folders, name)) = self.find(key)? else {
            return Ok(false);
        };
        self.unlink(&folders, name, key)
    }

    fn remove_partial(&self, key: &str) -> Result<bool> {
        let Some((folders, name)) = self.find(key)? else {
            return Ok(false);
        };
        self.unlink(&folders, &format!("{name}{PARTIAL}"), key)
    }

    fn replace(&self, key: &str, content: &[u8]) -> Result<()> {
        let parts = key::parts(key)?;
        let (name, above) = parts.split_last().ok_or_else(|| Error::internal("replace", "empty key"))?;
        let folders = self.root.make(above)?;
        let partial = format!("{name}{PARTIAL}");
        let fault = |errno, doing| self.root.fault(errno, key, doing);
        let written = lock_partial(&folders, &partial)
            .map_err(|errno| fault(errno, "create the file"))
            .and_then(|file| {
                // `file` is held, and with it the lock, until the name is given.
                let mut file = File::from(file);
                file.set_len(0)
                    .and_then(|()| file.write_all(content))
                    .and_then(|()| file.sync_all())
                    .map_err(|error| io_fault(error, &self.root.place, key, "write"))
                    .and_then(|()| {
                        rustix::fs::renameat(folders.last(), &partial, folders.last(), *name)
                            .map_err(|errno| fault(errno, "give the file its name"))
                    })
                    .inspect_err(|_| {
                        // The first error is the one to tell. A partial that cannot be removed either is taken over by the next call.
                        let _taken_over = rustix::fs::unlinkat(folders.last(), partial.as_str(), AtFlags::empty());
                    })
            });
        if let Err(error) = written {
            folders.prune();
            return Err(error);
        }
        folders
            .sync()
            .map_err(|errno| fault(errno, "make the name of the file durable"))
    }

    fn space(&self) -> Result<Option<Space>> {
        let root = self.root.open()?;
        let room = rustix::fs::fstatvfs(&root).map_err(|errno| self.root.fault(errno, "", "ask for the room left"))?;
        // `f_bavail` is what an ordinary user may still use; some blocks are kept back for root.
        Ok(Some(Space {
            free: room.f_bavail.saturating_mul(room.f_frsize),
            total: room.f_blocks.saturating_mul(room.f_frsize),
        }))
    }

    fn place(&self) -> String {
        self.root.place.clone()
    }
}

impl Folder {
    /// The open folders above a key, and its last part. Nothing where one of the folders is absent.
    fn find<'a>(&self, key: &'a str) -> Result<Option<(Folders, &'a str)>> {
        let parts = key::parts(key)?;
        let (name, above) = parts.split_last().ok_or_else(|| Error::internal("find", "empty key"))?;
        Ok(self.root.walk(above)?.map(|folders| (folders, *name)))
    }

    fn not_found(&self, key: &str, text: &'static str) -> Error {
        Error::new(Code::NotFound, text)
            .with("place", self.root.place.as_str())
            .with("key", key)
    }

    /// Removes a plain file and the folders that this leaves empty. What is no plain file is not ours, and stays.
    fn unlink(&self, folders: &Folders, name: &str, key: &str) -> Result<bool> {
        let fault = |errno| self.root.fault(errno, key, "remove the file");
        if !tree::look(folders.last(), name)
            .map_err(fault)?
            .is_some_and(|stat| tree::is_file(&stat))
        {
            return Ok(false);
        }
        match rustix::fs::unlinkat(folders.last(), name, AtFlags::empty()) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok(false),
            Err(errno) => return Err(fault(errno)),
        }
        // Durable before the folders go: a catalogue that says "deleted" must not be contradicted after a crash.
        folders.sync().map_err(fault)?;
        folders.prune();
        Ok(true)
    }

    /// Lists one folder, then those below it. Whatever cannot be an object of ours is passed over: links, pipes, hidden names, names
    /// that are no text, unfinished files, folders of others that we may not read (`lost+found`).
    fn collect(&self, folder: OwnedFd, prefix: &str, depth: usize, found: &mut Vec<Stored>) -> Result<()> {
        let fault = |errno| self.root.fault(errno, prefix, "list the folder");
        // A folder of others below the root that may be opened but not looked into.
        let closed = |errno| {
            errno == Errno::ACCESS && !prefix.is_empty() && rustix::fs::fstat(&folder).is_ok_and(|stat| is_foreign(&stat))
        };
        let entries = match Dir::read_from(&folder) {
            Ok(entries) => entries,
            Err(errno) if closed(errno) => return Ok(()),
            Err(errno) => return Err(fault(errno)),
        };
        for entry in entries {
            let entry = entry.map_err(fault)?;
            let raw: &CStr = entry.file_name();
            let Some(name) = raw.to_str().ok().filter(|name| key::is_part(name)) else {
                continue;
            };
            // What vanished since the folder was read is not there.
            let stat = match tree::look(folder.as_fd(), name) {
                Ok(Some(stat)) => stat,
                Ok(None) => continue,
                Err(errno) if closed(errno) => return Ok(()),
                Err(errno) => return Err(fault(errno)),
            };
            let key = if prefix.is_empty() {
                name.to_owned()
            } else {
                format!("{prefix}/{name}")
            };
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile if !name.ends_with(PARTIAL) => found.push(stored(key, &stat)),
                // One part is left for the file below.
                FileType::Directory if depth + 2 <= key::PARTS_MAX => match tree::open_below(folder.as_fd(), raw) {
                    Ok(below) => self.collect(below, &key, depth + 1, found)?,
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                    Err(Errno::ACCESS) if is_foreign(&stat) => {}
                    Err(errno) => return Err(self.root.fault(errno, &key, "list the folder")),
                },
                _ => {}
            }
        }
        Ok(())
    }
}

/// Opens the unfinished file of a small object and locks it, so that two processes that write it at once do so one after the other. A
/// file left by a dead process is taken over: its lock died with it.
fn lock_partial(folders: &Folders, partial: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    for _ in 0..64 {
        let file = rustix::fs::openat(folders.last(), partial, flags, upload::FILE_MODE)?;
        match rustix::fs::flock(&file, FlockOperation::LockExclusive) {
            // File systems without locks: the rename is atomic all the same.
            Ok(()) | Err(Errno::NOTSUP | Errno::NOLCK | Errno::NOSYS | Errno::INVAL) => {}
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno),
        }
        // While we waited, the file may have got its final name or been removed; then the name belongs to another file, or to none.
        let ours = rustix::fs::fstat(&file)?;
        if let Some(named) = tree::look(folders.last(), partial)?
            && (named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino)
        {
            upload::make_private(&file)?;
            return Ok(file);
        }
    }
    Err(Errno::BUSY)
}

/// Whether this belongs to another user.
fn is_foreign(stat: &Stat) -> bool {
    stat.st_uid != rustix::process::geteuid().as_raw()
}

fn stored(key: String, stat: &Stat) -> Stored {
    Stored {
        key,
        bytes: u64::try_from(stat.st_size).unwrap_or(0),
        modified_at: u32::try_from(stat.st_mtime_nsec)
            .ok()
            .and_then(|nanoseconds| DateTime::from_timestamp(stat.st_mtime, nanoseconds)),
    }
}
