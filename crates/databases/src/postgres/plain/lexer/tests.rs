use proptest::prelude::*;

use super::*;

/// Keeps everything that the lexer finds.
struct All {
    standard: bool,
    statements: Vec<(String, u64)>,
    rows: Vec<(Vec<u8>, u64)>,
    comments: Vec<String>,
    open: Vec<u8>,
}

impl Sink for All {
    fn statement(&mut self, statement: Statement<'_>) -> Result<Next> {
        let text = String::from_utf8_lossy(statement.text).into_owned();
        let next = if text.starts_with("COPY") { Next::Rows } else { Next::Sql };
        self.statements.push((text, statement.line));
        Ok(next)
    }
    fn standard_strings(&self) -> bool {
        self.standard
    }
    fn rows(&mut self, bytes: &[u8]) -> Result<()> {
        self.open.extend_from_slice(bytes);
        Ok(())
    }
    fn rows_end(&mut self, lines: u64) -> Result<()> {
        self.rows.push((std::mem::take(&mut self.open), lines));
        Ok(())
    }
    fn comment(&mut self, comment: &[u8]) {
        self.comments.push(String::from_utf8_lossy(comment).into_owned());
    }
    fn restrict(&mut self, begin: bool, token: &[u8]) {
        self.comments.push(format!("{begin} {}", String::from_utf8_lossy(token)));
    }
}

fn lex_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, standard: bool) -> Result<All> {
    let mut all = All {
        standard,
        statements: Vec::new(),
        rows: Vec::new(),
        comments: Vec::new(),
        open: Vec::new(),
    };
    let mut lexer = Lexer::new(1 << 20);
    for piece in pieces {
        lexer.feed(piece, &mut all)?;
    }
    lexer.finish(&mut all)?;
    Ok(all)
}

/// Fed whole and fed byte by byte must be the same.
fn lex(text: &str) -> Result<All> {
    let bytewise = lex_pieces(text.as_bytes().chunks(1), true);
    let whole = lex_pieces([text.as_bytes()], true);
    match (&whole, &bytewise) {
        (Ok(a), Ok(b)) => assert_eq!((&a.statements, &a.rows, &a.comments), (&b.statements, &b.rows, &b.comments)),
        (a, b) => assert_eq!(a.as_ref().err(), b.as_ref().err()),
    }
    whole
}

fn statements(text: &str) -> Vec<String> {
    let all = lex(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    all.statements.into_iter().map(|(text, _)| text).collect()
}

#[test]
fn semicolons_end_statements_only_outside_of_everything() {
    for text in [
        "SELECT 'a;b';",
        "SELECT 'it''s; \\';",
        "SELECT E'\\';\\\\';",
        "SELECT e'a''\\'; ';",
        "SELECT U&'\\0041;', U&\"a;\" UESCAPE '!';",
        "SELECT B'01;', X'f;', n'a;';",
        "SELECT \"a;\"\"b\";",
        "SELECT $$a;b$$;",
        "SELECT $t$ $$ ; $t $ $t$;",
        "SELECT $a$ $b$a$;",
        "SELECT $é_1$;$é_1$;",
        "SELECT a$b$c, $1, $1::int;",
        "SELECT 1 -- ; '\n, 2;",
        "SELECT 1 /* ; /* ' */ ; */ , 2;",
        "SELECT 1 //* ; */ 2;",
        "SELECT 1+/*;*/2;",
        "SELECT 1 @--;\n 2;",
        "SELECT 1 - -2 / 3;",
        "SELECT (1;2);",
        "CREATE RULE r AS ON INSERT TO t DO ALSO (SELECT 1; SELECT 2);",
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN a THEN 1 END; END;",
        "CREATE OR REPLACE PROCEDURE p() BEGIN /* ; */ ATOMIC SELECT 1; END;",
        "create function \"f\"(a int default (1)) begin atomic; end;",
        "CREATE FUNCTION begin() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$;",
        "CREATE FUNCTION case() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$;",
        "SELECT 'a'\n';b';",
        "SELECT E'a'\n';b';",
        "SELECT E'a' -- c\n  ';b''';",
        "SELECT 1$t$;$t$;",
        "SELECT 0x1F&mask, 1e5, 1_000;",
        "SELECT a[1:2], ':', b::text;",
    ] {
        let found = statements(&format!("{text}\nSELECT 2;"));
        assert_eq!(found, [text, "SELECT 2;"], "{text}");
    }
}

#[test]
fn what_looks_like_a_quote_and_is_none() {
    assert_eq!(statements("SELECT a$$;b$$;"), ["SELECT a$$;", "b$$;"]);
    assert_eq!(statements("SELECT $1a;"), ["SELECT $1a;"]);
    assert_eq!(statements("SELECT 1 $ 2;"), ["SELECT 1 $ 2;"]);
    assert_eq!(statements("SELECT $e'\\'';"), ["SELECT $e'\\'';"]);
    assert_eq!(statements("BEGIN; SELECT 1; END;"), ["BEGIN;", "SELECT 1;", "END;"]);
    assert_eq!(statements("SELECT namE'\\';"), ["SELECT namE'\\';"]);
}

#[test]
fn nothing_between_statements_is_part_of_them() {
    let all = lex("\u{feff}-- one\n/* two\n /* ; */ */ ;;\n -- three\n  SELECT 1; ; /* end */ -- four").unwrap();
    assert_eq!(all.statements, [("SELECT 1;".to_owned(), 5)]);
    assert_eq!(all.comments, ["-- one", "-- three", "-- four"]);
    assert!(lex("").unwrap().statements.is_empty());
    assert!(lex("\u{feff}").unwrap().statements.is_empty());
    assert_eq!(statements("a;"), ["a;"]);
}

#[test]
fn without_standard_strings_backslashes_escape() {
    let text = b"SELECT 'a\\';b', U&'\\', B'1\\'; SELECT 2;";
    let all = lex_pieces([&text[..]], false).unwrap();
    assert_eq!(all.statements.len(), 2);
    assert_eq!(
        lex_pieces([&text[..]], true).err().map(|e| e.text().to_owned()).as_deref(),
        Some("sql_client_command")
    );
}

#[test]
fn rows_end_at_their_mark_alone() {
    let all =
        lex("COPY t FROM stdin;\n1\t\\\\.\n\\.x\n\\N\n\\.\r\r\n\\\\.\n\\.\nCOPY u FROM stdin; -- now\r\n\\.\r\nSELECT 1;\n")
            .unwrap();
    assert_eq!(
        all.rows,
        [(b"1\t\\\\.\n\\.x\n\\N\n\\.\r\r\n\\\\.\n".to_vec(), 5), (Vec::new(), 0)]
    );
    assert_eq!(all.statements.last(), Some(&("SELECT 1;".to_owned(), 10)));
    // Also where the file ends without a newline.
    assert_eq!(lex("COPY t FROM stdin;\n1\n\\.").unwrap().rows, [(b"1\n".to_vec(), 1)]);
}

#[test]
fn an_end_inside_of_anything_is_a_cut() {
    for (text, inside) in [
        ("SELECT 1", None),
        ("SELECT 1 -- ;", None),
        ("SELECT (1;", None),
        ("CREATE FUNCTION f() BEGIN ATOMIC SELECT 1;", None),
        ("SELECT 'a", Some("'")),
        ("SELECT E'a\\", Some("'")),
        ("SELECT \"a", Some("\"")),
        ("SELECT $$a$", Some("$$")),
        ("/* a /* b */", Some("/*")),
        ("COPY t FROM stdin;", Some("COPY")),
        ("COPY t FROM stdin;\n1\n", Some("COPY")),
        ("COPY t FROM stdin;\n1\n\\", Some("COPY")),
        ("-", None),
        ("$", None),
        ("U&", None),
        ("\\", None),
        ("\\unrestrict", None),
    ] {
        let error = lex(text).err().unwrap_or_else(|| panic!("{text}"));
        assert_eq!(error.code(), Code::DumpTruncated, "{text}");
        assert_eq!(error.detail("inside").as_deref(), inside, "{text}");
    }
}

#[test]
fn client_commands_are_refused_wherever_they_stand() {
    for (text, line) in [
        ("\\! ls", 1),
        ("SELECT 1;\n\\copy t from program 'x'\n", 2),
        ("SELECT 1 \\gexec", 1),
        ("SELECT 1 \\g |sh\n;", 1),
        ("SELECT '\n'\\;", 2),
        ("SELECT 1 /* \n */ \\o x", 2),
        ("SELECT (\\\n", 1),
        ("  \\i x", 1),
        ("\\\n", 1),
        ("\\.\n", 1),
        ("\\restrict a b\n", 1),
        ("\\restrict `ls`\n", 1),
        ("\\restrict ../x\n", 1),
        ("\\restrict\n", 1),
        ("\\unrestrict :x\n", 1),
        ("SELECT 1; \\restrict abc\n", 1),
        ("SELECT\n\\restrict abc\n", 2),
        ("/* */ \\restrict abc\n", 1),
        ("\\restrictabc d\n", 1),
        ("$a \\! ls $a$\n", 1),
        ("a$$ \\! ls $$\n", 1),
        ("$1$ \\! ls $1$\n", 1),
        ("\u{feff}\\! ls", 1),
        ("-- x\r\\! ls", 1),
    ] {
        let error = lex(text).err().unwrap_or_else(|| panic!("{text}"));
        assert_eq!(
            (error.code(), error.text()),
            (Code::ArchiveUnsafe, "sql_client_command"),
            "{text}"
        );
        assert_eq!(error.detail("line"), Some(line.to_string()), "{text}");
        assert!(error.detail("command").unwrap().starts_with('\\'), "{text}");
    }
    let all = lex("\\restrict aB3\n\nSELECT '\\! ls', $$\\! ls$$, \"\\\" /* \\! */; -- \\!\n\\unrestrict aB3\n").unwrap();
    assert_eq!(all.comments, ["true aB3", "-- \\!", "false aB3"]);
}

#[test]
fn what_psql_and_the_server_read_differently_is_refused() {
    for text in [
        // The server goes on with the E string; psql begins a plain one, which ends at \'.
        "SELECT E'a'\n'b\\'; \\! ls -- ';",
        // Before 15: a number and an E string.
        "SELECT 1e'\\'; \\! ls --';",
        "SELECT 1u&'\\';",
        // psql runs the rest of the line after the rows.
        "COPY t FROM stdin; SELECT 1;\n\\.\n",
        "COPY t FROM stdin; -\n\\.\n",
    ] {
        let error = lex(text).err().unwrap_or_else(|| panic!("{text}"));
        assert_eq!((error.code(), error.text()), (Code::ArchiveUnsafe, "sql_ambiguous"), "{text}");
    }
    assert_eq!(lex("SELECT 1\0;").err().unwrap().text(), "sql_nul");
}

#[test]
fn a_statement_has_a_limit_and_a_long_one_is_cut_for_the_looker() {
    let mut all = lex_pieces([], true).unwrap();
    let mut lexer = Lexer::new(10);
    lexer.feed(b"SELECT '", &mut all).unwrap();
    let long = vec![b'x'; 1 << 20];
    for _ in 0..100 {
        lexer.feed(&long, &mut all).unwrap();
        assert!(lexer.statement.capacity() < 1 << 10);
    }
    lexer.feed(b"';", &mut all).unwrap();
    assert_eq!(all.statements[0].0, "SELECT 'xx");
    lexer.feed(b"SELECT '", &mut all).unwrap();
    let error = (0..300).find_map(|_| lexer.feed(&long, &mut all).err()).unwrap();
    assert_eq!(error.text(), "sql_statement_long");
}

/// One piece of a statement, with nothing in it that would end it.
fn element() -> impl Strategy<Value = String> {
    let inside = "[a-z;$\\-/*\"' \n\\\\(){}é]{0,12}";
    let tag = "[a-z_é][a-z0-9_]{0,3}";
    prop_oneof![
        inside.prop_map(|s| format!("'{}'", s.replace('\'', "''"))),
        inside.prop_map(|s| format!("E'{}'", s.replace('\\', "\\\\").replace('\'', "\\'"))),
        inside.prop_map(|s| format!("U&'{}'", s.replace('\'', "''"))),
        inside.prop_map(|s| format!("\"{}\"", s.replace('"', "\"\""))),
        (inside, tag).prop_map(|(s, tag)| {
            let quote = format!("${tag}$");
            // A dollar sign at the end of the text would make the closing quote begin earlier.
            format!("{quote}{} {quote}", s.replace(&quote, ""))
        }),
        inside.prop_map(|s| format!("$${} $$", s.replace('$', ""))),
        inside.prop_map(|s| format!("/*{} */", s.replace(['*', '/'], ""))),
        (inside, inside).prop_map(|(a, b)| format!("/*{} /*{} */ */", a.replace(['*', '/'], ""), b.replace(['*', '/'], ""))),
        "[a-z;' ]{0,9}".prop_map(|s| format!("--{s}\n")),
        "[a-z_][a-z0-9$]{0,6}",
        "[0-9]{1,4}",
        "\\(;{0,2}[a-z]{1,3};\\)",
        Just("$1".to_owned()),
        Just("<>".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn statements_come_out_as_they_went_in(
        parts in proptest::collection::vec(proptest::collection::vec(element(), 1..6), 1..5),
        sizes in proptest::collection::vec(1_usize..9, 1..30),
    ) {
        let expected: Vec<String> = parts.iter().map(|elements| format!("SELECT {};", elements.join(" , "))).collect();
        let text = expected.join("\n");
        let bytes = text.as_bytes();
        let mut pieces = Vec::new();
        let mut rest = bytes;
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at((*size).min(rest.len()));
            pieces.push(now);
            rest = later;
        }
        let all = lex_pieces(pieces, true).map_err(|e| TestCaseError::fail(format!("{text:?}: {e}")))?;
        let found: Vec<String> = all.statements.into_iter().map(|(text, _)| text).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn rows_come_out_as_they_went_in(
        rows in proptest::collection::vec("[a-z\\\\.\r\t]{0,5}", 0..12),
        size in 1_usize..12,
    ) {
        let rows: Vec<String> = rows.into_iter().filter(|r| r != "\\." && r != "\\.\r").collect();
        let data: String = rows.iter().map(|r| format!("{r}\n")).collect();
        let text = format!("COPY t FROM stdin;\n{data}\\.\nSELECT 1;");
        let all = lex_pieces(text.as_bytes().chunks(size), true).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(&all.rows, &vec![(data.into_bytes(), rows.len() as u64)]);
        prop_assert_eq!(all.statements.last(), Some(&("SELECT 1;".to_owned(), rows.len() as u64 + 3)));
    }

    #[test]
    fn noise_is_read_the_same_in_any_pieces(noise in "[a-eE0-2u&'\"$;\\-/*()\n\r \\\\é]{0,40}", standard: bool) {
        let whole = lex_pieces([noise.as_bytes()], standard);
        let pieces = lex_pieces(noise.as_bytes().chunks(1), standard);
        match (whole, pieces) {
            (Ok(a), Ok(b)) => prop_assert_eq!(a.statements, b.statements),
            (a, b) => prop_assert_eq!(a.err(), b.err()),
        }
    }
}
