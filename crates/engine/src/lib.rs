//! The work: pipeline, backup, verify, restore, catalogue, secrets

pub mod pipeline;
