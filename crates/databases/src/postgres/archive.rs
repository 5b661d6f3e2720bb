//! PostgreSQL's custom archive format (`PGDMP`, versions 1.12 to 1.16), read by pushing: proves that an archive is whole and counts
//! the rows in it.
//!
//! The format has no end mark. What takes its place is the table of contents at its front: each entry that has data must be
//! followed by its block exactly once, each block must end by itself, and nothing may come after the last. So a cut is found
//! wherever it is, also between two blocks. Flipped bits are found where they hit this structure; inside texts and rows they are
//! the hash's business, not this reader's.

mod contents;
mod field;
mod shapes;

use std::collections::{BTreeMap, BTreeSet};

use coffre_model::database::{Checker, Parsed, TableCount};
use coffre_model::error::{Code, Error, Result};
use memchr::memchr_iter;

pub use self::contents::{ArchiveCompression, ArchiveEntry, ArchiveHeader, CONTENTS_MAX};
use self::contents::{Block, Contents};
use self::field::INT;
use super::names::qualified;

/// What `pg_dump` writes after the rows of a table, since 7.1.
const ROWS_END: &[u8] = b"\\.\n\n\n";

/// Reads an archive. Keeps its table of contents (at most [`CONTENTS_MAX`] bytes) and nothing of its data.
#[derive(Default)]
pub struct Archive {
    contents: Contents,
    contents_read: bool,
    /// Bytes taken so far.
    offset: u64,
    state: State,
    /// The first bytes of a number that was cut by the end of a piece.
    started: Vec<u8>,
    block: Option<Current>,
    blocks_left: usize,
    counts: BTreeMap<String, u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Between blocks: the kind of the next one.
    #[default]
    Kind,
    /// The number of the entry that the block belongs to.
    Id { large_objects: bool },
    /// The number of the next large object, 0 after the last.
    LargeObject,
    /// The length of the next chunk, 0 after the last.
    Length,
    /// Inside a chunk.
    Chunk { left: u64 },
}

/// The block being read.
struct Current {
    block: Block,
    newlines: u64,
    bytes: u64,
    /// The last bytes, newest at the end.
    tail: [u8; 6],
}

fn damaged(offset: u64, what: &'static str) -> Error {
    Error::new(Code::VerifyMismatch, "archive_damaged")
        .with("offset", offset)
        .with("what", what)
}

fn unsupported(text: &'static str, found: impl Into<serde_json::Value>) -> Error {
    Error::new(Code::VerifyMismatch, text).with("found", found)
}

impl Archive {
    /// Begins to read an archive.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the header says; nothing before all of it has come.
    pub fn header(&self) -> Option<&ArchiveHeader> {
        self.contents.header.as_ref()
    }

    /// The table of contents, in its order; nothing before all of it has come.
    pub fn entries(&self) -> Option<&[ArchiveEntry]> {
        self.contents_read.then_some(self.contents.entries.as_slice())
    }

    /// Every role that owns something or is granted something in this archive (a restore needs them, and no archive holds roles);
    /// nothing before the whole table of contents has come.
    pub fn roles(&self) -> Option<&BTreeSet<String>> {
        self.contents_read.then_some(&self.contents.roles)
    }

    /// Every extension that a restore makes, with its schema; nothing before the whole table of contents has come.
    pub fn extensions(&self) -> Option<&[(String, String)]> {
        self.contents_read.then_some(self.contents.extensions.as_slice())
    }

    fn data(&mut self, mut input: &[u8], end: u64) -> Result<()> {
        while !input.is_empty() {
            let at = end - input.len() as u64;
            match self.state {
                State::Kind => {
                    if self.blocks_left == 0 {
                        return Err(Error::new(Code::VerifyMismatch, "archive_trailing").with("offset", at));
                    }
                    self.state = match input[0] {
                        1 => State::Id { large_objects: false },
                        3 => State::Id { large_objects: true },
                        _ => return Err(damaged(at, "block kind")),
                    };
                    input = &input[1..];
                }
                State::Id { large_objects } => {
                    if let Some(id) = self.number(&mut input, at)? {
                        self.begin_block(id, large_objects, end - input.len() as u64)?;
                    }
                }
                State::LargeObject => match self.number(&mut input, at)? {
                    None => {}
                    Some(0) => self.end_block(at)?,
                    Some(_) => self.state = State::Length,
                },
                State::Length => match self.number(&mut input, at)? {
                    None => {}
                    Some(0) if self.block.as_ref().is_some_and(|b| b.block.large_objects) => self.state = State::LargeObject,
                    Some(0) => self.end_block(at)?,
                    Some(length) => {
                        let left = u64::try_from(length).ok().filter(|l| *l <= i32::MAX as u64);
                        let left = left.ok_or_else(|| damaged(at, "chunk length"))?;
                        self.state = State::Chunk { left };
                    }
                },
                State::Chunk { left } => {
                    let now = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                    let (chunk, rest) = input.split_at(now);
                    if let Some(current) = &mut self.block
                        && current.block.copy
                    {
                        current.rows(chunk);
                    }
                    input = rest;
                    let left = left - now as u64;
                    self.state = if left == 0 { State::Length } else { State::Chunk { left } };
                }
            }
        }
        Ok(())
    }

    /// A number, if all of it is there by now.
    fn number(&mut self, input: &mut &[u8], at: u64) -> Result<Option<i64>> {
        if self.started.is_empty()
            && let Some((bytes, rest)) = input.split_first_chunk::<INT>()
        {
            *input = rest;
            return field::int(bytes, at).map(Some);
        }
        let missing = INT - self.started.len();
        let (now, rest) = input.split_at(missing.min(input.len()));
        self.started.extend_from_slice(now);
        *input = rest;
        let Some(bytes) = self.started.first_chunk::<INT>() else {
            return Ok(None);
        };
        let value = field::int(bytes, at)?;
        self.started.clear();
        Ok(Some(value))
    }

    /// `after` is the position behind the block's number.
    fn begin_block(&mut self, id: i64, large_objects: bool, after: u64) -> Result<()> {
        let begin = after - 1 - INT as u64;
        let block = i32::try_from(id).ok().and_then(|id| self.contents.blocks.get_mut(&id));
        let block = block.ok_or_else(|| damaged(begin, "block number"))?;
        let wrong_place = block.position.is_some_and(|position| position != begin);
        if block.seen || wrong_place || block.large_objects != large_objects {
            return Err(damaged(begin, "block order"));
        }
        block.seen = true;
        let mut block = *block;
        // Inside compressed blocks there are no rows to be seen.
        block.copy &= self.contents.is_uncompressed();
        self.block = Some(Current {
            block,
            newlines: 0,
            bytes: 0,
            tail: [0; 6],
        });
        self.state = if large_objects { State::LargeObject } else { State::Length };
        Ok(())
    }

    fn end_block(&mut self, at: u64) -> Result<()> {
        self.state = State::Kind;
        self.blocks_left -= 1;
        let Some(current) = self.block.take() else {
            return Ok(());
        };
        if current.block.copy {
            let rows = current.ended_rows().ok_or_else(|| damaged(at, "end of rows"))?;
            let entry = &self.contents.entries[current.block.entry];
            if current.block.named {
                let table = qualified(entry.namespace.as_deref().unwrap_or(""), &entry.tag);
                // A table can have several blocks (`--load-via-partition-root` of some tools): they are one table's rows.
                *self.counts.entry(table).or_default() += rows;
            }
        }
        Ok(())
    }
}

impl Current {
    fn rows(&mut self, chunk: &[u8]) {
        self.newlines += memchr_iter(b'\n', chunk).count() as u64;
        self.bytes += chunk.len() as u64;
        if let Some(last) = chunk.last_chunk::<6>() {
            self.tail = *last;
        } else {
            self.tail.rotate_left(chunk.len());
            self.tail[6 - chunk.len()..].copy_from_slice(chunk);
        }
    }

    /// How many rows there were: every row ends in a newline, and a newline inside a value is written as `\n`. Nothing if what
    /// `pg_dump` writes after the last row is not there.
    fn ended_rows(&self) -> Option<u64> {
        let alone = self.bytes == ROWS_END.len() as u64;
        (self.tail.ends_with(ROWS_END) && (alone || self.tail[0] == b'\n')).then(|| self.newlines - 3)
    }
}

impl Checker for Archive {
    fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        let mut input = bytes;
        self.offset += bytes.len() as u64;
        if !self.contents_read {
            if !self.contents.take(&mut input, self.offset)? {
                return Ok(());
            }
            self.contents_read = true;
            self.blocks_left = self.contents.blocks.len();
        }
        self.data(input, self.offset)
    }

    fn finish(&mut self) -> Result<Parsed> {
        if self.offset == 0 {
            return Err(Error::new(Code::DumpEmpty, "dump_empty"));
        }
        if !self.contents_read || self.state != State::Kind {
            return Err(Error::new(Code::DumpTruncated, "archive_truncated").with("offset", self.offset));
        }
        if self.blocks_left > 0 {
            let missing = self.contents.blocks.values().filter(|block| !block.seen);
            let first = missing.map(|block| block.entry).min().map(|at| &self.contents.entries[at]);
            return Err(Error::new(Code::DumpTruncated, "archive_data_missing")
                .with("offset", self.offset)
                .with("missing", self.blocks_left)
                .with("first", first.map_or_else(String::new, |entry| entry.tag.clone())));
        }
        let counts = std::mem::take(&mut self.counts).into_iter();
        Ok(Parsed {
            shapes: self.contents.shapes.finish(),
            counts: counts.map(|(table, rows)| TableCount { table, rows }).collect(),
            objects: self.contents.entries.iter().filter(|entry| !entry.is_session()).count() as u64,
        })
    }
}
