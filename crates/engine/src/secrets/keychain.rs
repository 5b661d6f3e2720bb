//! The operating system's keychain: Keychain Services, Credential Manager, or the Secret Service of a Linux desktop.
//!
//! The library behind it blocks, panics on an asynchronous thread and can wait for ever, so all of it runs on one thread of its own
//! and every answer has a time limit. On Linux the session bus is looked at first (see [`super::bus`]): only there can locked, absent
//! and refused be told apart, and only there can the wait for a person be ended.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use coffre_model::{Code, Error, Result, Secret};
use keyring::Entry;
use zeroize::Zeroizing;

use super::{Environment, SecretStore, Status, home_id, home_id_or_new};

/// Under which every entry of every home is filed; the user's own tools show it (`secret-tool search service coffre`).
pub(super) const APPLICATION: &str = "coffre";

/// How long is waited.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// For the machine, when no person is asked.
    pub(super) answer: Duration,
    /// For a person who is asked to unlock the keychain.
    pub(super) person: Duration,
}

const LIMITS: Limits = Limits {
    answer: Duration::from_secs(10),
    person: Duration::from_secs(60),
};

type Job = Box<dyn FnOnce() + Send>;

/// The keychain, for one home.
pub struct Keychain {
    home: PathBuf,
    may_ask: bool,
    limits: Limits,
    /// The way to the thread that talks to the keychain; started by the first secret. One thread for ever: an answer that never
    /// comes costs one thread, not one a try.
    thread: Mutex<Option<Sender<Job>>>,
}

/// What the caller hears from the thread.
enum News<T> {
    /// A person is being asked now; the limit is theirs from here.
    Asking,
    Done(Result<T>),
}

/// What can be known of a keychain without a secret.
pub(super) struct State {
    pub(super) unlocked: bool,
    pub(super) entries: Option<u64>,
}

pub(super) fn unavailable(text: &'static str) -> Error {
    Error::new(Code::SecretUnavailable, text)
}

pub(super) fn failed(cause: impl std::fmt::Display) -> Error {
    unavailable("keychain_failed").with("cause", cause.to_string())
}

pub(super) fn silent(limit: Duration) -> Error {
    unavailable("keychain_silent").with("seconds", limit.as_secs())
}

impl Keychain {
    /// The keychain as seen by `home`. Touches nothing.
    pub fn new(home: &Path, environment: &Environment) -> Self {
        Keychain {
            home: home.to_owned(),
            may_ask: environment.may_ask,
            limits: LIMITS,
            thread: Mutex::new(None),
        }
    }

    /// Runs `work` on the keychain's thread and waits, but not for ever. `work` calls its argument when a person is asked.
    fn on_thread<T: Send + 'static>(&self, work: impl FnOnce(&dyn Fn()) -> Result<T> + Send + 'static) -> Result<T> {
        let (tell, hear) = channel();
        let abandoned = Arc::new(AtomicBool::new(false));
        let given_up = Arc::clone(&abandoned);
        self.send(Box::new(move || {
            // It waited behind a call that hung, and nobody is there for its answer any more.
            if given_up.load(Ordering::SeqCst) {
                return;
            }
            // A caller that gave up hears nothing, and has reported that already.
            let _given_up = tell.send(News::Done(work(&|| {
                let _given_up = tell.send(News::Asking);
            })));
        }))?;
        let mut limit = self.limits.answer;
        loop {
            match hear.recv_timeout(limit) {
                Ok(News::Asking) => limit = self.limits.person + self.limits.answer,
                Ok(News::Done(result)) => return result,
                Err(RecvTimeoutError::Timeout) => {
                    abandoned.store(true, Ordering::SeqCst);
                    return Err(silent(self.limits.answer));
                }
                Err(RecvTimeoutError::Disconnected) => return Err(failed("the keychain's library gave up")),
            }
        }
    }

    fn send(&self, job: Job) -> Result<()> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let job = match &*thread {
            None => job,
            Some(jobs) => match jobs.send(job) {
                Ok(()) => return Ok(()),
                // The library panicked and took the thread with it.
                Err(lost) => lost.0,
            },
        };
        let (jobs, work) = channel::<Job>();
        std::thread::Builder::new()
            .name("keychain".into())
            .spawn(move || work.into_iter().for_each(|job| job()))
            .map_err(failed)?;
        jobs.send(job).map_err(|_| failed("the keychain's thread did not start"))?;
        *thread = Some(jobs);
        Ok(())
    }

    /// The entry of a secret in this home; nothing where the home never kept one in a keychain.
    fn known(&self, name: &str) -> Result<Option<String>> {
        Ok(home_id(&self.home)?.map(|id| format!("{id}/{name}")))
    }
}

impl SecretStore for Keychain {
    fn get(&self, name: &str) -> Result<Option<Secret>> {
        let Some(user) = self.known(name)? else { return Ok(None) };
        let (may_ask, limits) = (self.may_ask, self.limits);
        self.on_thread(move |asking| {
            make_ready(may_ask, limits, asking)?;
            read(&entry(&user)?)
        })
    }

    fn set(&self, name: &str, secret: &Secret) -> Result<()> {
        let user = format!("{}/{name}", home_id_or_new(&self.home)?);
        let (secret, may_ask, limits) = (secret.clone(), self.may_ask, self.limits);
        self.on_thread(move |asking| {
            make_ready(may_ask, limits, asking)?;
            let entry = entry(&user)?;
            entry.set_secret(secret.expose().as_bytes()).map_err(translate)?;
            // A keychain that answers "done" and keeps nothing would be found out at the next backup, at night.
            match read(&entry)? {
                Some(kept) if kept.expose() == secret.expose() => Ok(()),
                _ => Err(failed("the secret was not kept")),
            }
        })
    }

    fn remove(&self, name: &str) -> Result<bool> {
        let Some(user) = self.known(name)? else { return Ok(false) };
        let (may_ask, limits) = (self.may_ask, self.limits);
        self.on_thread(move |asking| {
            make_ready(may_ask, limits, asking)?;
            match entry(&user)?.delete_credential() {
                Ok(()) => Ok(true),
                Err(keyring::Error::NoEntry) => Ok(false),
                Err(error) => Err(translate(error)),
            }
        })
    }

    fn kind(&self) -> &'static str {
        "keychain"
    }

    fn status(&self) -> Status {
        let limits = self.limits;
        let state = home_id(&self.home).and_then(|id| self.on_thread(move |_| look(id.map(|id| format!("{id}/")), limits)));
        let (exists, unlocked, entries, error) = match state {
            Ok(state) if state.unlocked => (true, true, state.entries, None),
            Ok(state) => (true, false, state.entries, Some(unavailable("keychain_locked"))),
            Err(error) => (false, false, None, Some(error)),
        };
        Status {
            kind: "keychain",
            path: None,
            exists,
            unlocked,
            entries,
            error,
        }
    }
}

fn entry(user: &str) -> Result<Entry> {
    Entry::new(APPLICATION, user).map_err(translate)
}

fn read(entry: &Entry) -> Result<Option<Secret>> {
    let bytes = match entry.get_secret() {
        Ok(bytes) => Zeroizing::new(bytes),
        Err(keyring::Error::NoEntry) => return Ok(None),
        Err(error) => return Err(translate(error)),
    };
    // Ours are text; other bytes were put there by somebody else. They are not shown.
    let text = std::str::from_utf8(&bytes).map_err(|_| failed("the entry is not text"))?;
    Ok(Some(Secret::new(text)))
}

fn translate(error: keyring::Error) -> Error {
    match error {
        keyring::Error::NoStorageAccess(_) => unavailable("keychain_locked"),
        keyring::Error::NoDefaultStore => match Entry::store_status() {
            Err(cause) => unavailable("keychain_absent").with("cause", cause.to_string()),
            Ok(()) => unavailable("keychain_absent").with("cause", error.to_string()),
        },
        other => failed(other),
    }
}

#[cfg(all(unix, not(target_os = "macos")))]
use super::bus::{look, make_ready};

/// macOS and Windows unlock the keychain themselves, with the login or in a dialog of the system.
#[cfg(not(all(unix, not(target_os = "macos"))))]
fn make_ready(_may_ask: bool, _limits: Limits, _asking: &dyn Fn()) -> Result<()> {
    match Entry::store_status() {
        Ok(()) => Ok(()),
        Err(cause) => Err(unavailable("keychain_absent").with("cause", cause.to_string())),
    }
}

#[cfg(not(all(unix, not(target_os = "macos"))))]
fn look(_prefix: Option<String>, limits: Limits) -> Result<State> {
    make_ready(false, limits, &|| {})?;
    // Asking for something that is not there tells whether one may ask at all.
    match read(&entry("status")?) {
        Ok(_) => Ok(State {
            unlocked: true,
            entries: None,
        }),
        Err(error) if error.text() == "keychain_locked" => Ok(State {
            unlocked: false,
            entries: None,
        }),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
#[cfg(all(unix, not(target_os = "macos")))]
mod tests;
