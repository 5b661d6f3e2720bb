//! Running work: every backup, verification, restore and download that the window started, each on a thread of its own with its own
//! way to be cancelled. And what other processes do on the same home, as far as the catalogue tells.

use std::collections::{BTreeMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use coffre_model::backup::Trigger;
use coffre_model::cancel::Reason;
use coffre_model::progress::{Observer, Progress, Step};
use coffre_model::{Cancel, Code, Error, Id, Result};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::commands::{ById, Nothing};
use super::events::{BackendEvent, Noun, Tag};
use super::{Window, tags};
use crate::Coffre;

/// How long a cancelled piece of work is waited for before the answer comes without its end.
const CANCEL_PATIENCE: Duration = Duration::from_secs(30);

/// What kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum RunningNoun {
    /// A backup is made.
    Backup,
    /// A backup's copies are read again.
    Verify,
    /// A backup is brought back, or proved for a restore.
    Restore,
    /// A backup is copied to a file.
    Download,
    /// A restore in place of live data is taken back.
    Undo,
    /// A restore is rehearsed into a throw-away database.
    Drill,
    /// A backup is loaded into a throw-away database, to be looked into.
    Open,
}

/// A piece of work that goes on.
#[derive(Clone, Debug, Serialize, TS)]
pub struct Running {
    /// The backup or restore.
    pub id: Id,
    /// What is done.
    pub noun: RunningNoun,
    /// The source's name, or the file's.
    pub source: String,
    /// The source.
    pub source_id: Option<Id>,
    /// The kind of database.
    pub adapter: String,
    /// The plan's name.
    pub plan: Option<String>,
    /// Since when.
    pub started_at: DateTime<Utc>,
    /// How far it is.
    pub progress: Progress,
    /// Another process on this home does it: its progress is not known here, and it cannot be cancelled here.
    pub elsewhere: bool,
    /// It was cancelled and is about to end.
    pub cancelling: bool,
    /// It can be cancelled from here. Not what another process does, and not once live data is changing places: that is all or nothing, and over in a moment.
    pub cancellable: bool,
}

/// What is known of a piece of work before it begins.
#[derive(Clone)]
pub(super) struct About {
    pub(super) noun: RunningNoun,
    pub(super) source: String,
    pub(super) source_id: Option<Id>,
    pub(super) adapter: String,
    pub(super) plan: Option<String>,
    /// The id under which it will be known; nothing where the engine gives it one.
    pub(super) id: Option<Id>,
}

/// The register.
#[derive(Default)]
pub(super) struct Works {
    list: Mutex<BTreeMap<u64, Arc<Work>>>,
    ended: Condvar,
    next: AtomicU64,
}

pub(super) struct Work {
    about: About,
    cancel: Cancel,
    /// Nothing until its id is known.
    running: Mutex<Option<Running>>,
}

impl Works {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Work>>> {
        // Only whole entries are put in and taken out.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, work: &Arc<Work>) -> u64 {
        let key = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(key, Arc::clone(work));
        key
    }

    fn leave(&self, key: u64) {
        self.lock().remove(&key);
        self.ended.notify_all();
    }

    /// What goes on in this process, oldest first.
    pub(super) fn running(&self) -> Vec<Running> {
        let works: Vec<Arc<Work>> = self.lock().values().cloned().collect();
        works.iter().filter_map(|work| work.running()).collect()
    }

    /// Whether nothing goes on, not even work that has no id yet.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Whether work of this process will be known under this id, or is already.
    fn is_known(&self, id: &Id) -> bool {
        self.lock().values().any(|work| work.about.id.as_ref() == Some(id))
    }

    /// Sources that work was begun on which has no id yet: its row may be in the catalogue already.
    fn beginning(&self) -> HashSet<Id> {
        let works: Vec<Arc<Work>> = self.lock().values().cloned().collect();
        let begun = works.iter().filter(|work| work.running().is_none());
        begun.filter_map(|work| work.about.source_id).collect()
    }

    /// Cancels what goes on under this id; answers what that is.
    fn cancel(&self, id: &Id) -> Vec<u64> {
        let works: Vec<(u64, Arc<Work>)> = self.lock().iter().map(|(key, work)| (*key, Arc::clone(work))).collect();
        let mut found = Vec::new();
        for (key, work) in works {
            let mut running = work.lock();
            if let Some(running) = running.as_mut().filter(|running| running.id == *id && running.cancellable) {
                running.cancelling = true;
                work.cancel.cancel(Reason::Interrupt);
                found.push(key);
            }
        }
        found
    }

    /// Waits until these are over, but not for ever: what hangs in the system is not worth a window that waits for it.
    fn wait_for_these(&self, keys: &[u64], limit: Duration) {
        let list = self.lock();
        let going = |list: &mut BTreeMap<u64, Arc<Work>>| keys.iter().any(|key| list.contains_key(key));
        let over = self.ended.wait_timeout_while(list, limit, going);
        drop(over.unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn cancel_all(&self) {
        for work in self.lock().values() {
            let mut running = work.lock();
            // What is changing places comes to its end by itself, and is the same afterwards as if it had not been asked to stop.
            if running.as_ref().is_some_and(|running| !running.cancellable) {
                continue;
            }
            work.cancel.cancel(Reason::Interrupt);
            if let Some(running) = running.as_mut() {
                running.cancelling = true;
            }
        }
    }

    /// Waits until nothing goes on any more.
    pub(super) fn wait(&self) {
        let list = self.lock();
        let emptied = self.ended.wait_while(list, |list| !list.is_empty());
        drop(emptied.unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits likewise, but not for ever; `false` where something still goes on.
    pub(super) fn wait_for(&self, limit: Duration) -> bool {
        let list = self.lock();
        let emptied = self.ended.wait_timeout_while(list, limit, |list| !list.is_empty());
        emptied.unwrap_or_else(PoisonError::into_inner).0.is_empty()
    }
}

impl Work {
    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> Option<Running> {
        self.lock().clone()
    }
}

/// Follows one piece of work from the thread that does it.
struct Follow<'a> {
    window: &'a Window,
    work: &'a Work,
    /// Told the id as soon as it is known.
    begun: Option<SyncSender<Id>>,
}

impl Observer for Follow<'_> {
    fn progress(&self, progress: &Progress) {
        let Some(id) = self.work.about.id.or(progress.id) else {
            return;
        };
        let progress = Progress {
            id: Some(id),
            ..progress.clone()
        };
        let mut running = self.work.lock();
        let step_before = running.as_ref().map(|running| running.progress.step);
        match running.as_mut() {
            Some(running) => {
                running.cancellable &= progress.step != Step::Swapping;
                running.progress = progress.clone();
            }
            None => *running = Some(self.begin(id, progress.clone())),
        }
        drop(running);
        if step_before.is_none() {
            self.window.changed(begun(&self.work.about, id));
            if let Some(begun) = &self.begun {
                // Nobody waits for it where the work is done in the caller's own thread.
                let _nobody_waits = begun.try_send(id);
            }
        } else if step_before != Some(progress.step) && matches!(self.work.about.noun, RunningNoun::Restore | RunningNoun::Undo) {
            self.window.changed([Tag {
                noun: Noun::Restores,
                id: Some(id),
            }]);
        }
        self.window.events().progress(id, progress);
    }
}

impl Follow<'_> {
    fn begin(&self, id: Id, progress: Progress) -> Running {
        let about = &self.work.about;
        Running {
            id,
            noun: about.noun,
            source: about.source.clone(),
            source_id: about.source_id,
            adapter: about.adapter.clone(),
            plan: about.plan.clone(),
            started_at: super::now(),
            cancellable: progress.step != Step::Swapping,
            progress,
            elsewhere: false,
            cancelling: self.work.cancel.is_cancelled(),
        }
    }
}

/// What is different once work has begun.
fn begun(about: &About, id: Id) -> Vec<Tag> {
    match about.noun {
        RunningNoun::Backup => {
            let mut changed = tags(&[Noun::Running, Noun::Backups, Noun::Overview, Noun::Sources, Noun::Plans]);
            changed.push(Tag {
                noun: Noun::Backups,
                id: Some(id),
            });
            changed
        }
        RunningNoun::Restore | RunningNoun::Undo => tags(&[Noun::Running, Noun::Restores, Noun::Overview]),
        RunningNoun::Verify | RunningNoun::Download | RunningNoun::Open => tags(&[Noun::Running, Noun::Overview]),
        RunningNoun::Drill => {
            let mut changed = tags(&[Noun::Running, Noun::Overview]);
            changed.push(Tag {
                noun: Noun::Backups,
                id: Some(id),
            });
            changed
        }
    }
}

/// What is different once it is over, however it ended.
fn ended(about: &About) -> Vec<Tag> {
    let mut changed = tags(&[Noun::Running, Noun::Overview, Noun::Journal, Noun::Backups]);
    match about.noun {
        // What a drill finds of a copy is written down as by a verification; and it measured how long a restore takes.
        RunningNoun::Backup | RunningNoun::Verify | RunningNoun::Drill | RunningNoun::Open => {
            changed.extend(tags(&[
                Noun::Sources,
                Noun::Plans,
                Noun::Destinations,
                Noun::Health,
                Noun::Tools,
            ]));
        }
        // A restore that found a bad copy has written that down; and it measured how long a restore takes.
        RunningNoun::Restore | RunningNoun::Undo => {
            changed.extend(tags(&[Noun::Restores, Noun::Sources, Noun::Destinations, Noun::Health]))
        }
        RunningNoun::Download => {}
    }
    changed
}

/// Takes work out of the register when it is over, also when it panicked: no spinner may turn for ever.
struct Leave<'a> {
    window: &'a Window,
    key: u64,
    work: &'a Work,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.window.works().leave(self.key);
        if let Some(running) = self.work.running() {
            self.window.events().over(&running.id);
        }
        self.window.changed(ended(&self.work.about));
    }
}

impl Window {
    /// Does work on a thread of its own, and answers its id as soon as it has one.
    ///
    /// # Errors
    /// Where it ends without ever having begun (`BUSY`, above all); `BUSY` while Coffre is about to quit.
    pub(super) fn start(
        &self,
        about: About,
        job: impl FnOnce(&Coffre, &dyn Observer, &Cancel) -> Result<()> + Send + 'static,
    ) -> Result<Id> {
        let (work, key) = self.enter(about)?;
        let (tell, hear) = sync_channel::<Id>(1);
        let (tell_end, hear_end) = sync_channel::<Result<Option<Id>>>(1);
        let window = self.clone();
        let spawned = std::thread::Builder::new().name("work".into()).spawn(move || {
            let known = work.about.id;
            let outcome = {
                let _leave = Leave {
                    window: &window,
                    key,
                    work: &work,
                };
                window.carry_out(&work, Some(tell), job)
            };
            // What came after the beginning is in the catalogue, and nobody listens here any more.
            let _heard_elsewhere = tell_end.try_send(outcome.map(|()| known));
        });
        if let Err(error) = spawned {
            self.works().leave(key);
            return Err(Error::internal("start a thread", error));
        }
        // The first of the two to be said: the id; or, with the way for it closed, how it ended.
        if let Ok(id) = hear.recv() {
            return Ok(id);
        }
        let ended = hear_end.recv().map_err(|e| Error::internal("do the work", e))??;
        ended.ok_or_else(|| Error::internal("do the work", "it ended before it began"))
    }

    /// Does work in this very thread, in sight and cancellable like all other.
    pub(super) fn attend<T>(&self, about: About, job: impl FnOnce(&Coffre, &dyn Observer, &Cancel) -> Result<T>) -> Result<T> {
        let (work, key) = self.enter(about)?;
        let _leave = Leave {
            window: self,
            key,
            work: &work,
        };
        self.carry_out(&work, None, job)
    }

    /// The same with a flag that somebody else can raise too.
    pub(super) fn attend_with<T>(
        &self,
        about: About,
        cancel: &Cancel,
        job: impl FnOnce(&Coffre, &dyn Observer, &Cancel) -> Result<T>,
    ) -> Result<T> {
        let (work, key) = self.enter_with(about, cancel.clone())?;
        let _leave = Leave {
            window: self,
            key,
            work: &work,
        };
        self.carry_out(&work, None, job)
    }

    fn enter(&self, about: About) -> Result<(Arc<Work>, u64)> {
        self.enter_with(about, Cancel::new())
    }

    fn enter_with(&self, about: About, cancel: Cancel) -> Result<(Arc<Work>, u64)> {
        if self.is_closing() {
            return Err(Error::new(Code::Busy, "closing"));
        }
        let work = Arc::new(Work {
            about,
            cancel,
            running: Mutex::new(None),
        });
        let key = self.works().enter(&work);
        Ok((work, key))
    }

    fn carry_out<T>(
        &self,
        work: &Work,
        begun: Option<SyncSender<Id>>,
        job: impl FnOnce(&Coffre, &dyn Observer, &Cancel) -> Result<T>,
    ) -> Result<T> {
        let coffre = self.coffre()?;
        let follow = Follow {
            window: self,
            work,
            begun,
        };
        match catch_unwind(AssertUnwindSafe(|| job(&coffre, &follow, &work.cancel))) {
            Ok(outcome) => outcome,
            Err(_) => {
                // Its lease is given back by unwinding; its row is put to rest as that of any dead run.
                coffre.sweep(&Cancel::new())?;
                Err(Error::internal("do the work", "it panicked; the log says where"))
            }
        }
    }

    /// Everything that goes on now, in this process and in others on the same home.
    pub(super) fn running(&self, _: Nothing) -> Result<Vec<Running>> {
        self.all_running()
    }

    pub(super) fn all_running(&self) -> Result<Vec<Running>> {
        let coffre = self.coffre()?;
        let beginning = self.works().beginning();
        // The catalogue first: what begins in between is in the register by the time that it is read.
        let rows = coffre.engine.catalogue.live_runs()?;
        let mut found = self.works().running();
        for row in rows {
            let ours = found.iter().any(|running| {
                running.id == row.id
                    // The safety backup is a step of the restore that needs it.
                    || (row.trigger == Trigger::Safety && running.source_id == Some(row.source_id))
            }) || beginning.contains(&row.source_id);
            if ours || row.state != coffre_model::backup::BackupState::Running {
                continue;
            }
            let source = coffre.engine.catalogue.known_source(&row.source_id.to_string())?;
            found.push(Running {
                id: row.id,
                noun: RunningNoun::Backup,
                source: row.source.clone(),
                source_id: Some(row.source_id),
                adapter: super::sources::adapter_of(&coffre, &source),
                plan: row.plan.clone(),
                started_at: row.started_at,
                progress: Progress {
                    id: Some(row.id),
                    step: Step::Preparing,
                    done: 0,
                    total: None,
                    estimated: false,
                },
                elsewhere: true,
                cancelling: false,
                cancellable: false,
            });
        }
        self.add_drills_elsewhere(&coffre, &mut found)?;
        Ok(found)
    }

    /// Drills that another process on this home carries out.
    fn add_drills_elsewhere(&self, coffre: &Coffre, found: &mut Vec<Running>) -> Result<()> {
        for drill in coffre.engine.catalogue.live_drills()? {
            // The lease of a backup is held by one of us alone.
            if found.iter().any(|running| running.id == drill.backup_id) || self.works().is_known(&drill.backup_id) {
                continue;
            }
            let source = coffre.engine.catalogue.known_source(&drill.source_id.to_string())?;
            found.push(Running {
                id: drill.backup_id,
                noun: RunningNoun::Drill,
                source: source.name.clone(),
                source_id: Some(drill.source_id),
                adapter: super::sources::adapter_of(coffre, &source),
                plan: None,
                started_at: drill.started_at,
                progress: Progress {
                    id: Some(drill.backup_id),
                    step: Step::Preparing,
                    done: 0,
                    total: None,
                    estimated: false,
                },
                elsewhere: true,
                cancelling: false,
                cancellable: false,
            });
        }
        Ok(())
    }

    /// Cancels running work; answers once it has ended.
    ///
    /// # Errors
    /// `NOT_FOUND` where nothing of this id goes on (any more); `REFUSED` for what another process does.
    pub(super) fn cancel_run(&self, ById { id }: ById) -> Result<()> {
        let mut cancelled = self.works().cancel(&id);
        if cancelled.is_empty() {
            match self.all_running()?.iter().find(|running| running.id == id) {
                Some(running) if !running.elsewhere && !running.cancellable => {
                    return Err(Error::new(Code::Refused, "run_swapping").with("source", running.source.as_str()));
                }
                Some(running) if running.elsewhere => {
                    return Err(Error::new(Code::Refused, "run_elsewhere").with("source", running.source.as_str()));
                }
                // It began in between.
                Some(_) => cancelled = self.works().cancel(&id),
                None => {}
            }
        }
        if cancelled.is_empty() {
            return Err(Error::new(Code::NotFound, "run_over"));
        }
        self.changed(tags(&[Noun::Running]));
        self.works().wait_for_these(&cancelled, CANCEL_PATIENCE);
        Ok(())
    }

    /// Ends Coffre once nothing runs any more: `wait` lets running work come to its end, `cancel` ends it. From now on nothing new
    /// begins.
    pub(super) fn quit(&self, Quit { mode }: Quit) -> Result<()> {
        self.set_closing();
        if mode == QuitMode::Cancel {
            self.works().cancel_all();
            self.changed(tags(&[Noun::Running]));
        }
        let window = self.clone();
        std::thread::Builder::new()
            .name("quit".into())
            .spawn(move || {
                window.works().wait();
                window.dialogs().quit();
            })
            .map(drop)
            .map_err(|e| Error::internal("start a thread", e))
    }

    /// Somebody wants to quit. `true`: nothing runs, go ahead. `false`: the window asks the person (`quit_requested`), who answers with
    /// the command `quit`, or not at all.
    pub fn may_quit(&self) -> bool {
        if self.works().is_empty() {
            return true;
        }
        self.events().push(BackendEvent::QuitRequested {
            running: self.works().running(),
        });
        false
    }
}

/// The arguments of `quit`.
#[derive(Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct Quit {
    mode: QuitMode,
}

/// What becomes of running work.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
enum QuitMode {
    /// It goes on to its end.
    Wait,
    /// It is cancelled.
    Cancel,
}
