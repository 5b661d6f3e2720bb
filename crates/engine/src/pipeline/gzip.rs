//! gzip by several threads, as `pigz` does it: blocks of plain bytes are compressed side by side, each with the end of the one before
//! as its window, and put together in order into one member.
//!
//! One member and not many, for the same reason as with zstd: `gunzip` and `gzip -t` find a missing end in one member, but take a file
//! that was cut between two members for whole.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};

use coffre_model::error::{Error, Result};
use flate2::{Compress, Compression as Level, Crc, FlushCompress};

use super::buffers;
use super::encode::Exit;
use super::pool::{Piece, lock};
use super::threads;

/// One block for a thread.
struct Block {
    bytes: Arc<Piece>,
    /// The block before it, whose end is its window.
    before: Option<Arc<Piece>>,
    /// Where the compressed bytes go; a used one, so that nothing is allocated in the long run.
    output: Vec<u8>,
    answer: SyncSender<Result<Done>>,
}

/// A compressed block.
struct Done {
    output: Vec<u8>,
    crc: Crc,
}

/// The compressor.
pub(super) struct Gzip {
    blocks: Sender<Block>,
    /// Answers in the order of the blocks.
    waiting: VecDeque<Receiver<Result<Done>>>,
    most_waiting: usize,
    spare_outputs: Vec<Vec<u8>>,
    before: Option<Arc<Piece>>,
    crc: Crc,
    /// The header's byte that tells how hard the compressor tried (RFC 1952, XFL).
    effort: u8,
    begun: bool,
}

impl Gzip {
    pub(super) fn new(level: u8, threads: usize) -> Result<Self> {
        let threads = threads.clamp(1, buffers::THREADS_MAX);
        let (blocks, next) = channel::<Block>();
        let next = Arc::new(Mutex::new(next));
        for _ in 0..threads {
            let next = next.clone();
            threads::start("coffre-gzip", move || {
                let level = deflate_level(level);
                loop {
                    // Held while waiting, so that exactly one thread waits and the others wait for it. Ends when the compressor is dropped.
                    let block = lock(&next).recv();
                    let Ok(block) = block else { break };
                    let done = compress(level, &block.bytes, block.before.as_deref(), block.output);
                    drop((block.bytes, block.before));
                    if block.answer.send(done).is_err() {
                        break;
                    }
                }
            })?;
        }
        Ok(Gzip {
            blocks,
            waiting: VecDeque::new(),
            most_waiting: threads * buffers::GZIP_BLOCKS_PER_THREAD,
            spare_outputs: Vec::new(),
            before: None,
            crc: Crc::new(),
            effort: match level {
                9 => 2,
                1 => 4,
                _ => 0,
            },
            begun: false,
        })
    }

    pub(super) fn write(&mut self, piece: Piece, exit: &mut Exit) -> Result<()> {
        self.begin(exit)?;
        let bytes = Arc::new(piece);
        let (answer, reply) = sync_channel(1);
        let block = Block {
            bytes: bytes.clone(),
            before: self.before.replace(bytes),
            output: self.spare_outputs.pop().unwrap_or_default(),
            answer,
        };
        self.blocks.send(block).map_err(|_| threads::lost("coffre-gzip"))?;
        self.waiting.push_back(reply);
        while self.waiting.len() >= self.most_waiting {
            self.emit_next(exit)?;
        }
        Ok(())
    }

    pub(super) fn finish(mut self, exit: &mut Exit) -> Result<()> {
        self.begin(exit)?;
        while !self.waiting.is_empty() {
            self.emit_next(exit)?;
        }
        // The last block of deflate: empty, with fixed codes (the blocks before it could not know that they were the last). Then the
        // trailer: CRC and length, both modulo 2^32, low byte first.
        exit.write(&[0x03, 0x00])?;
        exit.write(&self.crc.sum().to_le_bytes())?;
        exit.write(&self.crc.amount().to_le_bytes())
    }

    fn begin(&mut self, exit: &mut Exit) -> Result<()> {
        if std::mem::replace(&mut self.begun, true) {
            return Ok(());
        }
        // Magic, deflate, no flags, no time (the same dump gives the same bytes), effort, unknown system.
        exit.write(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, self.effort, 0xff])
    }

    fn emit_next(&mut self, exit: &mut Exit) -> Result<()> {
        let Some(reply) = self.waiting.pop_front() else {
            return Ok(());
        };
        let mut done = reply.recv().map_err(|_| threads::lost("coffre-gzip"))??;
        exit.write(&done.output)?;
        self.crc.combine(&done.crc);
        done.output.clear();
        self.spare_outputs.push(done.output);
        Ok(())
    }
}

/// The library's level for one of ours. The same, but for the best: on dumps and on text, zlib-rs 0.6 makes larger files at 9 than at 8
/// (by 5 % on a PostgreSQL dump, where 9 is even larger than 6); its 8 is what people expect of `gzip -9`, in size and in patience.
fn deflate_level(level: u8) -> Level {
    Level::new(u32::from(level.min(8)))
}

/// Compresses one block so that the next can follow at a byte boundary.
fn compress(level: Level, bytes: &[u8], before: Option<&Piece>, mut output: Vec<u8>) -> Result<Done> {
    let fault = |error: &dyn std::fmt::Display| Error::internal("compress", error);
    // A new one for each block costs nothing next to the work, and makes the bytes depend on the block alone: one that was only reset
    // remembers a little of the block that its thread had before.
    let mut deflate = Compress::new(level, false);
    if let Some(before) = before {
        let window = &before[before.len().saturating_sub(buffers::GZIP_WINDOW)..];
        deflate.set_dictionary(window).map_err(|error| fault(&error))?;
    }
    let mut crc = Crc::new();
    crc.update(bytes);
    output.clear();
    // Worst case: stored blocks of 64 KiB less one with five bytes each, and the empty one that `Sync` ends with.
    output.reserve(bytes.len() + bytes.len() / 1000 + 64);
    let mut taken = 0;
    loop {
        let (read, room) = (deflate.total_in(), output.capacity() - output.len());
        deflate
            .compress_vec(&bytes[taken..], &mut output, FlushCompress::Sync)
            .map_err(|error| fault(&error))?;
        taken += usize::try_from(deflate.total_in() - read).map_err(|error| fault(&error))?;
        // A flush is complete when there is room left after it.
        if taken == bytes.len() && output.len() < output.capacity() {
            return Ok(Done { output, crc });
        }
        if room == 0 || output.len() == output.capacity() {
            output.reserve(4096);
        }
    }
}
