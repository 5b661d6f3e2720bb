//! The elements that header and table of contents are made of, collected from pieces of any size. Memory grows with the bytes that
//! really arrived, never with a length that was only read.

use coffre_model::error::Result;
use memchr::memchr;

use super::damaged;

/// One sign byte and four bytes, least significant first: PostgreSQL writes every number like this.
pub(super) const INT: usize = 5;
/// The longest text that PostgreSQL itself could hold.
const TEXT_MAX: i64 = 1 << 30;
/// The longest name, description or tag that is believed (a function's tag has all its argument types in it).
const NAME_MAX: i64 = 1 << 20;

/// What is expected next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// So many bytes, at most 16.
    Bytes(usize),
    /// A number.
    Int,
    /// A text that is kept as a whole, at most 1 MiB.
    Name,
    /// A text of which only the first so many bytes are kept; the rest is passed over.
    Start(usize),
}

/// What came.
#[derive(Debug)]
pub(super) enum Field {
    /// For [`Want::Bytes`].
    Bytes(Vec<u8>),
    /// For [`Want::Int`].
    Int(i64),
    /// For the texts; nothing where the archive says NULL.
    Text(Option<Vec<u8>>),
}

/// Where the collecting stands.
#[derive(Default)]
pub(super) struct Fields {
    collected: Vec<u8>,
    /// Bytes of a text's body that have not come yet; nothing while no text is being read.
    body: Option<usize>,
}

/// Reads a number. The sign is 0 or 1, and there is no minus zero.
pub(super) fn int(bytes: &[u8; INT], offset: u64) -> Result<i64> {
    let [sign, rest @ ..] = bytes;
    let value = i64::from(u32::from_le_bytes(*rest));
    match sign {
        0 => Ok(value),
        1 if value != 0 => Ok(-value),
        _ => Err(damaged(offset, "number")),
    }
}

impl Fields {
    /// Takes the next element from the front of `input`; nothing if it is not complete yet (then all of `input` was taken).
    /// `offset` is the position of `input`'s first byte, for errors.
    pub(super) fn take(&mut self, input: &mut &[u8], want: Want, offset: u64) -> Result<Option<Field>> {
        match want {
            Want::Bytes(count) => Ok(self.collect(input, count).then(|| Field::Bytes(self.done()))),
            Want::Int => Ok(self.number(input, offset)?.map(Field::Int)),
            Want::Name | Want::Start(_) => self.text(input, want, offset),
        }
    }

    fn number(&mut self, input: &mut &[u8], offset: u64) -> Result<Option<i64>> {
        if !self.collect(input, INT) {
            return Ok(None);
        }
        let mut bytes = [0; INT];
        bytes.copy_from_slice(&self.collected);
        self.collected.clear();
        int(&bytes, offset).map(Some)
    }

    fn text(&mut self, input: &mut &[u8], want: Want, offset: u64) -> Result<Option<Field>> {
        let keep = match want {
            Want::Start(count) => count,
            _ => usize::MAX,
        };
        let left = match self.body {
            Some(left) => left,
            None => {
                let Some(length) = self.number(input, offset)? else {
                    return Ok(None);
                };
                match length {
                    -1 => return Ok(Some(Field::Text(None))),
                    0.. if length <= if want == Want::Name { NAME_MAX } else { TEXT_MAX } => usize::try_from(length).unwrap_or(0),
                    _ => return Err(damaged(offset, "text length")),
                }
            }
        };
        let (now, rest) = input.split_at(left.min(input.len()));
        // PostgreSQL's texts end at NUL, so none can have one inside. This finds most lengths that are wrong.
        if memchr(0, now).is_some() {
            return Err(damaged(offset, "text"));
        }
        let room = keep.saturating_sub(self.collected.len());
        self.collected.extend_from_slice(&now[..room.min(now.len())]);
        *input = rest;
        if now.len() < left {
            self.body = Some(left - now.len());
            return Ok(None);
        }
        self.body = None;
        Ok(Some(Field::Text(Some(self.done()))))
    }

    fn collect(&mut self, input: &mut &[u8], count: usize) -> bool {
        let missing = count.saturating_sub(self.collected.len());
        let (now, rest) = input.split_at(missing.min(input.len()));
        self.collected.extend_from_slice(now);
        *input = rest;
        self.collected.len() == count
    }

    fn done(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.collected)
    }
}
