//! Folders below the root of a local destination.
//!
//! Every step goes from an open folder to a name inside it and follows no symbolic link, so that no key and nothing that somebody put
//! there leads out of the root, also not between a check and its use. The root itself may be a link: a person chose it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use coffre_model::error::{Code, Error, Result};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::fault::fault;

/// How often a walk is begun anew when folders vanish under it. Each time somebody else got a deletion done, so that even many at once
/// come to an end.
pub(super) const RACES_MAX: usize = 256;

/// Folders are private, whatever the umask.
const FOLDER_MODE: Mode = Mode::RWXU;
/// How a folder is opened: to be searched, listed and synced.
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The root folder of a destination, by its path. Opened anew for each operation, so that a disk that was unmounted or mounted in
/// between is seen as what it is.
#[derive(Clone)]
pub(super) struct Root {
    path: PathBuf,
    /// The path for people.
    pub(super) place: String,
}

impl Root {
    pub(super) fn new(path: &str) -> Self {
        Root {
            path: PathBuf::from(path),
            place: path.to_owned(),
        }
    }

    /// An error of the system about `at` below this root.
    pub(super) fn fault(&self, errno: Errno, at: &str, doing: &'static str) -> Error {
        fault(errno, &self.place, at, doing)
    }

    /// Opens the root.
    ///
    /// # Errors
    /// `DEST_UNREACHABLE` where it is absent or no folder.
    pub(super) fn open(&self) -> Result<OwnedFd> {
        rustix::fs::open(&self.path, FOLDER, Mode::empty()).map_err(|errno| match errno {
            Errno::NOENT => Error::new(Code::DestUnreachable, "dest_absent").with("place", self.place.as_str()),
            Errno::NOTDIR => Error::new(Code::DestUnreachable, "dest_not_a_folder").with("place", self.place.as_str()),
            _ => self.fault(errno, "", "open the folder"),
        })
    }

    /// Makes the root and the folders above it where they are missing.
    ///
    /// # Errors
    /// `DEST_UNREACHABLE` also where the first folder to be made would stand in the place of a disk that is not mounted.
    pub(super) fn create(&self) -> Result<()> {
        let exists = |path: &Path| !matches!(rustix::fs::stat(path), Err(Errno::NOENT));
        let missing: Vec<&Path> = self
            .path
            .ancestors()
            .take_while(|p| !p.as_os_str().is_empty() && !exists(p))
            .collect();
        if let Some(first) = missing.last()
            && is_mount_place(first)
        {
            return Err(Error::new(Code::DestUnreachable, "dest_unmounted")
                .with("place", self.place.as_str())
                .with("folder", first.to_string_lossy()));
        }
        for folder in missing.iter().rev() {
            match rustix::fs::mkdir(*folder, FOLDER_MODE) {
                Ok(()) => set_folder_mode(rustix::fs::CWD, folder),
                // Somebody else made it meanwhile, or its name is a link to nowhere; opening the root tells which.
                Err(Errno::EXIST) => Ok(()),
                Err(errno) => Err(errno),
            }
            .map_err(|errno| self.fault(errno, "", "make the folder"))?;
            if let Some(parent) = folder.parent() {
                match rustix::fs::open(parent, FOLDER, Mode::empty()).and_then(sync_folder) {
                    // A folder that we may write to but not list cannot be synced by us.
                    Ok(()) | Err(Errno::ACCESS) => {}
                    Err(errno) => return Err(self.fault(errno, "", "make the folder durable")),
                }
            }
        }
        self.open().map(drop)
    }

    /// Opens the root and the folders `parts` below it. Nothing where one of them is absent or is no real folder.
    pub(super) fn walk(&self, parts: &[&str]) -> Result<Option<Folders>> {
        let mut folders = Folders::at(self.open()?);
        for part in parts {
            match open_folder(folders.last(), part) {
                Ok(folder) => folders.push(folder, part),
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
                Err(errno) => return Err(self.fault(errno, &parts.join("/"), "open the folder")),
            }
        }
        Ok(Some(folders))
    }

    /// Opens the root and the folders `parts` below it, and makes those that are missing.
    ///
    /// # Errors
    /// `REFUSED` where a file or a link stands in the place of a folder.
    pub(super) fn make(&self, parts: &[&str]) -> Result<Folders> {
        let mut answer = Errno::NOENT;
        // More than one turn only while deletions elsewhere remove the very folders, just emptied, that we are walking through.
        for _ in 0..RACES_MAX {
            let mut folders = Folders::at(self.open()?);
            match parts.iter().try_for_each(|part| make_folder(&mut folders, part)) {
                Ok(()) => return Ok(folders),
                Err(errno) => {
                    folders.prune_made();
                    answer = errno;
                    if errno != Errno::NOENT {
                        break;
                    }
                }
            }
        }
        let at = parts.join("/");
        Err(match answer {
            Errno::NOTDIR | Errno::LOOP => Error::new(Code::Refused, "key_blocked")
                .with("place", self.place.as_str())
                .with("key", at),
            errno => self.fault(errno, &at, "make the folder"),
        })
    }
}

/// Opens the next folder of a walk; makes it where it is missing.
fn make_folder(folders: &mut Folders, part: &str) -> Result<(), Errno> {
    match open_folder(folders.last(), part) {
        Ok(folder) => {
            folders.push(folder, part);
            return Ok(());
        }
        Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno),
    }
    match rustix::fs::mkdirat(folders.last(), part, FOLDER_MODE) {
        Ok(()) => {
            folders.first_made = folders.first_made.or(Some(folders.names.len()));
            set_folder_mode(folders.last(), Path::new(part))?;
        }
        // Somebody else was faster.
        Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    let folder = open_folder(folders.last(), part)?;
    folders.push(folder, part);
    Ok(())
}

fn open_folder(at: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(at, name, FOLDER | OFlags::NOFOLLOW, Mode::empty())
}

/// Opens a sub-folder for listing. The same as every other step: no links.
pub(super) fn open_below(at: BorrowedFd<'_>, name: &std::ffi::CStr) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(at, name, FOLDER | OFlags::NOFOLLOW, Mode::empty())
}

/// Sets the mode of a folder just made: the umask may have taken bits away.
fn set_folder_mode(at: impl AsFd, name: &Path) -> Result<(), Errno> {
    modes_may_be_unknown(rustix::fs::chmodat(at, name, FOLDER_MODE, AtFlags::empty()))
}

/// Lets pass what file systems without permissions (FAT, exFAT, some network shares) answer to `chmod`. It can mean nothing else: we
/// own what we have just made, and an owner may always set its mode.
pub(super) fn modes_may_be_unknown(answer: Result<(), Errno>) -> Result<(), Errno> {
    match answer {
        Err(Errno::PERM | Errno::NOTSUP | Errno::NOSYS | Errno::INVAL) => Ok(()),
        other => other,
    }
}

/// Makes the names in a folder durable. File systems that cannot sync a folder say so with these answers, and have nothing better.
fn sync_folder(folder: impl AsFd) -> Result<(), Errno> {
    match rustix::fs::fsync(folder) {
        Err(Errno::INVAL | Errno::NOTSUP | Errno::NOSYS | Errno::BADF) => Ok(()),
        other => other,
    }
}

/// Whether a missing folder stands where disks are mounted: making it would put backups on another disk than the one that is meant.
fn is_mount_place(path: &Path) -> bool {
    let Some(parent) = path.parent() else { return false };
    let above = parent.parent();
    parent == Path::new("/mnt")
        || parent == Path::new("/media")
        || parent == Path::new("/Volumes")
        || above == Some(Path::new("/media"))
        || parent == Path::new("/run/media")
        || above == Some(Path::new("/run/media"))
}

/// What is known of `name` in an open folder, itself and not where a link leads. Nothing where it is absent.
pub(super) fn look(at: BorrowedFd<'_>, name: &str) -> Result<Option<Stat>, Errno> {
    match rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Whether this is a plain file.
pub(super) fn is_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

/// The open folders from the root down to the one that holds an object.
pub(super) struct Folders {
    /// The root first.
    chain: Vec<OwnedFd>,
    /// `names[i]` is the name of `chain[i + 1]` in `chain[i]`.
    names: Vec<String>,
    /// The first of `names` that we made.
    first_made: Option<usize>,
}

impl Folders {
    fn at(root: OwnedFd) -> Self {
        Folders {
            chain: vec![root],
            names: Vec::new(),
            first_made: None,
        }
    }

    fn push(&mut self, folder: OwnedFd, name: &str) {
        self.chain.push(folder);
        self.names.push(name.to_owned());
    }

    /// The innermost folder.
    pub(super) fn last(&self) -> BorrowedFd<'_> {
        // The chain begins with the root and only grows.
        self.chain[self.chain.len() - 1].as_fd()
    }

    /// Makes the names durable, of the object and of every folder on the way to it: also folders that we found there may have been made a
    /// moment ago by somebody whose own sync is yet to come.
    pub(super) fn sync(&self) -> Result<(), Errno> {
        self.chain.iter().rev().try_for_each(sync_folder)
    }

    /// Removes the folders that are empty now, from the innermost up, never the root.
    pub(super) fn prune(&self) {
        self.prune_to(0);
    }

    /// Removes the folders that this very walk made, as far as they are empty.
    fn prune_made(&self) {
        if let Some(first) = self.first_made {
            self.prune_to(first);
        }
    }

    fn prune_to(&self, first: usize) {
        for at in (first..self.names.len()).rev() {
            // It stops at the first folder that stays, above all because it is not empty. An empty folder left behind harms nobody, so
            // that no answer here is worth failing for.
            if rustix::fs::unlinkat(&self.chain[at], self.names[at].as_str(), AtFlags::REMOVEDIR).is_err() {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_disks_are_mounted() {
        for place in [
            "/mnt/disk",
            "/media/disk",
            "/media/ann/DISK",
            "/run/media/ann/DISK",
            "/run/media/ann",
            "/Volumes/Disk",
        ] {
            assert!(is_mount_place(Path::new(place)), "{place}");
        }
        for place in [
            "/",
            "/mnt",
            "/media",
            "/mnt/disk/backups",
            "/home/ann/backups",
            "/srv/media/x",
            "/media/ann/DISK/backups",
        ] {
            assert!(!is_mount_place(Path::new(place)), "{place}");
        }
    }
}
