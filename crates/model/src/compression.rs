//! How a dump is compressed: `zstd[:L]`, `gzip[:L]` or `none`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Code, Error};

/// A compression with its level. `zip` and `tar.gz` belong to composite backups and are refused until those exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[cfg_attr(feature = "typescript", ts(type = "string"))]
pub enum Compression {
    /// Zstandard, level 1 to 19.
    Zstd(u8),
    /// gzip, level 1 to 9, written as parallel members that any `gunzip` reads.
    Gzip(u8),
    /// As the tool gave it.
    None,
}

impl Default for Compression {
    fn default() -> Self {
        Compression::Zstd(3)
    }
}

impl Compression {
    /// The extension that says the truth about the file, with its dot (`.zst`), or nothing.
    pub fn extension(self) -> &'static str {
        match self {
            Compression::Zstd(_) => ".zst",
            Compression::Gzip(_) => ".gz",
            Compression::None => "",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Compression::Zstd(level) => write!(f, "zstd:{level}"),
            Compression::Gzip(level) => write!(f, "gzip:{level}"),
            Compression::None => f.write_str("none"),
        }
    }
}

impl FromStr for Compression {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let (name, level) = match text.split_once(':') {
            Some((name, level)) => (name, Some(level)),
            None => (text, None),
        };
        let wrong = || Error::new(Code::Usage, "compression").with("given", text);
        let level = level.map(|l| l.parse::<u8>().map_err(|_| wrong())).transpose()?;
        match (name, level) {
            ("zstd", None) => Ok(Compression::Zstd(3)),
            ("zstd", Some(l @ 1..=19)) => Ok(Compression::Zstd(l)),
            ("gzip", None) => Ok(Compression::Gzip(6)),
            ("gzip", Some(l @ 1..=9)) => Ok(Compression::Gzip(l)),
            ("none", None) => Ok(Compression::None),
            ("zip" | "tar.gz", None) => Err(Error::new(Code::Refused, "not_yet").with("what", format!("--compression {name}"))),
            _ => Err(wrong()),
        }
    }
}

impl TryFrom<String> for Compression {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Compression> for String {
    fn from(compression: Compression) -> String {
        compression.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_defaults() {
        for (given, written) in [
            ("zstd", "zstd:3"),
            ("zstd:19", "zstd:19"),
            ("gzip", "gzip:6"),
            ("gzip:9", "gzip:9"),
            ("none", "none"),
        ] {
            assert_eq!(given.parse::<Compression>().unwrap().to_string(), written);
        }
        for wrong in [
            "", "zstd:0", "zstd:20", "gzip:0", "gzip:10", "none:1", "zstd:", "ZSTD", "lz4", "gzip:6:7", "zstd:-1",
        ] {
            assert_eq!(wrong.parse::<Compression>().unwrap_err().code(), Code::Usage, "{wrong}");
        }
    }
}
