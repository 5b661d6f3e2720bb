//! The checker finds what is wrong with stored bytes, and survives whatever it is fed.

use std::collections::BTreeMap;
use std::fs;
use std::sync::LazyLock;

use coffre_model::Code;
use coffre_model::database::{DatabaseKind, DumpFormat};
use proptest::prelude::*;
use rusqlite::Connection;

use super::common::{Ground, SHAPES, as_map, checked, make, plain_counts};
use crate::sqlite::Sqlite;

/// Page size, bytes, and rows of every table.
type Example = (usize, Vec<u8>, BTreeMap<String, u64>);

/// A file of every shape.
static FILES: LazyLock<Vec<Example>> = LazyLock::new(|| {
    let files = SHAPES.iter().map(|shape| {
        let ground = Ground::new();
        let path = ground.file("shop.db");
        drop(make(&path, *shape));
        let bytes = fs::read(&path).unwrap();
        let counts = as_map(&checked(&bytes, 1 << 20).unwrap().counts);
        (shape.page_size as usize, bytes, counts)
    });
    files.collect()
});

#[test]
fn a_missing_end_is_found_wherever_it_is() {
    let (page_size, bytes, _) = &FILES[0];
    for length in (0..bytes.len()).step_by(97).chain((0..bytes.len()).step_by(*page_size)) {
        let error = checked(&bytes[..length], 1000).unwrap_err();
        let expected = if length == 0 { Code::DumpEmpty } else { Code::DumpTruncated };
        assert_eq!(error.code(), expected, "{length}");
    }
    // Also where the header does not know how many pages there are, as before SQLite 3.7.
    let mut old = bytes.clone();
    old[92] ^= 1;
    checked(&old, 1000).unwrap();
    for pages in [1, 2, 50, old.len() / page_size - 1] {
        let error = checked(&old[..pages * page_size], 1000).unwrap_err();
        assert_eq!(
            (error.code(), error.text()),
            (Code::DumpTruncated, "sqlite_bytes_page_missing"),
            "{pages}"
        );
    }
}

#[test]
fn once_wrong_always_wrong() {
    let mut checker = Sqlite.checker(DumpFormat::Sqlite);
    assert_eq!(checker.feed(b"PGDMP").unwrap_err().code(), Code::VerifyMismatch);
    assert_eq!(checker.feed(&FILES[0].1).unwrap_err().code(), Code::VerifyMismatch);
    assert_eq!(checker.finish().unwrap_err().code(), Code::VerifyMismatch);
}

#[test]
fn what_lies_behind_the_end() {
    let (page_size, bytes, counts) = &FILES[0];
    let mut longer = bytes.clone();
    longer.extend(vec![0; 3 * page_size]);
    assert_eq!(as_map(&checked(&longer, 4096).unwrap().counts), *counts);
    longer.push(0);
    assert_eq!(checked(&longer, 4096).unwrap_err().code(), Code::DumpTruncated);
    let mut doubled = bytes.clone();
    doubled.extend_from_slice(bytes);
    assert_eq!(checked(&doubled, 4096).unwrap_err().text(), "sqlite_bytes_behind_end");
}

/// Any page in the place of any other one that is in use: lost, doubled, of the wrong kind, or at least other rows.
#[test]
fn pages_that_changed_places() {
    for (page_size, bytes, counts) in FILES.iter() {
        let pages = bytes.len() / page_size;
        for (from, to) in [(2, pages - 1), (pages / 3, pages / 2), (pages / 2, pages / 3), (pages - 1, 3)] {
            let mut moved = bytes.clone();
            let (a, b) = (from * page_size, to * page_size);
            let (first, second) = (bytes[a..a + page_size].to_vec(), bytes[b..b + page_size].to_vec());
            if first[0] == second[0] || ![2, 5, 10, 13].contains(&first[0]) || ![2, 5, 10, 13].contains(&second[0]) {
                continue;
            }
            moved[a..a + page_size].copy_from_slice(&second);
            moved[b..b + page_size].copy_from_slice(&first);
            match checked(&moved, 1 << 16) {
                Err(error) => assert!(matches!(error.code(), Code::VerifyMismatch | Code::DumpTruncated), "{error}"),
                Ok(parsed) => assert_ne!(as_map(&parsed.counts), *counts, "{page_size}: {from} and {to}"),
            }
        }
    }
}

/// Every pointer from a page of a tree to another page, turned to somewhere else.
#[test]
fn pointers_that_lead_elsewhere() {
    for (page_size, bytes, _) in FILES.iter() {
        let pages = u32::try_from(bytes.len() / page_size).unwrap();
        for number in 1..pages as usize {
            let start = number * page_size;
            if ![2, 5].contains(&bytes[start]) {
                continue;
            }
            let right = u32::from_be_bytes(bytes[start + 8..start + 12].try_into().unwrap());
            // Only pages in use: freed ones keep what they held.
            for other in [0, 1, right % pages + 1, pages + 1, u32::MAX] {
                let mut turned = bytes.clone();
                turned[start + 8..start + 12].copy_from_slice(&other.to_be_bytes());
                let result = checked(&turned, 1 << 16);
                let used = checked_uses(bytes, *page_size, number as u32 + 1);
                assert!(result.is_err() || !used, "{page_size}: page {} to {other}", number + 1);
            }
        }
    }
}

/// Whether a page belongs to a tree, by SQLite's own account.
fn checked_uses(bytes: &[u8], page_size: usize, page: u32) -> bool {
    static USED: LazyLock<std::sync::Mutex<BTreeMap<usize, Vec<u32>>>> = LazyLock::new(Default::default);
    let mut used = USED.lock().unwrap();
    let pages = used.entry(page_size << 32 | bytes.len()).or_insert_with(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        fs::write(&path, bytes).unwrap();
        let db = Connection::open(&path).unwrap();
        let mut statement = db.prepare("SELECT pageno FROM dbstat").unwrap();
        let pages = statement.query_map([], |row| row.get(0)).unwrap();
        pages.collect::<rusqlite::Result<_>>().unwrap()
    });
    pages.contains(&page)
}

#[test]
fn a_large_schema_on_many_pages_in_any_order() {
    let ground = Ground::new();
    let path = ground.file("many.db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch("PRAGMA page_size=512; PRAGMA synchronous=OFF; BEGIN;")
        .unwrap();
    for i in 0..900 {
        // Names that do not fit beside a long statement on a page of 512 bytes, too.
        let name = format!("t{i}_{}", "n".repeat(i % 60));
        let columns: Vec<String> = (0..i % 40).map(|c| format!("column_{c} TEXT")).collect();
        db.execute_batch(&format!(
            "CREATE TABLE {name}(a, {} b); INSERT INTO {name}(a) VALUES (1);",
            columns.join(", ") + if columns.is_empty() { "" } else { "," }
        ))
        .unwrap();
    }
    db.execute_batch("COMMIT; BEGIN;").unwrap();
    for i in (0..900).step_by(7) {
        db.execute_batch(&format!("DROP TABLE t{i}_{}; CREATE TABLE again_{i}(a);", "n".repeat(i % 60)))
            .unwrap();
    }
    db.execute_batch("COMMIT").unwrap();
    let expected = plain_counts(&db);
    drop(db);
    let found = as_map(&checked(&fs::read(&path).unwrap(), 4096).unwrap().counts);
    for (table, rows) in &found {
        assert_eq!(expected[table], *rows);
    }
    // Those whose name or place lies on another page cannot be read in one pass; on pages of 4096 bytes there are none.
    assert!(found.len() > 500, "{} of {}", found.len(), expected.len());
    let db = Connection::open(&path).unwrap();
    db.execute_batch("PRAGMA journal_mode=DELETE; PRAGMA page_size=4096; VACUUM;")
        .unwrap();
    drop(db);
    assert_eq!(as_map(&checked(&fs::read(&path).unwrap(), 4096).unwrap().counts), expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Bytes changed anywhere, cut anywhere, in pieces of any size: an answer, never a panic; and pages are never invented.
    #[test]
    fn nothing_panics(
        which in 0..SHAPES.len(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        early in proptest::collection::vec((0usize..200, any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        keep in any::<bool>(),
        piece in 1usize..200_000,
    ) {
        let (page_size, bytes, _) = &FILES[which];
        let mut bytes = bytes.clone();
        for (at, byte) in &changes {
            // Near the beginning of a page, where its structure is.
            let at = at.index(bytes.len());
            let at = if *byte % 3 == 0 { at } else { at / page_size * page_size + at % 16 };
            bytes[at] = *byte;
        }
        for (at, byte) in &early {
            bytes[*at] = *byte;
        }
        if !keep {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(parsed) = checked(&bytes, piece) {
            prop_assert!(parsed.objects as usize * 512 <= bytes.len());
        }
    }

    #[test]
    fn noise_is_no_database(bytes in proptest::collection::vec(any::<u8>(), 0..5000), magic in any::<bool>(), piece in 1usize..6000) {
        let mut bytes = bytes;
        if magic {
            bytes.splice(0..0, FILES[0].1[..100].iter().copied());
        }
        prop_assert!(checked(&bytes, piece).is_err());
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// One page overwritten with another one of the same file. Whatever SQLite itself finds wrong with it, the checker must not call
    /// sound with the right number of rows; what the checker finds wrong, SQLite must not call sound.
    #[test]
    fn a_page_over_another(which in 0..SHAPES.len(), from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>()) {
        let (page_size, bytes, counts) = &FILES[which];
        let pages = bytes.len() / page_size;
        let (from, to) = (from.index(pages) * page_size, to.index(pages) * page_size);
        let mut changed = bytes.clone();
        changed.copy_within(from..from + page_size, to);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        fs::write(&path, &changed).unwrap();
        let db = Connection::open(&path).unwrap();
        let said: String = db.query_row("PRAGMA quick_check", [], |row| row.get(0)).unwrap_or_else(|e| e.to_string());
        match checked(&changed, 1 << 16) {
            // SQLite does not look whether the tree of an index is one of an index.
            Err(error) => prop_assert!(said != "ok" || error.text() == "sqlite_bytes_page_kind", "{error}"),
            Ok(parsed) if as_map(&parsed.counts) == *counts => {
                // What a page says inside its cells is not looked at, nor is the pointer map.
                let structural = said.contains("2nd reference") || said.contains("never used") || said.contains("invalid page number");
                prop_assert!(!structural || said.contains("Bad ptr map"), "{said}");
            }
            Ok(_) => {}
        }
    }
}
