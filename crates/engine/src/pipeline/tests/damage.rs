//! Damage of every kind in every format: cut anywhere, one bit turned anywhere, something added.
//!
//! Two questions. With the hashes of the manifest: is it always found? Without them (a file from elsewhere, or a stock tool): is it ever
//! taken for something else than it was?

use coffre_model::error::Code;

use super::*;
use crate::pipeline::buffers::{AGE_CHUNK, PIECE};

const ALL: [Compression; 3] = [Compression::None, Compression::Zstd(3), Compression::Gzip(6)];

fn found(bytes: &[u8], stored: &Stored, compression: Compression, decryption: &Decryption, what: &str) {
    let (_, outcome) = read(bytes, &expect(stored, compression, decryption), false);
    let error = outcome.err().unwrap_or_else(|| panic!("{compression}: {what} was not found"));
    assert_eq!(error.code(), Code::VerifyMismatch, "{compression}: {what}: {error}");
    // Size or hash of what is stored comes first, whatever a codec says.
    assert!(error.text().starts_with("stored_"), "{compression}: {what}: {error}");
    // A load gets nothing of a small one.
    if stored.raw_bytes <= 65_536 && bytes.len().is_multiple_of(7) {
        let (plain, outcome) = read(bytes, &expect(stored, compression, decryption), true);
        assert!(outcome.is_err() && plain.is_empty());
    }
}

/// Without hashes: an error, or exactly the bytes that went in.
fn never_other_bytes(bytes: &[u8], plain: &[u8], compression: Compression, decryption: &Decryption, what: &str) {
    let (back, outcome) = read(bytes, &expect_nothing(compression, decryption), false);
    match outcome {
        Ok(_) => assert!(back == plain, "{compression}: {what} gave other bytes and no error"),
        Err(error) => assert!(
            matches!(error.code(), Code::VerifyMismatch | Code::DecryptFailed),
            "{compression}: {what}: {error}"
        ),
    }
}

#[test]
fn cut_anywhere() {
    let plain = sample(400, 1);
    for compression in ALL {
        for (encryption, decryption) in keys() {
            let (bytes, stored) = stored(&plain, compression, &encryption);
            for length in 0..bytes.len() {
                found(
                    &bytes[..length],
                    &stored,
                    compression,
                    &decryption,
                    &format!("cut at {length}"),
                );
                // The containers find it by themselves; plain bytes cannot.
                if (compression, &decryption) == (Compression::None, &Decryption::None) {
                    continue;
                }
                let (_, outcome) = read(&bytes[..length], &expect_nothing(compression, &decryption), false);
                assert!(outcome.is_err(), "{compression} cut at {length} was taken for whole");
            }
        }
    }
}

impl PartialEq for Decryption {
    fn eq(&self, other: &Self) -> bool {
        matches!((self, other), (Decryption::None, Decryption::None))
    }
}

#[test]
fn cut_at_and_around_every_boundary_of_a_large_one() {
    let plain = [sample(3 * PIECE + 100, 2), noise(3 * AGE_CHUNK, 3)].concat();
    for compression in ALL {
        for (encryption, decryption) in keys() {
            let (bytes, stored) = stored(&plain, compression, &encryption);
            // Chunks of age (behind a header of some 180 bytes), blocks of zstd, flushes of gzip: each boundary and its neighbours.
            let mut edges: Vec<usize> = match (compression, &encryption) {
                (Compression::Gzip(_), Encryption::None) => bytes
                    .windows(4)
                    .enumerate()
                    .filter(|(_, window)| *window == [0, 0, 0xff, 0xff])
                    .map(|(at, _)| at + 4)
                    .collect(),
                (Compression::Zstd(_), Encryption::None) => zstd_blocks(&bytes),
                (Compression::None, Encryption::None) => vec![PIECE, 2 * PIECE, 3 * PIECE],
                _ => {
                    let body = bytes.windows(5).position(|w| w == b"\n--- ").unwrap() + 1 + 4 + 43 + 1 + 16;
                    (0..bytes.len() / AGE_CHUNK)
                        .map(|chunk| body + chunk * (AGE_CHUNK + 16))
                        .collect()
                }
            };
            assert!(edges.len() >= 3, "{compression} {edges:?}");
            edges.push(bytes.len());
            for edge in edges {
                for length in [edge.saturating_sub(16), edge - 1, edge, edge + 1] {
                    if length < bytes.len() {
                        let cut = &bytes[..length];
                        found(cut, &stored, compression, &decryption, &format!("cut at {length}"));
                        if (compression, &decryption) != (Compression::None, &Decryption::None) {
                            let (_, outcome) = read(cut, &expect_nothing(compression, &decryption), false);
                            assert!(outcome.is_err(), "{compression} cut at {length} was taken for whole");
                        }
                    }
                }
            }
        }
    }
}

/// Where the blocks of a zstd frame begin (RFC 8878, 3.1.1.2).
fn zstd_blocks(bytes: &[u8]) -> Vec<usize> {
    // Magic, a descriptor without content size or dictionary, the window's byte.
    let mut at = 6;
    let mut edges = vec![at];
    loop {
        let header = u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], 0]);
        let size = if (header >> 1) & 3 == 1 { 1 } else { (header >> 3) as usize };
        at += 3 + size;
        edges.push(at);
        if header & 1 == 1 {
            assert_eq!(at + 4, bytes.len(), "a checksum ends the frame");
            return edges;
        }
    }
}

#[test]
fn one_bit_anywhere() {
    let plain = sample(400, 4);
    for compression in ALL {
        for (encryption, decryption) in keys() {
            let (bytes, stored) = stored(&plain, compression, &encryption);
            for at in 0..bytes.len() {
                let bit = at % 8;
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                let what = format!("bit {bit} of byte {at}");
                found(&damaged, &stored, compression, &decryption, &what);
                if (compression, &decryption) != (Compression::None, &Decryption::None) {
                    never_other_bytes(&damaged, &plain, compression, &decryption, &what);
                }
            }
        }
    }
    // Every single bit where the formats alone must find it.
    for compression in [Compression::Zstd(3), Compression::Gzip(6)] {
        let (bytes, _) = stored(&plain[..200], compression, &Encryption::None);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            never_other_bytes(&damaged, &plain[..200], compression, &Decryption::None, &format!("bit {bit}"));
        }
    }
}

#[test]
fn one_bit_in_a_large_one() {
    let plain = [sample(2 * PIECE, 2), noise(2 * AGE_CHUNK, 3)].concat();
    for compression in ALL {
        for (encryption, decryption) in keys() {
            let (bytes, stored) = stored(&plain, compression, &encryption);
            for turn in 0..8 {
                let at = (bytes.len() - 1) * turn / 7;
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << (turn % 8);
                found(&damaged, &stored, compression, &decryption, &format!("a bit of byte {at}"));
                if (compression, &decryption) != (Compression::None, &Decryption::None) {
                    never_other_bytes(&damaged, &plain, compression, &decryption, &format!("a bit of byte {at}"));
                }
            }
        }
    }
}

#[test]
fn something_added() {
    let plain = sample(1000, 5);
    for compression in ALL {
        for (encryption, decryption) in keys() {
            let (bytes, stored) = stored(&plain, compression, &encryption);
            let (other, _) = self::stored(b"another", compression, &encryption);
            for tail in [&b"\0"[..], b"x", &[0; 512], &bytes[..10], &bytes, &other] {
                let longer = [&bytes[..], tail].concat();
                let (_, outcome) = read(&longer, &expect(&stored, compression, &decryption), false);
                assert_eq!(told(&outcome.unwrap_err()), ("VERIFY_MISMATCH", "stored_longer".into()));
                // By themselves the formats allow more of the same kind, and nothing else.
                if matches!(decryption, Decryption::None) && (compression == Compression::None || tail == bytes || tail == other)
                {
                    continue;
                }
                let (_, outcome) = read(&longer, &expect_nothing(compression, &decryption), false);
                assert_eq!(outcome.unwrap_err().code(), Code::VerifyMismatch, "{compression} {tail:?}");
            }
        }
    }
}

#[test]
fn frames_and_members_may_follow_each_other() {
    let (one, two) = (sample(70_000, 1), sample(80_000, 2));
    for compression in [Compression::Zstd(3), Compression::Gzip(6)] {
        let bytes = [&one, &two]
            .map(|plain| stored(plain, compression, &Encryption::None).0)
            .concat();
        let (back, outcome) = read(&bytes, &expect_nothing(compression, &Decryption::None), false);
        outcome.unwrap();
        assert!(back == [one.clone(), two.clone()].concat());
    }
    // And a skippable frame of zstd holds nothing.
    let frame = stored(&one, Compression::Zstd(3), &Encryption::None).0;
    let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3], &frame[..]].concat();
    let (back, outcome) = read(&skipped, &expect_nothing(Compression::Zstd(3), &Decryption::None), false);
    outcome.unwrap();
    assert!(back == one);
}
