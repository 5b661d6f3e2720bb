//! What was found when sources, destinations and the secret store were last looked at. Kept in memory: it is about this moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use coffre_engine::secrets::Status;
use coffre_model::backup::{Backup, CopyState};
use coffre_model::database::Probe;
use coffre_model::destination::Destination;
use coffre_model::source::Source;
use coffre_model::storage::Space;
use coffre_model::{Cancel, Code, Error, Id, Result};
use serde::Serialize;
use ts_rs::TS;

use super::events::Noun;
use super::{Window, tags};
use crate::Coffre;

/// How long one look may take before its subject counts as silent. Databases and storages give up earlier by themselves; what hangs in
/// the system (a network disk whose server is gone) does not.
const LIMIT: Duration = Duration::from_secs(20);
/// How many are looked at at once.
const AT_ONCE: usize = 4;

/// Whether something answered when it was last looked at. An answer proves no backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It did.
    Answers,
    /// It did not.
    Silent,
    /// Nobody looked yet.
    Unknown,
}

/// A look at one thing.
#[derive(Clone)]
pub(super) struct Look<T> {
    pub(super) at: DateTime<Utc>,
    pub(super) took: Duration,
    pub(super) found: Result<T>,
}

impl<T> Look<T> {
    pub(super) fn answer(look: Option<&Look<T>>) -> Answer {
        match look {
            None => Answer::Unknown,
            Some(look) if look.found.is_ok() => Answer::Answers,
            Some(_) => Answer::Silent,
        }
    }

    pub(super) fn error(look: Option<&Look<T>>) -> Option<Error> {
        look.and_then(|look| look.found.as_ref().err().cloned())
    }
}

/// Every last look.
#[derive(Default)]
pub(super) struct Looks {
    pub(super) sources: BTreeMap<Id, Look<Probe>>,
    pub(super) destinations: BTreeMap<Id, Look<Option<Space>>>,
    pub(super) secrets: Option<Status>,
    /// When the catalogue was last read whole, and what was wrong with it.
    pub(super) catalogue: Option<(DateTime<Utc>, Option<Error>)>,
    /// What the start could not clean up.
    pub(super) left: Vec<Error>,
    /// What could not be settled of replacements of live data since, and why.
    pub(super) unsettled: Vec<Error>,
    /// Destinations that were moved and not looked at since: what is recorded of them lies somewhere else, or nowhere.
    pub(super) moved: BTreeSet<Id>,
    /// What is being looked at: a look that hangs is not joined by others.
    busy: BTreeSet<Id>,
}

impl Window {
    pub(super) fn look_at_secrets(&self, coffre: &Coffre) {
        let status = coffre.engine.secrets.store().map(|store| store.status());
        self.lock_looks().secrets = Some(status.unwrap_or_else(|error| Status {
            kind: "keychain",
            path: None,
            exists: false,
            unlocked: false,
            entries: None,
            error: Some(error),
        }));
        self.changed(tags(&[Noun::About, Noun::Health]));
    }

    pub(super) fn look_at_all_destinations(&self, coffre: &Arc<Coffre>) {
        let looked = coffre
            .destinations()
            .map(|all| self.look_at_all(all.into_iter().map(Subject::Destination).collect(), coffre));
        if let Err(error) = looked {
            // The list of destinations says the same where it is shown.
            tracing::warn!(%error, "look at destinations");
        }
        self.changed(tags(&[Noun::Destinations, Noun::Health, Noun::Overview, Noun::Sources]));
    }

    /// Looks at everything, a few at once, and waits for the answers, but for none of them longer than [`LIMIT`].
    pub(super) fn look_at_everything(&self, coffre: &Arc<Coffre>) -> Result<()> {
        let mut subjects: Vec<Subject> = coffre.sources()?.into_iter().map(Subject::Source).collect();
        subjects.extend(coffre.destinations()?.into_iter().map(Subject::Destination));
        self.look_at_all(subjects, coffre);
        Ok(())
    }

    fn look_at_all(&self, subjects: Vec<Subject>, coffre: &Arc<Coffre>) {
        let mut waiting = subjects.into_iter();
        let (tell, hear) = channel::<Id>();
        let mut going: BTreeMap<Id, (Instant, Subject, Cancel)> = BTreeMap::new();
        loop {
            while going.len() < AT_ONCE
                && let Some(subject) = waiting.next()
            {
                let id = subject.id();
                if !self.lock_looks().busy.insert(id) {
                    // The last look at it has not come back: that is an answer too.
                    self.keep_silent(&subject);
                    continue;
                }
                let cancel = Cancel::new();
                let (window, coffre, tell) = (self.clone(), Arc::clone(coffre), tell.clone());
                let (looked_at, flag) = (subject.clone(), cancel.clone());
                let spawned = std::thread::Builder::new().name("look".into()).spawn(move || {
                    window.look_at(&looked_at, &coffre, &flag);
                    window.lock_looks().busy.remove(&looked_at.id());
                    // Nobody waits any more for one that came too late.
                    let _too_late = tell.send(looked_at.id());
                });
                match spawned {
                    Ok(_) => drop(going.insert(id, (Instant::now(), subject, cancel))),
                    Err(_) => {
                        self.lock_looks().busy.remove(&id);
                        self.keep_silent(&subject);
                    }
                }
            }
            let Some(due) = going.values().map(|(began, ..)| *began + LIMIT).min() else {
                return;
            };
            match hear.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(id) => drop(going.remove(&id)),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    going.retain(|_, (began, subject, cancel)| {
                        let late = began.elapsed() >= LIMIT;
                        if late {
                            cancel.cancel(coffre_model::cancel::Reason::Interrupt);
                            self.keep_silent(subject);
                        }
                        !late
                    });
                }
            }
        }
    }

    fn keep_silent(&self, subject: &Subject) {
        let error = Error::new(Code::Stalled, "look_silent").with("seconds", LIMIT.as_secs());
        let (at, took) = (super::now(), LIMIT);
        let mut looks = self.lock_looks();
        match subject {
            Subject::Source(source) => {
                let found = Err(error.with("name", source.name.as_str()));
                looks.sources.insert(source.id, Look { at, took, found });
            }
            Subject::Destination(destination) => {
                let found = Err(error.with("name", destination.name.as_str()));
                looks.destinations.insert(destination.id, Look { at, took, found });
            }
        }
    }

    fn look_at(&self, subject: &Subject, coffre: &Coffre, cancel: &Cancel) {
        match subject {
            Subject::Source(source) => {
                let began = Instant::now();
                let found = coffre.test_source(source, cancel);
                self.keep_source_look(coffre, source, began.elapsed(), found, cancel);
            }
            Subject::Destination(destination) => {
                let began = Instant::now();
                let found = coffre.test_destination(destination, cancel).and_then(|test| {
                    let took = began.elapsed();
                    self.look_for_lost(destination, coffre, cancel)?;
                    Ok((test, took))
                });
                let took = found.as_ref().map_or_else(|_| began.elapsed(), |(_, took)| *took);
                let found = found.map(|(test, _)| match test {
                    crate::destinations::DestinationTest {
                        free_bytes: Some(free),
                        total_bytes: Some(total),
                        ..
                    } => Some(Space { free, total }),
                    _ => None,
                });
                self.keep_destination_look(coffre, destination, took, found, cancel);
            }
        }
    }

    /// Whether what protection rests on still lies there. What does not is recorded, and told.
    fn look_for_lost(&self, destination: &Destination, coffre: &Coffre, cancel: &Cancel) -> Result<()> {
        let lost = coffre_engine::verify::look_for_lost(&coffre.engine, destination, cancel)?;
        if !lost.is_empty() {
            self.tell_lost(&lost);
            self.changed(tags(&[
                Noun::Backups,
                Noun::Overview,
                Noun::Sources,
                Noun::Plans,
                Noun::Destinations,
                Noun::Journal,
                Noun::Health,
            ]));
        }
        Ok(())
    }

    /// Asks those destinations that were never asked (another process may have added them), and those again that did not answer: a
    /// network comes back without telling anybody.
    pub(super) fn look_at_silent_destinations(&self, coffre: &Arc<Coffre>) {
        let all = match coffre.destinations() {
            Ok(all) => all,
            // The list of destinations says the same where it is shown.
            Err(error) => return tracing::warn!(%error, "look at destinations"),
        };
        let answer_of = |id: &Id| Look::answer(self.lock_looks().destinations.get(id));
        let asked: Vec<(Id, Answer)> = all
            .iter()
            .map(|destination| (destination.id, answer_of(&destination.id)))
            .filter(|(_, answer)| *answer != Answer::Answers)
            .collect();
        if asked.is_empty() {
            return;
        }
        let subjects = all
            .into_iter()
            .filter(|destination| asked.iter().any(|(id, _)| *id == destination.id));
        self.look_at_all(subjects.map(Subject::Destination).collect(), coffre);
        if asked.iter().any(|(id, before)| answer_of(id) != *before) {
            self.changed(tags(&[Noun::Destinations, Noun::Health, Noun::Overview, Noun::Sources]));
        }
    }

    /// A copy that was just read back is an answer of its destination; one that could not be written is one too.
    pub(super) fn keep_answers_of(&self, backup: &Backup) {
        let mut looks = self.lock_looks();
        for copy in &backup.copies {
            let known = looks.destinations.get(&copy.destination_id);
            let room = known.and_then(|look| look.found.as_ref().ok().copied().flatten());
            let found = match (&copy.error, copy.state) {
                (None, CopyState::Verified) => Ok(room),
                (Some(error), _) if is_silence(error) => Err(error.clone()),
                _ => continue,
            };
            let look = Look {
                at: super::now(),
                took: Duration::ZERO,
                found,
            };
            looks.destinations.insert(copy.destination_id, look);
        }
    }

    /// Keeps what a look found, unless the source was changed meanwhile: then it says nothing of it.
    pub(super) fn keep_source_look(
        &self,
        coffre: &Coffre,
        source: &Source,
        took: Duration,
        found: Result<Probe>,
        cancel: &Cancel,
    ) {
        if cancel.is_cancelled() {
            return;
        }
        let at = super::now();
        // Locked before the row is read: whoever changes the row forgets the look afterwards.
        let mut looks = self.lock_looks();
        let same = |kept: &Source| kept.id == source.id && kept.address == source.address && kept.options == source.options;
        if coffre.sources().is_ok_and(|all| all.iter().any(same)) {
            looks.sources.insert(source.id, Look { at, took, found });
        }
    }

    /// Likewise for a destination.
    pub(super) fn keep_destination_look(
        &self,
        coffre: &Coffre,
        destination: &Destination,
        took: Duration,
        found: Result<Option<Space>>,
        cancel: &Cancel,
    ) {
        if cancel.is_cancelled() {
            return;
        }
        let at = super::now();
        let mut looks = self.lock_looks();
        let same = |kept: &Destination| kept.id == destination.id && kept.address == destination.address;
        if coffre.destinations().is_ok_and(|all| all.iter().any(same)) {
            looks.moved.remove(&destination.id);
            looks.destinations.insert(destination.id, Look { at, took, found });
        }
    }
}

/// Whether an error says that the place itself could not be had, not only one object in it.
fn is_silence(error: &Error) -> bool {
    matches!(
        error.code(),
        Code::DestUnreachable | Code::DestAuth | Code::DestIdentity | Code::Stalled
    )
}

/// What is looked at.
#[derive(Clone)]
enum Subject {
    Source(Source),
    Destination(Destination),
}

impl Subject {
    fn id(&self) -> Id {
        match self {
            Subject::Source(source) => source.id,
            Subject::Destination(destination) => destination.id,
        }
    }
}
