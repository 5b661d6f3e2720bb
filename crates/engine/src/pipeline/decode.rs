//! From stored bytes back to plain bytes: decrypt, decompress. Each layer is a reader whose errors are ours, so that whoever reads
//! through several of them learns which one found the damage.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use age::secrecy::SecretString;
use age::stream::StreamReader;
use age::{DecryptError, Decryptor};
use coffre_model::Secret;
use coffre_model::compression::Compression;
use coffre_model::error::{Code, Error, Result, from_io};
use flate2::bufread::MultiGzDecoder;
use zstd::stream::raw::{DParameter, Decoder as Zstd, InBuffer, Operation as _, OutBuffer};

use super::buffers;

/// What opens an encrypted backup.
#[derive(Clone)]
pub enum Decryption {
    /// It is not encrypted.
    None,
    /// One of these age identities (`AGE-SECRET-KEY-1…`).
    Identities(Vec<Secret>),
    /// This passphrase.
    Passphrase(Secret),
}

/// The largest work factor of a passphrase that is accepted: 16 times our own. Each step more doubles time and memory.
const SCRYPT_WORK_MAX: u8 = 22;

/// A source of bytes inside the pipeline.
pub(super) type Input = Box<dyn BufRead + Send>;

/// An age file whose header was read, waiting for its key.
pub(super) struct Locked(Decryptor<Input>);

impl Locked {
    /// Reads the header.
    ///
    /// # Errors
    /// `DECRYPT_FAILED` for what is no age file or has a damaged header.
    pub(super) fn new(input: Input) -> Result<Self> {
        // age keeps its input, so the bound is lifted from outside.
        let lifted = Arc::new(AtomicBool::new(false));
        let bounded = Bounded {
            input,
            left: buffers::AGE_HEADER_MAX,
            lifted: lifted.clone(),
        };
        let decryptor = Decryptor::new_buffered(Box::new(bounded) as Input).map_err(decrypt_error)?;
        lifted.store(true, Ordering::Relaxed);
        Ok(Locked(decryptor))
    }

    /// Whether a passphrase opens it, not an identity.
    pub(super) fn wants_passphrase(&self) -> bool {
        self.0.is_scrypt()
    }

    /// Opens it.
    ///
    /// # Errors
    /// `DECRYPT_FAILED`, with one text for each cause: the wrong key, the wrong kind of key, a damaged header, too much work.
    pub(super) fn open(self, decryption: &Decryption) -> Result<Age> {
        let passphrase = self.wants_passphrase();
        let reader = match decryption {
            Decryption::None => return Err(Error::new(Code::DecryptFailed, "decrypt_key_needed")),
            Decryption::Passphrase(_) if !passphrase => return Err(Error::new(Code::DecryptFailed, "decrypt_needs_identity")),
            Decryption::Identities(_) if passphrase => return Err(Error::new(Code::DecryptFailed, "decrypt_needs_passphrase")),
            Decryption::Passphrase(secret) => {
                let mut identity = age::scrypt::Identity::new(SecretString::from(secret.expose()));
                identity.set_max_work_factor(SCRYPT_WORK_MAX);
                self.0
                    .decrypt(std::iter::once(&identity as &dyn age::Identity))
                    .map_err(|error| match error {
                        DecryptError::DecryptionFailed | DecryptError::NoMatchingKeys | DecryptError::KeyDecryptionFailed => {
                            Error::new(Code::DecryptFailed, "decrypt_wrong_passphrase")
                        }
                        error => decrypt_error(error),
                    })?
            }
            Decryption::Identities(secrets) => {
                let identities = secrets
                    .iter()
                    .map(|secret| secret.expose().trim().parse::<age::x25519::Identity>())
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(|_| Error::new(Code::DecryptFailed, "identity_invalid"))?;
                self.0
                    .decrypt(identities.iter().map(|identity| identity as &dyn age::Identity))
                    .map_err(decrypt_error)?
            }
        };
        Ok(Age(reader))
    }
}

fn decrypt_error(error: DecryptError) -> Error {
    match error {
        DecryptError::NoMatchingKeys | DecryptError::KeyDecryptionFailed | DecryptError::DecryptionFailed => {
            Error::new(Code::DecryptFailed, "decrypt_wrong_key")
        }
        DecryptError::ExcessiveWork { required, .. } => Error::new(Code::DecryptFailed, "decrypt_work")
            .with("required", required)
            .with("max", SCRYPT_WORK_MAX),
        DecryptError::UnknownFormat => Error::new(Code::DecryptFailed, "decrypt_version"),
        DecryptError::Io(error) => from_io(error, |error| {
            Error::new(Code::DecryptFailed, "decrypt_header").with("cause", error.to_string())
        }),
        error => Error::new(Code::DecryptFailed, "decrypt_header").with("cause", error.to_string()),
    }
}

/// Lets no more than a header's length through until it is lifted: age reads its header as far as it goes, in growing memory.
struct Bounded {
    input: Input,
    left: usize,
    lifted: Arc<AtomicBool>,
}

impl Read for Bounded {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.lifted.load(Ordering::Relaxed) {
            return self.input.read(into);
        }
        let from = self.fill_buf()?;
        let count = from.len().min(into.len());
        into[..count].copy_from_slice(&from[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Bounded {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let lifted = self.lifted.load(Ordering::Relaxed);
        let bytes = self.input.fill_buf()?;
        if lifted {
            return Ok(bytes);
        }
        if self.left == 0 && !bytes.is_empty() {
            return Err(Error::new(Code::DecryptFailed, "decrypt_header")
                .with("cause", "header too long")
                .into());
        }
        Ok(&bytes[..bytes.len().min(self.left)])
    }

    fn consume(&mut self, count: usize) {
        self.left = self.left.saturating_sub(count);
        self.input.consume(count);
    }
}

/// The body of an age file. It is authenticated chunk by chunk, so what is given was not tampered with; a damaged or missing chunk is
/// an error, also at the end.
pub(super) struct Age(StreamReader<Input>);

impl Read for Age {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into).map_err(|error| {
            if error.kind() == ErrorKind::Interrupted {
                return error;
            }
            from_io(error, |error| {
                let text = if error.kind() == ErrorKind::UnexpectedEof {
                    "age_truncated"
                } else {
                    "age_damaged"
                };
                Error::new(Code::VerifyMismatch, text)
            })
            .into()
        })
    }
}

/// Decrypts where there is something to decrypt.
pub(super) fn decrypted(input: Input, decryption: &Decryption) -> Result<Input> {
    match decryption {
        Decryption::None => Ok(input),
        key => Ok(buffered(Locked::new(input)?.open(key)?)),
    }
}

/// A reader with a buffer of one age chunk.
pub(super) fn buffered(reader: impl Read + Send + 'static) -> Input {
    Box::new(BufReader::with_capacity(buffers::AGE_CHUNK, reader))
}

/// Decompresses to the end of the input: whatever follows the last frame or member is an error.
pub(super) fn decompressed(input: Input, compression: Compression) -> Result<Box<dyn Read + Send>> {
    Ok(match compression {
        Compression::Zstd(_) => Box::new(ZstdReader::new(input)?),
        Compression::Gzip(_) => Box::new(GzipReader::new(input)),
        Compression::None => Box::new(input),
    })
}

/// Plain bytes of zstd frames, one after the other.
pub(super) struct ZstdReader {
    input: Input,
    zstd: Zstd<'static>,
    /// Between two frames, where the input may end.
    at_end: bool,
    /// Whether there was a frame at all.
    begun: bool,
    /// Input so far, for the error.
    at: u64,
}

impl ZstdReader {
    pub(super) fn new(input: Input) -> Result<Self> {
        let make = || -> io::Result<Zstd<'static>> {
            let mut zstd = Zstd::new()?;
            zstd.set_parameter(DParameter::WindowLogMax(buffers::ZSTD_WINDOW_LOG_MAX))?;
            Ok(zstd)
        };
        Ok(ZstdReader {
            input,
            zstd: make().map_err(|error| Error::internal("begin the decompression", error))?,
            at_end: true,
            begun: false,
            at: 0,
        })
    }
}

impl Read for ZstdReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            let bytes = match self.input.fill_buf() {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let ended = bytes.is_empty();
            if ended && self.at_end && self.begun {
                return Ok(0);
            }
            let mut input = InBuffer::around(bytes);
            let mut output = OutBuffer::around(into);
            // At the end of the input this gives out what the decoder still holds.
            let left = self.zstd.run(&mut input, &mut output).map_err(|error| {
                let cause = error.to_string();
                let error = if cause.contains("too much memory") {
                    Error::new(Code::VerifyMismatch, "zstd_window").with("max_mib", 1u32 << (buffers::ZSTD_WINDOW_LOG_MAX - 20))
                } else {
                    Error::new(Code::VerifyMismatch, "zstd_damaged")
                };
                error.with("cause", cause).with("at", self.at)
            })?;
            let (taken, given) = (input.pos(), output.pos());
            self.input.consume(taken);
            self.at += taken as u64;
            self.begun = true;
            self.at_end = left == 0;
            if given > 0 {
                return Ok(given);
            }
            if ended && !self.at_end {
                return Err(Error::new(Code::VerifyMismatch, "zstd_truncated").with("at", self.at).into());
            }
        }
    }
}

/// Plain bytes of gzip members, one after the other.
pub(super) struct GzipReader(MultiGzDecoder<Input>);

impl GzipReader {
    pub(super) fn new(input: Input) -> Self {
        GzipReader(MultiGzDecoder::new(input))
    }
}

impl Read for GzipReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into).map_err(|error| {
            if error.kind() == ErrorKind::Interrupted {
                return error;
            }
            from_io(error, |error| {
                if error.kind() == ErrorKind::UnexpectedEof {
                    Error::new(Code::VerifyMismatch, "gzip_truncated")
                } else {
                    Error::new(Code::VerifyMismatch, "gzip_damaged").with("cause", error.to_string())
                }
            })
            .into()
        })
    }
}
