//! What the window needs to know of Coffre itself, and of what it can be asked for.

use chrono::{DateTime, Utc};
use coffre_engine::scheduler::{next_of, paused_at};
use coffre_engine::secrets::Status;
use coffre_model::database::Capability;
use coffre_model::field::Field;
use coffre_model::protection::ProtectionState;
use coffre_model::{Code, Error, Result};
use serde::Serialize;
use ts_rs::TS;

use super::commands::Nothing;
use super::events::Noun;
use super::protection::protection;
use super::{Window, tags};

/// What this build can do beyond the ground; the window hides what is absent rather than offering what will be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// Plans run by themselves.
    Schedule,
    /// Old backups leave by themselves.
    Retention,
    /// A restore can replace live data.
    Replace,
    /// The catalogue can be rebuilt from a destination.
    Rebuild,
}

/// How the secret store stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum SecretState {
    /// Secrets can be read and kept.
    Ready,
    /// It must be unlocked first.
    Locked,
    /// There is none.
    Absent,
    /// It does not let us.
    Refused,
    /// Nobody looked yet.
    Unknown,
}

/// The store of passwords and keys.
#[derive(Clone, Debug, Serialize, TS)]
pub struct SecretStore {
    /// `keychain` or `vault`.
    #[ts(type = "'keychain' | 'vault'")]
    pub kind: &'static str,
    /// The name a person knows it by, or the vault's file.
    pub name: String,
    /// How it stands.
    pub state: SecretState,
    /// Why it cannot be used.
    pub error: Option<Error>,
}

/// Coffre itself.
#[derive(Debug, Serialize, TS)]
pub struct About {
    /// Its version.
    pub version: &'static str,
    /// The home folder.
    pub home: String,
    /// Where log files lie.
    pub log_folder: String,
    /// The system.
    #[ts(type = "'linux' | 'macos' | 'windows'")]
    pub platform: &'static str,
    /// What this build can do.
    pub features: Vec<Feature>,
    /// The secret store.
    pub secrets: SecretStore,
    /// The language that `language = system` means here.
    #[ts(type = "'en' | 'fr'")]
    pub system_language: &'static str,
    /// No source, no destination, no backup yet: the welcome is shown.
    pub first_start: bool,
    /// Why the catalogue cannot be opened; then every other command answers the same.
    pub catalogue_error: Option<Error>,
}

/// A kind of database or storage, with its form as data.
#[derive(Debug, Serialize, TS)]
pub struct Adapter {
    /// `postgres`, `sqlite`, `local`, …: the name used in text keys.
    pub name: &'static str,
    /// The schemes of its addresses.
    pub schemes: &'static [&'static str],
    /// Its name for people.
    pub label: String,
    /// Its form.
    pub fields: Vec<Field>,
    /// Databases only.
    pub capability: Option<Capability>,
}

/// Every kind.
#[derive(Debug, Serialize, TS)]
#[ts(rename = "Adapters")]
pub struct AdapterList {
    /// Of databases.
    pub databases: Vec<Adapter>,
    /// Of storages.
    pub storages: Vec<Adapter>,
}

/// What the sidebar counts.
#[derive(Debug, Default, Serialize, TS)]
pub struct Attention {
    /// All sources.
    pub sources: usize,
    /// Those that are protected.
    pub protected: usize,
    /// Those at risk.
    pub at_risk: usize,
    /// Those that are not protected.
    pub unprotected: usize,
    /// Sources whose last run failed.
    pub failures_open: usize,
    /// Channels that do not reach their receiver.
    pub channels_failing: usize,
    /// No channel that listens reaches its receiver: nobody would hear.
    pub nobody_told: bool,
    /// When something runs next.
    pub next_run_at: Option<DateTime<Utc>>,
    /// Whether nothing runs by itself because somebody paused it.
    pub schedules_paused: bool,
}

/// A catalogue that was moved out of the way.
#[derive(Debug, Serialize, TS)]
pub struct SetAside {
    /// Where the damaged one lies now; nothing where there was nothing wrong.
    pub path: Option<String>,
}

fn platform() -> &'static str {
    if cfg!(target_os = "macos") {
        "macos"
    } else if cfg!(target_os = "windows") {
        "windows"
    } else {
        "linux"
    }
}

/// The store as a person knows it.
fn secret_store(status: Option<&Status>) -> SecretStore {
    let keychain = match platform() {
        "macos" => "Keychain",
        "windows" => "Credential Manager",
        _ => "Secret Service",
    };
    let Some(status) = status else {
        return SecretStore {
            kind: "keychain",
            name: keychain.to_owned(),
            state: SecretState::Unknown,
            error: None,
        };
    };
    let state = match status.error.as_ref().map(Error::text) {
        None => SecretState::Ready,
        Some("keychain_locked" | "vault_locked" | "vault_needs_identity" | "vault_needs_passphrase" | "vault_key_needed") => {
            SecretState::Locked
        }
        Some("keychain_absent" | "keychain_empty" | "keychain_fleeting" | "vault_absent") => SecretState::Absent,
        Some(_) => SecretState::Refused,
    };
    let file = status.path.as_ref().map(|path| path.display().to_string());
    SecretStore {
        kind: status.kind,
        name: file.unwrap_or_else(|| keychain.to_owned()),
        state,
        error: status.error.clone(),
    }
}

impl Window {
    pub(super) fn secret_store(&self) -> SecretStore {
        secret_store(self.lock_looks().secrets.as_ref())
    }

    /// The name for people of a kind of database or storage.
    pub(super) fn label(&self, adapter: &str) -> String {
        let words = self.words();
        words.find(&format!("adapter.{adapter}")).unwrap_or(adapter).to_owned()
    }

    pub(super) fn about(&self, _: Nothing) -> Result<About> {
        let home = &self.0.opening.home;
        let (first_start, catalogue_error) = match self.coffre().and_then(|coffre| coffre.engine.catalogue.is_blank()) {
            Ok(blank) => (blank, None),
            // Said here too: the window opens with this command, and must not stay empty.
            Err(error) => (false, Some(error)),
        };
        Ok(About {
            version: env!("CARGO_PKG_VERSION"),
            home: home.display().to_string(),
            log_folder: home.join("logs").display().to_string(),
            platform: platform(),
            features: vec![Feature::Schedule, Feature::Retention, Feature::Replace, Feature::Rebuild],
            secrets: self.secret_store(),
            system_language: self.system_language().code(),
            first_start,
            catalogue_error,
        })
    }

    pub(super) fn adapters(&self, _: Nothing) -> Result<AdapterList> {
        let databases = coffre_databases::kinds().iter().map(|kind| Adapter {
            name: kind.name(),
            schemes: kind.schemes(),
            label: self.label(kind.name()),
            fields: kind.fields(),
            capability: Some(kind.capability()),
        });
        let storages = coffre_storages::kinds().iter().map(|kind| Adapter {
            name: kind.name(),
            schemes: kind.schemes(),
            label: self.label(kind.name()),
            fields: kind.fields(),
            capability: None,
        });
        Ok(AdapterList {
            databases: databases.collect(),
            storages: storages.collect(),
        })
    }

    pub(super) fn attention(&self, _: Nothing) -> Result<Attention> {
        let coffre = self.coffre()?;
        let around = self.around(&coffre)?;
        let unheard = coffre.unheard()?;
        let mut attention = Attention {
            channels_failing: unheard.channels.len(),
            nobody_told: unheard.nobody,
            schedules_paused: paused_at(&coffre.engine)?.is_some(),
            ..Attention::default()
        };
        for source in coffre.sources()? {
            let protection = protection(&coffre, &source, &around)?;
            attention.sources += 1;
            attention.failures_open += usize::from(protection.error.is_some());
            // Why a schedule cannot be read is said with its plan.
            let next = around
                .plans_of(&source.id)
                .filter_map(|plan| next_of(&coffre.engine, plan).unwrap_or_default());
            attention.next_run_at = next.chain(attention.next_run_at).min();
            match protection.state {
                ProtectionState::Protected => attention.protected += 1,
                ProtectionState::AtRisk => attention.at_risk += 1,
                ProtectionState::Unprotected => attention.unprotected += 1,
            }
        }
        Ok(attention)
    }

    /// Moves a damaged catalogue out of the way, so that a new one can be filled from destinations. Does nothing to a sound one.
    pub(super) fn set_catalogue_aside(&self, _: Nothing) -> Result<SetAside> {
        let damaged = match self.coffre() {
            Ok(coffre) => match coffre.engine.catalogue.check() {
                Ok(()) => None,
                Err(error) if error.code() == Code::CatalogueCorrupt => Some(error),
                Err(error) => return Err(error),
            },
            Err(error) => Some(error),
        };
        let path = match damaged {
            None => None,
            Some(_) if !self.works().is_empty() => return Err(Error::new(Code::Busy, "catalogue_in_use_here")),
            Some(error) => {
                self.shut(error);
                let aside = crate::catalogues::set_aside_if_damaged(&self.0.opening)?;
                // At once: whoever reads next must not be told of the old one.
                self.open_again(std::time::Duration::ZERO)?;
                aside
            }
        };
        self.changed(tags(&Noun::ALL));
        Ok(SetAside {
            path: path.map(|path| path.display().to_string()),
        })
    }
}
