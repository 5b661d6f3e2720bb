//! Work beside the clock: each piece on a thread of its own, and in the list of what goes on until it is over, however it ends.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use coffre_model::{Cancel, Error, Id, Result};

use super::{Clockwork, State};
use crate::Coffre;

/// What kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// The run of a plan's slot.
    Slot,
    /// Coffre's own work.
    House,
    /// A rehearsal.
    Drill,
    /// Telling channels.
    Notices,
}

impl Work {
    fn thread(self) -> &'static str {
        match self {
            Work::Slot => "slot",
            Work::House => "housekeeping",
            Work::Drill => "drill",
            Work::Notices => "notices",
        }
    }
}

/// One piece of work: its kind, and whose and of when it is.
pub(super) type Key = (Work, Id, DateTime<Utc>);

/// Work that goes on.
pub(super) struct Going {
    pub(super) key: Key,
    pub(super) cancel: Cancel,
}

impl State {
    /// Whether something of this kind goes on.
    pub(super) fn goes_on(&self, work: Work) -> bool {
        self.going.iter().any(|going| going.key.0 == work)
    }
}

/// Stands in the list as long as this lives: it goes also where the work panicked, or no thread could be started for it.
struct Listed {
    clockwork: Clockwork,
    key: Key,
    /// Something may have changed by it: what is next is looked at when it is over. Not where it never began, or the look that failed would
    /// follow itself without a pause.
    begun: bool,
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut state = self.clockwork.lock();
        state.going.retain(|going| going.key != self.key);
        // What there is to tell next is seen at the next look, unless somebody asked for it meanwhile.
        let news = self.key.0 != Work::Notices || std::mem::take(&mut state.tell_again);
        state.woken |= self.begun && news;
        drop(state);
        self.clockwork.0.bell.notify_all();
    }
}

impl Clockwork {
    /// Puts work into the list; nothing where the clockwork stops, or `not_now` says so.
    fn list(&self, key: Key, cancel: &Cancel, not_now: impl FnOnce(&mut State) -> bool) -> Option<Listed> {
        let mut state = self.lock();
        if state.stopping || not_now(&mut state) {
            return None;
        }
        state.going.push(Going {
            key,
            cancel: cancel.clone(),
        });
        Some(Listed {
            clockwork: self.clone(),
            key,
            begun: false,
        })
    }

    /// Does `work` on a thread of its own, unless the clockwork stops or `not_now` says so.
    ///
    /// # Errors
    /// `INTERNAL` where no thread can be started: then nothing is left in the list.
    pub(super) fn beside(
        &self,
        key: Key,
        coffre: &Arc<Coffre>,
        not_now: impl FnOnce(&mut State) -> bool,
        work: impl FnOnce(&Clockwork, &Coffre, &Cancel) + Send + 'static,
    ) -> Result<()> {
        let cancel = Cancel::new();
        let Some(listed) = self.list(key, &cancel, not_now) else {
            return Ok(());
        };
        let coffre = Arc::clone(coffre);
        let work = move || {
            let mut listed = listed;
            listed.begun = true;
            // What it holds of the catalogue goes before anybody hears that it is over, also where it panics.
            let coffre = coffre;
            work(&listed.clockwork, &coffre, &cancel);
        };
        let spawned = std::thread::Builder::new().name(key.0.thread().into()).spawn(work);
        spawned.map(drop).map_err(|e| Error::internal("start a thread", e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notifications::Told;
    use crate::schedules::{Inner, Ran, Runner};
    use coffre_model::Code;
    use coffre_model::backup::{Backup, Trigger};
    use coffre_model::drill::Drill;
    use coffre_model::plan::Plan;
    use std::sync::{Condvar, Mutex};

    /// Has nothing to run.
    struct Nobody;

    impl Runner for Nobody {
        fn coffre(&self) -> Result<Arc<Coffre>> {
            Err(Error::new(Code::Busy, "closing"))
        }
        fn back_up(&self, _: &Plan, _: Trigger, _: &(dyn Fn(Id) + Sync), _: &Cancel) -> Result<Backup> {
            Err(Error::new(Code::Busy, "closing"))
        }
        fn drill(&self, _: &Backup, _: &Cancel) -> Result<Drill> {
            Err(Error::new(Code::Busy, "closing"))
        }
        fn changed(&self) {}
        fn ran(&self, _: &Ran) {}
        fn failed(&self, _: &Error) {}
        fn told(&self, _: &Told) {}
    }

    fn clockwork() -> Clockwork {
        Clockwork(Arc::new(Inner {
            runner: Arc::new(Nobody),
            state: Mutex::default(),
            bell: Condvar::new(),
            thread: Mutex::default(),
        }))
    }

    fn key(work: Work) -> Key {
        (work, Id::new(), "2026-11-21T08:00:00Z".parse().unwrap())
    }

    #[test]
    fn nothing_stays_in_the_list_however_it_ends() {
        let clockwork = clockwork();
        for kind in [Work::Slot, Work::House, Work::Drill, Work::Notices] {
            // No thread could be started: what was to be done is dropped.
            let never = clockwork.list(key(kind), &Cancel::new(), |_| false).unwrap();
            assert!(clockwork.lock().goes_on(kind));
            drop(never);
            assert!(!clockwork.lock().goes_on(kind) && !clockwork.lock().woken, "{kind:?}");

            let panics = clockwork.list(key(kind), &Cancel::new(), |_| false).unwrap();
            let ended = std::thread::spawn(move || {
                let mut panics = panics;
                panics.begun = true;
                panic!("{:?}", panics.key.0);
            });
            assert!(ended.join().is_err());
            let mut state = clockwork.lock();
            assert!(state.going.is_empty());
            assert_eq!(std::mem::take(&mut state.woken), kind != Work::Notices, "{kind:?}");
        }
        // Somebody asked for more to be told while it was told.
        let mut telling = clockwork.list(key(Work::Notices), &Cancel::new(), |_| false).unwrap();
        telling.begun = true;
        clockwork.lock().tell_again = true;
        drop(telling);
        assert!(clockwork.lock().woken);
    }

    #[test]
    fn what_stops_begins_nothing_and_the_same_is_not_begun_beside_itself() {
        let clockwork = clockwork();
        let slot = key(Work::Slot);
        let same = |state: &mut State| state.going.iter().any(|going| going.key == slot);
        let going = clockwork.list(slot, &Cancel::new(), same);
        assert!(going.is_some() && clockwork.list(slot, &Cancel::new(), same).is_none());
        drop(going);
        assert!(clockwork.list(slot, &Cancel::new(), same).is_some());
        clockwork.lock().stopping = true;
        assert!(clockwork.list(slot, &Cancel::new(), |_| false).is_none());
    }
}
