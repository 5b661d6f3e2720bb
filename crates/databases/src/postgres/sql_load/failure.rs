//! What a server's refusal of a statement means to the person who restores.

use coffre_model::error::{Code, Error};
use tokio_postgres::error::{DbError, ErrorPosition};

use super::super::plain::statement::shown;

/// The error of a statement that begins on `line` (0: not one of the text; of rows: the line before the first). Carries the server's message and SQLSTATE; not its
/// DETAIL, which repeats rows.
pub(super) fn failure(error: &tokio_postgres::Error, line: u64, statement: &str) -> Error {
    let Some(db) = error.as_db_error() else {
        let cause = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
        return Error::new(Code::Unreachable, "sql_connection_lost").with("cause", cause);
    };
    let code = match db.code().code() {
        "42501" => Code::Privilege,
        "55P03" => Code::LockTimeout,
        "53100" => Code::DestFull,
        "57P01" | "57P02" | "57P03" => Code::Unreachable,
        _ => Code::DumpFailed,
    };
    let mut failed = Error::new(code, "sql_load_failed")
        .with("line", line_of(db, line, statement))
        .with("sqlstate", db.code().code())
        .with("server", db.message())
        .with("statement", shown(statement.as_bytes()));
    if let Some(hint) = db.hint() {
        failed = failed.with("server_hint", hint);
    }
    failed
}

/// The line of the text that the server means: of the character in the statement that it points at, or of the row.
fn line_of(db: &DbError, line: u64, statement: &str) -> u64 {
    if let Some(ErrorPosition::Original(position)) = db.position() {
        let before = statement.chars().take((*position as usize).saturating_sub(1));
        return line + before.filter(|c| *c == '\n').count() as u64;
    }
    let Some(row) = db.where_().and_then(row_of) else {
        return line;
    };
    line + row
}

/// The number in `COPY shop, line 3, column …`, in whatever language.
fn row_of(context: &str) -> Option<u64> {
    let rest = context.strip_prefix("COPY ")?;
    // The name may hold commas, the rest begins with the line in every translation.
    let number = rest.split(", ").skip(1).find_map(|part| {
        let digits: String = part
            .chars()
            .skip_while(|c| !c.is_ascii_digit())
            .take_while(char::is_ascii_digit)
            .collect();
        digits.parse().ok()
    });
    number.filter(|row| *row > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_row_is_found_in_the_context() {
        assert_eq!(row_of("COPY t, line 3, column a: \"12\""), Some(3));
        assert_eq!(row_of("COPY t, ligne 12"), Some(12));
        assert_eq!(row_of("COPY a, b, line 4: \"\""), Some(4));
        assert_eq!(row_of("SQL function \"f\" statement 1"), None);
        assert_eq!(row_of("COPY t"), None);
    }
}
