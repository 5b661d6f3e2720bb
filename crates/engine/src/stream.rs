//! Small helps around streams, used by more than one piece of work.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use coffre_model::error::from_io;
use coffre_model::progress::{Observer, Progress, Step};
use coffre_model::storage::Storage;
use coffre_model::{Code, Error, Id, Result};

/// The largest manifest or identity file that is read. A manifest of 100,000 tables has about 10 MB.
const SMALL_MAX: u64 = 64 << 20;

/// Reads a small object whole; nothing if it is not there.
///
/// # Errors
/// What the storage says; `VERIFY_MISMATCH` if it is absurdly large.
pub fn read_small(storage: &dyn Storage, key: &str) -> Result<Option<Vec<u8>>> {
    let reader = match storage.open(key) {
        Ok(reader) => reader,
        Err(error) if error.code() == Code::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    reader.take(SMALL_MAX + 1).read_to_end(&mut bytes).map_err(|e| {
        from_io(e, |e| {
            Error::new(Code::DestUnreachable, "destination_read")
                .with("place", storage.place())
                .with("cause", e.to_string())
        })
    })?;
    if bytes.len() as u64 > SMALL_MAX {
        return Err(Error::new(Code::VerifyMismatch, "manifest_unreadable")
            .with("key", key)
            .with("cause", "too large"));
    }
    Ok(Some(bytes))
}

/// Writes a small object whole, durable and under its final name, or not at all.
///
/// # Errors
/// What the storage says.
pub fn put_small(storage: &dyn Storage, key: &str, bytes: &[u8]) -> Result<()> {
    let mut upload = storage.begin(key)?;
    upload.write_all(bytes).map_err(|e| {
        from_io(e, |e| {
            Error::new(Code::DestUnreachable, "destination_write")
                .with("place", storage.place())
                .with("cause", e.to_string())
        })
    })?;
    let written = upload.commit()?;
    if written != bytes.len() as u64 {
        return Err(Error::new(Code::UploadIncomplete, "upload_incomplete")
            .with("expected_bytes", bytes.len())
            .with("found_bytes", written));
    }
    Ok(())
}

/// Tells an observer about one step, at most ten times a second.
pub struct News<'a> {
    observer: &'a dyn Observer,
    id: Option<Id>,
    step: Step,
    total: Option<u64>,
    estimated: bool,
    last: Option<Instant>,
}

impl<'a> News<'a> {
    /// News about `step`; the beginning is told at once.
    pub fn new(observer: &'a dyn Observer, id: Option<Id>, step: Step, total: Option<u64>, estimated: bool) -> Self {
        let mut news = News {
            observer,
            id,
            step,
            total,
            estimated,
            last: None,
        };
        news.tell(0);
        news
    }

    /// `done` bytes of this step are done.
    pub fn tell(&mut self, done: u64) {
        if self.last.is_some_and(|last| last.elapsed() < Duration::from_millis(100)) {
            return;
        }
        self.last = Some(Instant::now());
        self.observer.progress(&Progress {
            id: self.id,
            step: self.step,
            done,
            total: self.total,
            estimated: self.estimated,
        });
    }
}
