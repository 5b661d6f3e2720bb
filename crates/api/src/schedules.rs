//! Schedules: what is due when, the clockwork that starts it, pause and resume, status.
//!
//! [`Clockwork`] is the loop that the daemon and the window run on a thread of its own. Everything that decides is in
//! `coffre_engine::scheduler`.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use coffre_engine::scheduler::{self, Looked, Memory, Start};
use coffre_model::backup::{Backup, Trigger};
use coffre_model::cancel::Reason;
use coffre_model::drill::Drill;
use coffre_model::plan::Plan;
use coffre_model::progress::{Observer, Progress};
use coffre_model::schedule::time_zone;
use coffre_model::slot::Slot;
use coffre_model::{Cancel, Code, Error, Id, Result};

use crate::Coffre;
use crate::folder::{Folder, Heard};
use crate::notifications::Told;

mod beside;
mod drills;
mod status;

use beside::{Going, Work};
use drills::Drills;
pub use status::{PlanStatus, Status};

/// How often the clocks are compared: no later than this is a jump noticed that nothing else tells of. Some microseconds, no disk.
const GLANCE: Duration = Duration::from_secs(10);
/// The shortest wait between two looks, where nothing rings.
const LEAST: Duration = Duration::from_millis(20);
/// How soon it is tried again after a look that failed.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// A change of others comes in many pieces: looked at once for those of so long.
const PIECES: Duration = Duration::from_millis(250);
/// How often everything is looked at, where nothing asks for it.
const LOOK: Duration = Duration::from_secs(30);
/// How often it is looked at while a slot waits for something that no clock tells.
const LOOK_WAITING: Duration = Duration::from_secs(5);
/// How often it is looked whether Coffre's own work is due ([`crate::jobs`]), beside its times.
const HOUSEKEEPING: TimeDelta = TimeDelta::hours(1);
/// Wall clock and elapsed time differ by more than this: the machine slept, or its clock was set.
const CLOCKS_DIFFER: TimeDelta = TimeDelta::seconds(2);

/// The time zone of this machine, as far as it tells; else UTC.
pub fn local_zone() -> String {
    let chosen = std::env::var("TZ").ok().map(|zone| zone.trim_start_matches(':').to_owned());
    let known = |zone: &String| time_zone(zone).is_ok();
    chosen
        .filter(known)
        .or_else(|| iana_time_zone::get_timezone().ok().filter(known))
        .unwrap_or_else(|| "UTC".to_owned())
}

/// What the clockwork works with: brought by the shell that runs it.
pub trait Runner: Send + Sync {
    /// Coffre; an error while its catalogue cannot be opened.
    fn coffre(&self) -> Result<Arc<Coffre>>;
    /// Makes a plan's backup and waits for its end. `begun` is told its id as soon as there is one.
    fn back_up(&self, plan: &Plan, trigger: Trigger, begun: &(dyn Fn(Id) + Sync), cancel: &Cancel) -> Result<Backup>;
    /// Rehearses a backup because it is time to, and waits for its end.
    fn drill(&self, backup: &Backup, cancel: &Cancel) -> Result<Drill>;
    /// Whether nothing goes on here that the catalogue does not know of.
    fn is_idle(&self) -> bool {
        true
    }
    /// Rows of slots were written.
    fn changed(&self);
    /// A slot was run; this became of it.
    fn ran(&self, ran: &Ran);
    /// A look failed. The clockwork goes on.
    fn failed(&self, error: &Error);
    /// Coffre's own work was done: backups may have left.
    fn tidied(&self) {
        self.changed();
    }
    /// Channels were told something, or could not be.
    fn told(&self, told: &Told);
}

/// Tells a run's id as soon as it has one, beside what another observer hears.
pub struct Telling<'a> {
    to: &'a dyn Observer,
    begun: &'a (dyn Fn(Id) + Sync),
    told: AtomicBool,
}

impl<'a> Telling<'a> {
    /// Everything goes on to `to`; the first id goes to `begun` too.
    pub fn new(to: &'a dyn Observer, begun: &'a (dyn Fn(Id) + Sync)) -> Self {
        Telling {
            to,
            begun,
            told: AtomicBool::new(false),
        }
    }
}

impl Observer for Telling<'_> {
    fn progress(&self, progress: &Progress) {
        if let Some(id) = progress.id
            && !self.told.swap(true, Ordering::Relaxed)
        {
            (self.begun)(id);
        }
        self.to.progress(progress);
    }
}

/// What became of a slot that was run.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The plan.
    pub plan: Plan,
    /// On time or caught up.
    pub trigger: Trigger,
    /// The slot, as it is now.
    pub slot: Slot,
    /// The backup, or why there is none.
    pub outcome: Result<Backup>,
}

/// Runs one slot. Nothing where another process has it.
fn run(runner: &dyn Runner, coffre: &Coffre, start: &Start, cancel: &Cancel, stopping: &dyn Fn() -> bool) -> Result<Option<Ran>> {
    let Some(begun) = scheduler::begin(&coffre.engine, start, cancel)? else {
        return Ok(None);
    };
    let noted = |id: Id| {
        if let Err(error) = begun.has_run(&coffre.engine, &id) {
            // The end of the run writes it again.
            tracing::warn!(%error, "note the run of a slot");
        }
    };
    let work = AssertUnwindSafe(|| runner.back_up(&start.plan, start.trigger, &noted, cancel));
    let outcome = catch_unwind(work).unwrap_or_else(|_| Err(Error::internal("run a slot", "it panicked; the log says where")));
    let stopped = stopping() && cancel.is_cancelled();
    let slot = scheduler::end(&coffre.engine, begun, &outcome, stopped)?;
    Ok(Some(Ran {
        plan: start.plan.clone(),
        trigger: start.trigger,
        slot,
        outcome,
    }))
}

/// Runs everything that is due now, and waits for its end: what `coffre scheduler run` does.
///
/// # Errors
/// The catalogue's own, and that of `cancel`. How the runs ended is in the answer.
pub fn run_due(runner: &dyn Runner, cancel: &Cancel) -> Result<Vec<Ran>> {
    let coffre = runner.coffre()?;
    let mut memory = Memory::default();
    let mut seen: HashSet<(Id, DateTime<Utc>)> = HashSet::new();
    let mut done = Vec::new();
    loop {
        cancel.check()?;
        memory.forget();
        let mut starts = scheduler::look(&coffre.engine, &mut memory)?.starts;
        // Each once: what is due again after its run has its own time.
        starts.retain(|start| seen.insert((start.plan.id, start.slot.at)));
        if starts.is_empty() {
            return Ok(done);
        }
        let outcomes: Vec<Result<Option<Ran>>> = std::thread::scope(|scope| {
            let begun: Vec<_> = starts
                .iter()
                .map(|start| scope.spawn(|| run(runner, &coffre, start, cancel, &|| true)))
                .collect();
            let joined = begun.into_iter().map(std::thread::ScopedJoinHandle::join);
            joined
                .map(|end| end.unwrap_or_else(|_| Err(Error::internal("run a slot", "it panicked; the log says where"))))
                .collect()
        });
        for outcome in outcomes {
            if let Some(ran) = outcome? {
                runner.ran(&ran);
                done.push(ran);
            }
        }
    }
}

/// The loop that watches the clock. Dropping it does not stop it: [`Clockwork::stop`] does.
#[derive(Clone)]
pub struct Clockwork(Arc<Inner>);

struct Inner {
    runner: Arc<dyn Runner>,
    state: Mutex<State>,
    bell: Condvar,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct State {
    stopping: bool,
    woken: bool,
    /// Somebody wrote to the catalogue: perhaps we ourselves.
    heard: bool,
    /// Whoever tells channels is to look once more.
    tell_again: bool,
    going: Vec<Going>,
}

impl Clockwork {
    /// Starts to watch the clock.
    ///
    /// # Errors
    /// `INTERNAL` where no thread can be started.
    pub fn start(runner: Arc<dyn Runner>) -> Result<Clockwork> {
        let clockwork = Clockwork(Arc::new(Inner {
            runner,
            state: Mutex::default(),
            bell: Condvar::new(),
            thread: Mutex::default(),
        }));
        let watching = clockwork.clone();
        let thread = std::thread::Builder::new()
            .name("clockwork".into())
            .spawn(move || watching.watch())
            .map_err(|e| Error::internal("start a thread", e))?;
        *clockwork.0.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(clockwork)
    }

    /// Something changed (a plan, a pause), or the machine woke: looks at everything now.
    pub fn wake(&self) {
        self.lock().woken = true;
        self.0.bell.notify_all();
    }

    /// Starts nothing more, cancels what runs, and waits for its end, but not longer than `limit`. What was cancelled is due again at the
    /// next start. `false` where something still goes on.
    pub fn stop(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let mut state = self.lock();
        state.stopping = true;
        for going in &state.going {
            going.cancel.cancel(Reason::Terminate);
        }
        self.0.bell.notify_all();
        let left = until.saturating_duration_since(Instant::now());
        let waited = self.0.bell.wait_timeout_while(state, left, |state| !state.going.is_empty());
        let ended = waited.unwrap_or_else(PoisonError::into_inner).0.going.is_empty();
        let thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            while !thread.is_finished() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(5));
            }
            if thread.is_finished() {
                // A panic there has been written down by the hook already.
                let _panicked = thread.join();
            }
        }
        ended
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Only whole entries are put in and taken out.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self) {
        let mut memory = Memory::default();
        let mut told: Option<Error> = None;
        let mut clocks = Clocks::default();
        let mut seen = None;
        let mut looked_at: Option<Instant> = None;
        let mut looked = Looked::default();
        let mut announced = false;
        // When Coffre's own work is to be looked at.
        let mut chores: Option<DateTime<Utc>> = None;
        let mut pause = Duration::ZERO;
        let mut drills = Drills::default();
        loop {
            let woken = {
                let state = self.lock();
                let quiet = |state: &mut State| !state.stopping && !state.woken && !state.heard;
                let waited = self.0.bell.wait_timeout_while(state, pause, quiet);
                let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
                if state.stopping {
                    break;
                }
                state.heard = false;
                std::mem::take(&mut state.woken)
            };
            let turn = (|| {
                let coffre = self.0.runner.coffre()?;
                let now = (coffre.engine.now)();
                if !announced {
                    scheduler::announce(&coffre.engine, true)?;
                    announced = true;
                    self.listen(&coffre)?;
                }
                if chores.is_none_or(|at| at <= now || at - now > HOUSEKEEPING) {
                    let next = coffre.jobs()?.into_iter().map(|job| job.next_run).min();
                    if next.is_some_and(|next| next <= now) {
                        self.keep_house(&coffre)?;
                    }
                    // What fails is tried again, and another process may have done it.
                    let latest = now + HOUSEKEEPING;
                    chores = Some(next.filter(|next| *next > now).map_or(latest, |next| next.min(latest)));
                }
                let changes = Some(coffre.engine.catalogue.changes_of_others()?);
                let changed = changes != seen;
                // Each time, whatever else there is to see.
                let jumped = clocks.jumped(now);
                let due = looked.next.is_some_and(|next| next <= now);
                let long_ago = looked_at.is_none_or(|at| at.elapsed() >= patience(&looked));
                if !(woken || changed || due || long_ago || jumped) {
                    return Ok(coffre);
                }
                if woken || changed {
                    memory.forget();
                }
                seen = changes;
                looked_at = Some(Instant::now());
                looked = scheduler::look(&coffre.engine, &mut memory)?;
                if looked.changed {
                    self.0.runner.changed();
                }
                for start in std::mem::take(&mut looked.starts) {
                    self.begin(&coffre, start)?;
                }
                drills.look(self, &coffre)?;
                self.tell(&coffre)?;
                Ok(coffre)
            })();
            match turn {
                Ok(coffre) => {
                    told = None;
                    pause = until_the_next(&looked, looked_at, chores, (coffre.engine.now)());
                }
                Err(error) => {
                    // A full disk, a catalogue that is set aside: told once, tried until it passes.
                    looked_at = looked_at.or_else(|| Some(Instant::now()));
                    memory.forget();
                    seen = None;
                    pause = TRY_AGAIN;
                    if told.as_ref() != Some(&error) {
                        tracing::error!(%error, "look at the schedules");
                        self.0.runner.failed(&error);
                        told = Some(error);
                    }
                }
            }
        }
        if let Ok(coffre) = self.0.runner.coffre()
            && let Err(error) = scheduler::announce(&coffre.engine, false)
        {
            // Whoever asks sees that this process is gone.
            tracing::warn!(%error, "say that nobody watches the clock");
        }
    }

    /// Starts to hear what tells of itself: the machine wakes, others write to the catalogue. Where nothing tells, [`GLANCE`] is soon enough.
    fn listen(&self, coffre: &Coffre) -> Result<()> {
        let bell = Arc::downgrade(&self.0);
        scheduler::on_wake(move || {
            let Some(inner) = bell.upgrade() else { return false };
            Clockwork(inner).wake();
            true
        })?;
        let (bell, home) = (Arc::downgrade(&self.0), coffre.engine.home.root().to_owned());
        let spawned = std::thread::Builder::new()
            .name("changes".into())
            .spawn(move || hear(&bell, &home));
        spawned.map(drop).map_err(|e| Error::internal("start a thread", e))
    }

    /// Does Coffre's own work, beside the clock: a destination that does not answer must not keep a plan from its slot.
    fn keep_house(&self, coffre: &Arc<Coffre>) -> Result<()> {
        let key = (Work::House, Id::new(), (coffre.engine.now)());
        self.beside(
            key,
            coffre,
            |_| false,
            |clockwork, coffre, cancel| {
                // Why something of it failed is told by `coffre scheduler status` and in Health, and it is tried again.
                match coffre.do_jobs(cancel) {
                    Ok(false) => {}
                    Ok(true) => clockwork.0.runner.tidied(),
                    Err(error) if error.code() == Code::Cancelled => {}
                    Err(error) => clockwork.0.runner.failed(&error),
                }
            },
        )
    }

    /// Tells channels what is new, beside the clock: a mail server that does not answer must not keep a plan from its slot.
    fn tell(&self, coffre: &Arc<Coffre>) -> Result<()> {
        if !coffre.engine.catalogue.anybody_listens()? {
            return Ok(());
        }
        let key = (Work::Notices, Id::new(), (coffre.engine.now)());
        let not_now = |state: &mut State| {
            let telling = state.goes_on(Work::Notices);
            state.tell_again |= telling;
            telling
        };
        self.beside(key, coffre, not_now, |clockwork, coffre, cancel| {
            let runner = &clockwork.0.runner;
            loop {
                match catch_unwind(AssertUnwindSafe(|| coffre.tell(None, cancel))) {
                    Ok(Ok(told)) => runner.told(&told),
                    Ok(Err(error)) => {
                        tracing::error!(%error, "tell channels");
                        runner.failed(&error);
                    }
                    // Written down by the hook already; the next look tries again.
                    Err(_) => break,
                }
                if cancel.is_cancelled() || !std::mem::take(&mut clockwork.lock().tell_again) {
                    break;
                }
            }
        })
    }

    fn begin(&self, coffre: &Arc<Coffre>, start: Start) -> Result<()> {
        let key = (Work::Slot, start.plan.id, start.slot.at);
        // One that is about to write down its end is not started again beside itself.
        let same = |state: &mut State| state.going.iter().any(|going| going.key == key);
        self.beside(key, coffre, same, move |clockwork, coffre, cancel| {
            let runner = clockwork.0.runner.as_ref();
            match run(runner, coffre, &start, cancel, &|| clockwork.lock().stopping) {
                Ok(Some(ran)) => runner.ran(&ran),
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%error, "run a slot");
                    runner.failed(&error);
                }
            }
        })
    }
}

/// How long a look is good for where nothing tells of a change.
fn patience(looked: &Looked) -> Duration {
    if looked.waiting { LOOK_WAITING } else { LOOK }
}

/// How long there is nothing to do: until something is due, is to be looked at again, or the clocks are to be compared.
fn until_the_next(looked: &Looked, looked_at: Option<Instant>, chores: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Duration {
    let until = |at: Option<DateTime<Utc>>| at.map_or(GLANCE, |at| (at - now).to_std().unwrap_or(Duration::ZERO));
    let look = looked_at.map_or(Duration::ZERO, |at| patience(looked).saturating_sub(at.elapsed()));
    // Never none at all: what cannot be begun yet must not keep a processor busy.
    GLANCE.min(until(looked.next)).min(until(chores)).min(look).max(LEAST)
}

/// Rings when the catalogue's files are written to, until the clockwork stops or the home is gone.
fn hear(bell: &Weak<Inner>, home: &std::path::Path) {
    let folder = Folder::new(home);
    while let Some(folder) = &folder {
        let heard = folder.wait(LOOK);
        let Some(inner) = bell.upgrade() else { return };
        let mut state = inner.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.stopping || heard == Heard::Gone {
            return;
        }
        state.heard |= heard == Heard::Change;
        drop(state);
        inner.bell.notify_all();
        drop(inner);
        if heard == Heard::Change {
            std::thread::sleep(PIECES);
        }
    }
}

/// Notices a machine that slept and a clock that was set: wall clock and elapsed time went different ways.
#[derive(Default)]
struct Clocks(Option<(DateTime<Utc>, Instant)>);

impl Clocks {
    fn jumped(&mut self, now: DateTime<Utc>) -> bool {
        let instant = Instant::now();
        let before = self.0.replace((now, instant));
        before.is_some_and(|(wall, elapsed)| {
            let elapsed = TimeDelta::from_std(instant - elapsed).unwrap_or(TimeDelta::MAX);
            ((now - wall) - elapsed).abs() > CLOCKS_DIFFER
        })
    }
}
