//! The storage suite lets a right storage pass and catches wrong ones: each flaw here is one that real storages have had.

#![allow(clippy::unwrap_used, reason = "a test has nobody to hand errors to")]

use std::io::{Cursor, Read, Write};
use std::sync::{Arc, Mutex};

use coffre_model::storage::{Space, Storage, Stored, Upload};
use coffre_model::{Error, Result};
use coffre_testkit::conformance::storage::{check, failures};
use coffre_testkit::memory::Memory;

#[test]
fn a_right_storage_passes() {
    check(|| {
        let place = Memory::new();
        move || Box::new(place.clone()) as Box<dyn Storage>
    });
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    Overwrites,
    VisibleBeforeCommit,
    DropCommits,
    CutsTheEnd,
    WrongLength,
    UnsortedList,
    LoosePrefix,
    EmptyInsteadOfNotFound,
    RemoveAlwaysTrue,
    RemovesByPrefix,
    PartialRemovesFinished,
    PartialStays,
    RemembersReads,
    AnyKey,
    WrongSizeInList,
    OnePage,
    SharedReader,
    ReplaceAppends,
    LossyKeys,
    PrivateToOneOpening,
}

#[test]
fn every_flaw_is_caught_by_its_obligation() {
    use Flaw as F;
    for (flaw, obligation) in [
        (F::Overwrites, "an existing key is refused"),
        (F::VisibleBeforeCommit, "nothing is visible before commit"),
        (F::DropCommits, "dropping an upload removes it"),
        (F::CutsTheEnd, "what is committed comes back"),
        (F::WrongLength, "commit answers the length"),
        (F::UnsortedList, "list is sorted and whole"),
        (F::LoosePrefix, "a prefix ends at a slash"),
        (F::EmptyInsteadOfNotFound, "what is not there is NOT_FOUND"),
        (F::RemoveAlwaysTrue, "remove is idempotent"),
        (F::RemovesByPrefix, "remove is idempotent"),
        (
            F::PartialRemovesFinished,
            "remove_partial is idempotent and spares what is finished",
        ),
        (F::PartialStays, "remove_partial is idempotent and spares what is finished"),
        (F::RemembersReads, "another opening sees everything"),
        (F::AnyKey, "keys that lead elsewhere are refused"),
        (F::WrongSizeInList, "list is sorted and whole"),
        (F::OnePage, "list is sorted and whole"),
        (F::SharedReader, "several readers of one object"),
        (F::ReplaceAppends, "replace makes and replaces"),
        (F::LossyKeys, "odd but legal keys"),
        (F::PrivateToOneOpening, "another opening sees everything"),
    ] {
        let found = failures(|| {
            let place = Memory::new();
            let shared = Arc::new(Mutex::new(Remembered::default()));
            move || {
                let inner = if flaw == F::PrivateToOneOpening {
                    Memory::new()
                } else {
                    place.clone()
                };
                Box::new(Flawed {
                    inner,
                    flaw,
                    remembered: Arc::clone(&shared),
                }) as Box<dyn Storage>
            }
        });
        let caught = found.iter().any(|failure| failure.starts_with(&format!("{obligation}:")));
        assert!(caught, "{flaw:?} is not caught by {obligation:?}, only by {found:#?}");
    }
}

#[derive(Default)]
struct Remembered {
    reads: Vec<(String, Vec<u8>)>,
    position: usize,
}

struct Flawed {
    inner: Memory,
    flaw: Flaw,
    remembered: Arc<Mutex<Remembered>>,
}

struct FlawedUpload {
    inner: Option<Box<dyn Upload>>,
    storage: Memory,
    key: String,
    flaw: Flaw,
    written: Vec<u8>,
}

impl Write for FlawedUpload {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.written.extend_from_slice(bytes);
        if self.flaw == Flaw::VisibleBeforeCommit {
            self.storage.tamper(&self.key, Some(self.written.clone()));
        }
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Upload for FlawedUpload {
    fn commit(mut self: Box<Self>) -> Result<u64> {
        let mut bytes = std::mem::take(&mut self.written);
        if self.flaw == Flaw::CutsTheEnd {
            bytes.pop();
        }
        if matches!(self.flaw, Flaw::Overwrites | Flaw::VisibleBeforeCommit | Flaw::AnyKey) {
            self.storage.tamper(&self.key, Some(bytes.clone()));
            return Ok(bytes.len() as u64);
        }
        let mut inner = self.inner.take().expect("an upload");
        inner.write_all(&bytes).map_err(|error| Error::internal("write", error))?;
        let length = inner.commit()?;
        Ok(if self.flaw == Flaw::WrongLength { length + 1 } else { length })
    }
}

impl Drop for FlawedUpload {
    fn drop(&mut self) {
        if self.flaw == Flaw::DropCommits && !self.written.is_empty() {
            self.storage.tamper(&self.key, Some(std::mem::take(&mut self.written)));
        }
    }
}

struct SharedReader {
    bytes: Vec<u8>,
    remembered: Arc<Mutex<Remembered>>,
}

impl Read for SharedReader {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let mut remembered = self.remembered.lock().unwrap();
        let rest = &self.bytes[remembered.position.min(self.bytes.len())..];
        let length = rest.len().min(into.len());
        into[..length].copy_from_slice(&rest[..length]);
        remembered.position += length;
        Ok(length)
    }
}

impl Flawed {
    fn key(&self, key: &str) -> String {
        if self.flaw == Flaw::LossyKeys {
            key.replace(|c: char| !c.is_ascii(), "_")
        } else {
            key.to_owned()
        }
    }
}

impl Storage for Flawed {
    fn create_root(&self) -> Result<()> {
        self.inner.create_root()
    }

    fn begin(&self, key: &str) -> Result<Box<dyn Upload>> {
        let key = self.key(key);
        let free = matches!(self.flaw, Flaw::Overwrites | Flaw::AnyKey);
        let inner = if free { None } else { Some(self.inner.begin(&key)?) };
        Ok(Box::new(FlawedUpload {
            inner,
            storage: self.inner.clone(),
            key,
            flaw: self.flaw,
            written: Vec::new(),
        }))
    }

    fn open(&self, key: &str) -> Result<Box<dyn Read + Send>> {
        let key = self.key(key);
        match self.flaw {
            Flaw::EmptyInsteadOfNotFound => return Ok(Box::new(Cursor::new(self.inner.peek(&key).unwrap_or_default()))),
            Flaw::SharedReader => {
                return Ok(Box::new(SharedReader {
                    bytes: self.inner.peek(&key).unwrap_or_default(),
                    remembered: Arc::clone(&self.remembered),
                }));
            }
            Flaw::RemembersReads => {
                let mut remembered = self.remembered.lock().unwrap();
                if let Some((_, bytes)) = remembered.reads.iter().find(|(of, _)| *of == key) {
                    return Ok(Box::new(Cursor::new(bytes.clone())));
                }
                if let Some(bytes) = self.inner.peek(&key) {
                    remembered.reads.push((key.clone(), bytes));
                }
            }
            _ => {}
        }
        self.inner.open(&key)
    }

    fn stat(&self, key: &str) -> Result<Option<Stored>> {
        self.inner.stat(&self.key(key))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Stored>> {
        let mut found = self.inner.list(if self.flaw == Flaw::LoosePrefix { "" } else { prefix })?;
        match self.flaw {
            Flaw::UnsortedList => found.reverse(),
            Flaw::LoosePrefix => found.retain(|stored| stored.key.starts_with(prefix)),
            Flaw::WrongSizeInList => found.iter_mut().for_each(|stored| stored.bytes = 0),
            Flaw::OnePage => found.truncate(50),
            _ => {}
        }
        Ok(found)
    }

    fn remove(&self, key: &str) -> Result<bool> {
        let key = self.key(key);
        if self.flaw == Flaw::RemovesByPrefix {
            for stored in self.inner.list("")? {
                self.inner.remove(&stored.key)?;
            }
        }
        let was = self.inner.remove(&key)?;
        Ok(was || self.flaw == Flaw::RemoveAlwaysTrue)
    }

    fn remove_partial(&self, key: &str) -> Result<bool> {
        match self.flaw {
            Flaw::PartialRemovesFinished => self.inner.remove(key),
            Flaw::PartialStays => Ok(self.inner.partials().contains(&key.to_owned())),
            _ => self.inner.remove_partial(key),
        }
    }

    fn replace(&self, key: &str, content: &[u8]) -> Result<()> {
        let mut bytes = Vec::new();
        if self.flaw == Flaw::ReplaceAppends {
            bytes = self.inner.peek(key).unwrap_or_default();
        }
        bytes.extend_from_slice(content);
        self.inner.replace(key, &bytes)
    }

    fn space(&self) -> Result<Option<Space>> {
        self.inner.space()
    }

    fn place(&self) -> String {
        self.inner.place()
    }
}
