//! Stored bytes on their way back: hashed, decrypted, decompressed, hashed again, and handed on in order.

use std::collections::VecDeque;
use std::io::{self, BufRead, ErrorKind, Read};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use coffre_model::Cancel;
use coffre_model::compression::Compression;
use coffre_model::error::{Code, Error, Result, from_io};

use super::buffers;
use super::decode::{self, Decryption};
use super::digest::{Digest, Facts};
use super::pool::{Piece, Pool, TICK, lock};
use super::threads;

/// What is known of a stored backup.
pub struct Expect<'a> {
    /// How it is compressed.
    pub compression: Compression,
    /// What opens it.
    pub decryption: &'a Decryption,
    /// Its size.
    pub stored_bytes: Option<u64>,
    /// Its SHA-256 in hexadecimal.
    pub stored_sha256: Option<&'a str>,
    /// The size of its plain bytes. More than these are never handed on.
    pub raw_bytes: Option<u64>,
    /// Their SHA-256 in hexadecimal.
    pub raw_sha256: Option<&'a str>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadBack {
    /// Stored bytes.
    pub stored_bytes: u64,
    /// Their SHA-256 in hexadecimal.
    pub stored_sha256: String,
    /// Plain bytes.
    pub raw_bytes: u64,
    /// Their SHA-256 in hexadecimal.
    pub raw_sha256: String,
}

/// News is told at most so often.
const NEWS: Duration = Duration::from_millis(100);

/// What the threads tell the calling one.
enum Event {
    /// The next plain bytes.
    Plain(Arc<Piece>),
    /// The decoder has ended.
    Decoded(Result<()>),
    /// The reader has ended.
    Stored(Result<Facts>),
    /// The plain bytes are hashed to their end.
    Hashed(Facts),
}

/// What all of them see.
struct Shared {
    /// Nobody waits for plain bytes any more.
    decoding_over: AtomicBool,
    /// Nobody waits for anything any more.
    over: AtomicBool,
    /// Stored bytes read so far.
    read: AtomicU64,
    /// Since when the reader is inside a call of the storage.
    reading_since: Mutex<Option<Instant>>,
}

/// Reads a stored backup to its end (also what may follow the end of its codec), checks sizes and hashes on both sides, and hands the
/// plain bytes to `sink` in order, from the calling thread, in pieces of at most half a MiB.
///
/// With `hold_back`, at least the last 64 KiB are handed over only after every expectation was found right, so that a load cannot
/// complete what is not exactly the backup. `news` is told the stored bytes read so far, at most ten times a second.
///
/// # Errors
/// - `VERIFY_MISMATCH` for any difference from what is expected, with both sides named; for damage that a codec finds; for more plain
///   bytes than expected (at once: a bomb is not unpacked).
/// - `DECRYPT_FAILED` where the key does not open it, or age's header is damaged.
/// - Where the hash of the stored bytes is wrong, that is the error, whatever a codec or the sink said about the contents.
/// - `CANCELLED`; `STALLED` where the storage gives no byte for `stall`; the storage's own errors; the sink's own errors.
pub fn read_back(
    stored: Box<dyn Read + Send>,
    expect: &Expect<'_>,
    hold_back: bool,
    cancel: &Cancel,
    stall: Duration,
    news: &mut dyn FnMut(u64),
    sink: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<ReadBack> {
    let shared = Arc::new(Shared {
        decoding_over: AtomicBool::new(false),
        over: AtomicBool::new(false),
        read: AtomicU64::new(0),
        reading_since: Mutex::new(None),
    });
    let (events, incoming) = channel();
    let outcome = start(stored, expect, &shared, &events).and_then(|()| {
        drop(events);
        Collect {
            expect,
            cancel,
            stall,
            news,
            sink,
            shared: &shared,
            held: VecDeque::new(),
            held_bytes: 0,
            keep: if hold_back { buffers::HOLD_BACK } else { 0 },
            told: Instant::now(),
            stored: None,
            hashed: None,
            decoded: false,
            damage: None,
        }
        .run(&incoming)
    });
    shared.over.store(true, Ordering::Relaxed);
    shared.decoding_over.store(true, Ordering::Relaxed);
    outcome
}

/// Starts the three threads.
fn start(stored: Box<dyn Read + Send>, expect: &Expect<'_>, shared: &Arc<Shared>, events: &Sender<Event>) -> Result<()> {
    let (to_decoder, from_reader) = channel();
    let (to_hasher, from_decoder) = channel::<Arc<Piece>>();
    let (state, told, most) = (shared.clone(), events.clone(), expect.stored_bytes);
    threads::start("coffre-read", move || {
        let facts = read(stored, most, &state, to_decoder);
        // Here and below: nobody listens any more only where the outcome is known already.
        let _over = told.send(Event::Stored(facts));
    })?;
    let told = events.clone();
    threads::start("coffre-hash", move || {
        let mut digest = Digest::default();
        for piece in from_decoder {
            digest.update(&piece);
        }
        let _over = told.send(Event::Hashed(digest.finish()));
    })?;
    let decoder = Decode {
        shared: shared.clone(),
        events: events.clone(),
        hasher: to_hasher,
        pool: Pool::new(buffers::PLAIN_PIECES, buffers::PIECE),
        most: expect.raw_bytes,
        given: 0,
    };
    let (told, compression, decryption) = (events.clone(), expect.compression, expect.decryption.clone());
    threads::start("coffre-decode", move || {
        let decoded = decoder.run(Incoming::new(from_reader), compression, &decryption);
        let _over = told.send(Event::Decoded(decoded));
    })
}

/// The reader's thread: everything that lies there, hashed, and passed on as long as somebody decodes.
fn read(mut stored: Box<dyn Read + Send>, most: Option<u64>, shared: &Shared, decoder: Sender<Message>) -> Result<Facts> {
    let pool = Pool::new(buffers::READ_PIECES, buffers::PIECE);
    let mut digest = Digest::default();
    let mut decoder = Some(decoder);
    loop {
        let mut piece = pool.take(|| shared.go_on())?;
        let mut ended = false;
        while !ended && !piece.is_full() {
            shared.go_on()?;
            *lock(&shared.reading_since) = Some(Instant::now());
            let answer = stored.read(piece.spare());
            *lock(&shared.reading_since) = None;
            match answer {
                Ok(0) => ended = true,
                Ok(count) => {
                    digest.update(piece.advance(count));
                    shared.read.store(digest.bytes(), Ordering::Relaxed);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(from_io(error, |error| Error::internal("read a stored backup", error))),
            }
            if let Some(expected) = most.filter(|most| digest.bytes() > *most) {
                return Err(Error::new(Code::VerifyMismatch, "stored_longer")
                    .with("expected", expected)
                    .with("found", digest.bytes()));
            }
        }
        if !piece.is_empty() && decoder.as_ref().is_some_and(|to| to.send(Message::Piece(piece)).is_err()) {
            // The decoder has given up; what it says counts only if the hash is right, so the hash is finished.
            decoder = None;
        }
        if ended {
            if let Some(to) = decoder {
                // As above.
                let _given_up = to.send(Message::End);
            }
            return Ok(digest.finish());
        }
    }
}

/// What the reader gives to the decoder. A channel that closes without an end is a reader that failed.
enum Message {
    Piece(Piece),
    End,
}

/// The decoder's input.
struct Incoming {
    pieces: Receiver<Message>,
    piece: Option<Piece>,
    taken: usize,
    ended: bool,
}

impl Incoming {
    fn new(pieces: Receiver<Message>) -> Self {
        Incoming {
            pieces,
            piece: None,
            taken: 0,
            ended: false,
        }
    }

    /// The next piece, whole; nothing at the end.
    fn next_piece(&mut self) -> Result<Option<Piece>> {
        if self.ended {
            return Ok(None);
        }
        match self.pieces.recv() {
            Ok(Message::Piece(piece)) => Ok(Some(piece)),
            Ok(Message::End) => {
                self.ended = true;
                Ok(None)
            }
            // The reader tells its own error; this one is only what ends the decoder.
            Err(_) => Err(over()),
        }
    }
}

impl BufRead for Incoming {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.piece.as_ref().is_none_or(|piece| self.taken >= piece.len()) {
            self.piece = None;
            self.taken = 0;
            self.piece = self.next_piece()?;
        }
        Ok(self.piece.as_deref().map_or(&[], |piece| &piece[self.taken..]))
    }

    fn consume(&mut self, count: usize) {
        self.taken += count;
    }
}

impl Read for Incoming {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let from = self.fill_buf()?;
        let count = from.len().min(into.len());
        into[..count].copy_from_slice(&from[..count]);
        self.consume(count);
        Ok(count)
    }
}

/// The decoder's thread.
struct Decode {
    shared: Arc<Shared>,
    events: Sender<Event>,
    hasher: Sender<Arc<Piece>>,
    pool: Pool,
    /// How many plain bytes there may be.
    most: Option<u64>,
    given: u64,
}

impl Decode {
    fn run(mut self, mut incoming: Incoming, compression: Compression, decryption: &Decryption) -> Result<()> {
        if let (Compression::None, Decryption::None) = (compression, decryption) {
            while let Some(piece) = incoming.next_piece()? {
                self.give(piece)?;
            }
            return Ok(());
        }
        let mut plain = decode::decompressed(decode::decrypted(Box::new(incoming), decryption)?, compression)?;
        loop {
            let mut piece = self.pool.take(|| self.shared.go_on_decoding())?;
            let mut ended = false;
            while !ended && !piece.is_full() {
                match plain.read(piece.spare()) {
                    Ok(0) => ended = true,
                    Ok(count) => {
                        piece.advance(count);
                        self.check(self.given + piece.len() as u64)?;
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => {
                        // What came before the damage is still given: it may tell more about it.
                        self.give(piece)?;
                        return Err(from_io(error, |error| Error::internal("decode a stored backup", error)));
                    }
                }
            }
            self.give(piece)?;
            if ended {
                return Ok(());
            }
        }
    }

    fn check(&self, bytes: u64) -> Result<()> {
        match self.most {
            Some(most) if bytes > most => Err(Error::new(Code::VerifyMismatch, "raw_longer").with("expected", most)),
            _ => Ok(()),
        }
    }

    fn give(&mut self, piece: Piece) -> Result<()> {
        if piece.is_empty() {
            return Ok(());
        }
        self.shared.go_on_decoding()?;
        self.check(self.given + piece.len() as u64)?;
        self.given += piece.len() as u64;
        let piece = Arc::new(piece);
        self.hasher.send(piece.clone()).map_err(|_| over())?;
        self.events.send(Event::Plain(piece)).map_err(|_| over())
    }
}

impl Shared {
    fn go_on(&self) -> Result<()> {
        if self.over.load(Ordering::Relaxed) {
            Err(over())
        } else {
            Ok(())
        }
    }

    fn go_on_decoding(&self) -> Result<()> {
        if self.decoding_over.load(Ordering::Relaxed) {
            Err(over())
        } else {
            Ok(())
        }
    }
}

/// What a thread ends with when the outcome is known already. Never seen outside.
fn over() -> Error {
    Error::internal("read back", "the outcome is known already")
}

/// Whether an error speaks about the contents, so that a wrong hash of the stored bytes explains it.
fn is_about_contents(error: &Error) -> bool {
    matches!(
        error.code(),
        Code::VerifyMismatch | Code::DecryptFailed | Code::DumpTruncated | Code::DumpEmpty | Code::ArchiveUnsafe
    )
}

/// The calling thread's side.
struct Collect<'a> {
    expect: &'a Expect<'a>,
    cancel: &'a Cancel,
    stall: Duration,
    news: &'a mut dyn FnMut(u64),
    sink: &'a mut dyn FnMut(&[u8]) -> Result<()>,
    shared: &'a Shared,
    /// Pieces not handed over yet.
    held: VecDeque<Arc<Piece>>,
    held_bytes: usize,
    /// How many bytes stay here until the end.
    keep: usize,
    told: Instant,
    stored: Option<Facts>,
    hashed: Option<Facts>,
    decoded: bool,
    /// What a codec or the sink said about the contents, while the hash of the stored bytes is not known yet.
    damage: Option<Error>,
}

impl Collect<'_> {
    fn run(mut self, incoming: &Receiver<Event>) -> Result<ReadBack> {
        loop {
            if let Some(found) = self.conclude()? {
                return Ok(found);
            }
            match incoming.recv_timeout(TICK) {
                Ok(event) => self.take(event)?,
                Err(RecvTimeoutError::Timeout) => self.look_for_stall()?,
                Err(RecvTimeoutError::Disconnected) => return Err(threads::lost("of the pipeline")),
            }
            self.cancel.check()?;
            if self.told.elapsed() >= NEWS {
                (self.news)(self.shared.read.load(Ordering::Relaxed));
                self.told = Instant::now();
            }
        }
    }

    fn take(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Plain(piece) if self.damage.is_none() => {
                self.held_bytes += piece.len();
                self.held.push_back(piece);
                self.hand_over(self.keep)
            }
            // Nobody wants it any more.
            Event::Plain(_) => Ok(()),
            Event::Decoded(Ok(())) => {
                self.decoded = true;
                Ok(())
            }
            // Where the reader failed, its own error comes at once, and is the one that counts.
            Event::Decoded(Err(error)) if error == over() => Ok(()),
            Event::Decoded(Err(error)) => self.damaged(error),
            Event::Stored(facts) => {
                self.stored = Some(facts?);
                Ok(())
            }
            Event::Hashed(facts) => {
                self.hashed = Some(facts);
                Ok(())
            }
        }
    }

    /// Hands pieces to the sink until only `keep` bytes, or hardly more, are left here.
    fn hand_over(&mut self, keep: usize) -> Result<()> {
        while let Some(piece) = self.held.front()
            && self.held_bytes - piece.len() >= keep
        {
            let answer = (self.sink)(piece);
            self.held_bytes -= piece.len();
            self.held.pop_front();
            if let Err(error) = answer {
                return self.damaged(error);
            }
            self.cancel.check()?;
        }
        Ok(())
    }

    /// Keeps an error about the contents until size and hash of the stored bytes are known; gives any other at once.
    fn damaged(&mut self, error: Error) -> Result<()> {
        self.shared.decoding_over.store(true, Ordering::Relaxed);
        self.held.clear();
        self.held_bytes = 0;
        let known = self.expect.stored_sha256.is_some() || self.expect.stored_bytes.is_some();
        if known && is_about_contents(&error) {
            self.damage.get_or_insert(error);
            Ok(())
        } else {
            Err(error)
        }
    }

    /// The outcome, once everything that it needs is known.
    fn conclude(&mut self) -> Result<Option<ReadBack>> {
        let Some(stored) = self.stored.clone() else { return Ok(None) };
        let expect = self.expect;
        same("stored_size", expect.stored_bytes, stored.bytes)?;
        same_hash("stored_hash", expect.stored_sha256, &stored.sha256)?;
        if let Some(error) = self.damage.take() {
            return Err(error);
        }
        if !self.decoded {
            return Ok(None);
        }
        let Some(raw) = self.hashed.clone() else { return Ok(None) };
        same("raw_size", expect.raw_bytes, raw.bytes)?;
        same_hash("raw_hash", expect.raw_sha256, &raw.sha256)?;
        self.hand_over(0)?;
        if let Some(error) = self.damage.take() {
            return Err(error);
        }
        (self.news)(stored.bytes);
        Ok(Some(ReadBack {
            stored_bytes: stored.bytes,
            stored_sha256: stored.sha256,
            raw_bytes: raw.bytes,
            raw_sha256: raw.sha256,
        }))
    }

    fn look_for_stall(&self) -> Result<()> {
        match *lock(&self.shared.reading_since) {
            Some(since) if since.elapsed() >= self.stall => Err(Error::new(Code::Stalled, "read_stalled")
                .with("seconds", self.stall.as_secs())
                .with("read", self.shared.read.load(Ordering::Relaxed))),
            _ => Ok(()),
        }
    }
}

fn same(text: &'static str, expected: Option<u64>, found: u64) -> Result<()> {
    match expected {
        Some(expected) if expected != found => Err(Error::new(Code::VerifyMismatch, text)
            .with("expected", expected)
            .with("found", found)),
        _ => Ok(()),
    }
}

fn same_hash(text: &'static str, expected: Option<&str>, found: &str) -> Result<()> {
    match expected {
        Some(expected) if !expected.eq_ignore_ascii_case(found) => Err(Error::new(Code::VerifyMismatch, text)
            .with("expected", expected)
            .with("found", found)),
        _ => Ok(()),
    }
}
