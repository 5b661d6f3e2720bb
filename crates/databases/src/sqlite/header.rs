//! The first hundred bytes of a database file (<https://www.sqlite.org/fileformat2.html#the_database_header>).

use std::fmt;

/// Bytes of the header.
pub(super) const HEADER_BYTES: usize = 100;
/// How every database begins.
pub(super) const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Offset of the lock-byte page: SQLite locks bytes here and never stores anything in the page that holds them.
const LOCK_BYTE: u64 = 1 << 30;

/// What of the header matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Bytes in a page: a power of two, 512 to 65536.
    pub(super) page_size: usize,
    /// Bytes of a page that SQLite uses itself, at least 480.
    pub(super) usable: usize,
    /// Whether readers must look for a write-ahead log.
    pub(super) wal: bool,
    /// Pages in the file, where the header knows: writers before SQLite 3.7 left the number out of date, which shows in
    /// "version valid for" differing from the change counter.
    pub(super) pages: Option<u32>,
    /// The first page of the list of free pages; 0 without.
    pub(super) free_list: u32,
    /// How many pages are free, those of the list itself included.
    pub(super) free_pages: u32,
    /// Whether there are pointer-map pages.
    pub(super) pointer_map: bool,
    /// How names are stored.
    pub(super) encoding: Encoding,
}

/// How text is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Utf8,
    Utf16Le,
    Utf16Be,
}

/// Why a header is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// The first sixteen bytes.
    Magic,
    /// The page size.
    PageSize,
    /// A file of a future format.
    Newer,
    /// Another field that has one legal value only.
    Fixed,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Wrong::Magic => "the first 16 bytes",
            Wrong::PageSize => "the page size",
            Wrong::Newer => "the format version",
            Wrong::Fixed => "a fixed field of the header",
        })
    }
}

/// Four bytes as a number; 0 behind the end.
pub(super) fn be32(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..at.saturating_add(4))
        .map_or(0, |b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
}

/// Two bytes as a number; 0 behind the end.
pub(super) fn be16(bytes: &[u8], at: usize) -> usize {
    bytes
        .get(at..at.saturating_add(2))
        .map_or(0, |b| usize::from(u16::from_be_bytes([b[0], b[1]])))
}

impl Header {
    /// Reads a header as SQLite does (`lockBtree`).
    pub(super) fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Header, Wrong> {
        if !bytes.starts_with(MAGIC) {
            return Err(Wrong::Magic);
        }
        let page_size = match be16(bytes, 16) {
            1 => 65536,
            size => size,
        };
        if !page_size.is_power_of_two() || page_size < 512 {
            return Err(Wrong::PageSize);
        }
        let usable = page_size - usize::from(bytes[20]);
        if usable < 480 || bytes[21..24] != [64, 32, 32] {
            return Err(Wrong::Fixed);
        }
        if bytes[19] > 2 {
            return Err(Wrong::Newer);
        }
        let pages = be32(bytes, 28);
        Ok(Header {
            page_size,
            usable,
            wal: bytes[19] == 2,
            pages: (pages != 0 && bytes[24..28] == bytes[92..96]).then_some(pages),
            free_list: be32(bytes, 32),
            free_pages: be32(bytes, 36),
            pointer_map: be32(bytes, 52) != 0,
            encoding: match be32(bytes, 56) {
                2 => Encoding::Utf16Le,
                3 => Encoding::Utf16Be,
                _ => Encoding::Utf8,
            },
        })
    }

    /// The page that holds the lock bytes. It exists only in files larger than 1 GiB.
    pub(super) fn lock_page(&self) -> u32 {
        // At most 2^30 / 512 + 1.
        u32::try_from(LOCK_BYTE / self.page_size as u64 + 1).unwrap_or(u32::MAX)
    }

    /// Whether a page is one of the pointer map, which lies at fixed places (`ptrmapPageno`).
    pub(super) fn is_pointer_map(&self, page: u32) -> bool {
        if !self.pointer_map || page < 2 {
            return false;
        }
        let covered = self.usable as u64 / 5 + 1;
        let group = (u64::from(page) - 2) / covered;
        let mut place = group * covered + 2;
        if place == u64::from(self.lock_page()) {
            place += 1;
        }
        place == u64::from(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_places_of_the_pointer_map() {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..16].copy_from_slice(MAGIC);
        bytes[16..18].copy_from_slice(&512u16.to_be_bytes());
        bytes[18..24].copy_from_slice(&[1, 1, 0, 64, 32, 32]);
        bytes[55] = 1;
        let header = Header::parse(&bytes).unwrap();
        let found: Vec<u32> = (1..320).filter(|p| header.is_pointer_map(*p)).collect();
        // "usable size / 5" entries on each page, the first one being page 2 (fileformat2.html, 1.8).
        assert_eq!(found, [2, 105, 208, 311]);
        assert_eq!(header.lock_page(), 2_097_153);
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), HEADER_BYTES), magic in any::<bool>()) {
            let mut header = [0; HEADER_BYTES];
            header.copy_from_slice(&bytes);
            if magic {
                header[..16].copy_from_slice(MAGIC);
            }
            if let Ok(header) = Header::parse(&header) {
                prop_assert!(header.page_size >= 512 && header.usable >= 480);
                let _any_page = header.is_pointer_map(u32::MAX);
            }
        }
    }
}
