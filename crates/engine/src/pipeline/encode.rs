//! From plain bytes to stored bytes: compress, encrypt, tap.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use age::secrecy::SecretString;
use age::stream::StreamWriter;
use coffre_model::Secret;
use coffre_model::compression::Compression;
use coffre_model::error::{Code, Error, Result, from_io};
use zstd::stream::raw::{CParameter, Encoder as Zstd, InBuffer, Operation as _, OutBuffer};

use super::buffers;
use super::digest::{Digest, Facts};
use super::fan::Fan;
use super::gzip::Gzip;
use super::pool::{Piece, Pool};

/// How a backup is encrypted.
#[derive(Clone)]
pub enum Encryption {
    /// Not at all.
    None,
    /// To an age recipient (`age1…`); its identity opens it.
    Recipient(String),
    /// With a passphrase (age's scrypt).
    Passphrase(Secret),
}

/// age's work factor for passphrases: about a second, and 256 MiB. Fixed, so that a fast machine does not make backups that a small one
/// cannot open. (Tests make thousands of files.)
const SCRYPT_WORK: u8 = if cfg!(test) { 8 } else { 18 };

/// What makes an age file, checked but not begun.
pub(super) enum Cipher {
    None,
    Recipient(Box<age::x25519::Recipient>),
    Passphrase(SecretString),
}

impl Cipher {
    /// Reads the key.
    ///
    /// # Errors
    /// `USAGE` for what is no recipient, or for an empty passphrase.
    pub(super) fn new(encryption: &Encryption) -> Result<Self> {
        match encryption {
            Encryption::None => Ok(Cipher::None),
            Encryption::Recipient(text) => text
                .parse()
                .map(|recipient| Cipher::Recipient(Box::new(recipient)))
                .map_err(|_| Error::new(Code::Usage, "recipient_invalid").with("recipient", text.as_str())),
            Encryption::Passphrase(secret) if secret.is_empty() => Err(Error::new(Code::Usage, "passphrase_empty")),
            Encryption::Passphrase(secret) => Ok(Cipher::Passphrase(SecretString::from(secret.expose()))),
        }
    }

    /// Writes age's header. Slow for a passphrase, on purpose.
    fn begin(self, tap: Tap) -> Result<Exit> {
        let encryptor = match self {
            Cipher::None => return Ok(Exit::Plain(tap)),
            Cipher::Recipient(recipient) => age::Encryptor::with_recipients(std::iter::once(&*recipient as &dyn age::Recipient)),
            Cipher::Passphrase(secret) => {
                let mut recipient = age::scrypt::Recipient::new(secret);
                recipient.set_work_factor(SCRYPT_WORK);
                age::Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient))
            }
        }
        .map_err(|error| Error::internal("begin the encryption", error))?;
        let writer = encryptor.wrap_output(tap).map_err(|error| codec("encrypt", error))?;
        Ok(Exit::Age {
            writer: Box::new(writer),
            scratch: vec![0; buffers::AGE_CHUNK].into(),
        })
    }
}

/// The error of a codec that writes into memory of ours: ours from further down, or a fault.
pub(super) fn codec(doing: &'static str, error: io::Error) -> Error {
    from_io(error, |error| Error::internal(doing, error))
}

/// The last station: hash, count, cut into pieces, hand to the uploads.
pub(super) struct Tap {
    pool: Pool,
    fan: Fan,
    piece: Option<Piece>,
    digest: Digest,
    /// The count for those who watch.
    stored: Arc<AtomicU64>,
}

impl Tap {
    pub(super) fn new(pool: Pool, fan: Fan, stored: Arc<AtomicU64>) -> Self {
        Tap {
            pool,
            fan,
            piece: None,
            digest: Digest::default(),
            stored,
        }
    }

    fn piece(&mut self) -> Result<&mut Piece> {
        let piece = match self.piece.take() {
            Some(piece) => piece,
            None => self.pool.take(|| self.fan.look())?,
        };
        Ok(self.piece.insert(piece))
    }

    /// After something was added to the open piece.
    fn added(&mut self) -> Result<()> {
        match self.piece.take() {
            Some(piece) if piece.is_full() => self.send(Arc::new(piece)),
            open => {
                self.piece = open;
                Ok(())
            }
        }
    }

    fn send(&mut self, piece: Arc<Piece>) -> Result<()> {
        self.digest.update(&piece);
        self.stored.fetch_add(piece.len() as u64, Ordering::Relaxed);
        self.fan.push(&piece)
    }

    fn finish(mut self) -> Result<Facts> {
        if let Some(piece) = self.piece.take().filter(|piece| !piece.is_empty()) {
            self.send(Arc::new(piece))?;
        }
        self.fan.end();
        Ok(self.digest.finish())
    }
}

impl Write for Tap {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.piece()?.fill(bytes);
        self.added()?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where compressed bytes go.
pub(super) enum Exit {
    Plain(Tap),
    Age {
        writer: Box<StreamWriter<Tap>>,
        scratch: Box<[u8]>,
    },
}

impl Exit {
    /// Room for the next compressed bytes, never empty.
    fn room(&mut self) -> Result<&mut [u8]> {
        match self {
            Exit::Plain(tap) => Ok(tap.piece()?.spare()),
            Exit::Age { scratch, .. } => Ok(scratch),
        }
    }

    /// Takes the first `count` bytes of the room.
    fn take(&mut self, count: usize) -> Result<()> {
        match self {
            Exit::Plain(tap) => {
                tap.piece()?.advance(count);
                tap.added()
            }
            Exit::Age { writer, scratch } => writer.write_all(&scratch[..count]).map_err(|error| codec("encrypt", error)),
        }
    }

    /// Takes bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match self {
            Exit::Plain(tap) => tap.write_all(bytes),
            Exit::Age { writer, .. } => writer.write_all(bytes),
        }
        .map_err(|error| codec("encrypt", error))
    }

    /// Takes a whole piece; without encryption it is passed on as it is.
    fn pass(&mut self, piece: Piece) -> Result<()> {
        match self {
            Exit::Plain(tap) => tap.send(Arc::new(piece)),
            Exit::Age { .. } => self.write(&piece),
        }
    }

    fn finish(self) -> Result<Facts> {
        match self {
            Exit::Plain(tap) => tap.finish(),
            // Without `finish`, age's last chunk is missing and nobody can open the file.
            Exit::Age { writer, .. } => writer.finish().map_err(|error| codec("encrypt", error))?.finish(),
        }
    }
}

/// The whole chain.
pub(super) struct Encoder {
    compressor: Compressor,
    exit: Exit,
}

enum Compressor {
    Zstd(Box<Zstd<'static>>),
    Gzip(Gzip),
    None,
}

impl Encoder {
    pub(super) fn new(compression: Compression, threads: usize, cipher: Cipher, tap: Tap) -> Result<Self> {
        let exit = cipher.begin(tap)?;
        let compressor = match compression {
            Compression::Zstd(level) => Compressor::Zstd(Box::new(zstd(level, threads)?)),
            Compression::Gzip(level) => Compressor::Gzip(Gzip::new(level, threads)?),
            Compression::None => Compressor::None,
        };
        Ok(Encoder { compressor, exit })
    }

    pub(super) fn write(&mut self, piece: Piece) -> Result<()> {
        match &mut self.compressor {
            Compressor::Zstd(zstd) => {
                let mut input = InBuffer::around(&piece);
                while input.pos() < piece.len() {
                    let mut output = OutBuffer::around(self.exit.room()?);
                    zstd.run(&mut input, &mut output).map_err(|error| codec("compress", error))?;
                    let count = output.pos();
                    self.exit.take(count)?;
                }
                Ok(())
            }
            Compressor::Gzip(gzip) => gzip.write(piece, &mut self.exit),
            Compressor::None => self.exit.pass(piece),
        }
    }

    /// Ends all layers.
    pub(super) fn finish(mut self) -> Result<Facts> {
        match self.compressor {
            Compressor::Zstd(mut zstd) => loop {
                let mut output = OutBuffer::around(self.exit.room()?);
                let left = zstd.finish(&mut output, true).map_err(|error| codec("compress", error))?;
                let count = output.pos();
                self.exit.take(count)?;
                if left == 0 {
                    break;
                }
            },
            Compressor::Gzip(gzip) => gzip.finish(&mut self.exit)?,
            Compressor::None => {}
        }
        self.exit.finish()
    }
}

/// One frame, made by several threads, with a checksum and without a size (nobody knows it yet). One frame and not many, although many
/// would be as fast: a stock `zstd -d` finds a missing end in one frame, but takes a file that was cut between two frames for whole.
fn zstd(level: u8, threads: usize) -> Result<Zstd<'static>> {
    let shape = buffers::zstd_shape(level, threads);
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let make = || -> io::Result<Zstd<'static>> {
        let mut zstd = Zstd::new(i32::from(level))?;
        zstd.set_parameter(CParameter::ChecksumFlag(true))?;
        zstd.set_parameter(CParameter::NbWorkers(number(shape.workers)))?;
        zstd.set_parameter(CParameter::JobSize(number(shape.job)))?;
        zstd.set_parameter(CParameter::OverlapSizeLog(shape.overlap_log))?;
        if let Some(tables) = shape.tables {
            zstd.set_parameter(CParameter::HashLog(tables.hash_log))?;
            zstd.set_parameter(CParameter::ChainLog(tables.chain_log))?;
            zstd.set_parameter(CParameter::MinMatch(tables.min_match))?;
        }
        Ok(zstd)
    };
    make().map_err(|error| codec("begin the compression", error))
}
