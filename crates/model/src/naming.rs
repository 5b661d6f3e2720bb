//! Names of files at a destination: made from slugs, times and codes, never from raw user text.

use chrono::{DateTime, Utc};

use crate::compression::Compression;
use crate::database::DumpFormat;
use crate::id::{BackupCode, Id};

/// What is appended to an artifact's key for its manifest.
pub const MANIFEST_SUFFIX: &str = ".manifest.json";

/// A name as part of another: lower-case ASCII letters, digits and `-`, at most 40 of them. Empty where nothing of it can be used.
pub fn slug(name: impl Iterator<Item = char>) -> String {
    let mut slug = String::new();
    for c in name.flat_map(char::to_lowercase) {
        if slug.len() >= 40 {
            break;
        }
        if c.is_ascii_alphanumeric() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.truncate(slug.trim_end_matches('-').len());
    slug
}

/// A source's name as a folder: its [`slug`] and eight digits of the id, so that two sources never share a folder whatever they are
/// called.
pub fn source_slug(name: &str, id: &Id) -> String {
    let slug = slug(name.chars());
    let slug = if slug.is_empty() { "source" } else { &slug };
    format!("{slug}-{}", id.short())
}

/// `<source>/<YYYY>/<source>_<YYYY-MM-DD_HH-MM-SS>_<code>.<ext>`, time in UTC.
pub fn artifact_key(
    source: &str,
    source_id: &Id,
    at: DateTime<Utc>,
    code: &BackupCode,
    format: DumpFormat,
    compression: Compression,
    encrypted: bool,
) -> String {
    let slug = source_slug(source, source_id);
    format!(
        "{slug}/{}/{slug}_{}_{code}{}{}{}",
        at.format("%Y"),
        at.format("%Y-%m-%d_%H-%M-%S"),
        format.extension(),
        compression.extension(),
        if encrypted { ".age" } else { "" },
    )
}

/// The key of an artifact's manifest.
pub fn manifest_key(artifact: &str) -> String {
    format!("{artifact}{MANIFEST_SUFFIX}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_contracts_form() {
        let id = Id::new();
        let at = "2026-02-05T21:13:02Z".parse().unwrap();
        let code = BackupCode::parse("BKP-20260205211302-IWD8").unwrap();
        let key = artifact_key("My Shop!", &id, at, &code, DumpFormat::PgCustom, Compression::Zstd(3), true);
        let slug = format!("my-shop-{}", id.short());
        assert_eq!(
            key,
            format!("{slug}/2026/{slug}_2026-02-05_21-13-02_BKP-20260205211302-IWD8.dump.zst.age")
        );
    }

    proptest! {
        #[test]
        fn any_name_makes_a_safe_folder(name in ".{0,300}") {
            let slug = source_slug(&name, &Id::new());
            prop_assert!(slug.len() <= 49);
            prop_assert!(slug.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'));
            prop_assert!(!slug.starts_with('-'));
        }
    }
}
