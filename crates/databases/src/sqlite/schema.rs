//! Rows of `sqlite_schema` as they are stored (<https://www.sqlite.org/fileformat2.html#record_format>): just enough of a record's
//! format to learn which tables there are and where their trees begin.

use super::header::{Encoding, Header, be16};
use super::tree::{Limits, varint};

/// A row of the schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// A table (ordinary or virtual), not an index, view or trigger.
    pub(super) is_table: bool,
    /// Its name; kept for tables only.
    pub(super) name: String,
    /// Where its tree begins; 0 where it has none; nothing where that part of the row lies on another page.
    pub(super) root: Option<u32>,
    /// The text that made it; kept for tables only; nothing where a part of it lies on another page.
    pub(super) sql: Option<String>,
}

impl Entry {
    /// Memory that it takes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Entry>() + self.name.len() + self.sql.as_ref().map_or(0, String::len)
    }
}

/// Names that SQLite keeps for itself.
pub(super) fn is_internal(name: &str) -> bool {
    name.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("sqlite_"))
}

/// The rows on a leaf page, if it looks like a part of the schema: every page does not tell which table it belongs to, and the
/// schema's may come before the page that points to them.
pub(super) fn entries(page: &[u8], start: usize, cells: usize, header: &Header) -> Option<Vec<Entry>> {
    let cell = |i: usize| entry(page, be16(page, start + 8 + 2 * i), header);
    // Cells of a sound page do not overlap, so neither their number nor their names can take more room than the page; a forged one
    // could have all its pointers lead to one long name.
    if cells == 0 || cells > page.len() / 8 {
        return None;
    }
    // A page has room for both once, and text takes at most three times as many bytes when it is decoded.
    let (mut entries, mut room) = (Vec::new(), 3 * page.len());
    for i in 0..cells {
        let entry = cell(i)?;
        room = room.checked_sub(entry.name.len() + entry.sql.as_ref().map_or(0, String::len))?;
        entries.push(entry);
    }
    Some(entries)
}

/// One row: `type, name, tbl_name, rootpage, sql`. Nothing where it is not of this form.
fn entry(page: &[u8], at: usize, header: &Header) -> Option<Entry> {
    let (payload, length) = varint(page, at)?;
    let from = at + length;
    let from = from + varint(page, from)?.1;
    let local = Limits::of_table_leaf(header.usable).local(payload);
    let record = page.get(from..from.checked_add(local)?)?;
    let (header_length, mut place) = varint(record, 0)?;
    let mut types = [0; 5];
    for of_column in &mut types {
        let (value, length) = varint(record, place)?;
        *of_column = value;
        place += length;
    }
    if place as u64 != header_length {
        return None;
    }
    let width = match header.encoding {
        Encoding::Utf8 => 1,
        Encoding::Utf16Le | Encoding::Utf16Be => 2,
    };
    let text_length = |of_column: u64| (of_column >= 13 && of_column % 2 == 1).then(|| (of_column - 13) / 2);
    let kind_length = usize::try_from(text_length(types[0])?).ok()?;
    let name_length = text_length(types[1])?;
    let table_length = text_length(types[2])?;
    if kind_length > 7 * width || (text_length(types[4]).is_none() && types[4] != 0) {
        return None;
    }
    let kind = decoded(record.get(place..place + kind_length)?, header.encoding);
    let is_table = match kind.as_str() {
        "table" => true,
        "index" => false,
        "view" | "trigger" => {
            return Some(Entry {
                is_table: false,
                name: String::new(),
                root: Some(0),
                sql: None,
            });
        }
        _ => return None,
    };
    place += kind_length;
    let beyond = Entry {
        is_table,
        name: String::new(),
        root: None,
        sql: None,
    };
    // From here on the rest of the row may lie on an overflow page: the row is one of the schema, but it cannot be read.
    let Some(name_end) = usize::try_from(name_length).ok().and_then(|n| place.checked_add(n)) else {
        return Some(beyond);
    };
    let Some(name) = record.get(place..name_end) else {
        return Some(beyond);
    };
    let Some(root_at) = usize::try_from(table_length).ok().and_then(|n| name_end.checked_add(n)) else {
        return Some(beyond);
    };
    let root_length = match types[3] {
        0 | 8 | 9 => 0,
        n @ 1..=4 => n as usize,
        5 => 6,
        6 => 8,
        _ => return None,
    };
    let Some(root) = record.get(root_at..root_at.saturating_add(root_length)) else {
        return Some(beyond);
    };
    let sql_at = root_at.saturating_add(root_length);
    let sql = text_length(types[4])
        .filter(|_| is_table)
        .and_then(|length| usize::try_from(length).ok())
        .and_then(|length| record.get(sql_at..sql_at.checked_add(length)?))
        .map(|text| decoded(text, header.encoding));
    let root = match types[3] {
        0 | 8 => 0,
        9 => 1,
        _ => root.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte)),
    };
    Some(Entry {
        is_table,
        name: if is_table {
            decoded(name, header.encoding)
        } else {
            String::new()
        },
        // Larger than any page is as good as behind the end.
        root: Some(u32::try_from(root).unwrap_or(u32::MAX)),
        sql,
    })
}

fn decoded(bytes: &[u8], encoding: Encoding) -> String {
    let wide = |unit: fn([u8; 2]) -> u16| -> String {
        let units: Vec<u16> = bytes.chunks_exact(2).map(|b| unit([b[0], b[1]])).collect();
        String::from_utf16_lossy(&units)
    };
    match encoding {
        Encoding::Utf8 => String::from_utf8_lossy(bytes).into_owned(),
        Encoding::Utf16Le => wide(u16::from_le_bytes),
        Encoding::Utf16Be => wide(u16::from_be_bytes),
    }
}
