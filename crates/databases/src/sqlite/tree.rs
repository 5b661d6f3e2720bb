//! The b-trees of a database, from its pages as they go by (<https://www.sqlite.org/fileformat2.html#b_tree_pages>).
//!
//! Of every page a few bytes are remembered: its kind, how many cells it has, and where it points to. At the end the trees are walked
//! from the schema, so that every page must be reached exactly once by something of the right kind, or be counted as free. That
//! finds lost, doubled and foreign pages, and counts the rows of every table, without reading the file a second time.

use coffre_model::database::TableCount;
use coffre_model::replace::TableShape;
use coffre_model::{Code, Error, Result};

use super::header::{Header, be16, be32};
use super::schema::{self, Entry};
use super::shapes;

/// What may be remembered, in bytes. About 8.2 bytes a page: some 23 GB of database at 4 KiB a page.
pub(super) const BUDGET: usize = 48 << 20;
/// More pages than this cannot be told apart by their first byte: an overflow page begins with a page number, a b-tree page with 2 or
/// more.
const PAGES_MAX: u32 = 0x01ff_ffff;
/// Trees that SQLite makes are far lower (its own limit is 20).
const DEPTH_MAX: u32 = 30;

/// What a page looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// No b-tree page: overflow, or of the list of free pages. Holds the number of the next page.
    Chain(u32),
    TableLeaf,
    TableInterior,
    IndexLeaf,
    IndexInterior,
    /// Begins like a b-tree page, but its cells lie outside it.
    Broken,
    /// Of the pointer map, or the one with the lock bytes: nothing refers to it.
    Apart,
}

/// A page in four bytes: kind (4 bits), whether it points to anything (1 bit), cells (16 bits); or kind and next page (25 bits).
#[derive(Clone, Copy)]
struct Note(u32);

const POINTS: u32 = 1 << 27;

impl Note {
    fn new(kind: Kind, cells: usize, points: bool) -> Note {
        let number = match kind {
            Kind::Chain(next) => return Note(next.min(PAGES_MAX + 1)),
            Kind::TableLeaf => 1,
            Kind::TableInterior => 2,
            Kind::IndexLeaf => 3,
            Kind::IndexInterior => 4,
            Kind::Broken => 5,
            Kind::Apart => 6,
        };
        let cells = u32::try_from(cells).map_or(0xffff, |c| c.min(0xffff));
        Note(number << 28 | if points { POINTS } else { 0 } | cells)
    }

    fn kind(self) -> Kind {
        match self.0 >> 28 {
            0 => Kind::Chain(self.0),
            1 => Kind::TableLeaf,
            2 => Kind::TableInterior,
            3 => Kind::IndexLeaf,
            4 => Kind::IndexInterior,
            6 => Kind::Apart,
            _ => Kind::Broken,
        }
    }

    fn cells(self) -> usize {
        (self.0 & 0xffff) as usize
    }

    fn points(self) -> bool {
        self.0 & POINTS != 0
    }
}

/// What is remembered of the pages.
pub(super) struct Forest {
    header: Header,
    budget: usize,
    /// One for each page, page 1 first.
    notes: Vec<Note>,
    /// Pages that others point to: of interior pages first the children from left to right, then overflow pages.
    targets: Vec<u32>,
    /// For each page that points to something, in order: its number, and where its targets begin.
    pointing: Vec<(u32, u32)>,
    /// Cells of pages that look like a part of the schema.
    schema: Vec<(u32, Vec<Entry>)>,
    schema_bytes: usize,
    /// What pages list that may be of the list of free pages.
    free: Vec<FreeList>,
}

/// The pages that a page lists as free. It takes little room whatever their number: two lists are the same where number and sum are.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct FreeList {
    page: u32,
    number: u32,
    sum: u64,
}

impl FreeList {
    fn add(&mut self, page: u32) {
        self.number += 1;
        self.sum = self.sum.wrapping_add(scattered(page));
    }
}

/// A number far from those of the neighbours (the finalizer of SplitMix64), so that sums of different pages differ.
fn scattered(page: u32) -> u64 {
    let mut x = u64::from(page).wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl Forest {
    pub(super) fn new(header: Header) -> Forest {
        Forest::with_budget(header, BUDGET)
    }

    fn with_budget(header: Header, budget: usize) -> Forest {
        Forest {
            header,
            budget,
            notes: Vec::new(),
            targets: Vec::new(),
            pointing: Vec::new(),
            schema: Vec::new(),
            schema_bytes: 0,
            free: Vec::new(),
        }
    }

    fn used(&self) -> usize {
        self.notes.capacity() * 4
            + self.targets.capacity() * 4
            + self.pointing.capacity() * 8
            + self.free.capacity() * size_of::<FreeList>()
            + self.schema_bytes
            + self.notes.len() / 8
    }

    /// Remembers the next page. Answers whether there was room for it; if not, all of this is of no use any more.
    pub(super) fn note(&mut self, number: u32, page: &[u8]) -> bool {
        grow(&mut self.notes);
        grow(&mut self.targets);
        grow(&mut self.pointing);
        if self.used() > self.budget || number > PAGES_MAX {
            return false;
        }
        let note = self.look(number, page);
        self.notes.push(note);
        true
    }

    fn look(&mut self, number: u32, page: &[u8]) -> Note {
        if number == self.header.lock_page() || self.header.is_pointer_map(number) {
            return Note::new(Kind::Apart, 0, false);
        }
        let start = if number == 1 { super::header::HEADER_BYTES } else { 0 };
        let kind = match page.get(start) {
            Some(13) => Kind::TableLeaf,
            Some(5) => Kind::TableInterior,
            Some(10) => Kind::IndexLeaf,
            Some(2) => Kind::IndexInterior,
            _ => {
                self.look_for_free(number, page);
                return Note::new(Kind::Chain(be32(page, 0)), 0, false);
            }
        };
        let first = self.targets.len();
        let cells = be16(page, start + 3);
        if self.cells(kind, page, start, cells).is_none() {
            self.targets.truncate(first);
            return Note::new(Kind::Broken, 0, false);
        }
        if kind == Kind::TableLeaf
            && let Some(entries) = schema::entries(page, start, cells, &self.header)
        {
            self.schema_bytes += entries.iter().map(Entry::bytes).sum::<usize>() + 32;
            self.schema.push((number, entries));
        }
        let points = self.targets.len() > first;
        if points {
            // Never more than the budget has bytes.
            self.pointing.push((number, u32::try_from(first).unwrap_or(u32::MAX)));
        }
        Note::new(kind, cells, points)
    }

    /// Keeps what the page lists, if it can be one of the list of free pages.
    fn look_for_free(&mut self, number: u32, page: &[u8]) {
        let listed = be32(page, 4);
        if listed == 0 || listed > self.header.free_pages || listed as usize > self.header.usable / 4 - 2 {
            return;
        }
        let mut list = FreeList {
            page: number,
            ..FreeList::default()
        };
        for i in 0..listed as usize {
            list.add(be32(page, 8 + 4 * i));
        }
        self.free.push(list);
    }

    /// Gathers what the cells of a page point to. Nothing where a cell lies outside the page.
    fn cells(&mut self, kind: Kind, page: &[u8], start: usize, cells: usize) -> Option<()> {
        let interior = matches!(kind, Kind::TableInterior | Kind::IndexInterior);
        let usable = self.header.usable;
        let pointers = start + if interior { 12 } else { 8 };
        let content = pointers + 2 * cells;
        if content > usable {
            return None;
        }
        if interior {
            for i in 0..cells {
                let at = be16(page, pointers + 2 * i);
                if at < content || at + 4 > usable {
                    return None;
                }
                self.targets.push(be32(page, at));
            }
            self.targets.push(be32(page, start + 8));
        }
        if kind == Kind::TableInterior {
            return Some(());
        }
        let limits = Limits::of(kind, usable);
        for i in 0..cells {
            let at = be16(page, pointers + 2 * i);
            if at < content || at + 4 > usable {
                return None;
            }
            let at = if interior { at + 4 } else { at };
            let (payload, length) = varint(page, at)?;
            if payload <= limits.most {
                if at + length + payload as usize > usable {
                    return None;
                }
                continue;
            }
            let mut from = at + length;
            if kind == Kind::TableLeaf {
                from += varint(page, from)?.1;
            }
            let overflow = from + limits.local(payload);
            if overflow + 4 > usable {
                return None;
            }
            self.targets.push(be32(page, overflow));
        }
        Some(())
    }

    fn targets_of(&self, page: u32) -> &[u32] {
        let Ok(place) = self.pointing.binary_search_by_key(&page, |(number, _)| *number) else {
            return &[];
        };
        let from = self.pointing[place].1 as usize;
        let to = self
            .pointing
            .get(place + 1)
            .map_or(self.targets.len(), |(_, next)| *next as usize);
        self.targets.get(from..to).unwrap_or_default()
    }

    /// Walks everything.
    ///
    /// # Errors
    /// `DUMP_TRUNCATED` where something points behind the end, `VERIFY_MISMATCH` where a page is of the wrong kind, reached twice, or
    /// not reached.
    pub(super) fn walk(self) -> Result<Walked> {
        Walk::new(&self).everything()
    }
}

/// Rows of every table, and what the tables are made of, where the schema's rows are short enough to tell.
pub(super) type Walked = (Vec<TableCount>, Option<Vec<TableShape>>);

/// More than one page can point to: a pointer of two bytes for each cell, and two targets for each of those.
const TARGETS_OF_A_PAGE: usize = 65536;

/// Lets a list grow by an eighth, not by half: all memory is counted.
fn grow<T>(list: &mut Vec<T>) {
    if list.capacity() - list.len() <= TARGETS_OF_A_PAGE {
        list.reserve_exact((list.len() / 8).max(2 * TARGETS_OF_A_PAGE));
    }
}

/// How much of a cell's payload lies in the page itself.
pub(super) struct Limits {
    least: usize,
    most: u64,
    usable: usize,
}

impl Limits {
    fn of(kind: Kind, usable: usize) -> Limits {
        let most = if kind == Kind::TableLeaf {
            usable - 35
        } else {
            (usable - 12) * 64 / 255 - 23
        };
        Limits {
            least: (usable - 12) * 32 / 255 - 23,
            most: most as u64,
            usable,
        }
    }

    /// For cells of a table's leaf.
    pub(super) fn of_table_leaf(usable: usize) -> Limits {
        Limits::of(Kind::TableLeaf, usable)
    }

    /// Bytes of a payload that lie in the page.
    pub(super) fn local(&self, payload: u64) -> usize {
        if payload <= self.most {
            return payload as usize;
        }
        let least = self.least as u64;
        let local = least + (payload - least) % (self.usable as u64 - 4);
        if local <= self.most { local as usize } else { self.least }
    }
}

/// A number of one to nine bytes, and its length.
pub(super) fn varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let first = *bytes.get(at)?;
    if first < 0x80 {
        return Some((u64::from(first), 1));
    }
    let mut value = u64::from(first & 0x7f);
    for i in 1..8 {
        let byte = *bytes.get(at + i)?;
        value = value << 7 | u64::from(byte & 0x7f);
        if byte < 0x80 {
            return Some((value, i + 1));
        }
    }
    let byte = *bytes.get(at + 8)?;
    Some((value << 8 | u64::from(byte), 9))
}

/// One walk over everything.
struct Walk<'f> {
    forest: &'f Forest,
    pages: u32,
    seen: Vec<u64>,
}

impl<'f> Walk<'f> {
    fn new(forest: &'f Forest) -> Walk<'f> {
        let pages = u32::try_from(forest.notes.len()).unwrap_or(u32::MAX);
        Walk {
            forest,
            pages,
            seen: vec![0; forest.notes.len() / 64 + 1],
        }
    }

    fn error(&self, text: &'static str, page: u32) -> Error {
        let byte = u64::from(page.saturating_sub(1)) * self.forest.header.page_size as u64;
        Error::new(Code::VerifyMismatch, text).with("page", page).with("byte", byte)
    }

    /// Comes to a page for the first and only time.
    fn visit(&mut self, page: u32) -> Result<Note> {
        let note = match page.checked_sub(1).and_then(|i| self.forest.notes.get(i as usize)) {
            Some(note) => *note,
            None => {
                return Err(Error::new(Code::DumpTruncated, "sqlite_bytes_page_missing")
                    .with("page", page)
                    .with("pages", self.pages));
            }
        };
        if self.has_seen(page) {
            return Err(self.error("sqlite_bytes_page_twice", page));
        }
        self.seen[page as usize / 64] |= 1 << (page % 64);
        Ok(note)
    }

    fn has_seen(&self, page: u32) -> bool {
        self.seen
            .get(page as usize / 64)
            .is_some_and(|word| word >> (page % 64) & 1 == 1)
    }

    /// Follows a chain of overflow or free pages.
    fn chain(&mut self, first: u32, mut each: impl FnMut(u32)) -> Result<()> {
        let mut page = first;
        while page != 0 {
            let Kind::Chain(next) = self.visit(page)?.kind() else {
                return Err(self.error("sqlite_bytes_page_kind", page));
            };
            each(page);
            page = next;
        }
        Ok(())
    }

    /// Walks one tree; answers how many entries it has. Leaves are shown to `leaf`.
    fn tree(&mut self, root: u32, table: Option<bool>, mut leaf: impl FnMut(u32, usize)) -> Result<u64> {
        let mut entries = 0;
        let mut is_table = table;
        let mut leaf_depth = None;
        let mut todo = vec![(root, 0)];
        while let Some((page, depth)) = todo.pop() {
            let note = self.visit(page)?;
            let (of_table, interior) = match note.kind() {
                Kind::TableLeaf => (true, false),
                Kind::TableInterior => (true, true),
                Kind::IndexLeaf => (false, false),
                Kind::IndexInterior => (false, true),
                Kind::Broken => return Err(self.error("sqlite_bytes_page_broken", page)),
                Kind::Chain(_) | Kind::Apart => return Err(self.error("sqlite_bytes_page_kind", page)),
            };
            if *is_table.get_or_insert(of_table) != of_table || depth > DEPTH_MAX {
                return Err(self.error("sqlite_bytes_page_kind", page));
            }
            let forest = self.forest;
            let targets = if note.points() { forest.targets_of(page) } else { &[] };
            let (children, overflow) = targets
                .split_at_checked(if interior { note.cells() + 1 } else { 0 })
                .unwrap_or_default();
            for first in overflow {
                self.chain(*first, |_| {})?;
            }
            if interior {
                if !of_table {
                    entries += note.cells() as u64;
                }
                todo.extend(children.iter().rev().map(|child| (*child, depth + 1)));
            } else {
                if *leaf_depth.get_or_insert(depth) != depth {
                    return Err(self.error("sqlite_bytes_page_depth", page));
                }
                entries += note.cells() as u64;
                leaf(page, note.cells());
            }
        }
        Ok(entries)
    }

    /// What the schema says, in no order.
    fn schema(&mut self) -> Result<(Vec<&'f Entry>, bool)> {
        let forest = self.forest;
        let mut leaves = Vec::new();
        self.tree(1, Some(true), |page, cells| leaves.push((page, cells)))?;
        let (mut found, mut complete) = (Vec::new(), true);
        for (page, cells) in leaves {
            if cells == 0 {
                continue;
            }
            let Ok(place) = forest.schema.binary_search_by_key(&page, |(number, _)| *number) else {
                return Err(self.error("sqlite_bytes_schema", page));
            };
            for entry in &forest.schema[place].1 {
                match entry.root {
                    // A view, a trigger.
                    Some(0) if !entry.is_table => {}
                    Some(_) => found.push(entry),
                    None => complete = false,
                }
            }
        }
        Ok((found, complete))
    }

    /// Whether the pages that nothing reached are those that the list of free pages names.
    fn nothing_is_lost(&mut self) -> Result<()> {
        let forest = self.forest;
        let (mut trunks, mut listed) = (0, FreeList::default());
        self.chain(forest.header.free_list, |page| {
            trunks += 1;
            if let Ok(place) = forest.free.binary_search_by_key(&page, |list| list.page) {
                listed.number = listed.number.saturating_add(forest.free[place].number);
                listed.sum = listed.sum.wrapping_add(forest.free[place].sum);
            }
        })?;
        let mut left = FreeList::default();
        for (page, note) in (1..).zip(&forest.notes) {
            if note.kind() != Kind::Apart && !self.has_seen(page) {
                left.add(page);
            }
        }
        if left != listed || u64::from(forest.header.free_pages) != trunks + u64::from(listed.number) {
            return Err(Error::new(Code::VerifyMismatch, "sqlite_bytes_pages_lost")
                .with("pages", left.number)
                .with("free", listed.number));
        }
        Ok(())
    }

    fn everything(mut self) -> Result<Walked> {
        let (entries, complete) = self.schema()?;
        let mut counts = Vec::new();
        let mut made_of = complete.then(Vec::new);
        for entry in entries {
            if entry.is_table && !schema::is_internal(&entry.name) {
                let shape = entry.sql.as_ref().map(|sql| shapes::shape(&entry.name, sql));
                made_of = made_of.zip(shape).map(|(mut all, shape)| {
                    all.push(shape);
                    all
                });
            }
            let root = entry.root.unwrap_or(0);
            if root == 0 {
                continue; // A virtual table has no tree.
            }
            // A table without rowid is stored as an index is; an index never as a table.
            let rows = self.tree(root, (!entry.is_table).then_some(false), |_, _| {})?;
            if entry.is_table && !schema::is_internal(&entry.name) {
                let table = entry.name.clone();
                counts.push(TableCount { table, rows });
            }
        }
        counts.sort_by(|a, b| a.table.cmp(&b.table));
        if complete {
            self.nothing_is_lost()?;
        }
        if let Some(shapes) = &mut made_of {
            shapes.sort();
        }
        Ok((counts, made_of))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_of_one_to_nine_bytes() {
        assert_eq!(varint(&[0x7f], 0), Some((127, 1)));
        assert_eq!(varint(&[0x81, 0x00], 0), Some((128, 2)));
        assert_eq!(varint(&[0xff; 9], 0), Some((u64::MAX, 9)));
        assert_eq!(varint(&[0xff; 8], 0), None);
        assert_eq!(varint(&[], 0), None);
    }

    proptest! {
        #[test]
        fn what_is_local_fits_the_page(usable in 480usize..=65536, payload in any::<u64>()) {
            for kind in [Kind::TableLeaf, Kind::IndexLeaf] {
                let local = Limits::of(kind, usable).local(payload);
                prop_assert!(local + 4 < usable);
                prop_assert!(local as u64 <= payload);
            }
        }

        #[test]
        fn a_note_keeps_what_it_was_told(next in 0..=PAGES_MAX, cells in 0usize..=0xffff, points in any::<bool>()) {
            prop_assert_eq!(Note::new(Kind::Chain(next), 0, false).kind(), Kind::Chain(next));
            for kind in [Kind::TableLeaf, Kind::TableInterior, Kind::IndexLeaf, Kind::IndexInterior, Kind::Broken, Kind::Apart] {
                let note = Note::new(kind, cells, points);
                prop_assert_eq!((note.kind(), note.cells(), note.points()), (kind, cells, points));
            }
        }
    }

    #[test]
    fn beyond_the_budget_nothing_is_remembered() {
        let mut bytes = [0; super::super::header::HEADER_BYTES];
        bytes[..16].copy_from_slice(super::super::header::MAGIC);
        bytes[16..24].copy_from_slice(&[2, 0, 1, 1, 0, 64, 32, 32]);
        let header = Header::parse(&bytes).unwrap();
        let mut forest = Forest::with_budget(header, 4 << 20);
        let noted = (1..).take_while(|n| forest.note(*n, &[0; 512])).count();
        assert!(noted > 200_000, "{noted}");
        assert!(forest.used() <= (4 << 20) + (1 << 20));
    }
}
