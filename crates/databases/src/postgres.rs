//! PostgreSQL and what speaks like it.

pub mod archive;
pub mod names;
pub mod plain;
pub mod sql_load;
