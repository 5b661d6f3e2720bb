//! Addresses of sources and destinations (`contract.md`, "Addresses"): parsed once into parts, never re-read as text by a tool.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::error::{Code, Error, Result};

/// Kept readable inside a path: letters, digits and `-._~/ ` are safe; everything that has a meaning in an address is not.
const PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`')
    .add(b'@')
    .add(b':');
/// For users, hosts, database names and query values.
const NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Names of query values that are passwords.
const PASSWORDS: [&str; 4] = ["password", "passwd", "pwd", "sslpassword"];

/// A parsed address. Every part is decoded; [`fmt::Display`] writes the one canonical, encoded form. It never holds a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// `postgres`, `sqlite`, `file`, `s3`, … in lower case.
    pub scheme: String,
    /// The user, where there is one.
    pub user: Option<String>,
    /// The host, or a socket's folder (starts with `/`); empty for `sqlite:///…` and `file:///…`.
    pub host: Option<String>,
    /// The port, where given.
    pub port: Option<u16>,
    /// An absolute path (`sqlite`, `file`: with its leading `/`), else the name after the first `/` (database, bucket prefix).
    pub path: String,
    /// Decoded `?name=value` pairs.
    pub query: BTreeMap<String, String>,
}

fn usage(text: &'static str) -> Error {
    Error::new(Code::Usage, text)
}

fn decode(text: &str) -> Result<String> {
    let bytes = text.as_bytes();
    for (at, _) in text.match_indices('%') {
        let hex = |i: usize| bytes.get(at + i).is_some_and(u8::is_ascii_hexdigit);
        if !(hex(1) && hex(2)) {
            return Err(usage("address_encoding"));
        }
    }
    let decoded = percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| usage("address_encoding"))?;
    if decoded.contains('\0') {
        return Err(usage("address_nul"));
    }
    Ok(decoded.into_owned())
}

/// A text in which somebody may have written an address with a password, without the password: `scheme://user:…@host`. A name that was mistaken for an
/// address, or an address in place of a name, is repeated in errors and in the log.
pub fn without_password(text: &str) -> Cow<'_, str> {
    if !text.contains("://") {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        shown.push_str(before);
        // A whole word: a password may hold whatever an address is made of.
        let end = after.find(char::is_whitespace).unwrap_or(after.len());
        let (one, later) = after.split_at(end);
        // What begins with a slash is a path, which has no user.
        let hidden = match one.rfind('@') {
            _ if one.starts_with(['/', '[']) && !one.contains('@') => None,
            Some(end) if !one.starts_with('/') => one[..end].find(':').map(|from| (from + 1, end)),
            Some(_) => None,
            // `user:password`, with the rest still to be written. What is a number is a port.
            None => one.find(':').and_then(|from| {
                let end = one.find(['/', '?', '#']).unwrap_or(one.len());
                let said = one.get(from + 1..end)?;
                said.contains(|letter: char| !letter.is_ascii_digit())
                    .then_some((from + 1, end))
            }),
        };
        let (user, place) = match hidden {
            Some((from, end)) => (&one[..from], &one[end..]),
            None => ("", one),
        };
        shown.push_str(user);
        if hidden.is_some() {
            shown.push('…');
        }
        hide_values(place, &mut shown);
        rest = later;
    }
    shown.push_str(rest);
    Cow::Owned(shown)
}

/// The values of a query that are passwords are left out.
fn hide_values(place: &str, shown: &mut String) {
    for part in place.split_inclusive(['?', '&']) {
        let secret = part.split_once('=').filter(|(name, _)| {
            let name = name.to_ascii_lowercase();
            PASSWORDS.contains(&name.as_str())
        });
        match secret {
            Some((name, value)) => {
                shown.push_str(name);
                shown.push_str("=…");
                shown.extend(value.chars().last().filter(|last| matches!(last, '?' | '&')));
            }
            None => shown.push_str(part),
        }
    }
}

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// `USAGE` for a missing scheme, a bad port, wrong percent-encoding, NUL, a relative path, or a password in the address. The
    /// offending text is *not* repeated in the error: it may be a password.
    pub fn parse(text: &str) -> Result<Self> {
        let (scheme, rest) = text.split_once("://").ok_or_else(|| usage("address_scheme"))?;
        let valid = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        if !valid {
            return Err(usage("address_scheme"));
        }
        let scheme = scheme.to_ascii_lowercase();
        // `user:12/34@host`: a password with `/` or `?` in it, which would be taken for a port and a name, and be stored. An `@` in a
        // name is written `%40`.
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        if !matches!(scheme.as_str(), "sqlite" | "file") && !rest[..end].contains('@') && rest[end..].contains('@') {
            return Err(usage("address_password"));
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut pairs = BTreeMap::new();
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name)?;
            if PASSWORDS.contains(&name.to_ascii_lowercase().as_str()) {
                return Err(usage("address_password"));
            }
            pairs.insert(name, decode(value)?);
        }
        let (authority, path) = match rest.find('/') {
            Some(at) => (&rest[..at], &rest[at..]),
            None => (rest, ""),
        };
        let (user, place) = match authority.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, authority),
        };
        if user.is_some_and(|u| u.contains(':')) {
            return Err(usage("address_password"));
        }
        let (host, port) = split_port(place)?;
        let mut host = decode(&host)?;
        if host.is_empty()
            && let Some(folder) = pairs.remove("host")
        {
            host = folder;
        }
        let absolute = matches!(scheme.as_str(), "sqlite" | "file");
        let path = decode(path)?;
        let path = if absolute {
            path
        } else {
            path.strip_prefix('/').unwrap_or("").to_owned()
        };
        if absolute && (!host.is_empty() || user.is_some() || !path.starts_with('/') || path.len() < 2) {
            return Err(usage("address_absolute").with("scheme", scheme));
        }
        let user = user.map(decode).transpose()?.filter(|u| !u.is_empty());
        Ok(Address {
            scheme,
            user,
            host: Some(host).filter(|h| !h.is_empty()),
            port,
            path,
            query: pairs,
        })
    }
}

fn split_port(place: &str) -> Result<(String, Option<u16>)> {
    let number = |digits: &str| -> Result<Option<u16>> {
        match digits {
            "" => Ok(None),
            _ => digits
                .parse()
                .ok()
                .filter(|p| *p > 0)
                .map(Some)
                .ok_or_else(|| usage("address_port")),
        }
    };
    if let Some(inner) = place.strip_prefix('[') {
        let (host, rest) = inner.split_once(']').ok_or_else(|| usage("address_host"))?;
        let port = match rest.strip_prefix(':') {
            Some(digits) => number(digits)?,
            None if rest.is_empty() => None,
            None => return Err(usage("address_host")),
        };
        return Ok((host.to_owned(), port));
    }
    match place.split_once(':') {
        Some((host, digits)) => Ok((host.to_owned(), number(digits)?)),
        None => Ok((place.to_owned(), None)),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme)?;
        if let Some(user) = &self.user {
            write!(f, "{}@", utf8_percent_encode(user, NAME))?;
        }
        if let Some(host) = &self.host {
            if host.contains(':') && !host.starts_with('/') {
                write!(f, "[{host}]")?;
            } else {
                write!(f, "{}", utf8_percent_encode(host, NAME))?;
            }
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        if self.path.starts_with('/') && self.host.is_none() {
            write!(f, "{}", utf8_percent_encode(&self.path, PATH))?;
        } else if !self.path.is_empty() {
            let set = if matches!(self.scheme.as_str(), "s3" | "gs" | "azblob") {
                PATH
            } else {
                NAME
            };
            write!(f, "/{}", utf8_percent_encode(&self.path, set))?;
        }
        for (i, (name, value)) in self.query.iter().enumerate() {
            let sign = if i == 0 { '?' } else { '&' };
            write!(
                f,
                "{sign}{}={}",
                utf8_percent_encode(name, NAME),
                utf8_percent_encode(value, NAME)
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_usual_forms() {
        let a = Address::parse("postgres://joe@db.example:5433/shop").unwrap();
        assert_eq!(
            (a.user.as_deref(), a.host.as_deref(), a.port, a.path.as_str()),
            (Some("joe"), Some("db.example"), Some(5433), "shop")
        );
        let a = Address::parse("postgres://joe@[::1]:5433/host%3Devil").unwrap();
        assert_eq!((a.host.as_deref(), a.path.as_str()), (Some("::1"), "host=evil"));
        let a = Address::parse("postgres://joe@%2Fvar%2Frun:5433/a%2Fb").unwrap();
        assert_eq!((a.host.as_deref(), a.path.as_str()), (Some("/var/run"), "a/b"));
        let a = Address::parse("postgres:///shop?host=/tmp/socket").unwrap();
        assert_eq!((a.host.as_deref(), a.path.as_str()), (Some("/tmp/socket"), "shop"));
        let a = Address::parse("sqlite:///data/my shop%23.db").unwrap();
        assert_eq!(a.path, "/data/my shop#.db");
        assert_eq!(a.to_string(), "sqlite:///data/my%20shop%23.db");
    }

    #[test]
    fn what_is_repeated_holds_no_password() {
        for (text, shown) in [
            ("postgres://joe:secret@h:5432/db", "postgres://joe:…@h:5432/db"),
            ("postgres://joe:s://c/r?e@t@h/db", "postgres://joe:…@h/db"),
            ("no source postgres://joe:12/34@h", "no source postgres://joe:…@h"),
            (
                "postgres://joe@h/db?password=secret&sslmode=require",
                "postgres://joe@h/db?password=…&sslmode=require",
            ),
            ("postgres://joe:secret", "postgres://joe:…"),
            ("postgres://joe:secret/db", "postgres://joe:…/db"),
            ("a://u:secret@h b://v:secret@h", "a://u:…@h b://v:…@h"),
        ] {
            assert_eq!(without_password(text), shown);
            assert_eq!(
                Error::new(Code::Usage, "x").with("given", text).detail("given").as_deref(),
                Some(shown)
            );
            assert_eq!(
                Error::new(Code::Usage, "x").or_with("given", text).detail("given").as_deref(),
                Some(shown)
            );
        }
        for text in [
            "shop",
            "postgres://joe@h:5432/db",
            "postgres://h:5432",
            "postgres://[::1]:5432/db",
            "sqlite:///a:b@c.db",
            "s3://bucket/a?endpoint=http%3A%2F%2Fh",
            "at 10:30 joe@h",
        ] {
            assert_eq!(without_password(text), text);
        }
    }

    #[test]
    fn what_is_refused() {
        for (text, key) in [
            ("shop.db", "address_scheme"),
            ("postgres://joe:secret@h/db", "address_password"),
            ("postgres://h/db?password=x", "address_password"),
            ("sqlite://relative.db", "address_absolute"),
            ("sqlite:///", "address_absolute"),
            ("postgres://h:0/db", "address_port"),
            ("postgres://h:99999/db", "address_port"),
            ("postgres://h/a%zz", "address_encoding"),
            ("postgres://h/a%00b", "address_nul"),
        ] {
            let error = Address::parse(text).unwrap_err();
            assert_eq!(error.text(), key, "{text}");
            assert!(!error.to_string().contains("secret"));
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(user in "[^\\x00]{1,20}", db in "[^\\x00]{1,40}", port in 1u16..) {
            let a = Address { scheme: "postgres".into(), user: Some(user), host: Some("h".into()), port: Some(port), path: db, query: BTreeMap::new() };
            prop_assert_eq!(Address::parse(&a.to_string()).unwrap(), a);
        }

        #[test]
        fn paths_read_back(path in "/[^\\x00]{1,60}") {
            let a = Address { scheme: "sqlite".into(), user: None, host: None, port: None, path, query: BTreeMap::new() };
            prop_assert_eq!(Address::parse(&a.to_string()).unwrap(), a);
        }

        #[test]
        fn nothing_panics(text in ".{0,80}") {
            let _whatever_it_is = Address::parse(&text);
        }
    }
}
