//! The pages that go out when others come in: a file beside the live one that holds, of the state that was live, each page in which it
//! differs from the one that becomes live. Put into that one's file afterwards, it makes it the state that was live, to the byte.
//!
//! It is sealed (written down to its end, durable) before the first page of the live file changes, and removed when it has been used.
//! What is not sealed was never used.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use coffre_model::{Error, Result};

use crate::sqlite::errors::writing;
use crate::sqlite::header::{HEADER_BYTES, Header};

use super::live::State;

/// How the last bytes of a sealed file begin.
const MAGIC: &[u8; 16] = b"coffre-pages-1\0\0";
/// Bytes behind the list of pages: the mark, page size, slots, pages, and a sum of list and these.
const FOOTER: usize = 16 + 4 + 4 + 4 + 8;
/// Bytes moved at once: a multiple of every page size.
const PIECE: usize = 1 << 20;

/// The file whose pages become live, or became live.
pub(super) struct Pages {
    file: File,
    path: PathBuf,
    /// What its first page says.
    pub(super) state: State,
    window: Vec<u8>,
    /// The first page of the window.
    first: u32,
}

impl Pages {
    /// Opens it: a private file that nobody else has open.
    pub(super) fn open(path: &Path) -> Result<Pages> {
        let fail = |e: io::Error| writing(&e, path);
        let file = File::options().read(true).write(true).open(path).map_err(fail)?;
        let mut start = [0; HEADER_BYTES];
        file.read_exact_at(&mut start, 0).map_err(fail)?;
        let length = file.metadata().map_err(fail)?.len();
        let wrong = || Error::internal("sqlite pages", "not a database");
        let header = Header::parse(&start).map_err(|_| wrong())?;
        let by_length = u32::try_from(length / header.page_size as u64).map_err(|_| wrong())?;
        let pages = header.pages.unwrap_or(by_length);
        let state = State::of(&start, pages).ok_or_else(wrong)?;
        if pages == 0 || pages > by_length {
            return Err(wrong());
        }
        Ok(Pages {
            file,
            path: path.to_owned(),
            state,
            window: Vec::new(),
            first: 1,
        })
    }

    /// One page; nothing behind the end. Where it is not in memory already, up to `ahead` pages are read at once, this one among them.
    pub(super) fn page(&mut self, number: u32, ahead: u32) -> Result<Option<&[u8]>> {
        if number == 0 || number > self.state.pages {
            return Ok(None);
        }
        let size = self.state.page_size;
        let held = self.window.len() / size;
        if number < self.first || (number - self.first) as usize >= held {
            let left = (self.state.pages - number) as usize + 1;
            let take = (PIECE / size).min(ahead.max(1) as usize).min(left);
            self.window.resize(take * size, 0);
            self.file
                .read_exact_at(&mut self.window, u64::from(number - 1) * size as u64)
                .map_err(|e| writing(&e, &self.path))?;
            self.first = number;
        }
        let at = (number - self.first) as usize * size;
        Ok(self.window.get(at..at + size))
    }

    /// Makes sure that it can grow to so many bytes later, when there is no way back.
    pub(super) fn reserve(&self, bytes: u64) -> Result<()> {
        #[cfg(target_os = "linux")]
        {
            use rustix::io::Errno;
            let length = self.file.metadata().map_err(|e| writing(&e, &self.path))?.len();
            if bytes > length {
                let done = rustix::fs::fallocate(&self.file, rustix::fs::FallocateFlags::KEEP_SIZE, length, bytes - length);
                match done {
                    // Where a file system cannot promise room, it is taken when it is needed.
                    Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
                    Err(e) => return Err(writing(&e.into(), &self.path)),
                }
            }
        }
        #[cfg(not(target_os = "linux"))]
        let _cannot_be_promised = bytes;
        Ok(())
    }

    /// Makes the header say that it has a rollback journal, as SQLite's backup into a file with one needs.
    pub(super) fn without_log(&self) -> Result<()> {
        let fail = |e: io::Error| writing(&e, &self.path);
        self.file
            .write_all_at(&[1, 1], super::live::VERSIONS.start as u64)
            .map_err(fail)?;
        self.file.sync_data().map_err(fail)
    }
}

/// The schema's version in a file of ours, also one that is half another one by now.
pub(super) fn cookie_of(path: &Path) -> Result<u32> {
    let mut bytes = [0; 4];
    let read = File::open(path).and_then(|file| file.read_exact_at(&mut bytes, super::live::COOKIE.start as u64));
    read.map_err(|e| writing(&e, path))?;
    Ok(u32::from_be_bytes(bytes))
}

/// The pages that go out, while they are gathered.
pub(super) struct Part {
    file: File,
    path: PathBuf,
    page_size: usize,
    /// For each page of the live file, one more than its slot; 0 for a page that is not here.
    slots: Vec<u32>,
    /// Which page is in a slot.
    numbers: Vec<u32>,
    /// Pages that were not written yet: the last slots.
    waiting: Vec<u8>,
    read: Vec<u8>,
    /// Of how many pages the state is that was sealed; nothing where something changed since.
    sealed: Option<u32>,
}

impl Part {
    /// Makes the file, 0600.
    pub(super) fn create(path: &Path, page_size: usize) -> Result<Part> {
        let mut how = File::options();
        how.read(true).write(true).create_new(true).mode(0o600);
        Ok(Part {
            file: how.open(path).map_err(|e| writing(&e, path))?,
            path: path.to_owned(),
            page_size,
            slots: Vec::new(),
            numbers: Vec::new(),
            waiting: Vec::new(),
            read: vec![0; page_size],
            sealed: None,
        })
    }

    /// Whether this page is here.
    pub(super) fn has(&self, number: u32) -> bool {
        self.slot(number).is_some()
    }

    fn slot(&self, number: u32) -> Option<u32> {
        self.slots.get(number as usize)?.checked_sub(1)
    }

    /// Bytes in a page.
    pub(super) fn page_size(&self) -> usize {
        self.page_size
    }

    /// How many pages are here.
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    fn fail(&self, error: &io::Error) -> Error {
        writing(error, &self.path)
    }

    /// Bytes before a slot.
    fn place(&self, slot: usize) -> u64 {
        slot as u64 * self.page_size as u64
    }

    /// Whether the live page is still what is known of it: as it was put here, or else as in the file that becomes live, of which up to
    /// `ahead` pages are read at once.
    pub(super) fn knows(&mut self, number: u32, live: &[u8], other: &mut Pages, ahead: u32) -> Result<bool> {
        let Some(slot) = self.slot(number) else {
            return Ok(other.state.page_size == self.page_size && other.page(number, ahead)? == Some(live));
        };
        self.write_waiting()?;
        let place = self.place(slot as usize);
        self.file
            .read_exact_at(&mut self.read, place)
            .map_err(|e| writing(&e, &self.path))?;
        Ok(self.read == live)
    }

    /// Takes a page up, or its newer content.
    pub(super) fn put(&mut self, number: u32, live: &[u8]) -> Result<()> {
        self.sealed = None;
        if let Some(slot) = self.slot(number) {
            self.write_waiting()?;
            let place = self.place(slot as usize);
            return self.file.write_all_at(live, place).map_err(|e| self.fail(&e));
        }
        let at = number as usize;
        if self.slots.len() <= at {
            self.slots.resize(at + 1, 0);
        }
        self.numbers.push(number);
        self.slots[at] = u32::try_from(self.numbers.len()).map_err(|e| Error::internal("sqlite pages", e))?;
        self.waiting.extend_from_slice(live);
        if self.waiting.len() >= PIECE {
            self.write_waiting()?;
        }
        Ok(())
    }

    fn write_waiting(&mut self) -> Result<()> {
        if !self.waiting.is_empty() {
            let first = self.numbers.len() - self.waiting.len() / self.page_size;
            let place = self.place(first);
            self.file.write_all_at(&self.waiting, place).map_err(|e| self.fail(&e))?;
            self.waiting.clear();
        }
        Ok(())
    }

    /// Writes everything down: of a state with so many pages. Nothing is left to do where nothing changed since the last time.
    pub(super) fn seal(&mut self, pages: u32) -> Result<()> {
        if self.sealed == Some(pages) {
            return Ok(());
        }
        self.write_waiting()?;
        let end = self.place(self.numbers.len());
        let fail = |e: io::Error| writing(&e, &self.path);
        // First the pages, then what says that they are all there.
        self.file.set_len(end).map_err(fail)?;
        self.file.sync_data().map_err(fail)?;
        let mut list: Vec<u8> = self.numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        list.extend_from_slice(MAGIC);
        let slots = u32::try_from(self.numbers.len()).map_err(|e| Error::internal("sqlite pages", e))?;
        let page_size = u32::try_from(self.page_size).map_err(|e| Error::internal("sqlite pages", e))?;
        for number in [page_size, slots, pages] {
            list.extend_from_slice(&number.to_le_bytes());
        }
        let sum = sum(&list);
        list.extend_from_slice(&sum.to_le_bytes());
        self.file.write_all_at(&list, end).map_err(fail)?;
        self.file.sync_all().map_err(fail)?;
        self.sealed = Some(pages);
        Ok(())
    }

    /// Brings the file's name to the disk.
    pub(super) fn sync_folder(&self) -> Result<()> {
        sync_folder(&self.path)
    }
}

/// Brings the names in a file's folder to the disk.
pub(super) fn sync_folder(path: &Path) -> Result<()> {
    let Some(folder) = path.parent() else {
        return Err(Error::internal("sqlite pages", "no folder"));
    };
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|e| writing(&e, folder))
}

/// FNV-1a, 64 bits: against a torn write, not against a forger.
fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A sealed file.
pub(super) struct Sealed {
    file: File,
    path: PathBuf,
    page_size: usize,
    numbers: Vec<u32>,
    pages: u32,
}

impl Sealed {
    /// Reads what a file says of itself; nothing where there is none, or one that was never sealed.
    pub(super) fn open(path: &Path) -> Result<Option<Sealed>> {
        let fail = |e: io::Error| writing(&e, path);
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(fail(e)),
        };
        let length = file.metadata().map_err(fail)?.len();
        let Some(at) = length.checked_sub(FOOTER as u64) else {
            return Ok(None);
        };
        let mut footer = [0; FOOTER];
        file.read_exact_at(&mut footer, at).map_err(fail)?;
        let number = |at: usize| u32::from_le_bytes([footer[at], footer[at + 1], footer[at + 2], footer[at + 3]]);
        let (page_size, slots, pages) = (number(16), number(20), number(24));
        let data = u64::from(slots) * u64::from(page_size);
        if footer[..16] != MAGIC[..] || length != data + u64::from(slots) * 4 + FOOTER as u64 {
            return Ok(None);
        }
        let mut list = vec![0; slots as usize * 4 + FOOTER];
        file.read_exact_at(&mut list, data).map_err(fail)?;
        let (said, told) = list.split_at(list.len() - 8);
        if sum(said).to_le_bytes() != told {
            return Ok(None);
        }
        let numbers = said[..slots as usize * 4]
            .chunks_exact(4)
            .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        Ok(Some(Sealed {
            file,
            path: path.to_owned(),
            page_size: page_size as usize,
            numbers,
            pages,
        }))
    }

    /// What the first page of the state that went out said.
    pub(super) fn state(&self) -> Result<State> {
        let wrong = || Error::internal("sqlite pages", "the first page is not among them");
        let slot = self.numbers.iter().position(|n| *n == 1).ok_or_else(wrong)?;
        let mut page = vec![0; self.page_size];
        self.file
            .read_exact_at(&mut page, slot as u64 * self.page_size as u64)
            .map_err(|e| writing(&e, &self.path))?;
        State::of(&page, self.pages).ok_or_else(wrong)
    }

    /// Puts the pages into the other file. Doing it twice is as doing it once.
    pub(super) fn put_into(&self, other: &Path) -> Result<()> {
        let fail = |e: io::Error| writing(&e, other);
        let file = File::options().write(true).open(other).map_err(fail)?;
        let at_once = PIECE / self.page_size;
        let mut piece = vec![0; at_once * self.page_size];
        let mut slot = 0;
        for numbers in self.numbers.chunks(at_once) {
            let bytes = &mut piece[..numbers.len() * self.page_size];
            self.file
                .read_exact_at(bytes, slot * self.page_size as u64)
                .map_err(|e| writing(&e, &self.path))?;
            for (number, page) in numbers.iter().zip(bytes.chunks_exact(self.page_size)) {
                // Pages that were there only while the others were gathered.
                if *number <= self.pages {
                    file.write_all_at(page, u64::from(number - 1) * self.page_size as u64)
                        .map_err(fail)?;
                }
            }
            slot += numbers.len() as u64;
        }
        file.set_len(u64::from(self.pages) * self.page_size as u64).map_err(fail)?;
        file.sync_all().map_err(fail)
    }
}

/// Finishes an exchange whose moment is over: `from`, whose pages became live, becomes what was live, under its name `to`. Idempotent.
pub(super) fn settle(from: &Path, part: &Path, to: &Path) -> Result<()> {
    if exists(from)?
        && !exists(to)?
        && let Some(sealed) = Sealed::open(part)?
    {
        sealed.put_into(from)?;
        rename(from, to)?;
        sync_folder(to)?;
    }
    if exists(to)? {
        remove(part)?;
    }
    Ok(())
}

/// Gives a file of ours another name, which nothing may have.
pub(super) fn rename(from: &Path, to: &Path) -> Result<()> {
    use rustix::fs::{CWD, RenameFlags, linkat, renameat_with};
    use rustix::io::Errno;
    let done = renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE).or_else(|errno| match errno {
        // A file system that cannot promise it can link.
        Errno::INVAL | Errno::NOSYS => {
            linkat(CWD, from, CWD, to, rustix::fs::AtFlags::empty())?;
            rustix::fs::unlink(from)
        }
        other => Err(other),
    });
    done.map_err(|errno| writing(&errno.into(), to))
}

/// What a file of ours looks like from outside: its length and when it was last written. Another one means that somebody has written to it.
pub(super) fn stamp(path: &Path) -> Result<String> {
    let meta = fs::metadata(path).map_err(|e| writing(&e, path))?;
    Ok(format!("{}:{}:{}", meta.len(), meta.mtime(), meta.mtime_nsec()))
}

/// When a file of ours was last written.
pub(super) fn modified(path: &Path) -> Result<std::time::SystemTime> {
    fs::metadata(path)
        .and_then(|meta| meta.modified())
        .map_err(|e| writing(&e, path))
}

/// Says that a file of ours was last written at this time.
pub(super) fn set_modified(path: &Path, at: std::time::SystemTime) -> Result<()> {
    let file = File::options().write(true).open(path);
    file.and_then(|file| file.set_modified(at)).map_err(|e| writing(&e, path))
}

/// Whether anything has this name.
pub(super) fn exists(path: &Path) -> Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
        Err(e) => Err(writing(&e, path)),
    }
}

/// Removes a file of ours, if it is there.
pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if !matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Err(writing(&e, path)),
        _ => Ok(()),
    }
}
