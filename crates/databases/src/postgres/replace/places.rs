//! The places of a replacement: which database is called what now. Databases are told apart by their numbers (oids), which no renaming changes;
//! names only say where to look.

use coffre_model::id::Id;
use coffre_model::replace::{Replacement, Standing};
use coffre_model::{Cancel, Code, Error, Result};
use tokio_postgres::types::Type;

use super::facts::Facts;
use crate::postgres::connect::{Server, Session};
use crate::postgres::tables::sql_name;
use crate::postgres::target;

/// Longer names are cut off by the server.
const NAME_MAX: usize = 63;
/// How names of what is not live yet begin.
pub(super) const NEW: &str = "coffre_new_";
/// How names of what is kept for an undo begin.
pub(super) const OLD: &str = "coffre_old_";

/// A name of ours for a database beside `database`: mark, part of the restore's id, a number where that is taken, and as much of the
/// database's own name as fits.
pub(super) fn beside(mark: &str, id: &Id, number: u32, database: &str) -> String {
    let number = if number == 0 { String::new() } else { format!("{number}_") };
    let mut name = format!("{mark}{}_{number}", id.short());
    for letter in database.chars() {
        if name.len() + letter.len_utf8() > NAME_MAX {
            break;
        }
        name.push(letter);
    }
    name
}

/// A database as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) oid: u32,
    /// Whether it lets anybody in.
    pub(super) open: bool,
}

/// What is called by the three names now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) live: Option<Place>,
    pub(super) scratch: Option<Place>,
    pub(super) kept: Option<Place>,
}

/// What stands where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// What was live is live. Perhaps something of ours lies beside it.
    Before,
    /// The backup is live.
    After,
    /// Somebody else has renamed or removed one of them meanwhile.
    Unknown(Standing),
}

/// The database of this name.
pub(super) fn place(session: &mut Session, name: &str) -> Result<Option<Place>> {
    if name.is_empty() {
        return Ok(None);
    }
    let rows = session.query(
        "SELECT oid, datallowconn FROM pg_catalog.pg_database WHERE datname::text = $1",
        &[(&name, Type::TEXT)],
    )?;
    let Some(row) = rows.first() else { return Ok(None) };
    let read = |e| Error::internal("read the list of databases", e);
    Ok(Some(Place {
        oid: row.try_get(0).map_err(read)?,
        open: row.try_get(1).map_err(read)?,
    }))
}

impl Places {
    /// Looks.
    pub(super) fn look(session: &mut Session, database: &str, plan: &Replacement) -> Result<Places> {
        Ok(Places {
            live: place(session, database)?,
            scratch: place(session, &plan.scratch)?,
            kept: place(session, &plan.kept)?,
        })
    }

    /// Which of the two is live.
    pub(super) fn found(&self, plan: &Replacement, facts: &Facts) -> Found {
        let live = self.live.map(|place| place.oid);
        if !plan.existed {
            return match live {
                None => Found::Before,
                Some(oid) if Some(oid) == facts.scratch => Found::After,
                // Somebody else has made one; ours lies beside it, or is gone.
                Some(_) => Found::Before,
            };
        }
        if live == facts.live {
            return Found::Before;
        }
        let kept = self.kept.map(|place| place.oid);
        if live.is_some() && live == facts.scratch {
            return Found::After;
        }
        match kept {
            // The two names change in one transaction.
            Some(kept) if Some(kept) == facts.live && live.is_some() && facts.scratch.is_none() => Found::After,
            Some(kept) if Some(kept) == facts.live => Found::Unknown(Standing::After),
            _ => Found::Unknown(Standing::Before),
        }
    }

    /// Whether an undo has happened: what was live before is live again, and what the swap made live lies where it came from.
    pub(super) fn is_undone(&self, plan: &Replacement, facts: &Facts) -> bool {
        let live = self.live.map(|place| place.oid);
        let back = self.scratch.is_some_and(|place| Some(place.oid) == facts.scratch);
        match plan.existed {
            true => live.is_some() && live == facts.live && self.kept.is_none(),
            false => back && live != facts.scratch,
        }
    }
}

/// Removes a database that is ours by name and, where it is known, by number. One that is not there is removed already.
pub(super) fn remove(server: &Server, session: &mut Session, name: &str, oid: Option<u32>) -> Result<()> {
    if !name.starts_with(NEW) && !name.starts_with(OLD) {
        return Err(Error::internal("remove a database", "it is not one of ours"));
    }
    let Some(place) = place(session, name)? else { return Ok(()) };
    if oid.is_some_and(|oid| oid != place.oid) {
        return Err(Error::new(Code::Refused, "pg_replace_foreign").with("database", name));
    }
    target::remove(&server.with_database(name), &Cancel::new())
}

/// The command that gives a database another name.
pub(super) fn renaming(from: &str, to: &str) -> String {
    format!("ALTER DATABASE {} RENAME TO {}", sql_name(from), sql_name(to))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use coffre_model::replace::ReplaceWay;
    use proptest::prelude::*;

    use super::*;

    fn at(oid: u32) -> Option<Place> {
        Some(Place { oid, open: true })
    }

    fn plan(existed: bool) -> Replacement {
        Replacement {
            way: ReplaceWay::Swap,
            identity: String::new(),
            existed,
            scratch: "coffre_new_x".into(),
            kept: if existed { "coffre_old_x".into() } else { String::new() },
            facts: BTreeMap::new(),
        }
    }

    fn found(existed: bool, scratch_known: bool, live: u32, scratch: u32, kept: u32) -> Found {
        let some = |oid| if oid == 0 { None } else { at(oid) };
        let places = Places {
            live: some(live),
            scratch: some(scratch),
            kept: some(kept),
        };
        let facts = Facts {
            live: existed.then_some(1),
            scratch: scratch_known.then_some(2),
            ..Facts::default()
        };
        places.found(&plan(existed), &facts)
    }

    #[test]
    fn numbers_say_what_is_live() {
        assert_eq!(found(true, true, 1, 2, 0), Found::Before);
        assert_eq!(found(true, false, 1, 2, 0), Found::Before);
        assert_eq!(found(true, true, 1, 0, 0), Found::Before);
        assert_eq!(found(true, true, 2, 0, 1), Found::After);
        // What was kept is gone: still after.
        assert_eq!(found(true, true, 2, 0, 0), Found::After);
        // Somebody else's doings.
        assert_eq!(found(true, true, 0, 2, 0), Found::Unknown(Standing::Before));
        assert_eq!(found(true, true, 9, 2, 0), Found::Unknown(Standing::Before));
        assert_eq!(found(true, true, 0, 0, 1), Found::Unknown(Standing::After));
        assert_eq!(found(true, true, 9, 0, 1), Found::Unknown(Standing::After));
        assert_eq!(found(false, true, 0, 2, 0), Found::Before);
        assert_eq!(found(false, true, 2, 0, 0), Found::After);
        assert_eq!(found(false, true, 9, 2, 0), Found::Before);
    }

    proptest! {
        #[test]
        fn names_of_ours_fit_and_differ(database in ".{0,70}") {
            let id = Id::new();
            let names = [beside(NEW, &id, 0, &database), beside(OLD, &id, 0, &database), beside(NEW, &id, 1, &database)];
            for name in &names {
                prop_assert!(name.len() <= NAME_MAX);
                prop_assert!(name.contains(&id.short()));
            }
            prop_assert!(names[0] != names[1] && names[0] != names[2]);
            prop_assert!(!names.contains(&database));
        }
    }
}
