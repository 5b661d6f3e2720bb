//! One object being written into a folder: `<name>.partial`, private and exclusive, until `commit` gives it its name.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

use coffre_model::error::{Code, Error, Result};
use coffre_model::storage::Upload;
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;

use super::cache;
use super::fault::io_fault;
use super::tree::{self, Folders, Root};
use crate::key::{self, PARTIAL};

/// Files are private, whatever the umask.
pub(super) const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// After so many new bytes the kernel is asked to begin writing them to the disk: often enough that the last `fsync` is short, seldom
/// enough that the disk gets long runs.
const WRITE_BACK: u64 = 8 << 20;

/// The upload that `Storage::begin` gives.
pub(super) struct FileUpload {
    root: Root,
    key: String,
    /// The final name inside the innermost folder.
    name: String,
    partial: String,
    folders: Folders,
    file: File,
    /// What the file was when it was made, so that `drop` removes this very file and none that took its name.
    made: Stat,
    written: u64,
    /// Up to here the kernel was asked to write to the disk.
    write_back: u64,
    /// Up to here the kernel was asked to forget what is on the disk.
    forgotten: u64,
    /// The first failure. It stays: nothing written after it can make the object whole.
    failed: Option<Error>,
    /// Whether the partial name is gone: renamed, or removed.
    settled: bool,
}

impl FileUpload {
    pub(super) fn begin(root: &Root, key: &str) -> Result<Self> {
        let parts = key::parts(key)?;
        let (name, above) = parts
            .split_last()
            .ok_or_else(|| Error::internal("begin an upload", "empty key"))?;
        let partial = format!("{name}{PARTIAL}");
        // More than one turn only while a deletion elsewhere removes the folder, just emptied, between making and using it.
        for _ in 0..tree::RACES_MAX {
            let folders = root.make(above)?;
            let given_up = |error: Error| {
                folders.prune();
                Err(error)
            };
            match tree::look(folders.last(), name) {
                Ok(None) => {}
                Ok(Some(_)) => {
                    return Err(Error::new(Code::Refused, "object_exists")
                        .with("place", root.place.as_str())
                        .with("key", key));
                }
                Err(errno) => return given_up(root.fault(errno, key, "look at the file")),
            }
            match create(&folders, &partial) {
                Ok((file, made)) => {
                    return Ok(FileUpload {
                        root: root.clone(),
                        key: key.to_owned(),
                        name: (*name).to_owned(),
                        partial,
                        folders,
                        file,
                        made,
                        written: 0,
                        write_back: 0,
                        forgotten: 0,
                        failed: None,
                        settled: false,
                    });
                }
                Err(Errno::NOENT) => {}
                Err(Errno::EXIST) => {
                    return Err(Error::new(Code::Refused, "partial_exists")
                        .with("place", root.place.as_str())
                        .with("key", format!("{key}{PARTIAL}")));
                }
                Err(errno) => return given_up(root.fault(errno, key, "create the file")),
            }
        }
        Err(root.fault(Errno::NOENT, key, "create the file"))
    }

    /// Renames the partial, never over anything that exists.
    fn publish(&self) -> Result<(), Errno> {
        let folder = self.folders.last();
        match rustix::fs::renameat_with(folder, &self.partial, folder, &self.name, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            other => return other,
        }
        // File systems without the exclusive rename: a hard link is exclusive too.
        match rustix::fs::linkat(folder, &self.partial, folder, &self.name, AtFlags::empty()) {
            Ok(()) => return rustix::fs::unlinkat(folder, &self.partial, AtFlags::empty()),
            Err(Errno::PERM | Errno::NOSYS | Errno::NOTSUP | Errno::MLINK) => {}
            other => return other,
        }
        // And those without hard links (FAT, exFAT): between these two lines only somebody who is not Coffre could take the name, since
        // the partial, which is ours alone, belongs to this key.
        match tree::look(folder, &self.name)? {
            Some(_) => Err(Errno::EXIST),
            None => rustix::fs::renameat(folder, &self.partial, folder, &self.name),
        }
    }

    fn fault(&self, errno: Errno, doing: &'static str) -> Error {
        self.root.fault(errno, &self.key, doing)
    }
}

/// Creates a private file that did not exist.
fn create(folders: &Folders, name: &str) -> Result<(File, Stat), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(folders.last(), name, flags, FILE_MODE)?;
    match make_private(&file).and_then(|()| rustix::fs::fstat(&file)) {
        Ok(made) => Ok((file.into(), made)),
        Err(errno) => {
            // The first error is the one to tell; what an unlink that fails leaves behind is an empty partial, which the sweep removes.
            let _left_for_the_sweep = rustix::fs::unlinkat(folders.last(), name, AtFlags::empty());
            Err(errno)
        }
    }
}

/// Sets the mode of a file just made: the umask may have taken bits away, and a default ACL may have given some.
pub(super) fn make_private(file: impl AsFd) -> Result<(), Errno> {
    tree::modes_may_be_unknown(rustix::fs::fchmod(file, FILE_MODE))
}

impl Write for FileUpload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(error) = &self.failed {
            return Err(error.clone().into());
        }
        match self.file.write(bytes) {
            Ok(count) => {
                self.written += count as u64;
                if self.written - self.write_back >= WRITE_BACK {
                    cache::start_write_back(&self.file, self.write_back, self.written - self.write_back);
                    self.write_back = self.written;
                    // Two windows back, so that most of it has arrived by now.
                    let arrived = self.written.saturating_sub(2 * WRITE_BACK);
                    if arrived > self.forgotten {
                        cache::forget_written(&self.file, self.forgotten, arrived - self.forgotten);
                        self.forgotten = arrived;
                    }
                }
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let error = io_fault(error, &self.root.place, &self.key, "write").or_with("written", self.written);
                self.failed = Some(error.clone());
                Err(error.into())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        // Nothing is buffered here; what is durable is `commit`'s business.
        match &self.failed {
            Some(error) => Err(error.clone().into()),
            None => Ok(()),
        }
    }
}

impl Upload for FileUpload {
    fn commit(mut self: Box<Self>) -> Result<u64> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        self.file
            .sync_all()
            .map_err(|error| io_fault(error, &self.root.place, &self.key, "make the file durable"))?;
        let stat = rustix::fs::fstat(&self.file).map_err(|errno| self.fault(errno, "look at the file"))?;
        let length = u64::try_from(stat.st_size).unwrap_or(0);
        if length != self.written {
            return Err(Error::new(Code::UploadIncomplete, "upload_incomplete")
                .with("place", self.root.place.as_str())
                .with("key", self.key.as_str())
                .with("sent", self.written)
                .with("arrived", length));
        }
        self.publish().map_err(|errno| match errno {
            Errno::EXIST => Error::new(Code::Refused, "object_exists")
                .with("place", self.root.place.as_str())
                .with("key", self.key.as_str()),
            // The partial or its folder was taken away under us: by a sweep that took this run for dead, or by a person.
            Errno::NOENT => Error::new(Code::UploadIncomplete, "upload_vanished")
                .with("place", self.root.place.as_str())
                .with("key", self.key.as_str()),
            _ => self.fault(errno, "give the file its name"),
        })?;
        self.settled = true;
        if let Err(errno) = self.folders.sync() {
            // It has its name, but perhaps not after a crash. Said to have failed, it must not be there: whatever this leaves has no
            // manifest, and the sweep removes it.
            let _left_for_the_sweep = rustix::fs::unlinkat(self.folders.last(), self.name.as_str(), AtFlags::empty());
            self.folders.prune();
            return Err(self.fault(errno, "make the name of the file durable"));
        }
        Ok(self.written)
    }
}

impl Drop for FileUpload {
    /// Removes what was not committed, and the folders that this leaves empty. Nobody can be told of an error here, and nobody needs
    /// to be: whoever drops an upload already has the error that matters, and a partial that stays behind (the disk is gone, say) has
    /// no manifest, is never listed, and is removed by the sweep (`remove_partial`) once the lease of this run has ended.
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let folder = self.folders.last();
        let still_ours = tree::look(folder, &self.partial)
            .is_ok_and(|found| found.is_some_and(|s| (s.st_dev, s.st_ino) == (self.made.st_dev, self.made.st_ino)));
        if still_ours && rustix::fs::unlinkat(folder, self.partial.as_str(), AtFlags::empty()).is_ok() {
            self.folders.prune();
        }
    }
}
