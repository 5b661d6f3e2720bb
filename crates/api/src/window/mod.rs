//! The window's side of the verbs: everything that a window asks for, as plain Rust behind one function, [`Window::dispatch`]; and what
//! it is told without asking, through one [`events::Sink`].
//!
//! What lives here: the shapes that a window shows, running work, previews with their confirmations, notifications and the tray in
//! words. What does not: anything of a graphical library. A shell brings [`dialogs::Dialogs`], hands names and JSON over, and decides
//! nothing; the same functions serve REST.

pub mod about;
pub mod backup_detail;
pub mod backups;
pub mod catalogue_copies;
mod channels;
mod clockwork;
mod commands;
mod confirmations;
pub mod deletes;
pub mod destinations;
pub mod dialogs;
pub mod drafts;
mod drills;
pub mod events;
pub mod health;
pub mod inside;
pub mod journal;
pub mod keys;
mod looks;
pub mod notices;
pub mod overview;
pub mod places;
pub mod plan_preview;
pub mod plan_retention;
pub mod plans;
pub mod protection;
mod replaces;
pub mod restore_targets;
pub mod restores;
pub mod running;
pub mod settings;
pub mod slots;
pub mod sources;
pub mod tools;
pub mod tray;
#[cfg(test)]
mod typescript;
pub mod undos;
mod watch;
pub mod wire;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use coffre_model::journal::Author;
use coffre_model::{Cancel, Code, Error, Id, Result};

pub use commands::COMMANDS;
use confirmations::Confirmations;
use dialogs::Dialogs;
use events::{BackendEvent, Events, Noun, Sink, Tag};
use looks::Looks;
use notices::Notices;
use running::Works;
use tools::ToolFound;
pub use wire::WireError;

use crate::schedules::Clockwork;
use crate::words::Language;
use crate::{Coffre, Opening};

/// How often what could not be put to rest is tried again.
const TRY_THE_STUCK: Duration = Duration::from_secs(300);
/// How often a catalogue that could not be opened is tried again, at most.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// What a shell brings.
pub struct Setup {
    /// The home folder ([`crate::open::home`]).
    pub home: PathBuf,
    /// The user of the system, where known.
    pub actor: Option<String>,
    /// The language of the system.
    pub system_language: Language,
    /// What only a shell can do.
    pub dialogs: Arc<dyn Dialogs>,
    /// Where events go. Called from one thread, one event after the other.
    pub sink: Sink,
}

/// Coffre behind a window. Cloning shares it.
#[derive(Clone)]
pub struct Window(Arc<Inner>);

struct Inner {
    opening: Opening,
    system_language: Language,
    dialogs: Arc<dyn Dialogs>,
    events: Events,
    door: RwLock<Door>,
    works: Works,
    insides: inside::Insides,
    looks: Mutex<Looks>,
    confirmations: Mutex<Confirmations>,
    figures: Mutex<overview::Known>,
    notices: Notices,
    tools: Mutex<Option<Vec<ToolFound>>>,
    closing: AtomicBool,
    looking_around: AtomicBool,
    /// How safe each source was when that was last looked at, or first shown.
    states: Mutex<Option<Safety>>,
    /// What starts plans by itself; nothing before it was started and after the end.
    clockwork: Mutex<Option<Clockwork>>,
    /// The dead that could not be put to rest, and when that was tried.
    stuck: Mutex<Option<(Vec<Id>, Instant)>>,
    /// The same of replacements of live data that are to be settled, and of kept data that is to go.
    unsettled: Mutex<Option<(Vec<Id>, Instant)>>,
}

/// How safe each source is.
type Safety = BTreeMap<
    Id,
    (
        coffre_model::protection::ProtectionState,
        Option<coffre_model::protection::ProtectionCause>,
    ),
>;

/// A look around that is over, also when it panicked: the next one must not be left out for ever.
struct LookedAround<'a>(&'a Window);

impl Drop for LookedAround<'_> {
    fn drop(&mut self) {
        self.0.0.looking_around.store(false, Ordering::SeqCst);
    }
}

/// Coffre, opened.
struct Opened {
    coffre: Arc<Coffre>,
    at: DateTime<Utc>,
    /// What the catalogue said of others' changes when they were last looked for: first before anything is read.
    seen: AtomicI64,
    /// Which file it is: one that vanishes under our feet can be written on unnoticed, and everything written is lost.
    file: Option<FileIdentity>,
}

/// What tells a file from another one that has its name.
type FileIdentity = (u64, u64);

#[cfg(unix)]
fn identity_of(path: &Path) -> std::io::Result<Option<FileIdentity>> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).map(|about| Some((about.dev(), about.ino())))
}

/// Elsewhere an open file cannot be taken away.
#[cfg(not(unix))]
fn identity_of(_: &Path) -> std::io::Result<Option<FileIdentity>> {
    Ok(None)
}

/// The catalogue may be damaged, newer, or in use: then the window is there all the same, and says so.
enum Door {
    Open(Opened),
    Shut(Error, Instant),
    Closed,
}

impl Window {
    /// Opens the window's side on a home. Where the catalogue cannot be opened, every command answers why, and tries again.
    ///
    /// # Errors
    /// `INTERNAL` where no thread can be started.
    pub fn open(setup: Setup) -> Result<Window> {
        let opening = Opening {
            home: setup.home,
            author: Author::App,
            actor: setup.actor,
        };
        let window = Window(Arc::new(Inner {
            door: RwLock::new(open_door(&opening)),
            opening,
            system_language: setup.system_language,
            dialogs: setup.dialogs,
            events: Events::new(setup.sink)?,
            works: Works::default(),
            insides: inside::Insides::default(),
            looks: Mutex::default(),
            confirmations: Mutex::default(),
            figures: Mutex::default(),
            notices: Notices::default(),
            tools: Mutex::default(),
            closing: AtomicBool::new(false),
            looking_around: AtomicBool::new(false),
            states: Mutex::default(),
            clockwork: Mutex::default(),
            stuck: Mutex::default(),
            unsettled: Mutex::default(),
        }));
        if let Ok(coffre) = window.coffre() {
            window.opened(&coffre)?;
        }
        window.start_clockwork()?;
        let watched = Arc::downgrade(&window.0);
        std::thread::Builder::new()
            .name("watch".into())
            .spawn(move || watch::watch(&watched))
            .map_err(|e| Error::internal("start a thread", e))?;
        Ok(window)
    }

    /// Coffre, opened.
    ///
    /// # Errors
    /// Why the catalogue cannot be opened.
    pub fn coffre(&self) -> Result<Arc<Coffre>> {
        let shut = match &*self.0.door.read().unwrap_or_else(PoisonError::into_inner) {
            Door::Open(opened) => return Ok(Arc::clone(&opened.coffre)),
            Door::Closed => return Err(Error::new(Code::Busy, "closing")),
            Door::Shut(error, tried) => (error.clone(), *tried),
        };
        if shut.1.elapsed() < TRY_AGAIN {
            return Err(shut.0);
        }
        self.open_again(TRY_AGAIN)
    }

    /// Opens the catalogue, where that was not tried in the last `pause`, and tells the window that everything is new.
    fn open_again(&self, pause: Duration) -> Result<Arc<Coffre>> {
        let coffre = self.try_again(pause)?;
        self.opened(&coffre)?;
        self.changed(tags(&Noun::ALL));
        Ok(coffre)
    }

    fn try_again(&self, pause: Duration) -> Result<Arc<Coffre>> {
        let mut door = self.0.door.write().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have been faster.
        if matches!(&*door, Door::Shut(_, tried) if tried.elapsed() >= pause) {
            *door = open_door(&self.0.opening);
        }
        match &*door {
            Door::Open(opened) => Ok(Arc::clone(&opened.coffre)),
            Door::Shut(error, _) => Err(error.clone()),
            Door::Closed => Err(Error::new(Code::Busy, "closing")),
        }
    }

    /// What is done beside the first commands: ending what dead processes left, and a first look at secrets and destinations.
    fn opened(&self, coffre: &Arc<Coffre>) -> Result<()> {
        let (window, coffre) = (self.clone(), Arc::clone(coffre));
        std::thread::Builder::new()
            .name("start".into())
            .spawn(move || {
                let cut_off = coffre.engine.catalogue.unsettled_replacements();
                // What has served its time leaves by the clockwork's own work.
                window.lock_looks().left = match coffre.sweep(&Cancel::new()) {
                    Ok(swept) => swept.left,
                    Err(error) => vec![error],
                };
                // What cannot be read here is said by the first command.
                window.tell_settled(&coffre, &cut_off.unwrap_or_default());
                window.changed(tags(&[
                    Noun::Backups,
                    Noun::Restores,
                    Noun::Overview,
                    Noun::Sources,
                    Noun::Journal,
                    Noun::Health,
                ]));
                window.look_at_secrets(&coffre);
                window.look_at_all_destinations(&coffre);
            })
            .map(drop)
            .map_err(|e| Error::internal("start a thread", e))
    }

    /// When the catalogue was opened, and with that checked.
    fn opened_at(&self) -> Option<DateTime<Utc>> {
        match &*self.0.door.read().unwrap_or_else(PoisonError::into_inner) {
            Door::Open(opened) => Some(opened.at),
            _ => None,
        }
    }

    /// Ends everything: running work is cancelled and waited for, the catalogue is closed. For the end of the process.
    ///
    /// # Errors
    /// What closing the catalogue can bring. What was committed is safe in any case.
    pub fn close(&self) -> Result<()> {
        self.set_closing();
        // First: what it runs is due again at the next start, and is not taken for what a person cancelled.
        self.stop_clockwork();
        self.works().cancel_all();
        self.0.insides.close_all();
        let ended = self.works().wait_for(Duration::from_secs(20));
        let door = std::mem::replace(
            &mut *self.0.door.write().unwrap_or_else(PoisonError::into_inner),
            Door::Closed,
        );
        match door {
            // Work that does not end keeps the catalogue; the end of the process is as good as `kill`, which it survives.
            Door::Open(..) if !ended => Err(Error::new(Code::Busy, "closing")),
            Door::Open(opened) => opened.coffre.engine.catalogue.clone().close(),
            Door::Shut(..) | Door::Closed => Ok(()),
        }
    }

    /// A catalogue whose file was taken away or replaced is closed and opened anew, which says what is wrong. Work that goes on keeps the
    /// old one to its end: what it writes is found at its destination.
    fn see_whether_it_vanished(&self) {
        let vanished = match &*self.0.door.read().unwrap_or_else(PoisonError::into_inner) {
            Door::Open(opened) => match (opened.file, identity_of(opened.coffre.engine.catalogue.path())) {
                (Some(known), Ok(Some(found))) => known != found,
                (Some(_), Err(error)) => error.kind() == std::io::ErrorKind::NotFound,
                _ => false,
            },
            Door::Shut(..) | Door::Closed => false,
        };
        if vanished {
            let mut door = self.0.door.write().unwrap_or_else(PoisonError::into_inner);
            if matches!(&*door, Door::Open(_)) {
                *door = open_door(&self.0.opening);
            }
            drop(door);
            self.changed(tags(&Noun::ALL));
        }
    }

    /// Closes a catalogue that turned out damaged, so that it can be moved out of the way.
    fn shut(&self, error: Error) {
        let mut door = self.0.door.write().unwrap_or_else(PoisonError::into_inner);
        if !matches!(&*door, Door::Open(_)) {
            return;
        }
        if let Door::Open(opened) = std::mem::replace(&mut *door, Door::Shut(error, Instant::now())) {
            // It is damaged: that closing it fails too is no news.
            let _also_damaged = opened.coffre.engine.catalogue.clone().close();
        }
    }

    /// What is worth a look from time to time, on a thread of its own: a network disk may hang.
    fn look_around(&self) {
        let Ok(coffre) = self.coffre() else { return };
        if self.0.looking_around.swap(true, Ordering::SeqCst) {
            return;
        }
        let window = self.clone();
        let spawned = std::thread::Builder::new().name("look around".into()).spawn(move || {
            let _over = LookedAround(&window);
            window.see_time_pass(&coffre);
            if let Err(error) = window.put_the_dead_to_rest(&coffre) {
                tracing::warn!(%error, "put dead runs to rest");
            }
            if let Err(error) = window.settle(&coffre) {
                tracing::warn!(%error, "settle replacements of live data");
            }
            window.look_at_silent_destinations(&coffre);
            window.0.insides.close_unused(inside::UNUSED);
        });
        if let Err(error) = spawned {
            self.0.looking_around.store(false, Ordering::SeqCst);
            tracing::warn!(%error, "start a thread");
        }
    }

    /// Time alone makes what was protected stale, and nobody tells: whoever shows it must look again.
    fn see_time_pass(&self, coffre: &Coffre) {
        let states = self.around(coffre).and_then(|around| {
            let state = |source: &coffre_model::source::Source| {
                let protection = protection::protection(coffre, source, &around)?;
                Ok((source.id, (protection.state, protection.cause)))
            };
            coffre.sources()?.iter().map(state).collect::<Result<Safety>>()
        });
        match states {
            Ok(states) => {
                let mut seen = self.0.states.lock().unwrap_or_else(PoisonError::into_inner);
                let changed = seen.as_ref() != Some(&states);
                *seen = Some(states);
                drop(seen);
                if changed {
                    self.changed(tags(&[Noun::Overview, Noun::Sources, Noun::Health]));
                }
            }
            // Said by every command that needs the catalogue.
            Err(error) => tracing::warn!(%error, "see whether time has passed"),
        }
    }

    /// Whoever was shown this needs to be told only what is no longer so.
    fn was_shown(&self, rows: &[sources::SourceRow]) {
        let safety = |row: &sources::SourceRow| (row.source.id, (row.protection.state, row.protection.cause));
        let mut seen = self.0.states.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get_or_insert_with(|| rows.iter().map(safety).collect());
    }

    /// Another process on this home may have died since the start: its runs must not look alive until the next one.
    fn put_the_dead_to_rest(&self, coffre: &Coffre) -> Result<()> {
        let before = the_dead(coffre)?;
        {
            // What could not be put to rest (its destination does not answer) is not tried at every look.
            let stuck = self.0.stuck.lock().unwrap_or_else(PoisonError::into_inner);
            let tried = stuck
                .as_ref()
                .is_some_and(|(ids, at)| *ids == before && at.elapsed() < TRY_THE_STUCK);
            if before.is_empty() || tried {
                return Ok(());
            }
        }
        let left = coffre.sweep(&Cancel::new())?.left;
        self.lock_looks().left = left;
        let after = the_dead(coffre)?;
        let changed = after != before;
        *self.0.stuck.lock().unwrap_or_else(PoisonError::into_inner) = Some((after, Instant::now()));
        if changed {
            self.changed(tags(&Noun::ALL));
        }
        Ok(())
    }

    /// Tells the window that these are no longer what was read. A shell needs it only for what it changes itself.
    pub fn changed(&self, changed: impl IntoIterator<Item = Tag>) {
        let changed: Vec<Tag> = changed.into_iter().collect();
        if changed.iter().any(|tag| tag.noun == Noun::Backups) {
            self.forget_figures();
        }
        self.0.events.changed(changed);
    }

    /// Asks the window to show a view, such as `/backups/<id>`: from a notification, the tray, a second start.
    pub fn navigate(&self, route: &str) {
        self.0.events.push(BackendEvent::Navigate { route: route.to_owned() });
    }

    fn works(&self) -> &Works {
        &self.0.works
    }

    fn events(&self) -> &Events {
        &self.0.events
    }

    fn dialogs(&self) -> &dyn Dialogs {
        self.0.dialogs.as_ref()
    }

    fn system_language(&self) -> Language {
        self.0.system_language
    }

    fn is_closing(&self) -> bool {
        self.0.closing.load(Ordering::SeqCst)
    }

    fn set_closing(&self) {
        self.0.closing.store(true, Ordering::SeqCst);
    }

    fn lock_confirmations(&self) -> MutexGuard<'_, Confirmations> {
        self.0.confirmations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_looks(&self) -> MutexGuard<'_, Looks> {
        self.0.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs and restores whose process is gone.
fn the_dead(coffre: &Coffre) -> Result<Vec<Id>> {
    let catalogue = &coffre.engine.catalogue;
    let mut dead: Vec<Id> = catalogue.dead_runs()?.into_iter().map(|run| run.backup.id).collect();
    dead.extend(catalogue.dead_restores()?.into_iter().map(|restore| restore.id));
    dead.extend(catalogue.dead_drills()?.into_iter().map(|drill| drill.id));
    Ok(dead)
}

fn open_door(opening: &Opening) -> Door {
    let opened = Coffre::open(opening.clone()).and_then(|coffre| {
        let seen = coffre.engine.catalogue.changes_of_others()?;
        Ok(Opened {
            // Where it cannot be had now, it is not looked for later.
            file: identity_of(coffre.engine.catalogue.path()).ok().flatten(),
            coffre: Arc::new(coffre),
            at: now(),
            seen: AtomicI64::new(seen),
        })
    });
    match opened {
        Ok(opened) => Door::Open(opened),
        Err(error) => Door::Shut(error, Instant::now()),
    }
}

fn tags(nouns: &[Noun]) -> Vec<Tag> {
    nouns.iter().copied().map(Tag::from).collect()
}

fn one(noun: Noun, id: Id) -> Tag {
    Tag { noun, id: Some(id) }
}

fn now() -> DateTime<Utc> {
    crate::open::now_in_milliseconds()
}
