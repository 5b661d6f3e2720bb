//! What a table is made of, from the text that made it: the same for a live database and for a stored one.

use coffre_model::replace::{ColumnShape, TableShape};

/// One piece of SQL text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'s> {
    /// A word, a number, or a quoted name or text.
    Word(&'s str),
    /// Anything else, one character.
    Sign(&'s str),
}

impl<'s> Token<'s> {
    fn text(self) -> &'s str {
        match self {
            Token::Word(text) | Token::Sign(text) => text,
        }
    }

    fn is(self, keyword: &str) -> bool {
        self.text().eq_ignore_ascii_case(keyword)
    }
}

/// Tokens without white space and comments.
fn tokens(sql: &str) -> Vec<Token<'_>> {
    let (bytes, mut at, mut found) = (sql.as_bytes(), 0, Vec::new());
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'$' || b >= 0x80;
    while let Some(&first) = bytes.get(at) {
        let start = at;
        let rest = &bytes[at..];
        if first.is_ascii_whitespace() || first == 0x0b {
            at += 1;
        } else if rest.starts_with(b"--") {
            at += rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
        } else if rest.starts_with(b"/*") {
            at += rest.windows(2).skip(2).position(|b| b == b"*/").map_or(rest.len(), |p| p + 4);
        } else if let Some(end) = match first {
            b'\'' | b'"' | b'`' => Some(first),
            b'[' => Some(b']'),
            _ => None,
        } {
            at += 1;
            while let Some(&byte) = bytes.get(at) {
                at += 1;
                if byte == end {
                    // Doubled, it stands for itself, except in brackets.
                    if end != b']' && bytes.get(at) == Some(&end) {
                        at += 1;
                    } else {
                        break;
                    }
                }
            }
            found.push(Token::Word(&sql[start..at]));
        } else if is_word(first) {
            at += rest.iter().position(|b| !is_word(*b)).unwrap_or(rest.len());
            found.push(Token::Word(&sql[start..at]));
        } else {
            at += 1;
            found.push(Token::Sign(&sql[start..at]));
        }
    }
    found
}

/// With single spaces, as a person would set it.
fn joined(tokens: &[Token<'_>]) -> String {
    let mut text = String::new();
    let mut after = "";
    for token in tokens {
        let now = token.text();
        let tight = matches!(now, ")" | "," | "." | ";") || matches!(after, "(" | "." | "") || now == "(" && !after.is_empty();
        if !tight {
            text.push(' ');
        }
        text.push_str(now);
        after = now;
    }
    text
}

/// A name without its quotes.
fn unquoted(word: &str) -> String {
    let mut characters = word.chars();
    match (characters.next(), characters.next_back()) {
        (Some('['), Some(']')) => characters.as_str().to_owned(),
        (Some(open @ ('"' | '`' | '\'')), Some(close)) if open == close => {
            characters.as_str().replace(&format!("{open}{open}"), &open.to_string())
        }
        _ => word.to_owned(),
    }
}

/// What a table is made of, by its `CREATE TABLE`.
pub(super) fn shape(table: &str, sql: &str) -> TableShape {
    let tokens = tokens(sql);
    let begin = tokens.iter().position(|t| *t == Token::Sign("(")).unwrap_or(tokens.len());
    let (before, body) = tokens.split_at(begin);
    let mut columns = Vec::new();
    if before.get(1).is_some_and(|t| t.is("VIRTUAL")) {
        // Its module says what it is made of: the arguments are all there is.
        let from = before.iter().position(|t| t.is("USING")).unwrap_or(before.len());
        let module = joined(&before[from..]);
        columns.push(ColumnShape {
            name: module,
            definition: joined(body),
        });
        return TableShape {
            table: table.to_owned(),
            columns,
        };
    }
    let (mut depth, mut piece, mut end) = (0_usize, Vec::new(), body.len());
    for (at, token) in body.iter().enumerate() {
        match token {
            Token::Sign("(") => depth += 1,
            Token::Sign(")") => depth = depth.saturating_sub(1),
            _ => {}
        }
        match token {
            _ if depth == 0 => {
                end = at;
                break;
            }
            Token::Sign("(") if depth == 1 => {}
            Token::Sign(",") if depth == 1 => columns.extend(column(&std::mem::take(&mut piece))),
            token => piece.push(*token),
        }
    }
    columns.extend(column(&piece));
    // WITHOUT ROWID, STRICT.
    for option in body.get(end + 1..).unwrap_or_default().split(|t| *t == Token::Sign(",")) {
        let text = joined(option);
        if !text.is_empty() {
            columns.push(ColumnShape {
                name: text.to_ascii_uppercase(),
                definition: String::new(),
            });
        }
    }
    TableShape {
        table: table.to_owned(),
        columns,
    }
}

/// One column, or one constraint. SQLite takes constraints without a comma between them.
fn column(piece: &[Token<'_>]) -> Option<ColumnShape> {
    let (first, rest) = piece.split_first()?;
    let constraint = ["CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN"];
    if !constraint.iter().any(|keyword| first.is(keyword)) {
        return Some(ColumnShape {
            name: unquoted(first.text()),
            definition: joined(rest),
        });
    }
    let (name, definition) = match rest.split_first() {
        Some((name, rest)) if first.is("CONSTRAINT") => (unquoted(name.text()), joined(rest)),
        _ => (joined(piece), joined(piece)),
    };
    Some(ColumnShape { name, definition })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn columns(sql: &str) -> Vec<(String, String)> {
        let shape = shape("t", sql);
        shape.columns.into_iter().map(|c| (c.name, c.definition)).collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    #[test]
    fn columns_and_constraints() {
        let sql = "CREATE TABLE t (id INTEGER\n PRIMARY KEY, -- the , key (\n \"a \"\"b\"  DECIMAL( 10 , 2 ) DEFAULT 'x,  y)',\n [c d] , e AS (upper(a)),\n
            CONSTRAINT  positive CHECK (e>0), UNIQUE(id,\"c\") /* , ( */, FOREIGN KEY (id) REFERENCES o(id)) WITHOUT   ROWID , STRICT";
        let expected = [
            ("id", "INTEGER PRIMARY KEY"),
            ("a \"b", "DECIMAL(10, 2) DEFAULT 'x,  y)'"),
            ("c d", ""),
            ("e", "AS(upper(a))"),
            ("positive", "CHECK(e > 0)"),
            ("UNIQUE(id, \"c\")", "UNIQUE(id, \"c\")"),
            ("FOREIGN KEY(id) REFERENCES o(id)", "FOREIGN KEY(id) REFERENCES o(id)"),
            ("WITHOUT ROWID", ""),
            ("STRICT", ""),
        ];
        assert_eq!(columns(sql), pairs(&expected));
        let sql = "CREATE VIRTUAL TABLE t USING fts5(title,  body)";
        assert_eq!(columns(sql), pairs(&[("USING fts5", "(title, body)")]));
        assert_eq!(columns("CREATE TABLE t(a)"), columns("CREATE TABLE \"t\" ( a )"));
    }

    proptest! {
        #[test]
        fn nothing_panics(sql in ".{0,200}") {
            shape("t", &sql);
            shape("t", &format!("CREATE TABLE t({sql}"));
        }

        #[test]
        fn space_means_nothing(space in "[ \n\t]{1,3}") {
            let plain = "CREATE TABLE t ( a INT , b TEXT DEFAULT 'q' , UNIQUE ( a ) )";
            prop_assert_eq!(columns(plain), columns(&plain.replace(' ', &space)));
        }
    }
}
