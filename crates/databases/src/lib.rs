//! One file per database: how to dump, check and load it

pub mod postgres;
pub mod process;
