//! The rule for keys. They are made by `model::naming`, but they also come back from manifests and listings, which anybody may have
//! written; so every storage checks every key before it acts on it.

use coffre_model::error::{Code, Error, Result};

/// What an unfinished object's name ends with. No finished object may be called so.
pub(crate) const PARTIAL: &str = ".partial";

/// The most parts that a key may have. Ours have three; a limit keeps walks through foreign trees short.
pub(crate) const PARTS_MAX: usize = 16;

/// The longest part in bytes: file systems take 255, and [`PARTIAL`] must fit behind it.
const PART_MAX: usize = 255 - PARTIAL.len();

/// Whether a name may be a part of a key: not empty, not hidden (so neither `.` nor `..`), no separator of any system, no control
/// character, not too long.
pub(crate) fn is_part(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name.len() <= PART_MAX
        && !name.chars().any(|c| c == '/' || c == '\\' || c.is_control())
}

/// Splits a key into its parts.
///
/// # Errors
/// `REFUSED` for whatever could lead out of the root or could be mistaken for something unfinished.
pub(crate) fn parts(key: &str) -> Result<Vec<&str>> {
    let parts: Vec<&str> = key.split('/').collect();
    if parts.len() <= PARTS_MAX && parts.iter().all(|part| is_part(part)) && !key.ends_with(PARTIAL) {
        Ok(parts)
    } else {
        Err(Error::new(Code::Refused, "key_unsafe").with("key", key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::{Component, Path};

    #[test]
    fn keys_that_lead_elsewhere_are_refused() {
        for wrong in [
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "../a",
            "a/../b",
            "a/./b",
            "a/..",
            ".a",
            "a/.b",
            "a\\b",
            "a/b\\..\\c",
            "a\0b",
            "a\nb",
            "a\u{1b}[2J",
            "a.partial",
            "a/b.dump.partial",
            &"a".repeat(248),
            &"a/".repeat(16),
            &format!("{}a", "a/".repeat(16)),
        ] {
            assert_eq!(parts(wrong).unwrap_err().code(), Code::Refused, "{wrong:?}");
        }
        assert_eq!(parts("shop-1a2b/2026/x_BKP.dump.zst").unwrap().len(), 3);
        assert_eq!(parts("coffre-destination.json").unwrap().len(), 1);
    }

    proptest! {
        /// Whatever is let through stays below the root, and each part is a plain name to the system too.
        #[test]
        fn what_is_let_through_stays_inside(key in "[a.~/\\\\\u{0}-\u{20}é]{0,40}") {
            if let Ok(parts) = parts(&key) {
                let seen: Vec<_> = Path::new(&key).components().collect();
                prop_assert_eq!(seen.len(), parts.len());
                prop_assert!(seen.iter().all(|c| matches!(c, Component::Normal(_))));
            }
        }
    }
}
