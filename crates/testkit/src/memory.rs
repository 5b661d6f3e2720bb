//! A storage in memory, as simple as can be: the measure for the conformance suite, and a quick destination for the engine's tests.

use std::collections::BTreeMap;
use std::io::{Cursor, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard};

use coffre_model::storage::{Space, Storage, Stored, Upload};
use coffre_model::{Code, Error, Result};

/// A place in memory. Cloning gives another opening of the same place.
#[derive(Clone, Default)]
pub struct Memory {
    place: Arc<Mutex<Place>>,
}

#[derive(Default)]
struct Place {
    objects: BTreeMap<String, Vec<u8>>,
    /// How many uploads of a key have begun and neither ended nor been removed.
    partials: BTreeMap<String, usize>,
}

impl Memory {
    /// An empty place.
    pub fn new() -> Memory {
        Memory::default()
    }

    /// The bytes of an object, as a test looks behind the storage's back.
    pub fn peek(&self, key: &str) -> Option<Vec<u8>> {
        self.lock().objects.get(key).cloned()
    }

    /// Puts bytes in place of an object (or away with it), as somebody else would behind the storage's back.
    pub fn tamper(&self, key: &str, bytes: Option<Vec<u8>>) {
        let mut place = self.lock();
        match bytes {
            Some(bytes) => place.objects.insert(key.to_owned(), bytes),
            None => place.objects.remove(key),
        };
    }

    /// The keys of uploads that were begun and neither committed nor removed.
    pub fn partials(&self) -> Vec<String> {
        self.lock().partials.keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Place> {
        self.place.lock().expect("the place in memory")
    }
}

struct MemoryUpload {
    storage: Memory,
    key: String,
    bytes: Vec<u8>,
}

impl Write for MemoryUpload {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn exists(key: &str) -> Error {
    Error::new(Code::Refused, "object_exists").with("key", key)
}

impl Upload for MemoryUpload {
    fn commit(mut self: Box<Self>) -> Result<u64> {
        let bytes = std::mem::take(&mut self.bytes);
        let length = bytes.len() as u64;
        let mut place = self.storage.lock();
        if place.objects.contains_key(&self.key) {
            return Err(exists(&self.key));
        }
        place.objects.insert(self.key.clone(), bytes);
        Ok(length)
    }
}

impl Drop for MemoryUpload {
    fn drop(&mut self) {
        let mut place = self.storage.lock();
        if let Some(count) = place.partials.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                place.partials.remove(&self.key);
            }
        }
    }
}

fn stored(key: &str, bytes: &[u8]) -> Stored {
    Stored {
        key: key.to_owned(),
        bytes: bytes.len() as u64,
        modified_at: None,
    }
}

/// The rule for keys: plain parts, none of which leads elsewhere or is hidden.
fn checked(key: &str) -> Result<()> {
    let plain = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.chars().any(|c| c == '\\' || c.is_control());
    if key.split('/').all(plain) {
        Ok(())
    } else {
        Err(Error::new(Code::Refused, "key_unsafe").with("key", key))
    }
}

impl Storage for Memory {
    fn create_root(&self) -> Result<()> {
        Ok(())
    }

    fn begin(&self, key: &str) -> Result<Box<dyn Upload>> {
        checked(key)?;
        let mut place = self.lock();
        if place.objects.contains_key(key) {
            return Err(exists(key));
        }
        *place.partials.entry(key.to_owned()).or_default() += 1;
        Ok(Box::new(MemoryUpload {
            storage: self.clone(),
            key: key.to_owned(),
            bytes: Vec::new(),
        }))
    }

    fn open(&self, key: &str) -> Result<Box<dyn Read + Send>> {
        let bytes = self
            .peek(key)
            .ok_or_else(|| Error::new(Code::NotFound, "object_missing").with("key", key))?;
        Ok(Box::new(Cursor::new(bytes)))
    }

    fn stat(&self, key: &str) -> Result<Option<Stored>> {
        Ok(self.lock().objects.get(key).map(|bytes| stored(key, bytes)))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Stored>> {
        let below = |key: &str| {
            prefix.is_empty()
                || key
                    .strip_prefix(prefix)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let place = self.lock();
        Ok(place
            .objects
            .iter()
            .filter(|(key, _)| below(key))
            .map(|(key, bytes)| stored(key, bytes))
            .collect())
    }

    fn remove(&self, key: &str) -> Result<bool> {
        Ok(self.lock().objects.remove(key).is_some())
    }

    fn remove_partial(&self, key: &str) -> Result<bool> {
        Ok(self.lock().partials.remove(key).is_some())
    }

    fn replace(&self, key: &str, content: &[u8]) -> Result<()> {
        self.lock().objects.insert(key.to_owned(), content.to_vec());
        Ok(())
    }

    fn space(&self) -> Result<Option<Space>> {
        Ok(None)
    }

    fn place(&self) -> String {
        "memory".to_owned()
    }
}
