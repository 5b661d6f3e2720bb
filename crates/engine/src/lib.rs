//! The work: pipeline, backup, verify, restore, catalogue, secrets.
//!
//! The engine sees databases and storages through the traits of `coffre-model` alone; `coffre-api` wires them.

pub mod aim;
pub mod backup;
pub mod catalogue;
pub mod check;
pub mod context;
pub mod decrypt;
pub mod delete;
pub mod download;
pub mod drill;
pub mod foreign_file;
pub mod home;
pub mod hooks;
pub mod inside;
pub mod keys;
pub mod lease;
pub mod notify;
pub mod pipeline;
pub mod place;
pub(crate) mod proof;
pub mod rebuild;
pub mod recovery_sheet;
pub(crate) mod rehearsal;
pub mod replace;
pub mod restore;
pub mod retain;
pub mod scheduler;
pub mod secrets;
pub(crate) mod sentinel;
pub mod stream;
pub mod sweep;
pub mod undo;
pub mod verify;
