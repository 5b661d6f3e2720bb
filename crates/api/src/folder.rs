//! A home's folder, watched by the system: says when the catalogue's files are written to, so that nobody has to ask all the time.

use std::path::Path;
use std::time::Duration;
#[cfg(target_os = "linux")]
use std::time::Instant;

/// What was heard of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Nothing of interest.
    Nothing,
    /// The catalogue's files were written to, came or went.
    Change,
    /// The folder is not where it was: nothing more will be heard of it.
    Gone,
}

/// The home's folder, watched by the system.
#[cfg(target_os = "linux")]
pub(crate) struct Folder(std::os::fd::OwnedFd);

#[cfg(target_os = "linux")]
impl Folder {
    /// Nothing where the system cannot watch it: there are not enough watches for everybody, or the folder is not there.
    pub(crate) fn new(home: &Path) -> Option<Folder> {
        use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
        let wanted = WatchFlags::MODIFY
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        let watch = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).and_then(|fd| {
            add_watch(&fd, home, wanted)?;
            Ok(Folder(fd))
        });
        match watch {
            Ok(folder) => Some(folder),
            Err(error) => {
                tracing::debug!(%error, "watch the home");
                None
            }
        }
    }

    /// Waits until there is something of interest, at most so long.
    pub(crate) fn wait(&self, limit: Duration) -> Heard {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let end = Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
            match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&left)) {
                Ok(0) => return Heard::Nothing,
                Ok(_) => match self.forget() {
                    // A file of no interest, such as a lock.
                    Heard::Nothing => {}
                    heard => return heard,
                },
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return Heard::Gone,
            }
        }
    }

    /// Takes everything that was said until now.
    pub(crate) fn forget(&self) -> Heard {
        use rustix::fs::inotify::{ReadFlags, Reader};
        let lost = ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::IGNORED | ReadFlags::UNMOUNT;
        let mut space = [std::mem::MaybeUninit::uninit(); 4096];
        let mut said = Reader::new(&self.0, &mut space);
        let mut heard = Heard::Nothing;
        loop {
            match said.next() {
                Ok(event) if event.events().intersects(lost) => return Heard::Gone,
                // More was said than was kept: it may have been of interest.
                Ok(event) if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => heard = Heard::Change,
                Ok(event) if event.file_name().is_some_and(is_of_the_catalogue) => heard = Heard::Change,
                Ok(_) => {}
                Err(rustix::io::Errno::AGAIN) => return heard,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return Heard::Gone,
            }
        }
    }
}

/// The catalogue and what SQLite keeps beside it. Not the memory that processes share about it: it is never written to as a file.
#[cfg(target_os = "linux")]
fn is_of_the_catalogue(name: &std::ffi::CStr) -> bool {
    name.to_bytes().starts_with(b"catalogue.db")
}

/// Elsewhere the catalogue is asked once a second.
#[cfg(not(target_os = "linux"))]
pub(crate) struct Folder;

#[cfg(not(target_os = "linux"))]
impl Folder {
    pub(crate) fn new(_: &Path) -> Option<Folder> {
        None
    }

    pub(crate) fn wait(&self, _: Duration) -> Heard {
        Heard::Gone
    }

    pub(crate) fn forget(&self) -> Heard {
        Heard::Gone
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(15);

    #[test]
    fn the_system_says_when_the_catalogue_is_written_to_and_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("catalogue.db");
        let other = rusqlite::Connection::open(&path).unwrap();
        other
            .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (a); INSERT INTO t VALUES (1);")
            .unwrap();
        let folder = Folder::new(home.path()).unwrap();
        assert_eq!(folder.wait(Duration::ZERO), Heard::Nothing);
        // Reading says nothing, nor do other files.
        let seen: i64 = other.query_row("SELECT a FROM t", [], |row| row.get(0)).unwrap();
        std::fs::write(home.path().join("told-about-the-tray"), "x").unwrap();
        assert_eq!((seen, folder.wait(Duration::ZERO)), (1, Heard::Nothing));
        // A commit stays in the write-ahead log.
        other.execute_batch("INSERT INTO t VALUES (2)").unwrap();
        assert_eq!(folder.wait(LONG), Heard::Change);
        assert_eq!(folder.wait(Duration::ZERO), Heard::Nothing);
        std::fs::rename(&path, home.path().join("elsewhere.db")).unwrap();
        assert_eq!(folder.wait(LONG), Heard::Change);
        let away = home.path().with_extension("away");
        std::fs::rename(home.path(), &away).unwrap();
        assert_eq!(folder.wait(LONG), Heard::Gone);
        std::fs::rename(&away, home.path()).unwrap();
        assert!(Folder::new(&away).is_none());
    }
}
