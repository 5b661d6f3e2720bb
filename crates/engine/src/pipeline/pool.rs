//! Pooled pieces: the memory of the pipeline is what its pools hold, and whoever is too fast waits for a piece.

use std::ops::Deref;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use coffre_model::error::Result;

/// How long anybody in the pipeline waits without looking around (cancelled? given up? stalled?).
pub(super) const TICK: Duration = Duration::from_millis(40);

/// Locks a mutex. That somebody panicked while holding it changes nothing for us: every state behind these locks is whole at every
/// moment, and the panic itself is noticed where the thread's answer is missing.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A fixed number of pieces of a fixed size, made when first needed.
#[derive(Clone)]
pub(super) struct Pool(Arc<Home>);

struct Home {
    free: Mutex<Free>,
    returned: Condvar,
    size: usize,
}

struct Free {
    pieces: Vec<Vec<u8>>,
    /// How many more may be made.
    unmade: usize,
}

impl Pool {
    /// A pool of `count` pieces of `size` bytes.
    pub(super) fn new(count: usize, size: usize) -> Self {
        Pool(Arc::new(Home {
            free: Mutex::new(Free {
                pieces: Vec::with_capacity(count),
                unmade: count,
            }),
            returned: Condvar::new(),
            size,
        }))
    }

    /// An empty piece; while there is none, `look` is asked every [`TICK`] whether it is still worth waiting.
    pub(super) fn take(&self, mut look: impl FnMut() -> Result<()>) -> Result<Piece> {
        let mut free = lock(&self.0.free);
        loop {
            let bytes = match free.pieces.pop() {
                Some(bytes) => Some(bytes),
                None if free.unmade > 0 => {
                    free.unmade -= 1;
                    Some(vec![0; self.0.size])
                }
                None => None,
            };
            if let Some(bytes) = bytes {
                return Ok(Piece {
                    bytes,
                    filled: 0,
                    home: self.0.clone(),
                });
            }
            let (guard, waited) = self
                .0
                .returned
                .wait_timeout(free, TICK)
                .unwrap_or_else(PoisonError::into_inner);
            free = guard;
            if waited.timed_out() {
                drop(free);
                look()?;
                free = lock(&self.0.free);
            }
        }
    }
}

/// Bytes on their way. Goes back to its pool when dropped.
pub(super) struct Piece {
    bytes: Vec<u8>,
    filled: usize,
    home: Arc<Home>,
}

impl Piece {
    /// The part not filled yet.
    pub(super) fn spare(&mut self) -> &mut [u8] {
        &mut self.bytes[self.filled..]
    }

    /// Says that the first `count` bytes of `spare` are filled now, and gives them.
    pub(super) fn advance(&mut self, count: usize) -> &[u8] {
        let from = self.filled;
        self.filled = (from + count).min(self.bytes.len());
        &self.bytes[from..self.filled]
    }

    /// Whether nothing more fits.
    pub(super) fn is_full(&self) -> bool {
        self.filled == self.bytes.len()
    }

    /// Copies as much as fits; gives how much that was.
    pub(super) fn fill(&mut self, bytes: &[u8]) -> usize {
        let spare = self.spare();
        let count = spare.len().min(bytes.len());
        spare[..count].copy_from_slice(&bytes[..count]);
        self.filled += count;
        count
    }
}

impl Deref for Piece {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        lock(&self.home.free).pieces.push(std::mem::take(&mut self.bytes));
        self.home.returned.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coffre_model::error::{Code, Error};

    #[test]
    fn a_pool_gives_what_it_has_and_waits_for_what_comes_back() {
        let pool = Pool::new(2, 4);
        let never = || -> Result<()> { panic!("nobody should wait") };
        let mut one = pool.take(never).unwrap();
        let two = pool.take(never).unwrap();
        assert_eq!(one.fill(b"abcdef"), 4);
        assert!(one.is_full());
        assert_eq!(&*one, b"abcd");
        let mut looks = 0;
        let answer = pool.take(|| {
            looks += 1;
            if looks < 3 {
                Ok(())
            } else {
                Err(Error::new(Code::Cancelled, "cancelled"))
            }
        });
        assert_eq!((answer.err().unwrap().code(), looks), (Code::Cancelled, 3));
        drop(two);
        assert!(pool.take(never).unwrap().is_empty());
        let waiting = pool.clone();
        let _two = pool.take(never).unwrap();
        let third = std::thread::spawn(move || waiting.take(|| Ok(())).unwrap().len());
        drop(one);
        assert_eq!(third.join().unwrap(), 0);
    }
}
