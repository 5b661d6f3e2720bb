//! What is pushed to the window: one thread hands events to the shell, so that no work ever waits for a window, and never more often
//! than a window can use.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use coffre_model::progress::Progress;
use coffre_model::{Error, Id, Result};
use serde::Serialize;
use ts_rs::TS;

use super::running::Running;

/// News of one piece of work are told at most this often.
const PROGRESS_PAUSE: Duration = Duration::from_millis(100);
/// Changes that come closer together than this are told together.
const CHANGES_PAUSE: Duration = Duration::from_millis(50);
/// More single things than this, and everything of their kind is named instead.
const TAGS_MAX: usize = 500;

/// A kind of thing that is read, and can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum Noun {
    /// Version, home, first start, secret store.
    About,
    /// Sources.
    Sources,
    /// Destinations.
    Destinations,
    /// Plans.
    Plans,
    /// Backups.
    Backups,
    /// Restores.
    Restores,
    /// Keys.
    Keys,
    /// The journal.
    Journal,
    /// Health.
    Health,
    /// Settings.
    Settings,
    /// Who is told what, and how that goes.
    Channels,
    /// Tools that were found.
    Tools,
    /// What runs now.
    Running,
    /// The overview, and what the sidebar counts.
    Overview,
}

impl Noun {
    /// Every one.
    pub const ALL: [Noun; 14] = [
        Noun::About,
        Noun::Sources,
        Noun::Destinations,
        Noun::Plans,
        Noun::Backups,
        Noun::Restores,
        Noun::Keys,
        Noun::Journal,
        Noun::Health,
        Noun::Settings,
        Noun::Channels,
        Noun::Tools,
        Noun::Running,
        Noun::Overview,
    ];
}

/// What a read provides and a change invalidates. With an id: that one thing; without: every one of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, TS)]
pub struct Tag {
    /// The kind of thing.
    pub noun: Noun,
    /// The thing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub id: Option<Id>,
}

impl From<Noun> for Tag {
    fn from(noun: Noun) -> Tag {
        Tag { noun, id: None }
    }
}

/// What the backend says by itself.
#[derive(Clone, Debug, Serialize, TS)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum BackendEvent {
    /// These are no longer what was read.
    Invalidated {
        /// Which ones.
        tags: Vec<Tag>,
    },
    /// News of running work, at most ten times a second for each piece of work.
    Progress {
        /// The news.
        progress: Progress,
    },
    /// A notification or the tray wants a view: a route such as `/backups/<id>`.
    Navigate {
        /// The view.
        route: String,
    },
    /// Somebody wants to quit while work is running; answered by `quit` or not at all.
    QuitRequested {
        /// What would end.
        running: Vec<Running>,
    },
    /// Events were lost: everything is to be read again.
    Lagged,
}

/// Where events go: the shell hands them to its windows.
pub type Sink = Box<dyn Fn(&BackendEvent) + Send + Sync>;

/// Gathers events and hands them on.
pub(super) struct Events {
    queue: Arc<Queue>,
}

struct Queue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

#[derive(Default)]
struct Waiting {
    tags: BTreeSet<Tag>,
    tags_told: Option<Instant>,
    progress: BTreeMap<Id, Progress>,
    progress_told: HashMap<Id, Instant>,
    others: VecDeque<BackendEvent>,
    over: bool,
}

impl Events {
    /// Starts the thread that calls `sink`, one event after the other.
    pub(super) fn new(sink: Sink) -> Result<Events> {
        let queue = Arc::new(Queue {
            waiting: Mutex::default(),
            wake: Condvar::new(),
        });
        let shared = Arc::clone(&queue);
        std::thread::Builder::new()
            .name("events".into())
            .spawn(move || shared.hand_on(&sink))
            .map_err(|e| Error::internal("start the thread of events", e))?;
        Ok(Events { queue })
    }

    /// Says what changed.
    pub(super) fn changed(&self, tags: impl IntoIterator<Item = Tag>) {
        let mut waiting = self.queue.lock();
        waiting.tags.extend(tags);
        if waiting.tags.len() > TAGS_MAX {
            waiting.tags = waiting.tags.iter().map(|tag| Tag::from(tag.noun)).collect();
        }
        self.queue.wake.notify_all();
    }

    /// News of running work.
    pub(super) fn progress(&self, id: Id, progress: Progress) {
        self.queue.lock().progress.insert(id, progress);
        self.queue.wake.notify_all();
    }

    /// The work is over: what is still to be told of it is old.
    pub(super) fn over(&self, id: &Id) {
        let mut waiting = self.queue.lock();
        waiting.progress.remove(id);
        waiting.progress_told.remove(id);
    }

    /// Anything else.
    pub(super) fn push(&self, event: BackendEvent) {
        self.queue.lock().others.push_back(event);
        self.queue.wake.notify_all();
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.queue.lock().over = true;
        self.queue.wake.notify_all();
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing in here can be half done when a thread panics.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hand_on(&self, sink: &Sink) {
        while let Some(events) = self.next() {
            for event in events {
                if catch_unwind(AssertUnwindSafe(|| sink(&event))).is_err() {
                    // The next event must not be lost with this one; the panic itself was told by its hook.
                    tracing::error!("the shell could not take an event");
                }
            }
        }
    }

    /// What may be told now; waits until there is something. Nothing once it is over.
    fn next(&self) -> Option<Vec<BackendEvent>> {
        let mut waiting = self.lock();
        loop {
            if waiting.over {
                return None;
            }
            let now = Instant::now();
            let (ready, due) = waiting.take(now);
            if !ready.is_empty() {
                return Some(ready);
            }
            waiting = match due {
                None => self.wake.wait(waiting).unwrap_or_else(PoisonError::into_inner),
                Some(due) => {
                    let pause = due.saturating_duration_since(now);
                    let woken = self.wake.wait_timeout(waiting, pause);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

impl Waiting {
    /// Takes what is due, and says when the next thing is.
    fn take(&mut self, now: Instant) -> (Vec<BackendEvent>, Option<Instant>) {
        let mut ready: Vec<BackendEvent> = self.others.drain(..).collect();
        let mut next: Option<Instant> = None;
        let mut later = |at: Instant| next = Some(next.map_or(at, |known| known.min(at)));
        if !self.tags.is_empty() {
            match self.tags_told.map(|told| told + CHANGES_PAUSE).filter(|due| *due > now) {
                Some(due) => later(due),
                None => {
                    self.tags_told = Some(now);
                    let tags = std::mem::take(&mut self.tags).into_iter().collect();
                    ready.push(BackendEvent::Invalidated { tags });
                }
            }
        }
        let told = &mut self.progress_told;
        self.progress.retain(
            |id, progress| match told.get(id).map(|told| *told + PROGRESS_PAUSE).filter(|due| *due > now) {
                Some(due) => {
                    later(due);
                    true
                }
                None => {
                    told.insert(*id, now);
                    ready.push(BackendEvent::Progress {
                        progress: progress.clone(),
                    });
                    false
                }
            },
        );
        (ready, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coffre_model::progress::Step;

    fn news(done: u64) -> Progress {
        Progress {
            id: None,
            step: Step::Dumping,
            done,
            total: None,
            estimated: false,
        }
    }

    fn told(events: &[BackendEvent]) -> Vec<u64> {
        let done = |event: &BackendEvent| match event {
            BackendEvent::Progress { progress } => Some(progress.done),
            _ => None,
        };
        events.iter().filter_map(done).collect()
    }

    #[test]
    fn each_work_is_told_of_ten_times_a_second_and_the_last_news_are_not_lost() {
        let mut waiting = Waiting::default();
        let (a, b) = (Id::new(), Id::new());
        let start = Instant::now();
        waiting.progress.insert(a, news(1));
        assert_eq!(told(&waiting.take(start).0), [1]);
        waiting.progress.insert(a, news(2));
        waiting.progress.insert(a, news(3));
        waiting.progress.insert(b, news(9));
        let (ready, due) = waiting.take(start + Duration::from_millis(40));
        assert_eq!((told(&ready), due), (vec![9], Some(start + PROGRESS_PAUSE)));
        let (ready, due) = waiting.take(start + PROGRESS_PAUSE);
        assert_eq!((told(&ready), due), (vec![3], None));
    }

    #[test]
    fn changes_are_gathered() {
        let mut waiting = Waiting::default();
        let start = Instant::now();
        waiting.tags.insert(Noun::Backups.into());
        assert_eq!(waiting.take(start).0.len(), 1);
        waiting.tags.insert(Noun::Backups.into());
        waiting.tags.insert(Noun::Sources.into());
        waiting.tags.insert(Noun::Sources.into());
        assert!(waiting.take(start + Duration::from_millis(10)).0.is_empty());
        let (ready, due) = waiting.take(start + CHANGES_PAUSE);
        assert!(matches!(&ready[..], [BackendEvent::Invalidated { tags }] if tags.len() == 2));
        assert_eq!(due, None);
    }

    #[test]
    fn a_shell_that_panics_loses_one_event() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let sender = Mutex::new(sender);
        let events = Events::new(Box::new(move |event| match event {
            BackendEvent::Lagged => panic!("on purpose"),
            other => sender.lock().unwrap().send(format!("{other:?}")).unwrap(),
        }))
        .unwrap();
        events.push(BackendEvent::Lagged);
        events.push(BackendEvent::Navigate { route: "/x".into() });
        assert!(receiver.recv().unwrap().contains("/x"));
    }
}
