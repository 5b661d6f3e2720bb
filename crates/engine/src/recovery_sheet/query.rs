//! The one query that counts the rows of every restored table.

use coffre_model::database::TableCount;

use super::wording::visible;

/// More tables than this are listed, but not put into one query.
const QUERY_TABLES: usize = 60;

/// One query that counts every table, in the order of the list. Names are taken from the manifest as they are written there, quoted
/// where they must be; one that is not a name is left out, because a manifest could have been changed by others.
pub(super) fn query(counts: &[TableCount]) -> Option<String> {
    if counts.len() > QUERY_TABLES {
        return None;
    }
    let selects: Vec<String> = counts
        .iter()
        .map(|count| count.table.as_str())
        .filter(|table| is_table_name(table) && visible(table) == *table)
        .map(|table| format!("SELECT '{}', count(*) FROM {table}", table.replace('\'', "''")))
        .collect();
    (!selects.is_empty()).then(|| format!("{};", selects.join("\nUNION ALL ")))
}

/// Whether a text is nothing but a table's name: plain or double-quoted parts with dots between them.
fn is_table_name(text: &str) -> bool {
    let mut rest = text;
    loop {
        let after = if let Some(quoted) = rest.strip_prefix('"') {
            let mut at = 0;
            loop {
                match quoted[at..].find('"') {
                    None => return false,
                    Some(end) if quoted[at + end + 1..].starts_with('"') => at += end + 2,
                    Some(end) if at + end == 0 => return false,
                    Some(end) => break &quoted[at + end + 1..],
                }
            }
        } else {
            let end = rest
                .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'))
                .unwrap_or(rest.len());
            if end == 0 || rest.starts_with(|c: char| c.is_ascii_digit()) {
                return false;
            }
            &rest[end..]
        };
        match after.strip_prefix('.') {
            Some(next) => rest = next,
            None => return after.is_empty(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_names_and_nothing_else() {
        for name in [
            "orders",
            "public.orders",
            r#""a ""b""".c"#,
            r#"public."x;y""#,
            "größe",
            "a$1",
            r#""1""#,
        ] {
            assert!(is_table_name(name), "{name}");
        }
        for other in [
            "",
            ".",
            "a.",
            ".a",
            "1a",
            "a b",
            "a;b",
            "a--b",
            r#"""#,
            r#""""#,
            r#""a"b"#,
            r#""a"" "#,
            "a'b",
            "(select 1)",
            "a\nb",
        ] {
            assert!(!is_table_name(other), "{other}");
        }
    }
}
