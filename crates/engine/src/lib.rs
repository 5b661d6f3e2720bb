//! The work: pipeline, backup, verify, restore, catalogue, secrets

pub mod keys;
pub mod recovery_sheet;
pub mod secrets;
