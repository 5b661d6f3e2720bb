//! What a file is, by its first bytes. Names and extensions are not asked: they lie.

use coffre_model::database::DumpFormat;
use coffre_model::error::{Code, Error};

/// What a file is.
#[derive(Clone, Debug, PartialEq)]
pub enum Recognised {
    /// Encrypted with age.
    Age {
        /// As text between `-----BEGIN AGE ENCRYPTED FILE-----` and its end.
        armoured: bool,
    },
    /// Compressed with zstd.
    Zstd,
    /// Compressed with gzip.
    Gzip,
    /// A dump that can be checked and loaded as it is. [`DumpFormat::Sql`] says no more than "text that can be SQL".
    Plain(DumpFormat),
    /// Something else, with what it is and what to do (`USAGE`), or nothing at all (`DUMP_EMPTY`).
    Unusable(Error),
}

/// How many bytes [`recognise`] wants to see, where there are so many.
pub const HEAD: usize = 512;

/// Where the name of a tar archive's first member is followed by the archive's mark.
const TAR_MARK: usize = 257;

/// Signatures of things that cannot be used as they are, with the key of the text that says so and a fact for it.
const UNUSABLE: &[(&[u8], &str, &str)] = &[
    (b"PK\x03\x04", "recognise_zip", ""),
    (b"PK\x05\x06", "recognise_zip", ""),
    (b"BZh", "recognise_packed", "bunzip2"),
    (b"\xfd7zXZ\0", "recognise_packed", "unxz"),
    (b"7z\xbc\xaf\x27\x1c", "recognise_packed", "7z x"),
    (b"\x04\x22\x4d\x18", "recognise_packed", "unlz4"),
    (b"-----BEGIN PGP MESSAGE-----", "recognise_packed", "gpg --decrypt"),
    (b"Salted__", "recognise_packed", "openssl enc -d"),
    (b"\x6d\xe2\x99\x81", "recognise_mongodb", ""),
    (b"\xff\xfe", "recognise_utf16", ""),
    (b"\xfe\xff", "recognise_utf16", ""),
];

/// Begins of text that is no SQL, or not PostgreSQL's; compared without regard to case, after white space.
const TEXTS: &[(&str, &str)] = &[
    ("-- mysql dump", "recognise_mysql"),
    ("-- mariadb dump", "recognise_mysql"),
    // MariaDB's first line since 10.11.8, which no other client understands.
    ("/*m!999999\\- enable the sandbox mode */", "recognise_mysql"),
    ("/*!", "recognise_mysql"),
    ("-- phpmyadmin sql dump", "recognise_mysql"),
    ("<!doctype html", "recognise_web_page"),
    ("<html", "recognise_web_page"),
    ("<?xml", "recognise_web_page"),
];

/// Says what a file is. `head` is its begin, at least [`HEAD`] bytes unless the file is shorter.
pub fn recognise(head: &[u8]) -> Recognised {
    if head.is_empty() {
        return Recognised::Unusable(Error::new(Code::DumpEmpty, "dump_empty"));
    }
    match head {
        [b'a', b'g', b'e', ..] if head.starts_with(b"age-encryption.org/v1\n") => Recognised::Age { armoured: false },
        [b'-', ..] if head.starts_with(b"-----BEGIN AGE ENCRYPTED FILE-----") => Recognised::Age { armoured: true },
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Recognised::Zstd,
        // A skippable frame, which may stand before the first real one.
        [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Recognised::Zstd,
        [0x1f, 0x8b, ..] => Recognised::Gzip,
        [b'S', ..] if head.starts_with(b"SQLite format 3\0") => Recognised::Plain(DumpFormat::Sqlite),
        // Behind the mark: three bytes of version, two of sizes, and the format; 3 and 5 are tables of contents without data.
        [b'P', b'G', b'D', b'M', b'P', _, _, _, _, _, 3 | 5, ..] => unusable("recognise_pg_directory", ""),
        [b'P', b'G', b'D', b'M', b'P', ..] => Recognised::Plain(DumpFormat::PgCustom),
        _ => other(head),
    }
}

fn unusable(text: &'static str, fact: &'static str) -> Recognised {
    let error = Error::new(Code::Usage, text);
    Recognised::Unusable(if fact.is_empty() { error } else { error.with("command", fact) })
}

fn other(head: &[u8]) -> Recognised {
    if let Some((_, text, fact)) = UNUSABLE.iter().find(|(mark, ..)| head.starts_with(mark)) {
        return unusable(text, fact);
    }
    let tar = head.get(TAR_MARK..TAR_MARK + 5) == Some(b"ustar");
    if head.starts_with(b"toc.dat\0") {
        return unusable("recognise_pg_tar", "");
    }
    if tar {
        return unusable("recognise_packed", "tar -xf");
    }
    if head.iter().all(|byte| *byte == 0) {
        return unusable("recognise_zeros", "");
    }
    if is_utf16(head) {
        return unusable("recognise_utf16", "");
    }
    if !is_text(head) {
        return unusable("recognise_unknown", "");
    }
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    for (begin, key) in TEXTS {
        if text
            .get(..begin.len())
            .is_some_and(|t| t.eq_ignore_ascii_case(begin.as_bytes()))
        {
            return unusable(key, "");
        }
    }
    // No SQL statement begins like this; JSON and archives of lists do.
    if matches!(text.first(), Some(b'{' | b'[')) {
        return unusable("recognise_unknown", "");
    }
    Recognised::Plain(DumpFormat::Sql)
}

/// Text in UTF-16 without a mark: every second byte is NUL, as far as it is English.
fn is_utf16(head: &[u8]) -> bool {
    let pairs = head.chunks_exact(2);
    let count = pairs.len();
    let nul = |place: usize| {
        head.chunks_exact(2)
            .filter(|pair| pair[place] == 0 && pair[1 - place] != 0)
            .count()
    };
    count >= 4 && (nul(0) * 10 >= count * 9 || nul(1) * 10 >= count * 9)
}

/// No NUL and no other control characters; bytes beyond ASCII are welcome in UTF-8, and in moderation as anything else.
fn is_text(head: &[u8]) -> bool {
    let control = |byte: &u8| *byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x0c) || *byte == 0x7f;
    if head.iter().any(control) {
        return false;
    }
    match std::str::from_utf8(head) {
        Ok(_) => true,
        Err(error) if error.error_len().is_none() => true,
        Err(_) => head.iter().filter(|byte| !byte.is_ascii()).count() * 3 < head.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text_of(head: &[u8]) -> String {
        match recognise(head) {
            Recognised::Unusable(error) => format!("{} {}", error.code(), error.text()),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn files_are_known_by_their_begin() {
        let mut tar = vec![0; 512];
        tar[..4].copy_from_slice(b"file");
        tar[TAR_MARK..TAR_MARK + 5].copy_from_slice(b"ustar");
        let mut pg_tar = tar.clone();
        pg_tar[..8].copy_from_slice(b"toc.dat\0");
        let utf16: Vec<u8> = "-- PostgreSQL".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let utf16_marked = [&b"\xff\xfe"[..], &utf16].concat();
        let cases: &[(&[u8], &str)] = &[
            (b"", "DUMP_EMPTY dump_empty"),
            (b"age-encryption.org/v1\n-> X25519 ", "Age { armoured: false }"),
            (b"-----BEGIN AGE ENCRYPTED FILE-----\nYWdl", "Age { armoured: true }"),
            (b"\x28\xb5\x2f\xfd\0", "Zstd"),
            (b"\x5e\x2a\x4d\x18\x04\0\0\0", "Zstd"),
            (b"\x1f\x8b\x08\0", "Gzip"),
            (b"SQLite format 3\0\x10\0", "Plain(Sqlite)"),
            (b"PGDMP\x01\x0e\0\x04\x08\x01\0", "Plain(PgCustom)"),
            (b"PGDMP\x01\x0e\0\x04\x08\x05\0", "USAGE recognise_pg_directory"),
            (b"PGDMP\x01\x0e\0\x04\x08\x03\0", "USAGE recognise_pg_directory"),
            (&pg_tar, "USAGE recognise_pg_tar"),
            (&tar, "USAGE recognise_packed"),
            (b"PK\x03\x04\x14", "USAGE recognise_zip"),
            (b"\xfd7zXZ\0\0", "USAGE recognise_packed"),
            (b"\x6d\xe2\x99\x81\x66", "USAGE recognise_mongodb"),
            (&utf16_marked, "USAGE recognise_utf16"),
            (&utf16, "USAGE recognise_utf16"),
            (b"-- MySQL dump 10.13  Distrib 8.0", "USAGE recognise_mysql"),
            (b"-- MariaDB dump 10.19", "USAGE recognise_mysql"),
            (
                b"/*M!999999\\- enable the sandbox mode */ \n-- MariaDB dump",
                "USAGE recognise_mysql",
            ),
            (b"\n<!DOCTYPE html><html>", "USAGE recognise_web_page"),
            (b"{\"error\": 404}", "USAGE recognise_unknown"),
            (&[0; 512], "USAGE recognise_zeros"),
            (b"\x7fELF\x02\x01", "USAGE recognise_unknown"),
            (b"--\n-- PostgreSQL database dump\n--\n", "Plain(Sql)"),
            (b"\xef\xbb\xbfSELECT 1;", "Plain(Sql)"),
            ("create table \"é".as_bytes(), "Plain(Sql)"),
            (b"insert into t values ('caf\xe9');", "Plain(Sql)"),
        ];
        for (head, expected) in cases {
            assert_eq!(text_of(head), *expected, "{}", String::from_utf8_lossy(head));
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic_and_a_nul_is_never_text(head in proptest::collection::vec(any::<u8>(), 0..600)) {
            let found = recognise(&head);
            if head.contains(&0) {
                prop_assert_ne!(found, Recognised::Plain(DumpFormat::Sql));
            }
        }

        #[test]
        fn a_character_cut_by_the_end_of_the_head_does_not_matter(text in "[a-zé€𝄞 ;]{1,200}", cut in 0_usize..200) {
            let bytes = format!("SELECT {text}").into_bytes();
            prop_assert_eq!(recognise(&bytes[..cut.clamp(1, bytes.len())]), Recognised::Plain(DumpFormat::Sql));
        }
    }
}
