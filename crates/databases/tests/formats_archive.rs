//! Custom archives of real servers: read whole, cut everywhere, flipped everywhere.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support_formats;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use coffre_databases::postgres::archive::{Archive, ArchiveCompression};
use coffre_databases::postgres::names::quote_ident;
use coffre_model::database::{Checker, Parsed};
use coffre_model::error::{Code, Result};
use proptest::prelude::*;
use support_formats::{Postgres, SEED, Version, counts};

/// Remembers the largest single allocation, so that a test can show that no length is believed before its bytes came.
struct Watching;
static LARGEST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is handed to the system's allocator unchanged.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's obligations are passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `System` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LARGEST.fetch_max(size, Ordering::Relaxed);
        // SAFETY: `pointer` came from `System` with this layout.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

fn read(bytes: &[u8]) -> Result<Parsed> {
    let mut archive = Archive::new();
    archive.feed(bytes)?;
    archive.finish()
}

fn as_pairs(parsed: &Parsed) -> Vec<(String, u64)> {
    parsed.counts.iter().map(|c| (c.table.clone(), c.rows)).collect()
}

fn dump(server: &Postgres, database: &str, arguments: &[&str]) -> Vec<u8> {
    server.output("pg_dump", database, &[&["-Fc"], arguments].concat())
}

/// Written to a file, `pg_dump` comes back and enters the position of each block.
fn dump_to_file(server: &Postgres, database: &str, arguments: &[&str]) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    dump(server, database, &[&["-f", path], arguments].concat());
    std::fs::read(file.path()).unwrap()
}

fn seeded(version: Version) -> (&'static Postgres, String) {
    let server = Postgres::shared(version);
    let database = server.create_database();
    server.sql(&database, SEED);
    (server, database)
}

/// A small database: every byte of its archive can be tried.
fn small(version: Version) -> Vec<u8> {
    small_by(version, dump)
}

fn small_by(version: Version, dump: fn(&Postgres, &str, &[&str]) -> Vec<u8>) -> Vec<u8> {
    let server = Postgres::shared(version);
    let database = server.create_database();
    server.sql(
        &database,
        "CREATE TABLE t (a int, b text); INSERT INTO t VALUES (1, 'x'), (2, E'a\\nb'), (3, NULL); CREATE TABLE e (a int);
         SELECT lo_from_bytea(0, 'hello'), lo_from_bytea(0, 'again')",
    );
    dump(server, &database, &["-Z0"])
}

#[test]
fn archives_of_every_version_are_whole_and_counted() {
    for version in Version::ALL {
        let (server, database) = seeded(version);
        let truth = counts(server, &database);
        assert!(
            truth
                .iter()
                .any(|(table, rows)| table == "\"S\"\"q; drop\".\"order\"" && *rows == 3)
        );
        for bytes in [
            dump(server, &database, &["-Z0"]),
            dump_to_file(server, &database, &["-Z0"]),
            dump(server, &database, &["-Z0", "--data-only"]),
            dump(server, &database, &["-Z0", "--section=data"]),
            dump(server, &database, &["-Z0", "-C", "--load-via-partition-root"]),
        ] {
            assert_eq!(as_pairs(&read(&bytes).unwrap()), truth, "{version:?}");
        }
    }
}

#[test]
fn archives_without_countable_rows_are_whole_all_the_same() {
    for version in Version::ALL {
        let (server, database) = seeded(version);
        for arguments in [
            &["-Z0", "--schema-only"][..],
            &["-Z0", "--section=pre-data"],
            &["-Z0", "--section=post-data"],
            &["-Z0", "--inserts"],
            &["-Z0", "--column-inserts", "--rows-per-insert=100"],
            &["-Z6"],
            &[],
        ] {
            for bytes in [dump(server, &database, arguments), dump_to_file(server, &database, arguments)] {
                let parsed = read(&bytes).unwrap_or_else(|e| panic!("{version:?} {arguments:?}: {e}"));
                assert_eq!(parsed.counts, [], "{version:?} {arguments:?}");
                assert!(parsed.objects > 0);
                assert_eq!(
                    read(&bytes[..bytes.len() - 1]).unwrap_err().code(),
                    Code::DumpTruncated,
                    "{version:?} {arguments:?}"
                );
            }
        }
        let tables = dump(server, &database, &["-Z0", "-t", "shop", "-t", "empty"]);
        assert_eq!(
            as_pairs(&read(&tables).unwrap()),
            [("public.empty".to_owned(), 0), ("public.shop".to_owned(), 200)]
        );
    }
}

#[test]
fn newer_archives_compressed_by_other_means_are_whole() {
    for version in [Version::V16, Version::V18] {
        let (server, database) = seeded(version);
        for (method, compression) in [
            ("lz4", ArchiveCompression::Lz4),
            ("zstd", ArchiveCompression::Zstd),
            ("gzip", ArchiveCompression::Gzip),
        ] {
            let compress = format!("--compress={method}");
            let output = server.client("pg_dump", &database).args(["-Fc", &compress]).output().unwrap();
            if !output.status.success() {
                // These builds may lack a method; then they say so, and nothing else.
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(said.contains("not supported") || said.contains("does not support"), "{said}");
                continue;
            }
            let mut archive = Archive::new();
            archive.feed(&output.stdout).unwrap();
            assert_eq!(archive.finish().unwrap().counts, []);
            assert_eq!(archive.header().unwrap().compression, compression);
        }
    }
}

#[test]
fn the_front_says_what_is_in_the_archive() {
    for (version, archive_version, number) in [
        (Version::V15, "1.14", "15."),
        (Version::V16, "1.15", "16."),
        (Version::V18, "1.16", "18."),
    ] {
        let (server, database) = seeded(version);
        server.sql(
            &database,
            "DO $$ BEGIN CREATE ROLE \"Reader x\"; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
             DO $$ BEGIN CREATE ROLE boss; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
             GRANT SELECT ON shop TO \"Reader x\"; ALTER TABLE empty OWNER TO boss;",
        );
        let bytes = dump(server, &database, &["-Z0"]);
        let mut archive = Archive::new();
        for byte in &bytes {
            assert_eq!(archive.entries().is_some(), archive.roles().is_some());
            archive.feed(std::slice::from_ref(byte)).unwrap();
        }
        archive.finish().unwrap();
        let header = archive.header().unwrap();
        assert_eq!(header.archive_version, archive_version);
        assert_eq!(header.database, database);
        assert!(header.dump_version.starts_with(number) && header.server_version.starts_with(number));
        assert_eq!(header.compression, ArchiveCompression::None);
        assert!(header.created.is_some());
        let entries = archive.entries().unwrap();
        let order = entries
            .iter()
            .find(|e| e.tag == "order" && e.description == "TABLE DATA")
            .unwrap();
        assert_eq!(order.namespace.as_deref(), Some("S\"q; drop"));
        assert_eq!(order.owner.as_deref(), Some("postgres"));
        assert!(order.has_data);
        let listed = server.output(
            "pg_restore",
            &database,
            &["-l", tempfile_with(&bytes).path().to_str().unwrap()],
        );
        let listed = String::from_utf8(listed).unwrap();
        assert!(listed.contains(&format!("TOC Entries: {}\n", entries.len())), "{listed}");
        let roles: Vec<_> = archive.roles().unwrap().iter().map(String::as_str).collect();
        assert_eq!(roles, ["Reader x", "boss", "postgres"]);
    }
}

fn tempfile_with(bytes: &[u8]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    file
}

#[test]
fn every_cut_is_found() {
    for version in Version::ALL {
        let bytes = small(version);
        read(&bytes).unwrap();
        for end in 0..bytes.len() {
            let code = read(&bytes[..end]).map(|_| end).unwrap_err().code();
            assert_eq!(
                code,
                if end == 0 { Code::DumpEmpty } else { Code::DumpTruncated },
                "{version:?} cut at {end}"
            );
        }
        let longer = [&bytes[..], b"\0"].concat();
        assert_eq!(read(&longer).unwrap_err().text(), "archive_trailing");
    }
}

#[test]
fn cuts_around_every_chunk_of_a_larger_archive_are_found() {
    let (server, database) = seeded(Version::V18);
    for arguments in [&["-Z0"][..], &["-Z1"]] {
        let bytes = dump_to_file(server, &database, arguments);
        read(&bytes).unwrap();
        // One pass: what `finish` would say is asked of a copy at each structural byte and at its neighbours.
        let labels = labels(&bytes);
        let mut tried = 0;
        for (at, label) in labels.iter().enumerate().filter(|(at, _)| *at > 0) {
            let edge = *label != labels[at - 1] || matches!(label, Label::Kind);
            if edge && (tried < 400 || at + 200 > bytes.len() || tried % 37 == 0) {
                for end in at - 1..=(at + 1).min(bytes.len() - 1) {
                    assert!(read(&bytes[..end]).is_err(), "{arguments:?} cut at {end}");
                }
            }
            tried += usize::from(edge);
        }
        assert!(tried > 100);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Label {
    Header,
    /// A length of a text in the table of contents.
    Length,
    /// A text's bytes: only its hash could find damage here.
    Text,
    /// Another number of the table of contents.
    Number,
    Position,
    Kind,
    BlockId,
    ChunkLength,
    Rows,
    LargeObject,
}

/// Says of each byte of an archive of 1.14 to 1.16 what it is: an independent, straightforward reading.
fn labels(bytes: &[u8]) -> Vec<Label> {
    struct Reader<'a>(&'a [u8], Vec<Label>);
    impl Reader<'_> {
        fn take(&mut self, count: usize, label: Label) -> Vec<u8> {
            let at = self.1.len();
            self.1.extend(std::iter::repeat_n(label, count));
            self.0[at..at + count].to_vec()
        }
        fn int(&mut self, label: Label) -> i64 {
            let b = self.take(5, label);
            let value = i64::from(u32::from_le_bytes([b[1], b[2], b[3], b[4]]));
            if b[0] == 1 { -value } else { value }
        }
        fn text(&mut self) -> Option<Vec<u8>> {
            let length = self.int(Label::Length);
            (length >= 0).then(|| self.take(length as usize, Label::Text))
        }
    }
    let mut r = Reader(bytes, Vec::new());
    let minor = r.take(11, Label::Header)[6];
    if minor >= 15 {
        r.take(1, Label::Header);
    } else {
        r.int(Label::Header);
    }
    (0..7).for_each(|_| _ = r.int(Label::Number));
    (0..3).for_each(|_| _ = r.text());
    for _ in 0..r.int(Label::Number) {
        r.int(Label::Number);
        r.int(Label::Number);
        (0..4).for_each(|_| _ = r.text());
        r.int(Label::Number);
        (0..6).for_each(|_| _ = r.text());
        if minor >= 16 {
            r.int(Label::Number);
        }
        r.text();
        r.text();
        while r.text().is_some() {}
        r.take(9, Label::Position);
    }
    while r.1.len() < bytes.len() {
        let kind = r.take(1, Label::Kind)[0];
        r.int(Label::BlockId);
        while kind == 1 || r.int(Label::LargeObject) != 0 {
            loop {
                let length = r.int(Label::ChunkLength);
                r.take(length as usize, Label::Rows);
                if length == 0 {
                    break;
                }
            }
            if kind == 1 {
                break;
            }
        }
    }
    r.1
}

#[test]
fn flipped_bits_in_the_structure_are_found_and_never_cost_memory() {
    for (version, dump) in [
        (Version::V15, dump as fn(&Postgres, &str, &[&str]) -> Vec<u8>),
        (Version::V16, dump),
        (Version::V18, dump),
        (Version::V18, dump_to_file),
    ] {
        let mut bytes = small_by(version, dump);
        let labels = labels(&bytes);
        let whole = read(&bytes).unwrap();
        LARGEST.store(0, Ordering::Relaxed);
        let (mut structure, mut missed) = (0, Vec::new());
        for at in 0..bytes.len() {
            for bit in 0..8 {
                bytes[at] ^= 1 << bit;
                let found = read(&bytes).map_or(true, |parsed| parsed != whole);
                bytes[at] ^= 1 << bit;
                match labels[at] {
                    Label::Text | Label::Rows => {}
                    label => {
                        structure += 1;
                        if !found {
                            missed.push((at, label));
                        }
                    }
                }
            }
        }
        // Other tests allocate at the same time, but none of them much.
        assert!(LARGEST.load(Ordering::Relaxed) < 8 << 20);
        let always = [
            Label::Header,
            Label::Length,
            Label::Position,
            Label::Kind,
            Label::BlockId,
            Label::ChunkLength,
        ];
        let wrong: Vec<_> = missed.iter().filter(|(_, label)| always.contains(label)).collect();
        assert!(wrong.is_empty(), "{version:?} {wrong:?}");
        // What is left are numbers that any value fits: the creation time, sections, numbers of entries and of large objects.
        assert!(
            missed.len() * 5 < structure,
            "{version:?}: {} of {structure} missed",
            missed.len()
        );
    }
}

#[test]
fn a_length_of_two_gigabytes_is_not_believed() {
    let mut bytes = small(Version::V18);
    let labels = labels(&bytes);
    for label in [Label::Length, Label::ChunkLength] {
        let at = labels.iter().position(|l| *l == label).unwrap();
        let kept = bytes[at..at + 5].to_vec();
        bytes[at..at + 5].copy_from_slice(&[0, 0xff, 0xff, 0xff, 0x3f]);
        LARGEST.store(0, Ordering::Relaxed);
        assert!(read(&bytes).is_err());
        assert!(LARGEST.load(Ordering::Relaxed) < 8 << 20);
        bytes[at..at + 5].copy_from_slice(&kept);
    }
}

#[test]
fn a_table_of_contents_of_another_format_is_named() {
    let (server, database) = seeded(Version::V15);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("d");
    server.output("pg_dump", &database, &["-Fd", "-f", path.to_str().unwrap()]);
    let error = read(&std::fs::read(path.join("toc.dat")).unwrap()).unwrap_err();
    assert_eq!((error.code(), error.text()), (Code::VerifyMismatch, "archive_not_one_file"));
    assert_eq!(read(b"-- SQL text").unwrap_err().text(), "archive_not_custom");
    let mut future = small(Version::V18);
    future[6] = 17;
    assert_eq!(read(&future).unwrap_err().text(), "archive_version");
}

#[test]
fn rows_of_a_database_in_another_encoding_are_counted_where_the_name_is_sure() {
    let server = Postgres::shared(Version::V15);
    let database = server.create_database();
    server.sql(
        &database,
        "CREATE TABLE \"é\" (a int); INSERT INTO \"é\" VALUES (1); CREATE TABLE plain (a text); INSERT INTO plain VALUES ('é')",
    );
    let utf8 = dump(server, &database, &["-Z0"]);
    assert_eq!(
        as_pairs(&read(&utf8).unwrap()),
        [("public.\"é\"".to_owned(), 1), ("public.plain".to_owned(), 1)]
    );
    let latin1 = dump(server, &database, &["-Z0", "-E", "LATIN1"]);
    assert_eq!(as_pairs(&read(&latin1).unwrap()), [("public.plain".to_owned(), 1)]);
}

#[test]
fn names_are_quoted_as_the_server_quotes_them() {
    let own = [
        "a", "_", "A", "1", "a1", "a$b", "é", "", " ", "a b", "a\"b", "a.b", "\"", "\\", "'", "aé",
    ];
    let values: Vec<String> = own.iter().map(|name| format!("('{}')", name.replace('\'', "''"))).collect();
    let query = format!(
        "SELECT name || chr(9) || quote_ident(name) FROM (VALUES {} UNION SELECT word FROM pg_get_keywords()) v (name)",
        values.join(", ")
    );
    for version in Version::ALL {
        let pairs = Postgres::shared(version).sql("postgres", &query);
        assert!(pairs.lines().count() > 400);
        for (name, theirs) in pairs.lines().map(|line| line.split_once('\t').unwrap()) {
            let ours = quote_ident(name);
            // An older server knows fewer key words.
            assert!(
                ours == theirs || (version != Version::V18 && ours == format!("\"{theirs}\"")),
                "{name}: {theirs}"
            );
        }
    }
}

/// An archive of 1.14 as older versions of `pg_dump` wrote it: without the access method of each entry.
fn older(bytes: &[u8], minor: u8) -> Vec<u8> {
    let labels = labels(bytes);
    let mut result = bytes[..11].to_vec();
    result[6] = minor;
    let mut at = 11;
    let mut texts = 0;
    let mut entries = false;
    // After the header's numbers and three texts, each entry has ten texts before its owner; the tenth is the access method.
    while at < bytes.len() {
        let length = match labels[at] {
            Label::Length => {
                let count = i32::from_le_bytes([bytes[at + 1], bytes[at + 2], bytes[at + 3], bytes[at + 4]]);
                5 + if bytes[at] == 1 { 0 } else { count as usize }
            }
            Label::Position => 9,
            _ => 1,
        };
        if labels[at] == Label::Length {
            texts += 1;
        }
        if !entries && texts == 4 {
            (entries, texts) = (true, 1);
        }
        if labels[at] == Label::Position {
            texts = 0;
        }
        if !(entries && texts == 10 && labels[at] == Label::Length) {
            result.extend_from_slice(&bytes[at..at + length]);
        }
        at += length;
    }
    result
}

#[test]
fn archives_of_older_tools_are_whole_and_cut_all_the_same() {
    let now = small(Version::V15);
    let parsed = read(&now).unwrap();
    for minor in [12, 13] {
        let bytes = older(&now, minor);
        assert!(bytes.len() < now.len());
        // The stock reader takes it for one as well.
        let listing = Postgres::shared(Version::V15).output(
            "pg_restore",
            "postgres",
            &["-l", tempfile_with(&bytes).path().to_str().unwrap()],
        );
        assert!(
            String::from_utf8(listing)
                .unwrap()
                .contains(&format!("Dump Version: 1.{minor}-0"))
        );
        assert_eq!(read(&bytes).unwrap(), parsed);
        for end in 1..bytes.len() {
            assert_eq!(read(&bytes[..end]).unwrap_err().code(), Code::DumpTruncated);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_size_of_pieces_does_not_matter(sizes in proptest::collection::vec(1_usize..300, 1..40), end in 0_usize..20_000, version in 0_usize..3) {
        static SMALL: std::sync::OnceLock<Vec<Vec<u8>>> = std::sync::OnceLock::new();
        let bytes = &SMALL.get_or_init(|| Version::ALL.map(small).to_vec())[version];
        let bytes = &bytes[..end.min(bytes.len())];
        let mut archive = Archive::new();
        let mut rest = bytes;
        let mut sizes = sizes.iter().cycle();
        let outcome = loop {
            if rest.is_empty() {
                break archive.finish();
            }
            let (now, later) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
            rest = later;
            if let Err(error) = archive.feed(now) {
                break Err(error);
            }
        };
        prop_assert_eq!(outcome.map_err(|e| e.code()), read(bytes).map_err(|e| e.code()));
    }

    #[test]
    fn noise_never_makes_it_panic(noise in proptest::collection::vec(any::<u8>(), 0..400), at in 0_usize..5000) {
        static SMALL: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        let mut bytes = SMALL.get_or_init(|| small(Version::V16)).clone();
        let at = at.min(bytes.len());
        bytes.splice(at..(at + noise.len()).min(bytes.len()), noise.iter().copied());
        // Whatever it says, it says it.
        let _outcome = read(&bytes);
    }
}
