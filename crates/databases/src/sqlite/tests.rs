//! SQLite, tried on real files with real writers.

mod asfound;
mod checking;
mod common;
mod dumping;
mod kind;
mod refusing;
mod targets;
mod writers;
