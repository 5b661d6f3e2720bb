//! The words of one whole SQL statement, as far as they are needed to know what kind of statement it is.

use std::borrow::Cow;

use memchr::{memchr, memmem};

/// One word or sign of a statement. White space and comments are passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Word<'a> {
    /// A key word or an unquoted name, in lower case.
    Plain(Cow<'a, str>),
    /// A name in double quotes, without them.
    Quoted(Vec<u8>),
    /// A string, of whatever kind: its bytes between the outer quotes, not unescaped.
    Text(&'a [u8]),
    /// Anything else: one byte of it.
    Sign(u8),
}

impl Word<'_> {
    /// Whether this is the given key word (lower case).
    pub(crate) fn is(&self, key_word: &str) -> bool {
        matches!(self, Word::Plain(word) if word == key_word)
    }

    /// The name that this word is, if it is one.
    pub(crate) fn name(&self) -> Option<String> {
        match self {
            Word::Plain(word) => Some(word.clone().into_owned()),
            Word::Quoted(name) => String::from_utf8(name.clone()).ok(),
            _ => None,
        }
    }
}

/// Reads the words of `text` from its front. A string or comment without an end lasts to the end.
pub(crate) struct Words<'a> {
    rest: &'a [u8],
    standard_strings: bool,
}

pub(super) fn is_name_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

pub(super) fn is_name_rest(byte: u8) -> bool {
    is_name_start(byte) || byte.is_ascii_digit() || byte == b'$'
}

pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0c | 0x0b)
}

impl<'a> Words<'a> {
    /// `standard_strings` as in `standard_conforming_strings`: whether a backslash in `'…'` is an ordinary character.
    pub(crate) fn new(text: &'a [u8], standard_strings: bool) -> Self {
        Words {
            rest: text,
            standard_strings,
        }
    }

    /// Skips `count` bytes (or all that are left) and answers them.
    fn skip(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(count.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    fn skip_blanks(&mut self) {
        loop {
            match self.rest {
                [b, ..] if is_space(*b) => _ = self.skip(1),
                [b'-', b'-', ..] => {
                    let end = memchr::memchr2(b'\n', b'\r', self.rest).unwrap_or(self.rest.len());
                    self.skip(end);
                }
                [b'/', b'*', ..] => {
                    let end = comment_end(self.rest);
                    self.skip(end);
                }
                _ => return,
            }
        }
    }

    /// A string whose opening quote is at the front.
    fn string(&mut self, backslashes: bool) -> Word<'a> {
        self.skip(1);
        let mut at = 0;
        while let Some(&byte) = self.rest.get(at) {
            match byte {
                b'\\' if backslashes => at += 2,
                b'\'' if self.rest.get(at + 1) == Some(&b'\'') => at += 2,
                b'\'' => break,
                _ => at += 1,
            }
        }
        let body = self.skip(at);
        self.skip(1);
        Word::Text(body)
    }

    fn quoted_name(&mut self) -> Word<'a> {
        self.skip(1);
        let mut name = Vec::new();
        loop {
            let end = memchr(b'"', self.rest).unwrap_or(self.rest.len());
            name.extend_from_slice(self.skip(end));
            self.skip(1);
            if self.rest.first() != Some(&b'"') {
                return Word::Quoted(name);
            }
            name.push(b'"');
            self.skip(1);
        }
    }

    fn dollar(&mut self) -> Word<'a> {
        let tag_rest = self.rest[1..].iter().take_while(|b| is_name_rest(**b) && **b != b'$').count();
        let digit_first = self.rest.get(1).is_some_and(u8::is_ascii_digit);
        if digit_first || self.rest.get(1 + tag_rest) != Some(&b'$') {
            self.skip(1);
            return Word::Sign(b'$');
        }
        let tag = self.skip(tag_rest + 2);
        let end = memmem::find(self.rest, tag).unwrap_or(self.rest.len());
        let body = self.skip(end);
        self.skip(tag.len());
        Word::Text(body)
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = Word<'a>;

    fn next(&mut self) -> Option<Word<'a>> {
        self.skip_blanks();
        let standard = self.standard_strings;
        Some(match *self.rest.first()? {
            b'\'' => self.string(!standard),
            b'"' => self.quoted_name(),
            b'$' => self.dollar(),
            first if is_name_start(first) => {
                let length = self.rest.iter().take_while(|b| is_name_rest(**b)).count();
                match (&self.rest[..length], self.rest.get(length)) {
                    ([b'e' | b'E'], Some(b'\'')) => {
                        self.skip(1);
                        self.string(true)
                    }
                    ([b'b' | b'B' | b'x' | b'X'], Some(b'\'')) => {
                        self.skip(1);
                        self.string(false)
                    }
                    ([b'u' | b'U'], Some(b'&')) if self.rest.get(2) == Some(&b'\'') => {
                        self.skip(2);
                        self.string(false)
                    }
                    ([b'u' | b'U'], Some(b'&')) if self.rest.get(2) == Some(&b'"') => {
                        self.skip(2);
                        self.quoted_name()
                    }
                    (word, _) => {
                        let word = String::from_utf8_lossy(word);
                        let lower = if word.bytes().any(|b| b.is_ascii_uppercase()) {
                            Cow::Owned(word.to_ascii_lowercase())
                        } else {
                            word
                        };
                        self.skip(length);
                        Word::Plain(lower)
                    }
                }
            }
            byte => {
                self.skip(1);
                Word::Sign(byte)
            }
        })
    }
}

/// How long the comment at the front of `text` is. Comments nest.
fn comment_end(text: &[u8]) -> usize {
    let (mut at, mut depth) = (2, 1);
    while depth > 0 && at < text.len() {
        match &text[at..] {
            [b'/', b'*', ..] => {
                depth += 1;
                at += 2;
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                at += 2;
            }
            _ => at += 1,
        }
    }
    at
}

/// The roles that statements of an archive's privileges and policies name: after `TO` and `FROM`, and after `FOR ROLE`.
/// `PUBLIC` and the words for the current role are no roles of their own.
pub(crate) fn roles_of(statements: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let mut depth = 0_u32;
    // Whether the next name is one of a role.
    let mut listing = false;
    for word in Words::new(statements, true) {
        match &word {
            Word::Sign(b'(') => depth += 1,
            Word::Sign(b')') => depth = depth.saturating_sub(1),
            _ if depth > 0 => {}
            Word::Plain(w) if matches!(w.as_ref(), "to" | "from" | "role" | "authorization") => listing = true,
            Word::Plain(w) if listing && w == "group" => {}
            Word::Plain(w)
                if listing
                    && matches!(
                        w.as_ref(),
                        "public" | "default" | "current_user" | "current_role" | "session_user"
                    ) =>
            {
                listing = false;
            }
            // A comma goes on with the list; anything else has ended it by the arm below.
            Word::Sign(b',') if found.last().is_some_and(|(_, open)| *open) => listing = true,
            Word::Plain(_) | Word::Quoted(_) if listing => {
                found.extend(word.name().map(|name| (name, true)));
                listing = false;
            }
            _ => {
                listing = false;
                if let Some((_, open)) = found.last_mut() {
                    *open = false;
                }
            }
        }
    }
    found.into_iter().map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_falls_into_words() {
        let text = b"Copy /* a /* b */ c */ \"We\"\"ird\".tab$1 -- x\n ('it''s', E'\\'', $q$ $ $q$, U&'a', 1)";
        let words: Vec<_> = Words::new(text, true).collect();
        assert_eq!(
            words,
            [
                Word::Plain("copy".into()),
                Word::Quoted(b"We\"ird".to_vec()),
                Word::Sign(b'.'),
                Word::Plain("tab$1".into()),
                Word::Sign(b'('),
                Word::Text(b"it''s"),
                Word::Sign(b','),
                Word::Text(b"\\'"),
                Word::Sign(b','),
                Word::Text(b" $ "),
                Word::Sign(b','),
                Word::Text(b"a"),
                Word::Sign(b','),
                Word::Sign(b'1'),
                Word::Sign(b')'),
            ]
        );
    }

    #[test]
    fn an_unfinished_statement_ends_at_its_end() {
        for text in ["'", "\"", "$a$", "$", "/*", "E'\\", "--", "$a", "U&", "'\\"] {
            for standard in [true, false] {
                assert!(Words::new(text.as_bytes(), standard).count() <= 2, "{text}");
            }
        }
    }

    #[test]
    fn grantees_are_found() {
        let grants = b"REVOKE ALL ON SCHEMA s FROM PUBLIC;\nGRANT SELECT(a, b) ON TABLE s.t TO bob, \"Al\" WITH GRANT OPTION;\n\
            ALTER DEFAULT PRIVILEGES FOR ROLE boss IN SCHEMA s GRANT SELECT ON TABLES TO GROUP readers;";
        assert_eq!(roles_of(grants), ["bob", "Al", "boss", "readers"]);
    }
}
