//! Lists and sums, also of 100,000 backups.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::{Filter, Search, Stats};
use super::*;

fn ids(backups: &[Backup]) -> Vec<Id> {
    backups.iter().map(|backup| backup.id).collect()
}

#[test]
fn filters_pages_and_sums() {
    let world = World::new();
    let c = &world.catalogue;
    assert_eq!(c.stats(&Filter::default()).unwrap(), Stats::default());
    let verified = world.finished(1, BackupState::Verified);
    let stored = world.finished(2, BackupState::Stored);
    let failed = world.finished(3, BackupState::Failed);
    let other = c.add_source(&source("Été 100%")).unwrap();
    let lease = world.lease(&Resource::Source(other.id));
    let plan = c.add_plan(&plan("nightly", &other, &[&world.local])).unwrap();
    let mut planned = running(&other, 4);
    planned.plan = Some(plan.name.clone());
    planned.plan_id = Some(plan.id);
    planned.backup_type = BackupType::Daily;
    planned.note = "a_b".into();
    c.begin_run(&planned, &[(world.local.id, "k".into())], &lease).unwrap();

    let list = |filter: &Filter, page, per_page| {
        let page = c.list(filter, page, per_page).unwrap();
        (ids(&page.backups), page.total)
    };
    let everything = Filter::default();
    assert_eq!(
        list(&everything, 1, 50),
        (vec![planned.id, failed.id, stored.id, verified.id], 4)
    );
    assert_eq!(list(&everything, 2, 3), (vec![verified.id], 4));
    assert_eq!(list(&everything, 3, 3), (vec![], 4));
    assert_eq!(list(&everything, 0, 1), (vec![planned.id], 4));
    assert_eq!(list(&everything, u64::MAX, u64::MAX), (vec![], 4));
    assert_eq!(list(&everything, 1, 0), (vec![], 4));
    assert_eq!(c.list(&everything, 1, 50).unwrap().backups[3], verified);

    let only = |change: &dyn Fn(&mut Filter)| {
        let mut filter = Filter::default();
        change(&mut filter);
        list(&filter, 1, 50).0
    };
    assert_eq!(only(&|f| f.source = Some(other.id)), [planned.id]);
    assert_eq!(only(&|f| f.plan = Some(plan.id)), [planned.id]);
    assert_eq!(only(&|f| f.state = Some(BackupState::Failed)), [failed.id]);
    assert_eq!(only(&|f| f.backup_type = Some(BackupType::Daily)), [planned.id]);
    for text in [
        "été",
        "ÉTÉ",
        "Été",
        "100%",
        "NIGHT",
        "a_b",
        &planned.code.as_str().to_lowercase(),
    ] {
        assert_eq!(only(&|f| f.text = Some(text.into())), [planned.id], "{text}");
    }
    for text in [
        "a%b",
        "_",
        "\\",
        "' OR 1=1 --",
        "0%%",
        "*",
        "?",
        "[a-z]",
        "]",
        "^",
        &"x".repeat(100_000),
    ] {
        let found = only(&|f| f.text = Some(text.into()));
        assert_eq!(
            found,
            if text == "_" { vec![planned.id, failed.id] } else { vec![] },
            "{text}"
        );
    }
    assert_eq!(only(&|f| f.text = Some(String::new())).len(), 4);
    assert!(
        only(&|f| {
            f.source = Some(other.id);
            f.state = Some(BackupState::Verified);
        })
        .is_empty()
    );

    let sums = c.stats(&everything).unwrap();
    let expected = Stats {
        stored_bytes: 16_000,
        verified: 1,
        failed: 1,
        last_verified_at: verified.copies[0].verified_at,
    };
    assert_eq!(sums, expected);
    let of_shop = Filter {
        source: Some(world.source.id),
        ..Filter::default()
    };
    assert_eq!(c.stats(&of_shop).unwrap(), expected);
    let of_other = Filter {
        source: Some(other.id),
        ..Filter::default()
    };
    assert_eq!(c.stats(&of_other).unwrap(), Stats::default());
    // What is gone takes no room.
    let lease = world.backup_lease(&stored);
    c.begin_delete(&stored.id, &lease).unwrap();
    c.copy_deleted(&stored.id, &world.local.id, &lease).unwrap();
    assert_eq!(c.stats(&everything).unwrap().stored_bytes, 12_000);
}

/// 100,000 backups with two copies each, in one transaction, of which a fifth is deleted.
fn fill(world: &World) {
    let raw = world.raw();
    let other = world.catalogue.add_source(&source("second")).unwrap();
    raw.pragma_update(None, "synchronous", "OFF").unwrap();
    let transaction = raw.unchecked_transaction().unwrap();
    raw.execute_batch(&format!(
        "CREATE TEMP TABLE n AS WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 99999)
            SELECT i, printf('00000000-0000-7000-8000-%012d', i) AS id, strftime('%Y-%m-%dT%H:%M:%S.000Z', 1700000000 + i * 600, 'unixepoch') AS at FROM n;
         INSERT INTO backups (id, code, source_id, source_name, \"trigger\", type, kind, state, started_at, ended_at, duration_ms,
            raw_bytes, stored_bytes, sha256, raw_sha256, compression, tables, rows, tool_name, tool_path, tool_version,
            server_version, flags, note, pinned, error, database, format, scope, remarks)
         SELECT id, printf('BKP-%014d-AAAA', i), iif(i % 3 = 0, '{other}', '{shop}'), iif(i % 3 = 0, 'second', 'shop'), 'manual',
            iif(i % 7 = 0, 'weekly', 'daily'), 'full', 'running', at, at, 1500, 100000000, 40000000, hex(zeroblob(32)),
            hex(zeroblob(32)), 'zstd:3', 80, 357, 'pg_dump', '/usr/lib/postgresql/15/bin/pg_dump', '15.20', '15.20', '[]', 'a note', 0,
            iif(i % 5 = 4, '{{\"code\":\"DUMP_FAILED\",\"text\":\"dump_failed\"}}', NULL), 'postgres', 'pg_custom', '{{}}', '[]'
         FROM n;
         INSERT INTO copies (backup_id, destination_id, key, state, stored_bytes, sha256)
            SELECT n.id, d.id, printf('shop/2026/%d.dump.zst', i), 'writing', 0, hex(zeroblob(32)) FROM n, destinations d WHERE i % 5 <> 4;
         UPDATE copies SET state = 'verified', verified_at = '2026-02-05T21:13:02.000Z', stored_bytes = 40000000;
         UPDATE backups SET state = iif(error IS NULL, 'verified', 'failed');
         UPDATE backups SET state = 'deleting' WHERE CAST(substr(id, 25) AS INTEGER) % 5 = 3;
         UPDATE copies SET state = 'deleting' WHERE CAST(substr(backup_id, 25) AS INTEGER) % 5 = 3;
         UPDATE copies SET state = 'deleted' WHERE state = 'deleting';
         UPDATE backups SET state = 'deleted' WHERE state = 'deleting';",
        other = other.id,
        shop = world.source.id,
    ))
    .unwrap();
    transaction.commit().unwrap();
}

/// How many thousand steps of SQLite's machine some work takes: what its time depends on, and the same on every machine.
fn steps<T>(world: &World, work: impl FnOnce() -> T) -> (u64, T) {
    let count = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&count);
    let handler = move || {
        seen.fetch_add(1, Ordering::Relaxed);
        false
    };
    // The lists' own connection is there once something was listed.
    world.catalogue.list(&Filter::default(), 1, 0).unwrap();
    let set = |on: bool| {
        let handler = || on.then(|| handler.clone());
        let lists = world.catalogue.lock_lists();
        let super::super::Lists::Open(connection, _) = &*lists else {
            panic!()
        };
        connection.progress_handler(1_000, handler()).unwrap();
        let guard = world.catalogue.lock();
        guard.as_ref().unwrap().progress_handler(1_000, handler()).unwrap();
    };
    set(true);
    let answer = work();
    set(false);
    (count.load(Ordering::Relaxed), answer)
}

#[test]
fn a_hundred_thousand_backups_are_listed_from_indexes() {
    let world = World::new();
    fill(&world);
    let c = &world.catalogue;
    // SQLite does about a hundred thousand of these steps in a millisecond where pages are at hand: 2,500 thousand are some 25 to 50 ms,
    // also in a debug build, whose SQLite is optimised. Sorting or reading the rows themselves would take ten times as many.
    let limit = 2_500;
    let everything = Filter::default();
    let mut filters = vec![("everything", everything.clone(), 80_000)];
    for (name, change) in [
        (
            "source",
            &(|f: &mut Filter| f.source = Some(world.source.id)) as &dyn Fn(&mut Filter),
        ),
        ("verified", &|f| f.state = Some(BackupState::Verified)),
        ("deleted", &|f| f.state = Some(BackupState::Deleted)),
        ("type", &|f| f.backup_type = Some(BackupType::Weekly)),
        ("source and state", &|f| {
            f.source = Some(world.source.id);
            f.state = Some(BackupState::Failed);
        }),
    ] {
        let mut filter = everything.clone();
        change(&mut filter);
        let total = match name {
            "source" => 53_333,
            "verified" => 60_000,
            "deleted" => 20_000,
            "type" => 11_428,
            _ => 13_333,
        };
        filters.push((name, filter, total));
    }
    for (name, filter, total) in filters {
        for page in [1, total / 50] {
            let began = std::time::Instant::now();
            let (cost, answer) = steps(&world, || c.list(&filter, page, 50).unwrap());
            println!("list {name}, page {page}: {cost} thousand steps, {:?}", began.elapsed());
            assert!((answer.total as i64 - total as i64).abs() <= 1, "{name}: {}", answer.total);
            assert_eq!(answer.backups.len(), 50, "{name}");
            assert!(cost < limit, "{name}, page {page}: {cost}");
        }
        let began = std::time::Instant::now();
        let (cost, sums) = steps(&world, || c.stats(&filter).unwrap());
        println!("stats {name}: {cost} thousand steps, {:?}", began.elapsed());
        assert!(cost < 3 * limit, "{name}: {cost}");
        if name == "everything" {
            assert_eq!(
                (sums.verified, sums.failed, sums.stored_bytes),
                (60_000, 20_000, 4_800_000_000_000)
            );
        }
    }
    // Text must be looked at row by row.
    let filter = Filter {
        text: Some("bkp-00000000000777-".into()),
        ..everything
    };
    let began = std::time::Instant::now();
    let (cost, answer) = steps(&world, || c.list(&filter, 1, 50).unwrap());
    println!("list text: {cost} thousand steps, {:?}", began.elapsed());
    assert_eq!(answer.total, 1);
    let (cost, latest) = steps(&world, || c.latest(&world.source.id, true).unwrap().unwrap());
    assert!(cost < 10, "{cost}");
    assert_eq!(latest.state, BackupState::Verified);
    assert!(c.live_runs().unwrap().is_empty());
    let (cost, _) = steps(&world, || c.dead_runs().unwrap());
    assert!(cost < 10, "{cost}");
    let (cost, _) = steps(&world, || c.leftovers().unwrap());
    assert!(cost < 10, "{cost}");
}

#[test]
fn the_sums_of_a_list_are_made_once_and_again_after_any_change() {
    let world = World::new();
    fill(&world);
    let c = &world.catalogue;
    let page = |page| Search {
        page,
        per_page: 50,
        descending: true,
        ..Search::default()
    };
    let (first, (_, made)) = steps(&world, || c.search(&page(1)).unwrap());
    let (second, (_, kept)) = steps(&world, || c.search(&page(2)).unwrap());
    assert_eq!((made, kept), (c.stats(&Filter::default()).unwrap(), made));
    assert!(second < first / 10, "{second} of {first} thousand steps");
    // Somebody else's change, and then one of our own: a deletion begins, in the order that the catalogue allows.
    let deletion = |c: &Connection| {
        let id: String = c
            .query_row("SELECT id FROM backups WHERE state = 'verified' LIMIT 1", [], |row| {
                row.get(0)
            })
            .unwrap();
        c.execute("UPDATE backups SET state = 'deleting' WHERE id = ?1", [&id])
            .unwrap();
        c.execute("UPDATE copies SET state = 'deleting' WHERE backup_id = ?1", [&id])
            .unwrap();
        c.execute("UPDATE copies SET state = 'deleted' WHERE backup_id = ?1", [&id])
            .unwrap();
    };
    deletion(&world.raw());
    let (_, theirs) = c.search(&page(1)).unwrap();
    assert_eq!(theirs, c.stats(&Filter::default()).unwrap());
    assert_eq!(theirs.verified, made.verified - 1, "{theirs:?}");
    assert!(theirs.stored_bytes < made.stored_bytes, "{theirs:?}");
    c.write(|c| {
        deletion(c);
        Ok(())
    })
    .unwrap();
    let (_, ours) = c.search(&page(2)).unwrap();
    assert_eq!(ours, c.stats(&Filter::default()).unwrap());
    assert_eq!(ours.verified, theirs.verified - 1, "{ours:?}");
    // Other filters have other sums.
    let other = Search {
        filter: Filter {
            state: Some(BackupState::Failed),
            ..Filter::default()
        },
        ..page(1)
    };
    assert_eq!(c.search(&other).unwrap().1, c.stats(&other.filter).unwrap());
}

#[test]
fn lists_use_no_sorting() {
    let world = World::new();
    let raw = world.raw();
    for filter in [
        Filter::default(),
        Filter {
            source: Some(world.source.id),
            ..Filter::default()
        },
        Filter {
            state: Some(BackupState::Verified),
            ..Filter::default()
        },
    ] {
        let (condition, values) = filter.condition();
        let sql = format!(
            "EXPLAIN QUERY PLAN SELECT b.id FROM backups b WHERE {condition} ORDER BY b.started_at DESC, b.id DESC LIMIT 50"
        );
        let mut statement = raw.prepare(&sql).unwrap();
        let plan: Vec<String> = statement
            .query_map(rusqlite::params_from_iter(values), |row| row.get(3))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let plan = plan.join("; ");
        assert!(plan.contains("COVERING INDEX") && !plan.contains("TEMP B-TREE"), "{plan}");
    }
}

#[test]
fn however_a_list_is_sorted_it_is_read_from_an_index() {
    use super::super::search::{Search, Sort, page_sql};
    let world = World::new();
    let raw = world.raw();
    let sorts = [
        Sort::StartedAt,
        Sort::Source,
        Sort::Plan,
        Sort::State,
        Sort::Type,
        Sort::StoredBytes,
        Sort::Duration,
    ];
    for sort in sorts {
        for descending in [true, false] {
            for state in [None, Some(BackupState::Verified)] {
                let search = Search {
                    filter: Filter {
                        state,
                        ..Filter::default()
                    },
                    sort,
                    descending,
                    page: 1000,
                    per_page: 50,
                };
                let (condition, mut values) = search.filter.condition();
                values.extend([rusqlite::types::Value::Integer(50), rusqlite::types::Value::Integer(49_950)]);
                let sql = format!("EXPLAIN QUERY PLAN {}", page_sql(&search, &condition, values.len()));
                let mut statement = raw.prepare(&sql).unwrap();
                let plan: Vec<String> = statement
                    .query_map(rusqlite::params_from_iter(values), |row| row.get(3))
                    .unwrap()
                    .collect::<Result<_, _>>()
                    .unwrap();
                let plan = plan.join("; ");
                // Equal names are put in order among themselves; never is everything sorted.
                let sorted = plan.contains("TEMP B-TREE FOR ORDER BY");
                assert!(
                    plan.contains("COVERING INDEX") && !sorted,
                    "{sort:?} {descending} {state:?}: {plan}"
                );
            }
        }
    }
}
