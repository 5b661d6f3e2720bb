//! The PostgreSQL adapter against real servers and real programs, and against programs that misbehave.

#![allow(clippy::unwrap_used, reason = "a test has nobody to hand errors to")]
#![allow(
    clippy::disallowed_methods,
    reason = "these tests start themselves anew in another environment"
)]

mod choice;
mod common;
mod conformance;
mod dump;
mod names;
mod passwords;
mod privileges;
mod replace;
mod replace_cut;
mod replace_rich;
mod replace_within;
mod restore;
mod throw_away;
mod tls;
mod tools;
