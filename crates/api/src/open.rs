//! Opening Coffre on a home: the one way in, for every shell.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use chrono::Utc;
use coffre_engine::catalogue::Catalogue;
use coffre_engine::context::{Engine, Secrets};
use coffre_engine::home::{Home, Platform};
use coffre_engine::secrets::{self, Choice, Environment, SecretStore};
use coffre_engine::sweep::sweep;
use coffre_model::journal::Author;
use coffre_model::{Cancel, Error, Result};

use crate::adapters::BuiltIn;

/// How to open.
#[derive(Clone)]
pub struct Opening {
    /// The home folder.
    pub home: PathBuf,
    /// Through what a person acts.
    pub author: Author,
    /// The user of the system, where known.
    pub actor: Option<String>,
}

pub use coffre_engine::sweep::Swept;

/// Coffre, opened on one home.
pub struct Coffre {
    /// The engine with its surroundings.
    pub engine: Engine,
}

impl Coffre {
    /// Opens the home, making it where it does not exist.
    ///
    /// # Errors
    /// `CATALOGUE_NEWER`, `CATALOGUE_CORRUPT`, or why the folder cannot be used.
    pub fn open(opening: Opening) -> Result<Coffre> {
        let home = Home::open(&opening.home)?;
        let catalogue = Catalogue::open(&home)?;
        let secrets = Box::new(OnFirstUse {
            home: home.root().to_owned(),
            // In front of a window sits a person whom a locked keychain may ask.
            attended: opening.author == Author::App,
            opened: OnceLock::new(),
        });
        Ok(Coffre {
            engine: Engine {
                home,
                catalogue,
                adapters: &BuiltIn,
                secrets,
                author: opening.author,
                actor: opening.actor,
                now: now_in_milliseconds,
                overrides: Box::new(|key| std::env::var(format!("COFFRE_{}", key.to_ascii_uppercase())).ok()),
            },
        })
    }

    /// Ends what dead processes left on this home. Every shell calls this once at its start.
    pub fn sweep(&self, cancel: &Cancel) -> Result<Swept> {
        // Before anything else is written: they are to hear of a catalogue that is rebuilt.
        if let Err(error) = coffre_engine::notify::bring_back(&self.engine) {
            // A file that cannot be read must not keep anybody from a restore. The channels are then seen to be gone.
            tracing::error!(%error, "bring the channels back");
        }
        sweep(&self.engine, cancel)
    }

    /// Checkpoints the catalogue's log and closes it.
    pub fn close(self) -> Result<()> {
        self.engine.catalogue.close()
    }
}

/// The clock, at the precision in which times are stored: what was written compares equal to what is read back.
#[allow(clippy::disallowed_methods, reason = "the edge: the one place where the clock is read")]
pub(crate) fn now_in_milliseconds() -> chrono::DateTime<Utc> {
    chrono::SubsecRound::trunc_subsecs(Utc::now(), 3)
}

/// Opens the secret store when it is first needed.
struct OnFirstUse {
    home: PathBuf,
    attended: bool,
    opened: OnceLock<Box<dyn SecretStore>>,
}

impl Secrets for OnFirstUse {
    fn store(&self) -> Result<&dyn SecretStore> {
        // A store that cannot be opened now may be opened later: a daemon outlives a locked keychain.
        match self.opened.get() {
            Some(store) => Ok(store.as_ref()),
            None => {
                let opened = open_secrets(&self.home, self.attended)?;
                Ok(self.opened.get_or_init(|| opened).as_ref())
            }
        }
    }
}

fn open_secrets(home: &Path, attended: bool) -> Result<Box<dyn SecretStore>> {
    let choice = std::env::var("COFFRE_SECRETS").ok();
    let choice = Choice::parse(choice.as_deref())?;
    let attended = attended || std::io::stdin().is_terminal();
    let environment = Environment::read(|name| std::env::var_os(name), attended);
    Ok(secrets::open(choice, home, &environment))
}

/// What the secret stores need to know of the environment.
pub(crate) fn secret_environment() -> Environment {
    Environment::read(|name| std::env::var_os(name), std::io::stdin().is_terminal())
}

/// Where the home is: `given`, else `COFFRE_HOME`, else the platform's data folder; absolute, so that it means the same for children.
///
/// # Errors
/// `USAGE` where there is nothing to go by.
pub fn home(given: Option<&Path>) -> Result<PathBuf> {
    let found = coffre_engine::home::locate(given, Platform::current(), |name| std::env::var_os(name))?;
    std::path::absolute(&found).map_err(|e| Error::internal("find the home", e))
}
