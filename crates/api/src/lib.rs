//! The verbs: what a person can ask Coffre for, one file per noun, used by every shell (terminal, window, REST).
//!
//! What lives here: looking things up by name, the wiring of databases, storages and secrets into the engine, the journal's lines for
//! changes, JSON shapes, words. What does not: parsing of arguments, printing, and the work itself (`coffre-engine`).

pub mod adapters;
pub mod backups;
pub mod catalogues;
pub mod destinations;
pub mod drills;
pub mod inside;
pub mod journals;
pub mod keys;
pub mod notifications;
pub mod open;
pub mod plans;
pub mod replaces;
pub mod restores;
pub mod retention;
pub mod sample;
pub mod schedules;
mod secret_change;
pub mod settings;
pub mod sheets;
pub mod sources;
pub mod start;
pub mod vaults;
pub mod window;
pub mod wire;
pub mod words;

pub use coffre_model as model;
pub use open::{Coffre, Opening};
