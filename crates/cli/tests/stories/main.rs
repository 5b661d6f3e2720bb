//! Stories: what a person does with `coffre`, and what they see. Everything runs the real program against real databases, files and
//! tools.

mod postgres_main_job;
mod sqlite_main_job;

/// The program under test.
pub(crate) fn program() -> &'static str {
    env!("CARGO_BIN_EXE_coffre")
}
