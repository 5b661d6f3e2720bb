//! A dump on its way to its destinations.

use std::io::{ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel, sync_channel};
use std::time::{Duration, Instant};

use coffre_model::compression::Compression;
use coffre_model::error::{Code, Error, Result, from_io};
use coffre_model::storage::Upload;
use coffre_model::{Cancel, Id};

use super::buffers;
use super::digest::{Digest, Facts};
use super::encode::{Cipher, Encoder, Encryption, Tap};
use super::fan::{Fan, Outcomes};
use super::pool::{Piece, Pool, TICK};
use super::threads;

/// How a dump is stored.
#[derive(Clone)]
pub struct StoreOptions {
    /// How it is compressed.
    pub compression: Compression,
    /// How it is encrypted.
    pub encryption: Encryption,
    /// Raised when the run is cancelled.
    pub cancel: Cancel,
    /// Threads that compress; 0 means one for each core.
    pub threads: usize,
    /// An upload that takes no byte for so long has failed (`STALLED`). Commits are not counted here.
    pub stall: Duration,
    /// What the places of the uploads are called, in their order, for whoever reads that one of them hangs; may be left out.
    pub places: Vec<String>,
}

/// What came of it.
pub struct Stored {
    /// Plain bytes.
    pub raw_bytes: u64,
    /// Their SHA-256 in hexadecimal.
    pub raw_sha256: String,
    /// Stored bytes.
    pub stored_bytes: u64,
    /// Their SHA-256 in hexadecimal.
    pub stored_sha256: String,
    /// Each upload: whole but not committed, or why it is not. At least one is whole.
    pub uploads: Vec<(Id, Result<Box<dyn Upload>>)>,
}

/// How long an early end waits for the uploads to remove what they wrote: long enough for a disk that works, and after a cancel short
/// enough to be back in time. What is later than that happens in the background.
const REMOVAL: Duration = Duration::from_secs(3);
const REMOVAL_AFTER_CANCEL: Duration = Duration::from_millis(100);

/// News is told at most so often.
const NEWS: Duration = Duration::from_millis(100);

enum Feed {
    Piece(Piece),
    End,
}

/// Reads a dump to its end, compresses, encrypts and hashes it, and writes it to all uploads. The uploads come back *uncommitted*: the
/// caller commits each after its own checks, and dropping one removes what was written.
///
/// `news` is told the plain bytes read and the stored bytes made so far, at most ten times a second, from the calling thread.
///
/// An upload that fails is dropped, and its error comes back in its place, while the others go on.
///
/// # Errors
/// The error of the dump's `read` (a failed read is a failed dump); `DUMP_EMPTY` where it gave nothing; the first upload's error, once
/// all have failed; `CANCELLED` within 200 ms, whatever the uploads do; `USAGE` for a key that is none. In all of these every upload is
/// dropped. One that hangs inside its storage at that moment is dropped when it wakes: call `remove_partial` for its key as well.
pub fn store(
    dump: &mut dyn Read,
    uploads: Vec<(Id, Box<dyn Upload>)>,
    options: &StoreOptions,
    news: &mut dyn FnMut(u64, u64),
) -> Result<Stored> {
    let cipher = Cipher::new(&options.encryption)?;
    let threads = match options.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    let raw_pieces = match options.compression {
        Compression::Gzip(_) => buffers::gzip_pieces(threads),
        Compression::Zstd(_) => buffers::RAW_PIECES,
        // Uncompressed pieces go to the uploads as they are, and each upload that hangs keeps one.
        Compression::None => buffers::RAW_PIECES + uploads.len(),
    };
    let stored_pool = Pool::new(buffers::STORED_PIECES + uploads.len(), buffers::PIECE);
    let fan = Fan::start(uploads, &options.places, &options.cancel, options.stall)?;
    let stored = Arc::new(AtomicU64::new(0));
    let (feed, pieces) = channel();
    let (answer, encoded) = sync_channel(1);
    let tap = Tap::new(stored_pool, fan.clone(), stored.clone());
    let compression = options.compression;
    let mut run = Run {
        fan,
        feed,
        encoded,
        raw: Pool::new(raw_pieces, buffers::PIECE),
        digest: Digest::default(),
        cancel: &options.cancel,
        stored,
        news,
        told: Instant::now(),
    };
    let outcome = threads::start("coffre-encode", move || {
        // Nobody listens any more only where the run has ended already.
        let _ended = answer.send(encode(&pieces, || Encoder::new(compression, threads, cipher, tap)));
    })
    .and_then(|()| run.work(dump));
    match outcome {
        Ok((facts, uploads)) => {
            let raw = run.digest.finish();
            Ok(Stored {
                raw_bytes: raw.bytes,
                raw_sha256: raw.sha256,
                stored_bytes: facts.bytes,
                stored_sha256: facts.sha256,
                uploads,
            })
        }
        Err(error) => {
            run.fan.close_and_wait(if options.cancel.is_cancelled() {
                REMOVAL_AFTER_CANCEL
            } else {
                REMOVAL
            });
            Err(error)
        }
    }
}

/// The encoder's thread. A feed that closes without an end is a run that ended early: nothing is finished then.
fn encode(pieces: &Receiver<Feed>, make: impl FnOnce() -> Result<Encoder>) -> Result<Facts> {
    let mut encoder = make()?;
    loop {
        match pieces.recv() {
            Ok(Feed::Piece(piece)) => encoder.write(piece)?,
            Ok(Feed::End) => return encoder.finish(),
            Err(_) => return Err(threads::lost("coffre-read")),
        }
    }
}

/// The calling thread's side.
struct Run<'a> {
    fan: Fan,
    feed: Sender<Feed>,
    encoded: Receiver<Result<Facts>>,
    raw: Pool,
    digest: Digest,
    cancel: &'a Cancel,
    stored: Arc<AtomicU64>,
    news: &'a mut dyn FnMut(u64, u64),
    told: Instant,
}

impl Run<'_> {
    fn work(&mut self, dump: &mut dyn Read) -> Result<(Facts, Outcomes)> {
        loop {
            let (fan, encoded) = (&self.fan, &self.encoded);
            let mut piece = self.raw.take(|| early(encoded).and_then(|()| fan.look()))?;
            let more = self.fill(dump, &mut piece)?;
            if !piece.is_empty() && self.feed.send(Feed::Piece(piece)).is_err() {
                return Err(self.encoder_error());
            }
            if !more {
                break;
            }
        }
        if self.digest.bytes() == 0 {
            return Err(Error::new(Code::DumpEmpty, "dump_empty"));
        }
        if self.feed.send(Feed::End).is_err() {
            return Err(self.encoder_error());
        }
        let facts = loop {
            match self.encoded.recv_timeout(TICK) {
                Ok(facts) => break facts?,
                Err(RecvTimeoutError::Timeout) => self.fan.look()?,
                Err(RecvTimeoutError::Disconnected) => return Err(threads::lost("coffre-encode")),
            }
            self.tell();
        };
        let fan = self.fan.clone();
        let outcomes = fan.outcomes(|| self.tell())?;
        (self.news)(self.digest.bytes(), facts.bytes);
        Ok((facts, outcomes))
    }

    /// Reads until the piece is full (`true`) or the dump has ended.
    fn fill(&mut self, dump: &mut dyn Read, piece: &mut Piece) -> Result<bool> {
        while !piece.is_full() {
            self.cancel.check()?;
            match dump.read(piece.spare()) {
                Ok(0) => return Ok(false),
                // Hashed now, while the bytes are in this core's cache.
                Ok(count) => self.digest.update(piece.advance(count)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    // A read that was interrupted by our own cancel may call it what it likes.
                    self.cancel.check()?;
                    return Err(from_io(error, |error| {
                        Error::new(Code::DumpFailed, "dump_read").with("cause", error.to_string())
                    }));
                }
            }
            self.tell();
        }
        Ok(true)
    }

    fn tell(&mut self) {
        if self.told.elapsed() >= NEWS {
            (self.news)(self.digest.bytes(), self.stored.load(Ordering::Relaxed));
            self.told = Instant::now();
        }
    }

    /// Why the encoder takes nothing more.
    fn encoder_error(&self) -> Error {
        match self.encoded.recv() {
            Ok(Err(error)) => error,
            Ok(Ok(_)) | Err(_) => threads::lost("coffre-encode"),
        }
    }
}

/// The encoder's error, where it has ended before its time.
fn early(encoded: &Receiver<Result<Facts>>) -> Result<()> {
    match encoded.try_recv() {
        Ok(Err(error)) => Err(error),
        Ok(Ok(_)) | Err(TryRecvError::Disconnected) => Err(threads::lost("coffre-encode")),
        Err(TryRecvError::Empty) => Ok(()),
    }
}
