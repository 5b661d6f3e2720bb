//! Reading a stored file from the disk, not from what the system remembers of it.
//!
//! On Linux the file is read past the page cache (`O_DIRECT`) where the file system can do that. A verification then sees what lies on
//! the disk, a large backup does not drive the database's own pages out of memory, and it is cheaper: measured on 800 MB, 0.4 s and
//! 0.04 s of CPU time instead of 0.5 to 1.9 s and 0.2 to 1.8 s through an emptied cache. Elsewhere the system is asked to forget the file
//! first (see `cache`).

use std::fs::File;
use std::io::{self, Read};

use super::cache;
use super::fault::io_fault;

/// What direct reads must be aligned to: in memory, in the file, and in length. Every usual disk and file system is content with it.
const ALIGN: usize = 4096;

/// How much is read at once past the cache, where nobody reads ahead for us.
const BLOCK: usize = 2 << 20;

/// Reads a stored file; the system's errors become ours.
pub(super) struct FileReader {
    file: File,
    place: String,
    key: String,
    /// The buffer for direct reads, while they are possible.
    direct: Option<Aligned>,
}

/// A buffer that begins at a multiple of [`ALIGN`].
struct Aligned {
    memory: Vec<u8>,
    begin: usize,
    /// The part not handed out yet, counted from `begin`.
    from: usize,
    until: usize,
}

impl Aligned {
    fn new() -> Option<Self> {
        let memory = vec![0; BLOCK + ALIGN];
        let begin = memory.as_ptr().align_offset(ALIGN);
        (begin <= ALIGN).then_some(Aligned {
            memory,
            begin,
            from: 0,
            until: 0,
        })
    }
}

impl FileReader {
    pub(super) fn new(file: File, place: &str, key: &str) -> Self {
        cache::forget_and_read_on(&file);
        let direct = if set_direct(&file, true) { Aligned::new() } else { None };
        FileReader {
            file,
            place: place.to_owned(),
            key: key.to_owned(),
            direct,
        }
    }

    /// Reads the next block past the cache. Nothing where that is not possible (any more).
    fn read_direct(&mut self, into: &mut [u8]) -> io::Result<Option<usize>> {
        let Some(buffer) = &mut self.direct else { return Ok(None) };
        if buffer.from == buffer.until {
            // The end of a file is seldom aligned, and what follows an unaligned end is read the usual way.
            if !buffer.until.is_multiple_of(ALIGN) {
                self.give_up_direct();
                return Ok(None);
            }
            let block = &mut buffer.memory[buffer.begin..buffer.begin + BLOCK];
            match self.file.read(block) {
                Ok(count) => (buffer.from, buffer.until) = (0, count),
                // The file system takes the flag but not our alignment.
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => {
                    self.give_up_direct();
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
        let ready = &buffer.memory[buffer.begin + buffer.from..buffer.begin + buffer.until];
        let count = ready.len().min(into.len());
        into[..count].copy_from_slice(&ready[..count]);
        buffer.from += count;
        Ok(Some(count))
    }

    fn give_up_direct(&mut self) {
        self.direct = None;
        // It was set, so it can be taken back; and if not, the next read says so.
        let _taken_back = set_direct(&self.file, false);
    }
}

impl Read for FileReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        let answer = match self.read_direct(into) {
            Ok(None) => self.file.read(into),
            Ok(Some(count)) => Ok(count),
            Err(error) => Err(error),
        };
        answer.map_err(|error| {
            if error.kind() == io::ErrorKind::Interrupted {
                return error;
            }
            io_fault(error, &self.place, &self.key, "read").into()
        })
    }
}

/// Switches reading past the cache on or off; says whether that worked.
fn set_direct(file: &File, on: bool) -> bool {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::OFlags;
        rustix::fs::fcntl_getfl(file)
            .map(|flags| if on { flags | OFlags::DIRECT } else { flags - OFlags::DIRECT })
            .and_then(|flags| rustix::fs::fcntl_setfl(file, flags))
            .is_ok()
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (file, on);
        false
    }
}
