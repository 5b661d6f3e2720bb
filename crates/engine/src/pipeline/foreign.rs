//! Files made elsewhere, for `restore --file`: what they are wrapped in is recognised by content, never by name.

use std::io::{self, BufRead, Chain, Cursor, Read};

use age::armor::ArmoredReader;
use coffre_model::error::{Code, Error, Result, from_io};

use super::decode::{self, Decryption, GzipReader, Input, Locked, ZstdReader};

/// One layer around the plain bytes, as it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// An age file.
    Age,
    /// An age file in text form (`-----BEGIN AGE ENCRYPTED FILE-----`).
    AgeArmored,
    /// zstd.
    Zstd,
    /// gzip.
    Gzip,
}

/// What an age file asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// An identity.
    Identity,
    /// A passphrase.
    Passphrase,
}

/// A file without its layers.
pub struct Peeled {
    /// The layers that were taken off, the outermost first.
    pub layers: Vec<Layer>,
    /// The plain bytes. Damage is an error of `read` (`VERIFY_MISMATCH` inside); an end that is missing is damage.
    pub plain: Box<dyn Read + Send>,
}

/// The most layers that are taken off: `.sql.gz.age` has two, and one more for an odd case. More is a trick.
const LAYERS_MAX: usize = 3;

/// How many bytes are looked at.
const LOOK: usize = 64;

const AGE: &[u8] = b"age-encryption.org/";
const ARMOR: &[u8] = b"-----BEGIN AGE ENCRYPTED FILE-----";
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const GZIP: &[u8] = &[0x1f, 0x8b, 8];

/// What text may begin with that came through a mail or an editor: a byte order mark, blank lines.
fn without_margin(start: &[u8]) -> &[u8] {
    start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start()
}

/// The container that bytes begin with, if they begin with one.
fn recognise(start: &[u8]) -> Option<Layer> {
    let skippable = || {
        // zstd's skippable frames (0x184D2A50 to …5F), which `pzstd` writes first.
        matches!(start, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
    };
    if start.starts_with(AGE) {
        Some(Layer::Age)
    } else if without_margin(start).starts_with(ARMOR) {
        Some(Layer::AgeArmored)
    } else if start.starts_with(ZSTD) || skippable() {
        Some(Layer::Zstd)
    } else if start.starts_with(GZIP) {
        Some(Layer::Gzip)
    } else {
        None
    }
}

/// Takes off every layer. `key` is asked for what opens an age file when there is one, and not before; it may be slow (a keychain, a
/// person).
///
/// Reading happens in the caller's thread, when the caller reads: see to cancel and stall there.
///
/// # Errors
/// `DECRYPT_FAILED` as `read_back`; `key`'s own; `REFUSED` for more than three layers; the reader's own.
pub fn peel(file: Box<dyn Read + Send>, key: &mut dyn FnMut(Need) -> Result<Decryption>) -> Result<Peeled> {
    let mut layers = Vec::new();
    let mut input = look(file)?;
    loop {
        // `look` has made sure that this is as much as there is to see.
        let start = input.fill_buf().map_err(read_error)?;
        let start = &start[..start.len().min(LOOK)];
        let margin = start.len() - without_margin(start).len();
        let Some(layer) = recognise(start) else {
            return Ok(Peeled {
                layers,
                plain: Box::new(input),
            });
        };
        if layers.len() == LAYERS_MAX {
            return Err(Error::new(Code::Refused, "layers_deep").with("max", LAYERS_MAX));
        }
        layers.push(layer);
        let inner: Box<dyn Read + Send> = match layer {
            Layer::Age => Box::new(open(Box::new(input), key)?),
            Layer::AgeArmored => {
                input.consume(margin);
                Box::new(open(decode::buffered(Armor(ArmoredReader::new(input))), key)?)
            }
            Layer::Zstd => Box::new(ZstdReader::new(Box::new(input))?),
            Layer::Gzip => Box::new(GzipReader::new(Box::new(input))),
        };
        input = look(inner)?;
    }
}

fn open(input: Input, key: &mut dyn FnMut(Need) -> Result<Decryption>) -> Result<decode::Age> {
    let locked = Locked::new(input)?;
    let need = if locked.wants_passphrase() {
        Need::Passphrase
    } else {
        Need::Identity
    };
    let decryption = key(need)?;
    locked.open(&decryption)
}

fn read_error(error: io::Error) -> Error {
    from_io(error, |error| Error::internal("read the file", error))
}

/// What was looked at, and then the rest.
type Looked = Chain<Cursor<Vec<u8>>, Input>;

/// Reads the first bytes, all [`LOOK`] of them if there are so many, however small the pieces in which they come.
fn look(mut reader: Box<dyn Read + Send>) -> Result<Looked> {
    let mut start = Vec::with_capacity(LOOK);
    reader
        .by_ref()
        .take(LOOK as u64)
        .read_to_end(&mut start)
        .map_err(read_error)?;
    Ok(Cursor::new(start).chain(decode::buffered(reader)))
}

/// The text form of age; what is wrong with it is damage.
struct Armor<R: Read>(ArmoredReader<R>);

impl<R: BufRead> Read for Armor<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into).map_err(|error| {
            if error.kind() == io::ErrorKind::Interrupted {
                return error;
            }
            from_io(error, |error| {
                Error::new(Code::VerifyMismatch, "armor_damaged").with("cause", error.to_string())
            })
            .into()
        })
    }
}
