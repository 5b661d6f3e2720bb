//! The pipeline as a whole: what goes in comes out, whatever is wrong is said, and stock tools read what we write.

mod damage;
mod foreign;
mod read_back;
mod stock;
mod store;

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use age::secrecy::ExposeSecret as _;
use coffre_model::compression::Compression;
use coffre_model::error::{Error, Result};
use coffre_model::storage::Upload;
use coffre_model::{Cancel, Id, Secret};

use super::{Decryption, Encryption, Expect, ReadBack, StoreOptions, Stored};

pub(super) const LONG: Duration = Duration::from_secs(600);

/// Every codec, with levels that behave differently.
pub(super) const COMPRESSIONS: [Compression; 6] = [
    Compression::None,
    Compression::Zstd(1),
    Compression::Zstd(3),
    Compression::Gzip(1),
    Compression::Gzip(6),
    Compression::Gzip(9),
];

/// An upload into memory.
#[derive(Clone, Default)]
pub(super) struct Memory(Arc<Mutex<Vec<u8>>>);

impl Memory {
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Short writes are legal, and must not matter.
        let count = bytes.len().min(100_003);
        self.0.lock().unwrap().extend_from_slice(&bytes[..count]);
        Ok(count)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Upload for Memory {
    fn commit(self: Box<Self>) -> Result<u64> {
        Ok(self.bytes().len() as u64)
    }
}

/// Text and numbers that compress about as well as a dump, the same for the same length and seed.
pub(super) fn sample(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 200);
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut row = 0u64;
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        row += 1;
        writeln!(
            bytes,
            "{row}\tcustomer {}\t{:016x}\t{{\"state\": \"{}\", \"total\": {}}}",
            state % 1000,
            state,
            ["new", "paid", "shipped"][(state % 3) as usize],
            state % 100_000
        )
        .unwrap();
    }
    bytes.truncate(length);
    bytes
}

/// Bytes that do not compress.
pub(super) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

/// No encryption, a key pair, a passphrase: each with what opens it.
pub(super) fn keys() -> [(Encryption, Decryption); 3] {
    let (recipient, identity) = pair();
    let passphrase = || Secret::new("correct horse — battery ☂ staple");
    [
        (Encryption::None, Decryption::None),
        (Encryption::Recipient(recipient), Decryption::Identities(vec![identity])),
        (Encryption::Passphrase(passphrase()), Decryption::Passphrase(passphrase())),
    ]
}

pub(super) fn pair() -> (String, Secret) {
    let identity = age::x25519::Identity::generate();
    let secret = Secret::new(identity.to_string().expose_secret());
    (identity.to_public().to_string(), secret)
}

pub(super) fn options(compression: Compression, encryption: Encryption) -> StoreOptions {
    StoreOptions {
        compression,
        encryption,
        cancel: Cancel::new(),
        threads: 2,
        stall: LONG,
        places: Vec::new(),
    }
}

/// Stores bytes in memory.
pub(super) fn stored(plain: &[u8], compression: Compression, encryption: &Encryption) -> (Vec<u8>, Stored) {
    let memory = Memory::default();
    let uploads: Vec<(Id, Box<dyn Upload>)> = vec![(Id::new(), Box::new(memory.clone()))];
    let stored = super::store(
        &mut { plain },
        uploads,
        &options(compression, encryption.clone()),
        &mut |_, _| {},
    )
    .unwrap();
    (memory.bytes(), stored)
}

/// Everything that is known after storing.
pub(super) fn expect<'a>(stored: &'a Stored, compression: Compression, decryption: &'a Decryption) -> Expect<'a> {
    Expect {
        compression,
        decryption,
        stored_bytes: Some(stored.stored_bytes),
        stored_sha256: Some(&stored.stored_sha256),
        raw_bytes: Some(stored.raw_bytes),
        raw_sha256: Some(&stored.raw_sha256),
    }
}

/// Nothing is known but how it was made.
pub(super) fn expect_nothing(compression: Compression, decryption: &Decryption) -> Expect<'_> {
    Expect {
        compression,
        decryption,
        stored_bytes: None,
        stored_sha256: None,
        raw_bytes: None,
        raw_sha256: None,
    }
}

/// Reads back from memory: the plain bytes that the sink got, and the outcome.
pub(super) fn read(bytes: &[u8], expect: &Expect<'_>, hold_back: bool) -> (Vec<u8>, Result<ReadBack>) {
    read_from(Box::new(io::Cursor::new(bytes.to_vec())), expect, hold_back)
}

pub(super) fn read_from(reader: Box<dyn Read + Send>, expect: &Expect<'_>, hold_back: bool) -> (Vec<u8>, Result<ReadBack>) {
    let mut plain = Vec::new();
    let outcome = super::read_back(reader, expect, hold_back, &Cancel::new(), LONG, &mut |_| {}, &mut |bytes| {
        plain.extend_from_slice(bytes);
        Ok(())
    });
    (plain, outcome)
}

/// The code and the key of an error.
pub(super) fn told(error: &Error) -> (&'static str, String) {
    (error.code().as_str(), error.text().to_owned())
}

/// Gives bytes in pieces of changing, odd sizes.
pub(super) struct Crumbs(pub(super) io::Cursor<Vec<u8>>, pub(super) usize);

impl Read for Crumbs {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.1 = (self.1 * 7 + 3) % 5003;
        if self.1.is_multiple_of(11) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let most = into.len().min(self.1 + 1);
        self.0.read(&mut into[..most])
    }
}
