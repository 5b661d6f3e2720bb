//! The window's backend as a window uses it: JSON in, JSON out, events beside it, on a real home with real databases.

#![allow(clippy::unwrap_used, reason = "a test has nobody to hand errors to")]

mod backups;
mod catalogue;
mod desk;
mod failures;
mod first_start;
mod forms;
mod hostile;
mod keys;
mod lists;
mod lost;
mod plans;
mod postgres;
mod replaces;
mod restores;
mod secrets;
mod shortage;
mod together;
