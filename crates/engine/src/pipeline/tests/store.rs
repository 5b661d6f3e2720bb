//! Storing: several uploads, and everything that may go wrong on the way.

use std::sync::Condvar;
use std::sync::atomic::{AtomicUsize, Ordering};

use coffre_model::cancel::Reason;
use coffre_model::error::Code;
use proptest::prelude::*;

use super::*;
use crate::pipeline::buffers::{AGE_CHUNK, PIECE};
use crate::pipeline::store;

fn quiet() -> impl FnMut(u64, u64) {
    |_, _| {}
}

fn one(upload: impl Upload + 'static) -> Vec<(Id, Box<dyn Upload>)> {
    vec![(Id::new(), Box::new(upload))]
}

/// Fails after some bytes, and counts how many are alive.
struct Failing {
    left: usize,
    error: Error,
    alive: Arc<AtomicUsize>,
}

impl Failing {
    fn after(left: usize, error: Error, alive: &Arc<AtomicUsize>) -> Self {
        alive.fetch_add(1, Ordering::SeqCst);
        Failing {
            left,
            error,
            alive: alive.clone(),
        }
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Write for Failing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(self.error.clone().into());
        }
        let count = bytes.len().min(self.left);
        self.left -= count;
        Ok(count)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Upload for Failing {
    fn commit(self: Box<Self>) -> Result<u64> {
        panic!("nobody commits this")
    }
}

/// Hangs in `write` until it is let go.
struct Hanging(Arc<Gate>, Arc<AtomicUsize>);

/// Opened by the test.
type Gate = (Mutex<bool>, Condvar);

impl Hanging {
    fn new() -> (Self, Arc<Gate>, Arc<AtomicUsize>) {
        let (gate, dropped) = (Arc::new((Mutex::new(false), Condvar::new())), Arc::new(AtomicUsize::new(0)));
        (Hanging(gate.clone(), dropped.clone()), gate, dropped)
    }
}

fn open(gate: &Gate) {
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
}

impl Drop for Hanging {
    fn drop(&mut self) {
        self.1.fetch_add(1, Ordering::SeqCst);
    }
}

impl Write for Hanging {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut open = self.0.0.lock().unwrap();
        while !*open {
            open = self.0.1.wait(open).unwrap();
        }
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Upload for Hanging {
    fn commit(self: Box<Self>) -> Result<u64> {
        panic!("nobody commits this")
    }
}

fn full() -> Error {
    Error::new(Code::DestFull, "dest_full")
}

fn round_trip(plain: &[u8], compression: Compression, encryption: &Encryption, decryption: &Decryption) {
    let (bytes, stored) = stored(plain, compression, encryption);
    assert_eq!(stored.raw_bytes, plain.len() as u64);
    assert_eq!(stored.stored_bytes, bytes.len() as u64);
    // Holding back or not makes no difference where everything is right.
    let hold_back = plain.len().is_multiple_of(2);
    let (back, found) = read(&bytes, &expect(&stored, compression, decryption), hold_back);
    let found = found.unwrap_or_else(|error| panic!("{compression} {}: {error}", plain.len()));
    assert!(back == plain, "{compression} {}", plain.len());
    let same = ReadBack {
        stored_bytes: stored.stored_bytes,
        stored_sha256: stored.stored_sha256,
        raw_bytes: stored.raw_bytes,
        raw_sha256: stored.raw_sha256,
    };
    assert_eq!(found, same);
}

#[test]
fn every_codec_and_key_at_every_edge() {
    for compression in COMPRESSIONS {
        for (encryption, decryption) in keys() {
            for edge in [1, AGE_CHUNK, PIECE, 3 * PIECE] {
                for length in [edge - 1, edge, edge + 1] {
                    if length > 0 {
                        round_trip(&sample(length, 7), compression, &encryption, &decryption);
                    }
                }
            }
            round_trip(&noise(3 * PIECE + 17, 3), compression, &encryption, &decryption);
        }
    }
}

#[test]
fn more_than_one_job_of_zstd() {
    // Jobs are 2 MiB at these levels.
    for level in [1, 3, 6] {
        let plain = [sample(5 << 20, 1), noise(3 << 20, 2), vec![0; 3 << 20]].concat();
        round_trip(&plain, Compression::Zstd(level), &Encryption::None, &Decryption::None);
    }
}

#[test]
fn the_same_dump_gives_the_same_bytes() {
    let plain = sample(4 * PIECE + 1, 5);
    for compression in COMPRESSIONS {
        let first = stored(&plain, compression, &Encryption::None).0;
        assert!(first == stored(&plain, compression, &Encryption::None).0, "{compression}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_length_comes_back(length in 1usize..3 * PIECE, seed: u64, which in 0..COMPRESSIONS.len(), key in 0usize..3) {
        let (encryption, decryption) = keys()[key].clone();
        round_trip(&sample(length, seed), COMPRESSIONS[which], &encryption, &decryption);
    }

    #[test]
    fn any_bytes_come_back(plain in prop::collection::vec(any::<u8>(), 1..5000), which in 0..COMPRESSIONS.len()) {
        round_trip(&plain, COMPRESSIONS[which], &Encryption::None, &Decryption::None);
    }
}

#[test]
fn a_reader_that_gives_crumbs_changes_nothing() {
    let plain = sample(PIECE + 4321, 9);
    for compression in COMPRESSIONS {
        let memory = Memory::default();
        let mut crumbs = Crumbs(io::Cursor::new(plain.clone()), 1);
        let options = options(compression, Encryption::None);
        let found = store(&mut crumbs, one(memory.clone()), &options, &mut quiet()).unwrap();
        assert!(memory.bytes() == stored(&plain, compression, &Encryption::None).0);
        let expect = expect(&found, compression, &Decryption::None);
        let crumbs = Crumbs(io::Cursor::new(memory.bytes()), 1);
        let (back, outcome) = read_from(Box::new(crumbs), &expect, true);
        outcome.unwrap();
        assert!(back == plain);
    }
}

#[test]
fn all_uploads_get_the_same_and_come_back_uncommitted() {
    let (a, b, c) = (Memory::default(), Memory::default(), Memory::default());
    let ids = [Id::new(), Id::new(), Id::new()];
    let uploads: Vec<(Id, Box<dyn Upload>)> = vec![
        (ids[0], Box::new(a.clone())),
        (ids[1], Box::new(b.clone())),
        (ids[2], Box::new(c.clone())),
    ];
    let plain = sample(3_000_000, 1);
    let mut heard = Vec::new();
    let options = options(Compression::Zstd(3), Encryption::None);
    let stored = store(&mut &plain[..], uploads, &options, &mut |raw, stored| {
        heard.push((raw, stored))
    })
    .unwrap();
    assert!(a.bytes() == b.bytes() && b.bytes() == c.bytes());
    assert_eq!(heard.last(), Some(&(3_000_000, stored.stored_bytes)));
    assert!(heard.is_sorted());
    let back: Vec<Id> = stored.uploads.iter().map(|(id, _)| *id).collect();
    assert_eq!(back, ids);
    for (_, upload) in stored.uploads {
        assert_eq!(upload.unwrap().commit().unwrap(), stored.stored_bytes);
    }
}

#[test]
fn one_full_destination_does_not_stop_the_others() {
    let alive = Arc::new(AtomicUsize::new(0));
    let plain = noise(8 << 20, 1);
    for after in [0, 1, PIECE - 1, PIECE, 5_000_000, (8 << 20) - 1] {
        let good = Memory::default();
        let uploads: Vec<(Id, Box<dyn Upload>)> = vec![
            (Id::new(), Box::new(Failing::after(after, full(), &alive))),
            (Id::new(), Box::new(good.clone())),
        ];
        let options = options(Compression::None, Encryption::None);
        let stored = store(&mut &plain[..], uploads, &options, &mut quiet()).unwrap();
        let [(_, bad), (_, fine)] = &stored.uploads[..] else {
            panic!()
        };
        assert_eq!(bad.as_ref().err().unwrap().code(), Code::DestFull);
        assert!(fine.is_ok());
        assert!(good.bytes() == plain);
        assert_eq!(alive.load(Ordering::SeqCst), 0, "the failed upload is dropped at once");
    }
}

#[test]
fn when_all_uploads_failed_the_first_error_ends_it() {
    let alive = Arc::new(AtomicUsize::new(0));
    let uploads: Vec<(Id, Box<dyn Upload>)> = vec![
        (Id::new(), Box::new(Failing::after(1000, full(), &alive))),
        (
            Id::new(),
            Box::new(Failing::after(4 << 20, Error::new(Code::DestUnreachable, "dest_io"), &alive)),
        ),
    ];
    // A dump without an end: only the failures can stop it.
    let mut endless = io::repeat(7);
    let options = options(Compression::None, Encryption::None);
    let error = store(&mut endless, uploads, &options, &mut quiet()).err().unwrap();
    assert_eq!(error.code(), Code::DestFull);
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

#[test]
fn a_failed_read_is_a_failed_run() {
    struct Breaks(usize, Error);
    impl Read for Breaks {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::Error::other(io::Error::from(self.1.clone())));
            }
            let count = into.len().min(self.0);
            self.0 -= count;
            Ok(count)
        }
    }
    for compression in COMPRESSIONS {
        for after in [0, 1, 65_536, 3_000_000] {
            let alive = Arc::new(AtomicUsize::new(0));
            let ours = Error::new(Code::DumpTruncated, "dump_truncated").with("tool", "pg_dump");
            let upload = Failing::after(usize::MAX, full(), &alive);
            let options = options(compression, Encryption::None);
            let error = store(&mut Breaks(after, ours.clone()), one(upload), &options, &mut quiet())
                .err()
                .unwrap();
            assert_eq!(error, ours);
            assert_eq!(alive.load(Ordering::SeqCst), 0, "the upload is gone when `store` returns");
        }
    }
    struct Plain;
    impl Read for Plain {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("broken pipe of some kind"))
        }
    }
    let options = options(Compression::None, Encryption::None);
    let error = store(&mut Plain, one(Memory::default()), &options, &mut quiet())
        .err()
        .unwrap();
    assert_eq!(error.code(), Code::DumpFailed);
}

#[test]
fn nothing_is_no_dump() {
    for compression in COMPRESSIONS {
        for (encryption, _) in keys() {
            let alive = Arc::new(AtomicUsize::new(0));
            let upload = Failing::after(usize::MAX, full(), &alive);
            let error = store(&mut io::empty(), one(upload), &options(compression, encryption), &mut quiet())
                .err()
                .unwrap();
            assert_eq!(error.code(), Code::DumpEmpty);
            assert_eq!(alive.load(Ordering::SeqCst), 0);
        }
    }
}

#[test]
fn a_cancel_does_not_wait_for_a_hanging_upload() {
    for compression in COMPRESSIONS {
        let (upload, gate, dropped) = Hanging::new();
        let options = options(compression, Encryption::None);
        let cancel = options.cancel.clone();
        // Long after everything is stuck behind the upload, the news still come, from the wait.
        struct Raise(Cancel, usize);
        impl Read for Raise {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                self.1 += into.len();
                if self.1 > 3 * PIECE {
                    self.0.cancel(Reason::Terminate);
                }
                into.fill(self.1.to_le_bytes()[2]);
                Ok(into.len())
            }
        }
        let error = store(&mut Raise(cancel, 0), one(upload), &options, &mut quiet())
            .err()
            .unwrap();
        assert_eq!(
            (error.code(), error.detail("status").unwrap()),
            (Code::Cancelled, "143".into())
        );
        // It is dropped when it wakes.
        open(&gate);
        while dropped.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_cancel_while_waiting_for_the_last_bytes() {
    let (upload, gate, _) = Hanging::new();
    let options = options(Compression::None, Encryption::None);
    let cancel = options.cancel.clone();
    // The dump ends at once; `store` waits for the upload, until the news raise the flag.
    let error = store(&mut &b"x"[..], one(upload), &options, &mut |_, _| {
        cancel.cancel(Reason::LeaseLost)
    })
    .err()
    .unwrap();
    assert_eq!(error.code(), Code::Interrupted);
    open(&gate);
}

#[test]
fn a_hanging_upload_is_given_up_and_the_others_go_on() {
    let (hanging, gate, dropped) = Hanging::new();
    let good = Memory::default();
    let uploads: Vec<(Id, Box<dyn Upload>)> = vec![(Id::new(), Box::new(hanging)), (Id::new(), Box::new(good.clone()))];
    let mut options = options(Compression::None, Encryption::None);
    options.stall = Duration::from_secs(1);
    options.places = vec!["/mnt/slow".to_owned(), "/mnt/good".to_owned()];
    let plain = noise(20 << 20, 4);
    let stored = store(&mut &plain[..], uploads, &options, &mut quiet()).unwrap();
    let error = stored.uploads[0].1.as_ref().err().unwrap();
    assert_eq!(told(error), ("STALLED", "upload_stalled".into()));
    assert_eq!(error.detail("place").as_deref(), Some("/mnt/slow"));
    assert!(good.bytes() == plain);
    open(&gate);
    while dropped.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    // The same where it is alone.
    let (hanging, gate, _) = Hanging::new();
    let error = store(&mut &plain[..], one(hanging), &options, &mut quiet()).err().unwrap();
    assert_eq!(error.code(), Code::Stalled);
    open(&gate);
}

#[test]
fn an_upload_that_panics_is_a_failed_upload() {
    struct Panics;
    impl Write for Panics {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            panic!("on purpose")
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    impl Upload for Panics {
        fn commit(self: Box<Self>) -> Result<u64> {
            Ok(0)
        }
    }
    let good = Memory::default();
    let uploads: Vec<(Id, Box<dyn Upload>)> = vec![(Id::new(), Box::new(Panics)), (Id::new(), Box::new(good.clone()))];
    let options = options(Compression::Gzip(6), Encryption::None);
    let stored = store(&mut &b"hello"[..], uploads, &options, &mut quiet()).unwrap();
    assert_eq!(stored.uploads[0].1.as_ref().err().unwrap().code(), Code::Internal);
    assert!(stored.uploads[1].1.is_ok());
    assert_eq!(
        store(&mut &b"hello"[..], one(Panics), &options, &mut quiet())
            .err()
            .unwrap()
            .code(),
        Code::Internal
    );
}

#[test]
fn a_failing_flush_is_a_failed_upload() {
    struct Lazy;
    impl Write for Lazy {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Err(full().into())
        }
    }
    impl Upload for Lazy {
        fn commit(self: Box<Self>) -> Result<u64> {
            Ok(0)
        }
    }
    let options = options(Compression::None, Encryption::None);
    let error = store(&mut &b"hello"[..], one(Lazy), &options, &mut quiet()).err().unwrap();
    assert_eq!(error.code(), Code::DestFull);
}

#[test]
fn wrong_keys_are_refused_before_anything_is_read() {
    struct Untouched;
    impl Read for Untouched {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            panic!("nobody should read")
        }
    }
    for wrong in [
        Encryption::Recipient("age1notakey".into()),
        Encryption::Recipient(String::new()),
        Encryption::Recipient("ssh-ed25519 AAAA".into()),
        Encryption::Passphrase(Secret::new("")),
    ] {
        let options = options(Compression::None, wrong);
        let error = store(&mut Untouched, one(Memory::default()), &options, &mut quiet())
            .err()
            .unwrap();
        assert_eq!(error.code(), Code::Usage);
    }
}
