//! Reading back: what is said about what, what is held back, and that it ends.

use std::sync::Condvar;
use std::sync::atomic::{AtomicU64, Ordering};

use coffre_model::cancel::Reason;
use coffre_model::error::Code;

use super::*;
use crate::pipeline::buffers::{HOLD_BACK, PIECE};
use crate::pipeline::read_back;

const ZSTD: Compression = Compression::Zstd(3);

fn fails(bytes: &[u8], expect: &Expect<'_>) -> Error {
    read(bytes, expect, false).1.unwrap_err()
}

#[test]
fn each_difference_has_its_own_words() {
    let plain = sample(100_000, 1);
    for (encryption, decryption) in keys() {
        let (bytes, stored) = stored(&plain, ZSTD, &encryption);
        let right = || expect(&stored, ZSTD, &decryption);
        let zeros = "0".repeat(64);
        let cases = [
            (
                Expect {
                    stored_bytes: Some(stored.stored_bytes + 1),
                    ..right()
                },
                "stored_size",
            ),
            (
                Expect {
                    stored_bytes: Some(stored.stored_bytes - 1),
                    ..right()
                },
                "stored_longer",
            ),
            (
                Expect {
                    stored_sha256: Some(&zeros),
                    ..right()
                },
                "stored_hash",
            ),
            (
                Expect {
                    raw_bytes: Some(100_001),
                    ..right()
                },
                "raw_size",
            ),
            (
                Expect {
                    raw_bytes: Some(99_999),
                    ..right()
                },
                "raw_longer",
            ),
            (
                Expect {
                    raw_bytes: Some(0),
                    ..right()
                },
                "raw_longer",
            ),
            (
                Expect {
                    raw_sha256: Some(&zeros),
                    ..right()
                },
                "raw_hash",
            ),
            // The stored hash first, whatever else is wrong.
            (
                Expect {
                    stored_sha256: Some(&zeros),
                    raw_bytes: Some(5),
                    ..right()
                },
                "stored_hash",
            ),
            (
                Expect {
                    stored_sha256: Some(&zeros),
                    compression: Compression::Gzip(6),
                    ..right()
                },
                "stored_hash",
            ),
            (
                Expect {
                    stored_sha256: Some(&zeros),
                    decryption: &Decryption::None,
                    ..right()
                },
                "stored_hash",
            ),
            (
                Expect {
                    compression: Compression::Gzip(6),
                    ..right()
                },
                "gzip_damaged",
            ),
        ];
        for (expect, text) in cases {
            let error = fails(&bytes, &expect);
            assert_eq!(told(&error), ("VERIFY_MISMATCH", text.into()), "{error}");
        }
        let upper = stored.stored_sha256.to_uppercase();
        read(
            &bytes,
            &Expect {
                stored_sha256: Some(&upper),
                ..right()
            },
            false,
        )
        .1
        .unwrap();
    }
}

#[test]
fn each_way_of_not_being_opened_has_its_own_words() {
    let plain = sample(1000, 1);
    let [(_, none), (recipient, identity), (passphrase, secret)] = keys();
    let other = Decryption::Identities(vec![pair().1, pair().1]);
    let wrong = Decryption::Passphrase(Secret::new("wrong"));
    let broken = Decryption::Identities(vec![Secret::new("AGE-SECRET-KEY-1NOPE")]);
    let by_pair = stored(&plain, ZSTD, &recipient).0;
    let by_words = stored(&plain, ZSTD, &passphrase).0;
    let open = stored(&plain, ZSTD, &Encryption::None).0;
    let cases: [(&[u8], &Decryption, &str, &str); 9] = [
        (&by_pair, &other, "DECRYPT_FAILED", "decrypt_wrong_key"),
        (&by_words, &wrong, "DECRYPT_FAILED", "decrypt_wrong_passphrase"),
        (&by_pair, &secret, "DECRYPT_FAILED", "decrypt_needs_identity"),
        (&by_words, &identity, "DECRYPT_FAILED", "decrypt_needs_passphrase"),
        (&by_pair, &broken, "DECRYPT_FAILED", "identity_invalid"),
        (&open, &identity, "DECRYPT_FAILED", "decrypt_header"),
        (b"", &identity, "DECRYPT_FAILED", "decrypt_header"),
        (
            b"age-encryption.org/v9\n-> x\n",
            &identity,
            "DECRYPT_FAILED",
            "decrypt_version",
        ),
        (&by_pair, &none, "VERIFY_MISMATCH", "zstd_damaged"),
    ];
    for (bytes, decryption, code, text) in cases {
        assert_eq!(told(&fails(bytes, &expect_nothing(ZSTD, decryption))), (code, text.into()));
    }
    // Damage in the header and in the body are told apart.
    let mut header = by_pair.clone();
    let mac = header.windows(4).position(|w| w == b"--- ").unwrap() + 10;
    // Another letter of base64: any other byte would be no age file at all.
    header[mac] = if header[mac] == b'A' { b'B' } else { b'A' };
    assert_eq!(
        told(&fails(&header, &expect_nothing(ZSTD, &identity))),
        ("DECRYPT_FAILED", "decrypt_header".into())
    );
    let mut body = by_pair.clone();
    *body.last_mut().unwrap() ^= 1;
    assert_eq!(
        told(&fails(&body, &expect_nothing(ZSTD, &identity))),
        ("VERIFY_MISMATCH", "age_damaged".into())
    );
    // One right identity among several is enough.
    let Decryption::Identities(right) = &identity else { panic!() };
    let several = Decryption::Identities(vec![pair().1, right[0].clone(), pair().1]);
    read(&by_pair, &expect_nothing(ZSTD, &several), false).1.unwrap();
    // A header without an end does not fill the memory.
    let endless = [&b"age-encryption.org/v1\n-> X25519 "[..], &vec![b'a'; 10 << 20]].concat();
    assert_eq!(
        told(&fails(&endless, &expect_nothing(ZSTD, &identity))),
        ("DECRYPT_FAILED", "decrypt_header".into())
    );
    // A passphrase that would cost hours is refused.
    let text = String::from_utf8_lossy(&by_words[..40]).into_owned();
    assert!(text.contains("-> scrypt "), "{text}");
    let at = by_words.windows(3).position(|w| w == b" 8\n").unwrap();
    let costly = [&by_words[..at], b" 23\n", &by_words[at + 3..]].concat();
    assert_eq!(
        told(&fails(&costly, &expect_nothing(ZSTD, &secret))),
        ("DECRYPT_FAILED", "decrypt_work".into())
    );
}

#[test]
fn a_load_gets_the_end_only_when_everything_is_right() {
    for length in [
        1,
        HOLD_BACK - 1,
        HOLD_BACK,
        HOLD_BACK + 1,
        PIECE,
        PIECE + 1,
        PIECE + HOLD_BACK,
        3 * PIECE + 5,
    ] {
        let plain = sample(length, 1);
        for compression in COMPRESSIONS {
            let (bytes, stored) = stored(&plain, compression, &Encryption::None);
            let zeros = "0".repeat(64);
            let right = || expect(&stored, compression, &Decryption::None);
            for wrong in [
                Expect {
                    raw_sha256: Some(&zeros),
                    ..right()
                },
                Expect {
                    stored_sha256: Some(&zeros),
                    ..right()
                },
                Expect {
                    raw_bytes: Some(stored.raw_bytes + 1),
                    ..right()
                },
                Expect {
                    stored_bytes: Some(stored.stored_bytes + 1),
                    ..right()
                },
            ] {
                let (given, outcome) = read(&bytes, &wrong, true);
                assert!(outcome.is_err());
                assert!(
                    given.len() + HOLD_BACK.min(length) <= length,
                    "{compression} {length}: {} given",
                    given.len()
                );
                assert!(plain.starts_with(&given));
            }
            let (given, outcome) = read(&bytes, &right(), true);
            outcome.unwrap();
            assert!(given == plain);
        }
    }
}

#[test]
fn a_bomb_is_not_unpacked() {
    // A quarter of a GiB of nothing in a few KiB.
    let memory = Memory::default();
    let uploads: Vec<(Id, Box<dyn Upload>)> = vec![(Id::new(), Box::new(memory.clone()))];
    let mut zeros = io::repeat(0).take(256 << 20);
    super::super::store(&mut zeros, uploads, &options(ZSTD, Encryption::None), &mut |_, _| {}).unwrap();
    let bomb = memory.bytes();
    assert!(bomb.len() < 100_000);
    for most in [0, 1, 65_536, 10 << 20] {
        let expect = Expect {
            raw_bytes: Some(most),
            ..expect_nothing(ZSTD, &Decryption::None)
        };
        let mut given = 0;
        let outcome = read_back(
            Box::new(io::Cursor::new(bomb.clone())),
            &expect,
            false,
            &Cancel::new(),
            LONG,
            &mut |_| {},
            &mut |bytes| {
                given += bytes.len() as u64;
                Ok(())
            },
        );
        assert_eq!(told(&outcome.unwrap_err()), ("VERIFY_MISMATCH", "raw_longer".into()));
        assert!(given <= most);
    }
}

#[test]
fn a_window_of_a_gigabyte_is_refused() {
    // A frame's header (RFC 8878): magic, no content size, and a window of 2^(10 + 20).
    let header = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 20 << 3, 0x01, 0x00, 0x00];
    let error = fails(&header, &expect_nothing(ZSTD, &Decryption::None));
    assert_eq!(told(&error), ("VERIFY_MISMATCH", "zstd_window".into()));
    assert_eq!(error.detail("max_mib").unwrap(), "128");
}

#[test]
fn the_storages_own_error_stays() {
    struct Breaks(io::Cursor<Vec<u8>>);
    impl Read for Breaks {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            match self.0.read(into)? {
                0 => Err(Error::new(Code::NotFound, "object_missing").into()),
                count => Ok(count),
            }
        }
    }
    let plain = sample(3 * PIECE, 1);
    for compression in COMPRESSIONS {
        let (bytes, stored) = stored(&plain, compression, &Encryption::None);
        for at in [0, 1, bytes.len() / 2, bytes.len()] {
            let reader = Breaks(io::Cursor::new(bytes[..at].to_vec()));
            let (_, outcome) = read_from(Box::new(reader), &expect(&stored, compression, &Decryption::None), false);
            assert_eq!(outcome.unwrap_err().code(), Code::NotFound, "{compression} {at}");
        }
    }
}

#[test]
fn the_sinks_own_error_stays_and_a_wrong_hash_explains_it() {
    let plain = sample(4 * PIECE, 1);
    let (bytes, stored) = stored(&plain, ZSTD, &Encryption::None);
    let zeros = "0".repeat(64);
    for (code, stored_sha256, said) in [
        (Code::DumpTruncated, &stored.stored_sha256, "DUMP_TRUNCATED"),
        (Code::DumpTruncated, &zeros, "VERIFY_MISMATCH"),
        // A database that refuses a row says nothing about the backup; it is not kept waiting.
        (Code::Privilege, &stored.stored_sha256, "PRIVILEGE"),
    ] {
        for after in [0, 2] {
            let mut calls = 0;
            let outcome = read_back(
                Box::new(io::Cursor::new(bytes.clone())),
                &Expect {
                    stored_sha256: Some(stored_sha256),
                    ..expect(&stored, ZSTD, &Decryption::None)
                },
                false,
                &Cancel::new(),
                LONG,
                &mut |_| {},
                &mut |_| {
                    calls += 1;
                    if calls > after {
                        Err(Error::new(code, "sink"))
                    } else {
                        Ok(())
                    }
                },
            );
            assert_eq!(outcome.unwrap_err().code().as_str(), said);
            // Fewer, where the wrong hash was known before.
            assert!(calls <= after + 1, "a sink that failed is not called again");
        }
    }
    // Also in the part that was held back.
    let outcome = read_back(
        Box::new(io::Cursor::new(bytes.clone())),
        &expect(&stored, ZSTD, &Decryption::None),
        true,
        &Cancel::new(),
        LONG,
        &mut |_| {},
        &mut |piece| {
            if piece.as_ptr_range().end == piece.as_ptr_range().start || plain.ends_with(piece) {
                Err(Error::new(Code::DumpTruncated, "sink"))
            } else {
                Ok(())
            }
        },
    );
    assert_eq!(outcome.unwrap_err().code(), Code::DumpTruncated);
}

/// Gives some bytes, then hangs until the gate is opened.
struct Hangs(io::Cursor<Vec<u8>>, Arc<(Mutex<bool>, Condvar)>);

impl Read for Hangs {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(into)?;
        if count > 0 {
            return Ok(count);
        }
        let mut open = self.1.0.lock().unwrap();
        while !*open {
            open = self.1.1.wait(open).unwrap();
        }
        Ok(0)
    }
}

#[test]
fn a_storage_that_hangs_is_stalled_or_cancelled() {
    let (bytes, stored) = stored(&sample(3 * PIECE, 1), ZSTD, &Encryption::None);
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    for (stall, cancelled, code) in [(50, false, Code::Stalled), (600_000, true, Code::Cancelled)] {
        let cancel = Cancel::new();
        let outcome = read_back(
            Box::new(Hangs(io::Cursor::new(bytes[..bytes.len() / 2].to_vec()), gate.clone())),
            &expect(&stored, ZSTD, &Decryption::None),
            false,
            &cancel,
            Duration::from_millis(stall),
            // Told also while nothing comes.
            &mut |_| {
                if cancelled {
                    cancel.cancel(Reason::Interrupt);
                }
            },
            &mut |_| Ok(()),
        );
        assert_eq!(outcome.unwrap_err().code(), code);
    }
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
}

#[test]
fn a_slow_sink_is_no_stall() {
    let (bytes, stored) = stored(&noise(20 * PIECE, 1), Compression::None, &Encryption::None);
    let read = AtomicU64::new(0);
    let mut calls = 0;
    read_back(
        Box::new(io::Cursor::new(bytes)),
        &expect(&stored, Compression::None, &Decryption::None),
        false,
        &Cancel::new(),
        Duration::from_millis(400),
        &mut |count| read.store(count, Ordering::Relaxed),
        // Longer than the limit, while the reader waits for room and not for the storage.
        &mut |_| {
            calls += 1;
            if calls <= 2 {
                std::thread::sleep(Duration::from_millis(600));
            }
            Ok(())
        },
    )
    .unwrap();
    assert_eq!(read.load(Ordering::Relaxed), stored.stored_bytes);
}

#[test]
fn a_cancel_from_the_sink_ends_it() {
    let (bytes, stored) = stored(&noise(40 * PIECE, 1), Compression::None, &Encryption::None);
    let cancel = Cancel::new();
    let mut calls = 0;
    let outcome = read_back(
        Box::new(io::Cursor::new(bytes)),
        &expect(&stored, Compression::None, &Decryption::None),
        false,
        &cancel,
        LONG,
        &mut |_| {},
        &mut |_| {
            calls += 1;
            cancel.cancel(Reason::Interrupt);
            Ok(())
        },
    );
    assert_eq!(outcome.unwrap_err().code(), Code::Cancelled);
    assert_eq!(calls, 1);
}

#[test]
fn a_reader_that_panics_is_an_error() {
    struct Panics;
    impl Read for Panics {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            panic!("on purpose")
        }
    }
    let (_, outcome) = read_from(Box::new(Panics), &expect_nothing(ZSTD, &Decryption::None), false);
    assert_eq!(outcome.unwrap_err().code(), Code::Internal);
}
