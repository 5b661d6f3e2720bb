//! SQLite, tried on real files with real writers.

mod asfound;
mod checking;
mod common;
mod dumping;
mod kind;
mod refusing;
mod replacing;
mod replacing_common;
mod replacing_faults;
mod replacing_held;
mod replacing_looks;
mod replacing_written;
mod targets;
mod writers;
