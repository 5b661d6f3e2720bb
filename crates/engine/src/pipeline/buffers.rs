//! Every buffer of the pipeline, in one place, with their sum.
//!
//! A process that stores or reads back must stay below 120 MiB of resident memory, whatever the size of the dump and the number of cores.
//! Measured on bytes that do not compress, the worst case, as the whole process's peak, with two threads (and with eight): no
//! compression 14 MiB; gzip 20 (45); zstd:3 33 (43); zstd:8 (73); reading back no more than storing. Higher levels of zstd need larger
//! tables, which the format's compressor decides: with two threads 66 MiB at level 9, 122 at 12, 170 at 15 to 17, 230 at 19; each
//! thread more costs about 40 to 100 MiB there. `store_bytes` computes the upper bound. A passphrase costs 256 MiB for the second in
//! which scrypt works (age's work factor 18 fixes that), when storing and when reading back.

use coffre_model::compression::Compression;

/// One mebibyte.
const MIB: usize = 1 << 20;

/// The unit in which bytes travel between threads. Large enough that handing over costs nothing next to the work on it, small enough
/// that a piece is still in a core's cache when the next thread takes it.
pub(super) const PIECE: usize = 512 << 10;

/// Pieces of plain bytes between the dump and the compressor: one being filled, one being compressed, the rest so that neither waits
/// for the other's rhythm.
pub(super) const RAW_PIECES: usize = 6;

/// Pieces of stored bytes between the compressor and the uploads; each upload adds one, which it may keep if it hangs.
pub(super) const STORED_PIECES: usize = 6;

/// The window before a block of gzip, from which it may still copy.
pub(super) const GZIP_WINDOW: usize = 32 << 10;

/// Blocks of gzip (of one piece each) that are under way or wait for their turn, for each thread.
pub(super) const GZIP_BLOCKS_PER_THREAD: usize = 2;

/// What the state of one gzip compressor takes: window, tables and pending output (zlib: 256 KiB and some).
const GZIP_STATE: usize = 512 << 10;

/// What the system reads ahead of us, and everything else that a thread of ours needs.
const PER_THREAD: usize = 256 << 10;

/// More threads than this compress nothing faster than a database delivers, and only cost memory.
pub(super) const THREADS_MAX: usize = 8;

/// Pieces of stored bytes between the reader and the decoder, when reading back.
pub(super) const READ_PIECES: usize = 6;

/// Pieces of plain bytes between the decoder and those who take them, when reading back: two may be held back until the end.
pub(super) const PLAIN_PIECES: usize = 8;

/// What `read_back` holds back of a dump until everything about it was found right.
pub(super) const HOLD_BACK: usize = 64 << 10;

/// The largest window of a zstd frame that is read: 128 MiB, what `zstd -d` accepts unasked. What we write needs 8 MiB at most; the margin
/// is for files made elsewhere.
pub(super) const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// The chunk of age.
pub(super) const AGE_CHUNK: usize = 64 << 10;

/// The longest age header that is read. Ours has some 200 bytes; a file for many recipients has some thousands.
pub(super) const AGE_HEADER_MAX: usize = 64 << 10;

/// How zstd is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ZstdShape {
    /// Threads that compress.
    pub(super) workers: usize,
    /// Bytes that one thread compresses at a time.
    pub(super) job: usize,
    /// `ZSTD_c_overlapLog`: how much of the window a job inherits from the one before. 0 leaves it to zstd.
    pub(super) overlap_log: u32,
    /// Logarithms of the hash and the chain table, and the shortest match, where they are not the level's own.
    pub(super) tables: Option<Tables>,
    /// What all of it takes at most.
    pub(super) bytes: usize,
}

/// Parameters of zstd's match finder (`ZSTD_c_hashLog`, `ZSTD_c_chainLog`, `ZSTD_c_minMatch`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tables {
    pub(super) hash_log: u32,
    pub(super) chain_log: u32,
    pub(super) min_match: u32,
}

/// Level 3 for databases: zstd's own level 3 is tuned for files of every kind. With half the tables and matches of six bytes or more the
/// same strategy takes 13 to 20 % less CPU time on what databases hold, for about the same size or less: a PostgreSQL dump -2.8 %, rows of
/// numbers as text -4.3 %, a SQLite file of text 0 %, one of numbers +0.6 %. (Source code +1.3 %, machine code +4 %: not what lies in
/// a database.) That pays for the SHA-256 of everything, both ways.
const LEVEL_3: Tables = Tables {
    hash_log: 16,
    chain_log: 15,
    min_match: 6,
};

/// How zstd is run at a level.
///
/// Jobs as large as the window, instead of zstd's four times that: measured on a PostgreSQL dump at level 3, two-MiB jobs take 10 % less
/// CPU time than the usual eight (they stay in a core's cache), compress by 0.15 % better, and need a quarter of the memory. (Source code
/// in a tar archive, with its repetitions far apart, becomes 2.5 % larger.)
/// From level 17 on, a job inherits a quarter of the window, not all of it: with jobs of that size the inheritance would double the work.
pub(super) fn zstd_shape(level: u8, threads: usize) -> ZstdShape {
    let workers = threads.clamp(1, THREADS_MAX);
    // Tables in MiB per worker and the window's logarithm, from `clevels.h` of zstd 1.5 for inputs of unknown size: four bytes for each
    // entry of the hash and the chain table (or the tree), and a little for statistics.
    let (window_log, tables) = match level {
        0..=3 => (21, 1),
        4 => (21, 2),
        5..=6 => (21, 4),
        7..=8 => (21, 7),
        9 => (22, 13),
        10..=11 => (22, 25),
        12..=14 => (22, 49),
        15 => (22, 65),
        16 => (22, 34),
        17..=18 => (23, 50),
        _ => (23, 82),
    };
    let job = (1usize << window_log).max(2 * MIB);
    // Input: zstd's round buffer holds a job for each worker and three to spare. Output: as many as it may have finished or begun, each
    // as large as its input, at worst.
    let buffers = (workers + 3) * job + (workers + 2) * job;
    ZstdShape {
        workers,
        job,
        overlap_log: if level >= 17 { 7 } else { 0 },
        tables: (level == 3).then_some(LEVEL_3),
        bytes: workers * (tables + 1) * MIB + buffers,
    }
}

/// The most memory that `store` takes, in bytes, without what a passphrase costs for a moment.
pub fn store_bytes(compression: Compression, threads: usize, uploads: usize) -> usize {
    let threads = threads.clamp(1, THREADS_MAX);
    let stored = (STORED_PIECES + uploads) * PIECE;
    let codec = match compression {
        Compression::Zstd(level) => zstd_shape(level, threads).bytes + RAW_PIECES * PIECE,
        // Each block on its way has its input and its output.
        Compression::Gzip(_) => 2 * gzip_pieces(threads) * PIECE + threads * GZIP_STATE,
        Compression::None => (RAW_PIECES + uploads) * PIECE,
    };
    codec + stored + 4 * AGE_CHUNK + (threads + uploads + 2) * PER_THREAD
}

/// Pieces of plain bytes for gzip: those under way, one whose end is the next one's window, and those being filled and handed over.
pub(super) fn gzip_pieces(threads: usize) -> usize {
    threads.clamp(1, THREADS_MAX) * GZIP_BLOCKS_PER_THREAD + 4
}

/// The most memory that `read_back` takes, in bytes, for a file with a zstd window of `window_log` (ours: 23 at most).
pub fn read_back_bytes(window_log: u32) -> usize {
    let window = 1usize << window_log.min(ZSTD_WINDOW_LOG_MAX);
    window + (READ_PIECES + PLAIN_PIECES) * PIECE + 4 * AGE_CHUNK + MIB + 4 * PER_THREAD
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sums_stay_in_their_bounds() {
        for threads in [1, 2, 4, 8, 64] {
            for level in 1..=8 {
                let bytes = store_bytes(Compression::Zstd(level), threads, 3);
                assert!(
                    bytes <= if threads <= 4 { 80 * MIB } else { 120 * MIB },
                    "zstd:{level} {threads} {bytes}"
                );
            }
            for level in 1..=9 {
                assert!(store_bytes(Compression::Gzip(level), threads, 3) <= 40 * MIB);
            }
            assert!(store_bytes(Compression::None, threads, 3) <= 16 * MIB);
        }
        assert!(store_bytes(Compression::Zstd(3), 2, 1) <= 40 * MIB);
        assert!(store_bytes(Compression::Zstd(12), 2, 1) <= 150 * MIB);
        assert!(store_bytes(Compression::Zstd(19), 2, 1) <= 260 * MIB);
        // A bomb's memory, and that of the largest window which is let through.
        assert!(read_back_bytes(31) <= 160 * MIB);
        assert!(read_back_bytes(23) <= 24 * MIB);
    }
}
