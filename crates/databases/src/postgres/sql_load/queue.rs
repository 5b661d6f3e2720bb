//! Bytes on their way from the one who writes to the thread that loads: bounded, so that a slow server slows the writer down.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use coffre_model::cancel::Cancel;
use coffre_model::error::Result;

/// Pieces of this size travel through the queue.
pub(super) const PIECE: usize = 256 << 10;
/// So many of them wait at most.
const WAITING_MAX: usize = 8;
/// How long a wait lasts before the cancel flag is looked at again.
pub(super) const LOOK: Duration = Duration::from_millis(50);

/// The queue.
#[derive(Default)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    pieces: VecDeque<Vec<u8>>,
    /// No more pieces will come, and all of them are wanted.
    complete: bool,
    /// The writer is gone without completing.
    abandoned: bool,
    /// The reader is gone.
    ended: bool,
}

/// What the reader gets.
pub(super) enum Piece {
    /// The next bytes.
    Bytes(Vec<u8>),
    /// All bytes have come.
    Complete,
    /// The writer went away: take everything back.
    Abandoned,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it holds the lock, and the data would be whole anyway.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, inner: MutexGuard<'a, Inner>) -> MutexGuard<'a, Inner> {
        self.changed
            .wait_timeout(inner, LOOK)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }

    /// Hands a piece over, waiting for room. `false`: the reader has ended and will say why.
    pub(super) fn push(&self, piece: Vec<u8>, cancel: &Cancel) -> Result<bool> {
        let mut inner = self.lock();
        while inner.pieces.len() >= WAITING_MAX && !inner.ended {
            cancel.check()?;
            inner = self.wait(inner);
        }
        cancel.check()?;
        if inner.ended {
            return Ok(false);
        }
        inner.pieces.push_back(piece);
        self.changed.notify_all();
        Ok(true)
    }

    /// Says that everything was written.
    pub(super) fn complete(&self) {
        self.lock().complete = true;
        self.changed.notify_all();
    }

    /// Says that the writer is gone.
    pub(super) fn abandon(&self) {
        self.lock().abandoned = true;
        self.changed.notify_all();
    }

    /// Whether the writer is gone without completing.
    pub(super) fn is_abandoned(&self) -> bool {
        self.lock().abandoned
    }

    /// Says that the reader is gone.
    pub(super) fn end(&self) {
        let mut inner = self.lock();
        inner.ended = true;
        inner.pieces.clear();
        self.changed.notify_all();
    }

    /// Waits for the next piece.
    pub(super) fn pull(&self, cancel: &Cancel) -> Result<Piece> {
        let mut inner = self.lock();
        loop {
            cancel.check()?;
            if inner.abandoned {
                return Ok(Piece::Abandoned);
            }
            if let Some(piece) = inner.pieces.pop_front() {
                self.changed.notify_all();
                return Ok(Piece::Bytes(piece));
            }
            if inner.complete {
                return Ok(Piece::Complete);
            }
            inner = self.wait(inner);
        }
    }
}
