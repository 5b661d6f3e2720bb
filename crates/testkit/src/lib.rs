//! Throw-away servers, fault tools, fakes and the conformance suites.
//!
//! What lives here: everything that more than one crate's tests need. Nothing here is ever part of a program, and everything
//! panics with a plain sentence instead of returning errors: a test has nobody to hand them to. What is missing on the machine
//! is a failure that says "run ./dev setup", never a skipped test.

pub mod coffre;
pub mod conformance;
pub mod disk;
pub mod invariants;
pub mod mail;
pub mod memory;
pub mod postgres;
mod process;
pub mod proxy;
pub mod strace;
pub mod tools;
pub mod web;

pub use process::{Output, is_root, run, run_under, send_signal, wait_until};
