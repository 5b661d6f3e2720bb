//! The front of an archive: its header and its table of contents.
//!
//! The layout was read from PostgreSQL's `pg_backup_archiver.c` (`WriteHead`, `WriteToc`, `ReadOffset`) of version 18; the archive
//! versions differ by `compression` (a level before 1.15, an algorithm since), the table access method (since 1.14) and the kind of
//! relation (since 1.16).

use std::collections::{BTreeSet, HashMap};

use chrono::{NaiveDate, NaiveDateTime};
use coffre_model::error::{Code, Error, Result};

use super::field::{Field, Fields, Want};
use super::shapes::{COMMAND_MAX, Shapes, says_shape};
use super::{damaged, unsupported};
use crate::postgres::plain::words::{Words, roles_of};

/// What is kept of a table of contents, at most: about half a million entries.
pub const CONTENTS_MAX: usize = 64 << 20;
/// How much of a GRANT is read to find the roles in it.
const GRANTS_KEPT: usize = 64 << 10;

/// How much of the command that makes an extension is read to find its schema.
const EXTENSION_KEPT: usize = 1 << 10;

/// What the front of an archive says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveHeader {
    /// The version of the archive format: `1.12` (PostgreSQL 9.0) to `1.16` (17, 18).
    pub archive_version: String,
    /// The version of the `pg_dump` that wrote it, such as `15.20 (Debian …)`.
    pub dump_version: String,
    /// The version of the server that was dumped.
    pub server_version: String,
    /// The name of the database that was dumped.
    pub database: String,
    /// How its data blocks are compressed.
    pub compression: ArchiveCompression,
    /// When it was begun, by the clock and in the time zone of the machine that made it (the zone is not recorded).
    pub created: Option<NaiveDateTime>,
}

/// How data blocks are compressed inside the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchiveCompression {
    /// Not at all (`-Z0`): rows can be counted.
    None,
    /// gzip.
    Gzip,
    /// LZ4.
    Lz4,
    /// zstd.
    Zstd,
}

/// One entry of the table of contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveEntry {
    /// Its number within the archive.
    pub id: i32,
    /// What it is: `TABLE`, `TABLE DATA`, `EXTENSION`, …
    pub description: String,
    /// Its name, as it is (not quoted). Bytes that are not UTF-8 are shown as `�`.
    pub tag: String,
    /// Its schema, if it has one.
    pub namespace: Option<String>,
    /// The role that owns it, if it has an owner.
    pub owner: Option<String>,
    /// Whether a data block belongs to it.
    pub has_data: bool,
}

impl ArchiveEntry {
    /// Whether it only sets up the session that restores (encoding, string syntax, search path).
    pub fn is_session(&self) -> bool {
        matches!(self.description.as_str(), "ENCODING" | "STDSTRINGS" | "SEARCHPATH")
    }
}

/// What the data walker must know of an entry beside what is shown of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    /// Its entry's place in the list.
    pub(super) entry: usize,
    /// Where its block begins, if the archive says so (it was written to a file, not a pipe).
    pub(super) position: Option<u64>,
    /// Large objects, not rows.
    pub(super) large_objects: bool,
    /// Rows of `COPY`, not `INSERT` commands.
    pub(super) copy: bool,
    /// The names are known letter by letter (UTF-8), so that a count can carry them.
    pub(super) named: bool,
    /// It has come.
    pub(super) seen: bool,
}

/// Everything that the front of an archive says.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) header: Option<ArchiveHeader>,
    pub(super) entries: Vec<ArchiveEntry>,
    pub(super) roles: BTreeSet<String>,
    /// Each with the schema that it is made in.
    pub(super) extensions: Vec<(String, String)>,
    pub(super) shapes: Shapes,
    /// The blocks that must come, by number.
    pub(super) blocks: HashMap<i32, Block>,
    fields: Fields,
    step: Step,
    version: u8,
    offset_size: usize,
    date: Vec<i64>,
    texts: Vec<String>,
    compression: Option<ArchiveCompression>,
    entries_left: i64,
    ids: std::collections::HashSet<i32>,
    kept: usize,
    entry: Draft,
    utf8: bool,
}

/// The entry being read.
#[derive(Default)]
struct Draft {
    id: i32,
    has_data: bool,
    tag: Vec<u8>,
    description: Vec<u8>,
    namespace: Option<Vec<u8>>,
    owner: Option<Vec<u8>>,
    copy: bool,
    /// What makes it, where that says what a table is made of.
    command: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Step {
    #[default]
    Magic,
    Version,
    Sizes,
    Algorithm,
    Level,
    Date,
    HeaderText,
    Count,
    Id,
    HasData,
    CatalogueId,
    ObjectId,
    Tag,
    Description,
    Section,
    Definition,
    Drop,
    Copy,
    Namespace,
    Tablespace,
    AccessMethod,
    RelationKind,
    Owner,
    WithOids,
    Dependency,
    Offset,
    Done,
}

impl Contents {
    /// Takes bytes from the front of `input` until the table of contents has ended; answers whether it has. `end` is the position
    /// of the byte behind `input`.
    pub(super) fn take(&mut self, input: &mut &[u8], end: u64) -> Result<bool> {
        while self.step != Step::Done {
            let want = self.want();
            let position = |rest: &[u8]| end - rest.len() as u64;
            let Some(field) = self.fields.take(input, want, position(input))? else {
                return Ok(false);
            };
            self.step = self.accept(field, position(input))?;
        }
        Ok(true)
    }

    fn want(&self) -> Want {
        match self.step {
            Step::Magic => Want::Bytes(5),
            Step::Version | Step::Sizes => Want::Bytes(3),
            Step::Algorithm => Want::Bytes(1),
            Step::Level | Step::Date | Step::Count | Step::Id | Step::HasData | Step::Section | Step::RelationKind => Want::Int,
            Step::HeaderText | Step::Tag | Step::Description | Step::Namespace | Step::Owner => Want::Name,
            Step::CatalogueId | Step::ObjectId | Step::WithOids | Step::Dependency | Step::Copy => Want::Start(16),
            Step::Definition => match self.entry.description.as_slice() {
                b"ENCODING" => Want::Start(128),
                b"ACL" | b"DEFAULT ACL" | b"POLICY" => Want::Start(GRANTS_KEPT),
                b"EXTENSION" => Want::Start(EXTENSION_KEPT),
                other if says_shape(other) => Want::Start(COMMAND_MAX),
                _ => Want::Start(0),
            },
            Step::Drop | Step::Tablespace | Step::AccessMethod => Want::Start(0),
            Step::Offset => Want::Bytes(1 + self.offset_size),
            Step::Done => Want::Bytes(0),
        }
    }

    fn accept(&mut self, field: Field, at: u64) -> Result<Step> {
        match field {
            Field::Bytes(bytes) => self.accept_bytes(&bytes, at),
            Field::Int(value) => self.accept_int(value, at),
            Field::Text(text) => self.accept_text(text, at),
        }
    }

    fn accept_bytes(&mut self, bytes: &[u8], at: u64) -> Result<Step> {
        match (self.step, bytes) {
            (Step::Magic, b"PGDMP") => Ok(Step::Version),
            (Step::Magic, _) => Err(Error::new(Code::VerifyMismatch, "archive_not_custom")),
            (Step::Version, &[major, minor, revision]) => {
                if major != 1 || !(12..=16).contains(&minor) || revision != 0 {
                    return Err(unsupported("archive_version", format!("{major}.{minor}")));
                }
                self.version = minor;
                Ok(Step::Sizes)
            }
            (Step::Sizes, &[int_size, offset_size, format]) => {
                if int_size != 4 || !matches!(offset_size, 4 | 8) {
                    return Err(damaged(at, "number size"));
                }
                match format {
                    1 => {}
                    // The `toc.dat` of a tar or directory dump: its rows are in other files.
                    3 | 5 => {
                        return Err(unsupported(
                            "archive_not_one_file",
                            if format == 3 { "tar" } else { "directory" },
                        ));
                    }
                    _ => return Err(damaged(at, "format")),
                }
                self.offset_size = offset_size.into();
                Ok(if self.version >= 15 { Step::Algorithm } else { Step::Level })
            }
            (Step::Algorithm, &[algorithm]) => {
                self.compression = Some(match algorithm {
                    0 => ArchiveCompression::None,
                    1 => ArchiveCompression::Gzip,
                    2 => ArchiveCompression::Lz4,
                    3 => ArchiveCompression::Zstd,
                    _ => return Err(damaged(at, "compression")),
                });
                Ok(Step::Date)
            }
            (Step::Offset, &[flag, ref position @ ..]) => self.accept_offset(flag, position, at),
            _ => Err(damaged(at, "header")),
        }
    }

    fn accept_int(&mut self, value: i64, at: u64) -> Result<Step> {
        match self.step {
            Step::Level => {
                self.compression = Some(match value {
                    0 => ArchiveCompression::None,
                    -1 | 1..=9 => ArchiveCompression::Gzip,
                    _ => return Err(damaged(at, "compression")),
                });
                Ok(Step::Date)
            }
            Step::Date => {
                self.date.push(value);
                Ok(if self.date.len() < 7 { Step::Date } else { Step::HeaderText })
            }
            Step::Count if value >= 0 => {
                self.entries_left = value;
                self.utf8 = true;
                Ok(if value == 0 { Step::Done } else { Step::Id })
            }
            Step::Id => {
                let id = i32::try_from(value).ok().filter(|id| *id > 0);
                self.entry = Draft {
                    id: id.ok_or_else(|| damaged(at, "entry number"))?,
                    ..Draft::default()
                };
                if !self.ids.insert(self.entry.id) {
                    return Err(damaged(at, "entry number"));
                }
                Ok(Step::HasData)
            }
            Step::HasData if matches!(value, 0 | 1) => {
                self.entry.has_data = value == 1;
                Ok(Step::CatalogueId)
            }
            Step::Section if (1..=4).contains(&value) => Ok(Step::Definition),
            Step::RelationKind if value == 0 || (0x20..0x7f).contains(&value) => Ok(Step::Owner),
            _ => Err(damaged(at, "table of contents")),
        }
    }

    fn accept_text(&mut self, text: Option<Vec<u8>>, at: u64) -> Result<Step> {
        let wrong = || damaged(at, "table of contents");
        let number = |text: &Option<Vec<u8>>| {
            let digits = text.as_deref().filter(|t| !t.is_empty() && t.len() <= 10);
            digits
                .filter(|t| t.iter().all(u8::is_ascii_digit))
                .ok_or_else(wrong)
                .map(|_| ())
        };
        Ok(match self.step {
            Step::HeaderText => {
                self.texts.push(shown(&text.unwrap_or_default()));
                if self.texts.len() < 3 {
                    return Ok(Step::HeaderText);
                }
                self.header = Some(self.finish_header(at)?);
                Step::Count
            }
            Step::CatalogueId => {
                number(&text)?;
                Step::ObjectId
            }
            Step::ObjectId => {
                number(&text)?;
                Step::Tag
            }
            Step::Tag => {
                self.entry.tag = text.ok_or_else(wrong)?;
                Step::Description
            }
            Step::Description => {
                let text = text.ok_or_else(wrong)?;
                if text.is_empty() || text.len() > 64 || !text.iter().all(|b| (0x20..0x7f).contains(b)) {
                    return Err(wrong());
                }
                self.entry.description = text;
                Step::Section
            }
            Step::Definition => {
                let text = text.unwrap_or_default();
                if self.entry.description == b"ENCODING" {
                    let upper = text.to_ascii_uppercase();
                    self.utf8 = [&b"'UTF8'"[..], b"'SQL_ASCII'"]
                        .iter()
                        .any(|e| memchr::memmem::find(&upper, e).is_some());
                } else if self.entry.description == b"EXTENSION" {
                    if let Some(schema) = schema_of(&text) {
                        self.extensions.push((shown(&self.entry.tag), schema));
                    }
                } else if says_shape(&self.entry.description) {
                    self.entry.command = text;
                } else if !text.is_empty() {
                    self.roles.extend(roles_of(&text));
                }
                Step::Drop
            }
            Step::Drop => Step::Copy,
            Step::Copy => {
                let text = text.unwrap_or_default();
                if !text.is_empty() && !text.starts_with(b"COPY ") {
                    return Err(wrong());
                }
                self.entry.copy = !text.is_empty();
                Step::Namespace
            }
            Step::Namespace => {
                self.entry.namespace = text.filter(|n| !n.is_empty());
                Step::Tablespace
            }
            Step::Tablespace if self.version >= 14 => Step::AccessMethod,
            Step::AccessMethod if self.version >= 16 => Step::RelationKind,
            Step::Tablespace | Step::AccessMethod => Step::Owner,
            Step::Owner => {
                self.entry.owner = text.filter(|o| !o.is_empty());
                Step::WithOids
            }
            Step::WithOids if matches!(text.as_deref(), Some(b"false" | b"true")) => Step::Dependency,
            Step::Dependency if text.is_none() => Step::Offset,
            Step::Dependency => {
                number(&text)?;
                Step::Dependency
            }
            _ => return Err(wrong()),
        })
    }

    /// An entry is marked three times as having data: by `hadDumper`, by this flag, and by a block further on. `pg_dump` sets the
    /// first two together when the entry is made (`ArchiveEntry`); writing to a file it comes back and replaces "not yet known" (1)
    /// by "here" (2). Entries left out of the dump (`--section`, `--schema-only`) are left out of this table too, so every entry
    /// that says data must have its block.
    fn accept_offset(&mut self, flag: u8, position: &[u8], at: u64) -> Result<Step> {
        let mut bytes = [0; 8];
        bytes[..position.len()].copy_from_slice(position);
        let position = u64::from_le_bytes(bytes);
        let consistent = match flag {
            1 => self.entry.has_data && position == 0,
            2 => self.entry.has_data && position > 0,
            3 => !self.entry.has_data && position == 0,
            _ => false,
        };
        if !consistent {
            return Err(damaged(at, "data position"));
        }
        let draft = std::mem::take(&mut self.entry);
        let entry = ArchiveEntry {
            id: draft.id,
            description: shown(&draft.description),
            tag: shown(&draft.tag),
            namespace: draft.namespace.as_deref().map(shown),
            owner: draft.owner.as_deref().map(shown),
            has_data: draft.has_data,
        };
        if says_shape(&draft.description) {
            // Names in another encoding could not be compared.
            let command = if self.utf8 { draft.command.as_slice() } else { b"\xff" };
            let namespace = entry.namespace.as_deref();
            self.shapes.take(&entry.description, namespace, &entry.tag, command);
        }
        if entry.has_data {
            let parts = [Some(&draft.tag), draft.namespace.as_ref()];
            let exact = |name: &&Vec<u8>| name.is_ascii() || (self.utf8 && std::str::from_utf8(name).is_ok());
            self.blocks.insert(
                entry.id,
                Block {
                    entry: self.entries.len(),
                    position: (flag == 2).then_some(position),
                    large_objects: entry.description == "BLOBS",
                    copy: draft.copy && entry.description == "TABLE DATA",
                    named: entry.namespace.is_some() && parts.into_iter().flatten().all(|name| exact(&name)),
                    seen: false,
                },
            );
        }
        if let Some(owner) = &entry.owner
            && !self.roles.contains(owner)
        {
            self.roles.insert(owner.clone());
        }
        let text = entry.tag.len() + entry.description.len();
        let names = entry.namespace.as_ref().map_or(0, String::len) + entry.owner.as_ref().map_or(0, String::len);
        self.kept += size_of::<ArchiveEntry>() + text + names;
        if self.kept > CONTENTS_MAX {
            return Err(Error::new(Code::VerifyMismatch, "archive_contents_large").with("megabytes", CONTENTS_MAX >> 20));
        }
        self.entries.push(entry);
        self.entries_left -= 1;
        Ok(if self.entries_left == 0 { Step::Done } else { Step::Id })
    }

    /// Whether no data block is compressed.
    pub(super) fn is_uncompressed(&self) -> bool {
        self.compression == Some(ArchiveCompression::None)
    }

    fn finish_header(&mut self, at: u64) -> Result<ArchiveHeader> {
        let mut texts = std::mem::take(&mut self.texts).into_iter();
        let mut text = || texts.next().unwrap_or_default();
        let (database, server_version, dump_version) = (text(), text(), text());
        Ok(ArchiveHeader {
            archive_version: format!("1.{}", self.version),
            dump_version,
            server_version,
            database,
            compression: self.compression.unwrap_or(ArchiveCompression::None),
            created: created(&self.date).ok_or_else(|| damaged(at, "creation time"))?,
        })
    }
}

/// The schema of `CREATE EXTENSION … WITH SCHEMA name`.
fn schema_of(command: &[u8]) -> Option<String> {
    let mut words = Words::new(command, true).skip_while(|word| !word.is("schema"));
    words.nth(1)?.name()
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The seven numbers of C's `struct tm`. Nothing at all if they are no such thing; no time for a leap second or a 30th of February.
#[expect(
    clippy::option_option,
    reason = "a wrong number and a time that the calendar does not know are different things"
)]
fn created(tm: &[i64]) -> Option<Option<NaiveDateTime>> {
    let &[second, minute, hour, day, month, year, dst] = tm else {
        return None;
    };
    let ranges = [
        (second, 0, 60),
        (minute, 0, 59),
        (hour, 0, 23),
        (day, 1, 31),
        (month, 0, 11),
        (year, 70, 8099),
        (dst, -1, 1),
    ];
    if ranges.iter().any(|(value, low, high)| value < low || value > high) {
        return None;
    }
    let small = |value: i64| u32::try_from(value).unwrap_or(0);
    let date = NaiveDate::from_ymd_opt(1900 + i32::try_from(year).unwrap_or(0), small(month) + 1, small(day));
    Some(date.and_then(|date| date.and_hms_opt(small(hour), small(minute), small(second))))
}
