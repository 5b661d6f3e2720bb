//! The work: pipeline, backup, verify, restore, catalogue, secrets

pub mod catalogue;
pub mod home;
pub mod lease;
