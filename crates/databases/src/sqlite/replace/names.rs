//! What the files beside the live one are called, and what is remembered of the live one from plan to undo.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use coffre_model::replace::Replacement;
use coffre_model::{Error, Id, Result};
use serde_json::Value;

use crate::sqlite::reading::{PATH_MAX, suffixed};

/// The longest name of a file in bytes, on every usual file system.
const NAME_MAX: usize = 255;
const NEW: &str = ".coffre-new-";
const OLD: &str = ".coffre-old-";
/// What is put behind the name that a file will have, while only the pages are there in which it differs.
const PART: &str = ".part";
/// Digits of the restore's id.
const DIGITS: usize = 8;
const KEPT_STAMP: &str = "kept_stamp";
/// How far a schema's version can have come by changes of the schema since it was set.
const NEAR: u32 = 0x1_0000;

/// The two names of a replacement, and what they are derived from.
pub(super) struct Names {
    pub(super) scratch: String,
    pub(super) kept: String,
}

impl Names {
    /// Names beside `file`: hidden, with a mark of ours.
    pub(super) fn new(file: &Path, id: &Id) -> Names {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let room = NAME_MAX - 1 - NEW.len() - DIGITS - PART.len();
        let mut end = name.len().min(room);
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        let digits = id.short();
        Names {
            scratch: format!(".{}{NEW}{digits}", &name[..end]),
            kept: format!(".{}{OLD}{digits}", &name[..end]),
        }
    }

    /// Whether SQLite can open files of such names beside `file`.
    pub(super) fn fit(file: &Path) -> bool {
        let name = file.file_name().unwrap_or_default().as_bytes().len();
        let folder = file.as_os_str().len().saturating_sub(name);
        let longest = (1 + name + NEW.len() + DIGITS).min(NAME_MAX);
        file.as_os_str().len() <= PATH_MAX && folder + longest <= PATH_MAX
    }
}

/// Where everything of a replacement lies.
pub(super) struct Files {
    pub(super) live: PathBuf,
    pub(super) scratch: PathBuf,
    pub(super) kept: PathBuf,
    /// Pages that become `kept`.
    pub(super) kept_part: PathBuf,
    /// Pages that become `scratch`, at an undo.
    pub(super) scratch_part: PathBuf,
}

/// What is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// The live file, links resolved.
    pub(super) file: PathBuf,
    pub(super) device: u64,
    pub(super) inode: u64,
    /// Whether it had a write-ahead log.
    pub(super) wal: bool,
    /// Bytes in a page; 0 where there were none.
    pub(super) page_size: u64,
    pub(super) mode: u32,
    pub(super) owner: u32,
    pub(super) group: u32,
    /// The schema's version that the live file gets at the moment of the swap: so it is known ever after whether that moment was.
    pub(super) mark: u32,
    /// What the file that is kept looked like when it was put aside. Nothing where that was done after a kill.
    pub(super) kept_stamp: Option<String>,
}

/// Whether a schema's version is this one, or has come from it by changes of the schema.
pub(super) fn is_near(version: u32, from: u32) -> bool {
    version.wrapping_sub(from) < NEAR
}

/// A schema's version that is far from the present one, and from those of other replacements.
pub(super) fn mark(id: &Id, present: u32) -> u32 {
    let random = u32::from_str_radix(&id.short(), 16).unwrap_or(0x2a2a_2a2a);
    // Positive as a signed number, as SQLite shows it.
    let mark = 0x1000_0000 + random % 0x5fff_0000;
    if is_near(mark.wrapping_add(NEAR), present) || is_near(present.wrapping_add(NEAR), mark) || is_near(mark, present) {
        mark ^ 0x0800_0000
    } else {
        mark
    }
}

fn as_value(path: &Path) -> Value {
    match path.to_str() {
        Some(text) => Value::from(text),
        None => Value::from(path.as_os_str().as_bytes().to_vec()),
    }
}

fn as_path(value: &Value) -> Option<PathBuf> {
    if let Some(text) = value.as_str() {
        return Some(PathBuf::from(text));
    }
    let bytes: Option<Vec<u8>> = value
        .as_array()?
        .iter()
        .map(|byte| u8::try_from(byte.as_u64()?).ok())
        .collect();
    Some(PathBuf::from(OsString::from_vec(bytes?)))
}

impl Facts {
    /// For the replacement that is written down.
    pub(super) fn written(&self) -> BTreeMap<String, Value> {
        [
            ("file", as_value(&self.file)),
            ("device", self.device.into()),
            ("inode", self.inode.into()),
            ("journal", if self.wal { "wal" } else { "rollback" }.into()),
            ("page_size", self.page_size.into()),
            ("mode", self.mode.into()),
            ("owner", self.owner.into()),
            ("group", self.group.into()),
            ("mark", self.mark.into()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into_iter()
        .chain(self.kept_stamp.clone().map(|stamp| (KEPT_STAMP.to_owned(), stamp.into())))
        .collect()
    }

    /// From the replacement that was written down.
    pub(super) fn read(plan: &Replacement) -> Result<Facts> {
        let wrong = |name: &str| Error::internal("sqlite replacement", format!("the fact {name} is missing"));
        let no_file = || Error::internal("sqlite replacement", "its file is missing");
        let number = |name: &str| plan.facts.get(name).and_then(Value::as_u64).ok_or_else(|| wrong(name));
        let small = |name: &str| u32::try_from(number(name)?).map_err(|_| wrong(name));
        Ok(Facts {
            file: plan.facts.get("file").and_then(as_path).ok_or_else(no_file)?,
            device: number("device")?,
            inode: number("inode")?,
            wal: plan.facts.get("journal").and_then(Value::as_str) == Some("wal"),
            page_size: number("page_size")?,
            mode: small("mode")?,
            owner: small("owner")?,
            group: small("group")?,
            mark: small("mark")?,
            kept_stamp: plan.facts.get(KEPT_STAMP).and_then(Value::as_str).map(str::to_owned),
        })
    }

    /// Where everything lies. Names that are not of our making are refused: they come from a file of ours, but they lead to `remove`.
    pub(super) fn files(&self, plan: &Replacement) -> Result<Files> {
        let wrong = || Error::internal("sqlite replacement", "a name is not one of ours");
        let folder = self.file.parent().ok_or_else(wrong)?;
        let beside = |name: &str, mark: &str| {
            let ours = name.starts_with('.') && name.contains(mark) && !name.contains('/') && name.len() <= NAME_MAX - PART.len();
            if ours { Ok(folder.join(name)) } else { Err(wrong()) }
        };
        let scratch = beside(&plan.scratch, NEW)?;
        let kept = match plan.kept.as_str() {
            // Nothing will be kept; the name is only asked for.
            "" => suffixed(&scratch, ".none"),
            name => beside(name, OLD)?,
        };
        Ok(Files {
            live: self.file.clone(),
            kept_part: suffixed(&kept, PART),
            scratch_part: suffixed(&scratch, PART),
            scratch,
            kept,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coffre_model::replace::ReplaceWay;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn names_fit_and_come_back(name in proptest::collection::vec(any::<u8>().prop_filter("no slash", |b| *b != b'/' && *b != 0), 1..255), present in any::<u32>()) {
            let file = Path::new("/a").join(OsString::from_vec(name));
            let id = Id::new();
            let names = Names::new(&file, &id);
            prop_assert!(names.scratch.len() + PART.len() <= NAME_MAX && names.kept.len() + PART.len() <= NAME_MAX);
            let mark = mark(&id, present);
            prop_assert!(!is_near(present, mark) && !is_near(mark, present) && mark < 1 << 31);
            let facts = Facts { file: file.clone(), device: 1, inode: u64::MAX, wal: true, page_size: 512, mode: 0o600, owner: 0, group: 5, mark, kept_stamp: mark.is_multiple_of(2).then(|| "1:2:3".to_owned()) };
            let plan = Replacement { way: ReplaceWay::Swap, identity: String::new(), existed: true, scratch: names.scratch, kept: names.kept, facts: facts.written() };
            let text = serde_json::to_string(&plan).unwrap();
            let plan: Replacement = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&Facts::read(&plan).unwrap(), &facts);
            prop_assert!(facts.files(&plan).is_ok());
        }
    }

    #[test]
    fn names_of_others_are_refused() {
        let facts = Facts {
            file: "/a/b.db".into(),
            device: 1,
            inode: 2,
            wal: false,
            page_size: 512,
            mode: 0,
            owner: 0,
            group: 0,
            mark: 1,
            kept_stamp: None,
        };
        for scratch in ["../.x.coffre-new-1", "b.db", "", ".b.db.coffre-old-1"] {
            let plan = Replacement {
                way: ReplaceWay::Swap,
                identity: String::new(),
                existed: true,
                scratch: scratch.to_owned(),
                kept: ".b.coffre-old-1".to_owned(),
                facts: facts.written(),
            };
            assert!(facts.files(&plan).is_err(), "{scratch}");
        }
    }
}
