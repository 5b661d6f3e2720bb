//! States: Rust and SQL say the same, and no order of steps makes a false green.

use coffre_model::Code;
use coffre_model::restore::RestoreState;
use proptest::prelude::*;
use rusqlite::params;

use super::*;
use crate::catalogue::states::{RowState, restore_may_become, state_after};

/// Brings a backup into a state by allowed steps alone. The rows hold everything that any state needs.
fn backup_in(raw: &Connection, world: &World, n: i64, state: BackupState) -> String {
    use BackupState::{Cancelled, Deleted, Deleting, Failed, Interrupted, Missed, Running, Skipped, Stored, Verified};
    let backup = running(&world.source, n);
    let id = backup.id.to_string();
    let first = match state {
        Skipped | Missed => state,
        _ => Running,
    };
    raw.execute(
        "INSERT INTO backups (id, code, source_id, source_name, \"trigger\", type, kind, state, started_at, ended_at, compression,
            flags, note, pinned, sha256, raw_sha256, stored_bytes, error)
         VALUES (?1, ?2, ?3, 'shop', 'manual', 'manual', 'full', ?4, ?5, ?5, 'none', '[]', '', 0, ?6, ?6, 1, '{}')",
        params![
            id,
            backup.code.as_str(),
            world.source.id.to_string(),
            first.as_str(),
            super::super::time_text(backup.started_at),
            "a".repeat(64)
        ],
    )
    .unwrap();
    raw.execute(
        "INSERT INTO copies (backup_id, destination_id, key, state, stored_bytes) VALUES (?1, ?2, ?1, 'writing', 0)",
        params![id, world.local.id.to_string()],
    )
    .unwrap();
    raw.execute(
        "UPDATE copies SET state = 'verified', sha256 = ?2, stored_bytes = 1, verified_at = '2026-02-05T21:13:02.000Z' WHERE backup_id = ?1",
        params![id, "a".repeat(64)],
    )
    .unwrap();
    let path: &[BackupState] = match state {
        Running | Skipped | Missed => &[],
        Stored | Verified | Failed | Interrupted | Cancelled => &[state],
        Deleting => &[Stored, Deleting],
        Deleted => &[Stored, Deleting, Deleted],
    };
    for step in path {
        raw.execute("UPDATE backups SET state = ?2 WHERE id = ?1", [&id, step.as_str()])
            .unwrap();
    }
    id
}

#[test]
fn backups_go_the_same_ways_in_rust_and_in_sql() {
    let world = World::new();
    let raw = world.raw();
    let mut n = 0;
    for from in BackupState::ALL {
        for to in BackupState::ALL {
            n += 1;
            let id = backup_in(&raw, &world, n, *from);
            let done = raw.execute("UPDATE backups SET state = ?2 WHERE id = ?1", [&id, to.as_str()]);
            assert_eq!(done.is_ok(), from.may_become(*to) || from == to, "{from} to {to}: {done:?}");
        }
    }
}

#[test]
fn backups_begin_as_running_or_as_a_slot_without_a_run() {
    let world = World::new();
    let raw = world.raw();
    for state in BackupState::ALL {
        let id = Id::new();
        let inserted = raw.execute(
            "INSERT INTO backups (id, code, source_id, source_name, \"trigger\", type, kind, state, started_at, ended_at, compression,
                flags, note, pinned, sha256, raw_sha256, stored_bytes, error)
             SELECT ?1, ?1, ?2, 'shop', 'manual', 'manual', 'full', ?3, created_at, created_at, 'none', '[]', '', 0,
                hex(zeroblob(32)), hex(zeroblob(32)), 1, '{}' FROM sources",
            params![id.to_string(), world.source.id.to_string(), state.as_str()],
        );
        let may = matches!(state, BackupState::Running | BackupState::Skipped | BackupState::Missed);
        assert_eq!(inserted.is_ok(), may, "{state}: {inserted:?}");
    }
}

#[test]
fn copies_go_the_same_ways_in_rust_and_in_sql() {
    let world = World::new();
    let raw = world.raw();
    let words = RowState::all();
    let mut n = 0;
    for from in words.clone() {
        for to in words.clone() {
            n += 1;
            // A failed backup, so that nothing but the copy's own rule speaks.
            let id = backup_in(&raw, &world, n, BackupState::Failed);
            raw.execute(
                "INSERT INTO copies (backup_id, destination_id, key, state, stored_bytes, sha256, verified_at)
                 VALUES (?1, ?2, ?1, 'writing', 1, ?3, '2026-02-05T21:13:02.000Z')",
                params![id, world.remote.id.to_string(), "a".repeat(64)],
            )
            .unwrap();
            let set = |state: &str| {
                raw.execute(
                    "UPDATE copies SET state = ?3 WHERE backup_id = ?1 AND destination_id = ?2",
                    params![id, world.remote.id.to_string(), state],
                )
            };
            match from {
                RowState::Writing => {}
                RowState::Shown(CopyState::Deleted) => {
                    set("deleting").unwrap();
                    set("deleted").unwrap();
                }
                RowState::Shown(_) => {
                    set(from.as_str()).unwrap();
                }
            }
            let done = set(to.as_str());
            assert_eq!(
                done.is_ok(),
                from.may_become(to) || from == to,
                "{from:?} to {to:?}: {done:?}"
            );
            // Only what was never finished can be forgotten.
            let now = if done.is_ok() { to } else { from };
            let forgotten = raw.execute(
                "DELETE FROM copies WHERE backup_id = ?1 AND destination_id = ?2",
                params![id, world.remote.id.to_string()],
            );
            assert_eq!(forgotten.is_ok(), now == RowState::Writing, "{now:?}");
        }
    }
}

#[test]
fn restores_go_the_same_ways_in_rust_and_in_sql() {
    let world = World::new();
    let raw = world.raw();
    for from in RestoreState::ALL {
        for to in RestoreState::ALL {
            let id = Id::new().to_string();
            let set = |state: &str| raw.execute("UPDATE restores SET state = ?2 WHERE id = ?1", [&id, state]);
            raw.execute(
                "INSERT INTO restores (id, file, target, mode, state, started_at, ended_at, error)
                 SELECT ?1, 'f', 't', 'into', 'planned', created_at, created_at, '{}' FROM sources",
                [&id],
            )
            .unwrap();
            let path: &[RestoreState] = match from {
                RestoreState::Planned => &[],
                RestoreState::Undone => &[RestoreState::Running, RestoreState::Done, RestoreState::Undone],
                RestoreState::Running => &[RestoreState::Running],
                other => &[RestoreState::Running, *other],
            };
            for step in path {
                set(step.as_str()).unwrap();
            }
            let done = set(to.as_str());
            assert_eq!(
                done.is_ok(),
                restore_may_become(*from, *to) || from == to,
                "{from} to {to}: {done:?}"
            );
        }
    }
}

#[test]
fn what_was_written_does_not_change_any_more() {
    let world = World::new();
    let backup = world.finished(1, BackupState::Verified);
    let raw = world.raw();
    for set in [
        "sha256 = hex(zeroblob(32))",
        "raw_sha256 = NULL",
        "raw_bytes = 1",
        "stored_bytes = 1",
        "code = 'x'",
        "started_at = '2027-02-05T21:13:02.000Z'",
        "kind = 'incremental'",
        "base_id = id",
        "ended_at = '2026'",
        "sha256 = 'short'",
        "flags = 'no json'",
        "key_id = 'nobody'",
        "source_id = 'nobody'",
        "pinned = 2",
        "note = NULL",
    ] {
        let done = raw.execute(&format!("UPDATE backups SET {set} WHERE id = ?1"), [backup.id.to_string()]);
        assert!(done.is_err(), "{set}");
    }
    assert!(raw.execute("DELETE FROM backups", []).is_err());
    assert!(raw.execute("UPDATE copies SET key = 'x'", []).is_err());
    assert!(raw.execute("UPDATE copies SET sha256 = NULL", []).is_err());
    assert!(raw.execute("DELETE FROM sources", []).is_err());
    assert!(raw.execute("DELETE FROM destinations", []).is_err());
}

#[test]
fn what_no_version_of_ours_wrote_is_an_error_and_not_a_panic() {
    for (set, what) in [
        ("state = 'frozen'", "backups.state"),
        ("started_at = 'yesterday'", "backups.started_at"),
        ("started_at = '2026-02-05T21:13:02.1234Z'", "backups.started_at"),
        ("started_at = '2026-99-05T21:13:02.125Z'", "backups.started_at"),
        ("type = 'yearly'", "backups.type"),
        ("kind = 'partial'", "backups.kind"),
        ("\"trigger\" = 'whim'", "backups.trigger"),
        ("compression = 'lz4'", "backups.compression"),
        ("code = 'no code'", "backups.code"),
        ("base_id = 'nobody'", "backups.base_id"),
        ("raw_bytes = -1", "backups.raw_bytes"),
        ("flags = '{'", "backups.flags"),
        ("flags = '{}'", "backups.flags"),
        ("error = '{\"code\":\"FUTURE\",\"text\":\"x\"}'", "backups.error"),
        ("pinned = 7", "backups.pinned"),
    ] {
        let world = World::new();
        let backup = world.finished(1, BackupState::Verified);
        let raw = world.raw();
        raw.pragma_update(None, "ignore_check_constraints", "ON").unwrap();
        let triggers: Vec<String> = raw
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'trigger'")
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        for trigger in triggers {
            raw.execute_batch(&format!("DROP TRIGGER {trigger}")).unwrap();
        }
        raw.execute(&format!("UPDATE backups SET {set}"), []).unwrap();
        let error = world.catalogue.backup(&backup.id.to_string()).unwrap_err();
        assert_eq!(
            (error.code(), error.text(), error.detail("what").as_deref()),
            (Code::CatalogueCorrupt, "catalogue_value", Some(what)),
            "{set}"
        );
        assert!(error.detail("path").is_some());
        let error = world.catalogue.list(
            &super::super::Filter {
                state: (set == "state = 'frozen'").then_some(BackupState::Deleted),
                ..Default::default()
            },
            1,
            50,
        );
        assert!(error.is_err() || error.unwrap().total == 0, "{set}");
    }
    // Bytes that are no text at all.
    let world = World::new();
    world
        .raw()
        .execute("UPDATE sources SET name = CAST(x'ff41' AS TEXT)", [])
        .unwrap();
    assert_eq!(world.catalogue.sources().unwrap_err().code(), Code::CatalogueCorrupt);
}

fn any_copy() -> impl Strategy<Value = CopyState> {
    proptest::sample::select(CopyState::ALL)
}

fn any_backup() -> impl Strategy<Value = BackupState> {
    proptest::sample::select(BackupState::ALL)
}

proptest! {
    #[test]
    fn green_means_a_copy_that_was_read(current in any_backup(), copies in proptest::collection::vec(any_copy(), 0..5)) {
        let after = state_after(current, copies.iter().copied());
        prop_assert!(after == current || current.may_become(after));
        if after == BackupState::Verified {
            prop_assert!(copies.contains(&CopyState::Verified) || current == BackupState::Verified && after == current);
        }
        if matches!(current, BackupState::Stored | BackupState::Verified | BackupState::Failed) {
            prop_assert_eq!(after == BackupState::Verified, copies.contains(&CopyState::Verified));
        } else {
            prop_assert_eq!(after, current);
        }
    }

    /// Whatever is tried on the rows, in whatever order: what the SQL lets through keeps every rule.
    #[test]
    fn no_order_of_steps_makes_a_false_green(
        steps in proptest::collection::vec((0..3_u8, any_backup(), proptest::sample::select(RowState::all().collect::<Vec<_>>())), 1..40)
    ) {
        let world = WORLD.with(std::rc::Rc::clone);
        let raw = world.raw();
        raw.pragma_update(None, "synchronous", "OFF").unwrap();
        let transaction = raw.unchecked_transaction().unwrap();
        let id = backup_in(&raw, &world, 1, BackupState::Running);
        raw.execute(
            "INSERT INTO copies (backup_id, destination_id, key, state, stored_bytes, sha256, verified_at)
             VALUES (?1, ?2, ?1, 'writing', 1, ?3, '2026-02-05T21:13:02.000Z')",
            params![id, world.remote.id.to_string(), "a".repeat(64)],
        ).unwrap();
        for (what, backup, copy) in steps {
            let before: String = raw.query_row("SELECT state FROM backups WHERE id = ?1", [&id], |row| row.get(0)).unwrap();
            let before = BackupState::parse(&before).unwrap();
            let done = match what {
                0 => raw.execute("UPDATE backups SET state = ?2 WHERE id = ?1", [&id, backup.as_str()]),
                1 => raw.execute("UPDATE copies SET state = ?3 WHERE backup_id = ?1 AND destination_id = ?2", params![id, world.local.id.to_string(), copy.as_str()]),
                _ => raw.execute("UPDATE copies SET state = ?3 WHERE backup_id = ?1 AND destination_id = ?2", params![id, world.remote.id.to_string(), copy.as_str()]),
            };
            if what == 0 && done.is_ok() {
                prop_assert!(before == backup || before.may_become(backup));
            }
            let false_green: bool = raw.query_row(
                "SELECT EXISTS (SELECT 1 FROM backups b WHERE b.id = ?1 AND b.state = 'verified'
                    AND NOT EXISTS (SELECT 1 FROM copies WHERE backup_id = b.id AND state = 'verified'))",
                [&id], |row| row.get(0)).unwrap();
            prop_assert!(!false_green);
        }
        transaction.rollback().unwrap();
    }
}

thread_local! {
    static WORLD: std::rc::Rc<World> = std::rc::Rc::new(World::new());
}
