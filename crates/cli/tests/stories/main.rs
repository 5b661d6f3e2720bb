//! Stories: what a person does with `coffre`, and what they see. Everything runs the real program against real databases, files and
//! tools.

#![allow(clippy::unwrap_used, reason = "a story has nobody to hand an error to")]

mod contract;
mod contract_files;
mod crm;
mod drill;
mod guard;
mod hooks;
mod inside;
mod journal;
mod names;
mod notify;
mod notify_proofs;
mod postgres_faults;
mod postgres_main_job;
mod postgres_names;
mod postgres_restore;
mod postgres_tools;
mod replace_postgres;
mod replace_sqlite;
mod retention;
mod schedule;
mod shop;
mod sqlite_catalogue;
mod sqlite_concurrency;
mod sqlite_crash;
mod sqlite_damage;
mod sqlite_disk;
mod sqlite_main_job;

/// The program under test.
pub(crate) fn program() -> &'static str {
    env!("CARGO_BIN_EXE_coffre")
}
