//! One stream of stored bytes to several uploads: each has its own thread, and one that fails, hangs or fills its disk does not stop
//! the others.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use coffre_model::error::{Code, Error, Result, from_io};
use coffre_model::storage::Upload;
use coffre_model::{Cancel, Id};

use super::pool::{Piece, TICK, lock};
use super::threads;

/// What became of each upload.
pub(super) type Outcomes = Vec<(Id, Result<Box<dyn Upload>>)>;

/// The shared side of all lanes.
#[derive(Clone)]
pub(super) struct Fan(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    cancel: Cancel,
    /// An upload that takes no byte for so long is given up.
    stall: Duration,
}

struct State {
    lanes: Vec<Lane>,
    /// The first failure of any lane.
    first_error: Option<Error>,
}

struct Lane {
    id: Id,
    /// What the place is called, where that is known.
    place: Option<String>,
    /// Bounded by the pool that the pieces come from.
    queue: VecDeque<Arc<Piece>>,
    /// No piece comes after those in the queue.
    ended: bool,
    /// Nothing more is to be written: failed, given up, or the whole run ended early.
    closed: bool,
    /// Since when the thread is inside a call of the upload.
    busy_since: Option<Instant>,
    /// The thread has ended; its upload is in `outcome`, or dropped.
    gone: bool,
    outcome: Option<Result<Box<dyn Upload>>>,
}

impl State {
    fn fail(&mut self, lane: usize, error: Error) {
        self.first_error.get_or_insert_with(|| error.clone());
        let lane = &mut self.lanes[lane];
        lane.closed = true;
        lane.queue.clear();
        lane.outcome.get_or_insert(Err(error));
    }
}

impl Fan {
    /// Starts a thread for each upload.
    pub(super) fn start(
        uploads: Vec<(Id, Box<dyn Upload>)>,
        places: &[String],
        cancel: &Cancel,
        stall: Duration,
    ) -> Result<Self> {
        let lanes = uploads
            .iter()
            .enumerate()
            .map(|(index, (id, _))| Lane {
                id: *id,
                place: places.get(index).cloned(),
                queue: VecDeque::new(),
                ended: false,
                closed: false,
                busy_since: None,
                gone: false,
                outcome: None,
            })
            .collect();
        let fan = Fan(Arc::new(Shared {
            state: Mutex::new(State {
                lanes,
                first_error: None,
            }),
            changed: Condvar::new(),
            cancel: cancel.clone(),
            stall,
        }));
        for (lane, (_, upload)) in uploads.into_iter().enumerate() {
            let shared = fan.0.clone();
            if let Err(error) = threads::start("coffre-upload", move || LaneThread { shared, lane }.run(upload)) {
                // The uploads without a thread were dropped with the closure; those with one end now.
                fan.close();
                return Err(error);
            }
        }
        Ok(fan)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }

    /// Hands a piece to every living upload.
    ///
    /// # Errors
    /// The first failure, once there is no living upload left.
    pub(super) fn push(&self, piece: &Arc<Piece>) -> Result<()> {
        let mut state = self.state();
        for lane in state.lanes.iter_mut().filter(|lane| !lane.closed) {
            lane.queue.push_back(piece.clone());
        }
        self.0.changed.notify_all();
        all_failed(&state)
    }

    /// To be asked while waiting for an upload to give a piece back: gives up uploads that hang.
    ///
    /// # Errors
    /// The first failure, once there is no living upload left; `CANCELLED`.
    pub(super) fn look(&self) -> Result<()> {
        self.0.cancel.check()?;
        let mut state = self.state();
        let stalled: Vec<usize> = state
            .lanes
            .iter()
            .enumerate()
            .filter(|(_, lane)| lane.outcome.is_none() && lane.busy_since.is_some_and(|since| since.elapsed() >= self.0.stall))
            .map(|(index, _)| index)
            .collect();
        for lane in stalled {
            let error = Error::new(Code::Stalled, "upload_stalled").with("seconds", self.0.stall.as_secs());
            let error = match &state.lanes[lane].place {
                Some(place) => error.with("place", place.as_str()),
                None => error,
            };
            state.fail(lane, error);
        }
        all_failed(&state)
    }

    /// Says that no more pieces come.
    pub(super) fn end(&self) {
        for lane in &mut self.state().lanes {
            lane.ended = true;
        }
        self.0.changed.notify_all();
    }

    /// Waits until every upload has taken everything or failed; `between` is called while waiting.
    ///
    /// # Errors
    /// `CANCELLED`; the first failure, where no upload is left.
    pub(super) fn outcomes(&self, mut between: impl FnMut()) -> Result<Outcomes> {
        loop {
            self.look()?;
            let mut state = self.state();
            if state.lanes.iter().all(|lane| lane.outcome.is_some()) {
                // The last one may have failed since `look`.
                all_failed(&state)?;
                let lanes = std::mem::take(&mut state.lanes);
                return Ok(lanes.into_iter().filter_map(|lane| Some((lane.id, lane.outcome?))).collect());
            }
            drop(self.wait(state, TICK));
            between();
        }
    }

    /// Ends every lane at once: what is queued is thrown away and the uploads are dropped, which removes what they wrote.
    pub(super) fn close(&self) {
        for lane in &mut self.state().lanes {
            lane.closed = true;
            lane.queue.clear();
        }
        self.0.changed.notify_all();
    }

    /// Closes, and waits for a while until the uploads are dropped, so that their partials are gone when the caller goes on. A thread
    /// that hangs in its disk drops its upload when it wakes; until then the sweep may do it.
    pub(super) fn close_and_wait(&self, at_most: Duration) {
        self.close();
        let begun = Instant::now();
        loop {
            let state = self.state();
            let left = at_most.saturating_sub(begun.elapsed());
            if left.is_zero() || state.lanes.iter().all(|lane| lane.gone) {
                // What a lane handed over before it was closed is dropped here, outside the lock.
                let mut state = state;
                let outcomes: Vec<_> = state.lanes.iter_mut().filter_map(|lane| lane.outcome.take()).collect();
                drop(state);
                drop(outcomes);
                return;
            }
            drop(self.wait(state, left));
        }
    }

    fn wait<'a>(&'a self, state: MutexGuard<'a, State>, at_most: Duration) -> MutexGuard<'a, State> {
        self.0
            .changed
            .wait_timeout(state, at_most)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }
}

fn all_failed(state: &State) -> Result<()> {
    match &state.first_error {
        Some(error) if state.lanes.iter().all(|lane| lane.closed) => Err(error.clone()),
        _ => Ok(()),
    }
}

struct LaneThread {
    shared: Arc<Shared>,
    lane: usize,
}

impl LaneThread {
    fn run(self, mut upload: Box<dyn Upload>) {
        let ended = loop {
            let piece = match self.next() {
                Next::Piece(piece) => piece,
                Next::End => break true,
                Next::Closed => break false,
            };
            let written = upload.write_all(&piece);
            drop(piece);
            if self.wrote(written).is_err() {
                break false;
            }
        };
        if ended && self.wrote(upload.flush()).is_ok() {
            let mut state = lock(&self.shared.state);
            if let Some(lane) = state.lanes.get_mut(self.lane)
                && !lane.closed
            {
                lane.outcome = Some(Ok(upload));
                return;
            }
        }
        // Before `gone` is said, and outside the lock: this removes files.
        drop(upload);
    }

    /// Waits for the next piece.
    fn next(&self) -> Next {
        let mut state = lock(&self.shared.state);
        loop {
            // No lane: everything was handed out already, and this one was given up.
            let Some(lane) = state.lanes.get_mut(self.lane) else {
                return Next::Closed;
            };
            if lane.closed || self.shared.cancel.is_cancelled() {
                return Next::Closed;
            }
            if let Some(piece) = lane.queue.pop_front() {
                lane.busy_since = Some(Instant::now());
                return Next::Piece(piece);
            }
            if lane.ended {
                lane.busy_since = Some(Instant::now());
                return Next::End;
            }
            state = self
                .shared
                .changed
                .wait_timeout(state, TICK)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Notes the end of a call of the upload.
    fn wrote(&self, answer: std::io::Result<()>) -> Result<(), ()> {
        let mut state = lock(&self.shared.state);
        let Some(lane) = state.lanes.get_mut(self.lane) else {
            return Err(());
        };
        lane.busy_since = None;
        if let Err(error) = answer {
            let error = from_io(error, |error| Error::internal("write to a destination", error));
            state.fail(self.lane, error);
            self.shared.changed.notify_all();
            return Err(());
        }
        Ok(())
    }
}

impl Drop for LaneThread {
    /// The lane's end, also where the upload panicked.
    fn drop(&mut self) {
        let mut state = lock(&self.shared.state);
        // Where the lanes were handed out already, nobody waits for this one.
        if let Some(lane) = state.lanes.get_mut(self.lane) {
            lane.gone = true;
            if lane.outcome.is_none() {
                let error = match self.shared.cancel.check() {
                    Err(cancelled) => cancelled,
                    Ok(()) => threads::lost("coffre-upload"),
                };
                state.fail(self.lane, error);
            }
        }
        self.shared.changed.notify_all();
    }
}

enum Next {
    Piece(Arc<Piece>),
    End,
    Closed,
}
