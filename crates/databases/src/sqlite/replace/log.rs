//! Which pages changed between two moments, by the write-ahead log: every page that a transaction changed has a frame there, whose head
//! names it (<https://www.sqlite.org/walformat.html>).
//!
//! A [`Position`] is where the log ended: how many frames were committed, and the salts, which are others each time the log starts over.
//! Pages are compared after a position was read, so the state in which each was compared is that position's or a later one. What can have
//! changed since is named by the frames behind the position, up to where the log ends now. None is missing:
//!
//! - *The same log.* A log that starts over gets new salts (one is counted up, the other is random), also one that was cut to nothing or made
//!   anew. Other salts than remembered, or fewer frames, mean that nothing is known: then everything is compared.
//! - *The same frames.* A frame's checksum covers all frames before it. The last remembered frame must still have the checksum that the index
//!   gave for it, and each frame behind it the log's salts.
//! - *Checkpoints* copy the newest committed content of pages that have a frame into the database, which changes nothing that a reader sees. A page
//!   without a frame behind the position is, in the log or the database, what it was.
//! - *Rolled back writers* leave frames behind the committed end. They are not looked at; the next commit overwrites them.
//! - *A database that shrank and grew again* (vacuum, automatic or not) may have pages that were never written since: a checkpoint cuts the
//!   file, and what is added reads as zeros. Each commit says in its last frame how many pages there are, so whatever lies behind the least of these
//!   numbers counts as changed.
//!
//! A page too many is only compared in vain.
//!
//! While a [`Watch`] reads, the log can start over once at most: where the whole log was home already when it began, the next writer may
//! start it over, but what that one commits cannot be brought home, because the reader relies on the database file alone; where it
//! was not, the reader needs the log itself.

use coffre_model::Result;
use coffre_model::database::Access;
use rusqlite::Connection;

use crate::sqlite::header::be32;
use crate::sqlite::vfs::{LogIndex, MainFile};

use super::live::Live;

/// Bytes before the first frame of a log.
const LOG_HEAD: u64 = 32;
/// Bytes before the page in a frame.
const FRAME_HEAD: usize = 24;
/// The only version of the index that there is.
const VERSION: u32 = 3_007_000;
/// How often the index is read again while somebody writes its header: that takes nanoseconds, or until somebody repairs it.
const TORN: u32 = 1000;
/// How much longer a log may become because it cannot start over. As for a dump.
const GROWTH: u64 = 256 << 20;

/// Where a log ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// As they are in the log.
    salts: [u8; 8],
    /// Frames that are committed.
    frames: u32,
    /// The checksum of the last of them.
    sum: [u32; 2],
    page_size: usize,
}

/// What changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Changed {
    /// Pages with frames, in order, each once.
    pages: Vec<u32>,
    /// The least number of pages that there were after a commit; nothing without a commit.
    least: Option<u32>,
}

/// The sum over a header, as SQLite computes it over words in the machine's order.
fn sum(words: &[u32]) -> [u32; 2] {
    words.chunks_exact(2).fold([0, 0], |[one, two], pair| {
        let one = one.wrapping_add(pair[0]).wrapping_add(two);
        [one, two.wrapping_add(pair[1]).wrapping_add(one)]
    })
}

impl Position {
    /// Where the log ends now, or ended a moment ago; nothing where this connection has no log, or its index is not whole.
    pub(super) fn of(connection: &Connection) -> rusqlite::Result<Option<Position>> {
        let file = MainFile::of(connection)?;
        for _ in 0..TORN {
            match file.log_index()? {
                None => return Ok(None),
                Some([first, second]) if first == second => return Ok(Position::read(&first)),
                Some(_) => std::hint::spin_loop(),
            }
        }
        Ok(None)
    }

    fn read(index: &LogIndex) -> Option<Position> {
        let [version, _, _, kinds, frames, _, sum0, sum1, salt0, salt1, check @ ..] = *index;
        // One byte each: whether there is an index, and how the log's checksums are computed; then the page size.
        let [ready, _, size @ ..] = kinds.to_ne_bytes();
        let page_size = match u16::from_ne_bytes(size) {
            1 => 65536,
            size => usize::from(size),
        };
        if version != VERSION || ready != 1 || check != sum(&index[..10]) {
            return None;
        }
        let mut salts = [0; 8];
        salts[..4].copy_from_slice(&salt0.to_ne_bytes());
        salts[4..].copy_from_slice(&salt1.to_ne_bytes());
        Some(Position {
            salts,
            frames,
            sum: [sum0, sum1],
            page_size,
        })
    }

    /// What changed from here until now; nothing where the log does not tell. Others may go on writing meanwhile: then more is named than
    /// the caller's transaction sees. To be called inside a transaction, which began after this position was read.
    pub(super) fn changed(&self, connection: &Connection) -> rusqlite::Result<Option<Changed>> {
        let (Some(now), Some(log)) = (Position::of(connection)?, MainFile::log_of(connection)?) else {
            return Ok(None);
        };
        if now.salts != self.salts || now.frames < self.frames {
            return Ok(None);
        }
        let mut changed = Changed {
            pages: Vec::new(),
            least: None,
        };
        if now.frames == self.frames {
            return Ok((now == *self).then_some(changed));
        }
        if (self.frames > 0 && now.page_size != self.page_size) || now.page_size < 512 {
            return Ok(None);
        }
        for frame in self.frames.max(1)..=now.frames {
            let mut head = [0; FRAME_HEAD];
            let at = LOG_HEAD + u64::from(frame - 1) * (now.page_size + FRAME_HEAD) as u64;
            log.read_at(&mut head, at)?;
            let (page, size) = (be32(&head, 0), be32(&head, 4));
            if head[8..16] != self.salts || page == 0 {
                return Ok(None);
            }
            if frame == self.frames {
                // Up to here nothing is asked but whether it is still the same.
                if [be32(&head, 16), be32(&head, 20)] != self.sum {
                    return Ok(None);
                }
                continue;
            }
            changed.pages.push(page);
            if size > 0 {
                changed.least = Some(changed.least.map_or(size, |least| least.min(size)));
            }
        }
        // Where it started over meanwhile, the heads may have been of another log.
        if Position::of(connection)?.is_none_or(|again| again.salts != self.salts) {
            return Ok(None);
        }
        changed.pages.sort_unstable();
        changed.pages.dedup();
        Ok(Some(changed))
    }
}

impl Changed {
    /// The pages to be compared, of a state with so many, where a state with `before` pages was compared last.
    pub(super) fn pages(&self, before: u32, now: u32) -> impl Iterator<Item = u32> + '_ {
        let least = self.least.map_or(before, |least| least.min(before));
        let named = self.pages.iter().copied().take_while(move |page| *page <= least.min(now));
        named.chain(least.saturating_add(1)..=now)
    }
}

/// Keeps the log from starting over, and remembers from where on it is to be looked at.
pub(super) struct Watch {
    /// Reads all the time.
    guard: Option<Live>,
    base: Option<Position>,
}

impl Watch {
    /// From now on. `live` has the log open.
    pub(super) fn begin(live: &Live, access: &Access) -> Result<Watch> {
        let guard = live.again(access)?;
        guard.begin_reading(access)?;
        let base = Position::of(&live.connection).map_err(|e| live.error(&e))?;
        Ok(Watch {
            guard: Some(guard),
            base,
        })
    }

    /// From `position` on; what lies before has been looked at.
    pub(super) fn go_on(&mut self, position: Option<Position>) {
        self.base = position;
    }

    /// Lets go of the log; what is remembered stays.
    pub(super) fn let_go(&mut self) {
        self.guard = None;
    }

    /// Whether the log has started over since. Then this begins anew, too, and what was compared before has to be compared again. Outside of
    /// transactions.
    pub(super) fn began_anew(&mut self, live: &Live) -> Result<bool> {
        let now = Position::of(&live.connection).map_err(|e| live.error(&e))?;
        let (Some(base), Some(now)) = (self.base, now) else {
            self.base = now;
            return Ok(now.is_some());
        };
        if base.salts != now.salts || now.frames < base.frames {
            self.base = Some(now);
            return Ok(true);
        }
        if u64::from(now.frames - base.frames) * (now.page_size + FRAME_HEAD) as u64 > GROWTH {
            self.let_go();
        }
        Ok(false)
    }

    /// What changed since; nothing where that is not known. Inside a transaction.
    pub(super) fn changed(&self, live: &Live) -> Result<Option<Changed>> {
        match self.base {
            Some(base) => base.changed(&live.connection).map_err(|e| live.error(&e)),
            None => Ok(None),
        }
    }
}
