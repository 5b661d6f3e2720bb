//! 100,000 backups: every question that a window asks is answered from indexes, or in one reading.

use std::time::Instant;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::desk::{Desk, home, make_database, query};

/// 100,000 backups over two years in two sources, each with two copies; a fifth failed, a fifth deleted.
fn fill(home: &std::path::Path) {
    let raw = Connection::open(home.join("catalogue.db")).unwrap();
    raw.execute_batch(
        "PRAGMA synchronous = OFF;
         BEGIN;
         CREATE TEMP TABLE n AS WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 99999)
            SELECT i, printf('00000000-0000-7000-8000-%012d', i) AS id,
                strftime('%Y-%m-%dT%H:%M:%S.000Z', 'now', printf('-%d seconds', (100000 - i) * 600)) AS at FROM n;
         INSERT INTO backups (id, code, source_id, source_name, plan_id, plan_name, \"trigger\", type, kind, state, started_at, ended_at,
            duration_ms, raw_bytes, stored_bytes, sha256, raw_sha256, compression, tables, rows, tool_name, tool_path, tool_version,
            server_version, flags, note, pinned, error, database, format, scope, remarks)
         SELECT n.id, printf('BKP-%014d-AAAA', i), s.id, s.name, p.id, p.name, 'scheduled', iif(i % 7 = 0, 'weekly', 'daily'), 'full',
            'running', at, at, i % 9999, 100000000, 40000000 + i, hex(zeroblob(32)), hex(zeroblob(32)), 'zstd:3', 80, 357, 'pg_dump',
            '/usr/lib/postgresql/15/bin/pg_dump', '15.20', '15.20', '[]', iif(i = 77777, 'Été à Paris', ''), 0,
            iif(i % 5 = 4, '{\"code\":\"DEST_FULL\",\"text\":\"destination_full\",\"details\":{\"place\":\"/mnt/nas\"}}', NULL),
            'postgres', 'pg_custom', '{}', '[]'
         FROM n JOIN sources s ON s.name = iif(i % 3 = 0, 'second', 'shop') JOIN plans p ON p.source_id = s.id;
         INSERT INTO copies (backup_id, destination_id, key, state, stored_bytes, sha256)
            SELECT n.id, d.id, printf('shop/2026/%d.dump.zst', i), 'writing', 0, hex(zeroblob(32)) FROM n, destinations d WHERE i % 5 <> 4;
         UPDATE copies SET state = 'verified', verified_at = '2026-02-05T21:13:02.000Z', stored_bytes = 40000000;
         UPDATE backups SET state = iif(error IS NULL, 'verified', 'failed');
         UPDATE backups SET state = 'deleting' WHERE CAST(substr(id, 25) AS INTEGER) % 5 = 3;
         UPDATE copies SET state = 'deleting' WHERE CAST(substr(backup_id, 25) AS INTEGER) % 5 = 3;
         UPDATE copies SET state = 'deleted' WHERE state = 'deleting';
         UPDATE backups SET state = 'deleted' WHERE state = 'deleting';
         INSERT INTO journal (at, author, actor, action, subject_kind, subject_id, subject, result)
            SELECT b.ended_at, 'schedule', NULL, 'backup.run', 'backup', b.id, b.code, 'ok' FROM backups b;
         INSERT INTO journal (at, author, actor, action, subject_kind, subject_id, subject, result)
            SELECT min(strftime('%Y-%m-%dT%H:%M:%S.000Z', b.ended_at, '+30 days'), strftime('%Y-%m-%dT%H:%M:%S.000Z', 'now')), 'schedule', NULL, 'backup.delete', 'backup', b.id, b.code, 'ok'
            FROM backups b WHERE b.state = 'deleted';
         COMMIT;",
    )
    .unwrap();
}

#[test]
fn a_hundred_thousand_backups() {
    let home = home();
    let desk = Desk::on(home.path());
    let path = home.path().join("shop.db");
    make_database(&path, 3);
    let folders = [
        desk.add_folder("a", &home.path().join("a")),
        desk.add_folder("b", &home.path().join("b")),
    ];
    let mut shop = Value::Null;
    for name in ["second", "shop"] {
        shop = desk.add_sqlite(name, &home.path().join(format!("{name}.db")));
        let draft = crate::desk::plan_draft(&format!("{name} nightly"), &shop, &[&folders[0], &folders[1]]);
        desk.ask("add_plan", json!({"draft": draft}));
    }
    fill(home.path());
    let timed = |what: &str, command: &str, arguments: Value| {
        let began = Instant::now();
        let answer = desk.ask(command, arguments);
        println!("{what}: {:?}", began.elapsed());
        answer
    };
    let list = |what: &str, more: Value| timed(what, "list_backups", query(more));
    list("warming up", json!({}));
    let page = list("first page", json!({}));
    assert_eq!(
        (&page["total"], &page["stats"]["verified"], &page["stats"]["failed"]),
        (&json!(80_000), &json!(60_000), &json!(20_000))
    );
    assert_eq!(page["stats"]["stored_bytes"], json!(60_000_u64 * 2 * 40_000_000));
    assert_eq!(page["backups"].as_array().unwrap().len(), 50);
    let last = list("last page", json!({"page": 1600}));
    assert_eq!(last["backups"].as_array().unwrap().len(), 50);
    list("page 1000", json!({"page": 1000}));
    for sort in ["source", "plan", "state", "type", "stored_bytes", "duration_ms"] {
        list(&format!("page 1000 by {sort}"), json!({"sort": sort, "page": 1000}));
        list(
            &format!("page 1000 by {sort}, ascending"),
            json!({"sort": sort, "page": 1000, "descending": false}),
        );
        list(
            &format!("of one source, page 1000 by {sort}"),
            json!({"source_id": shop["id"], "sort": sort, "page": 1000}),
        );
        list(
            &format!("verified, page 1000 by {sort}"),
            json!({"state": "verified", "sort": sort, "page": 1000}),
        );
    }
    let of_shop = list("one source", json!({"source_id": shop["id"]}));
    assert_eq!(of_shop["total"], 53_333);
    list("one source, verified", json!({"source_id": shop["id"], "state": "verified"}));
    list("verified", json!({"state": "verified"}));
    list("failed", json!({"state": "failed"}));
    list("weekly", json!({"type": "weekly"}));
    for sort in ["source", "plan", "state", "type", "stored_bytes", "duration_ms"] {
        for descending in [true, false] {
            let sorted = list(&format!("by {sort}"), json!({"sort": sort, "descending": descending}));
            assert_eq!(sorted["total"], 80_000);
            let key = if sort == "type" { "type" } else { sort };
            let keys: Vec<&Value> = sorted["backups"]
                .as_array()
                .unwrap()
                .iter()
                .map(|backup| &backup[key])
                .collect();
            let ordered = keys.windows(2).all(|pair| match (pair[0].as_u64(), pair[1].as_u64()) {
                (Some(a), Some(b)) => {
                    if descending {
                        a >= b
                    } else {
                        a <= b
                    }
                }
                _ => pair[0].as_str() == pair[1].as_str() || (pair[0].as_str() < pair[1].as_str()) != descending,
            });
            assert!(ordered, "{sort} {descending}: {keys:?}");
        }
    }
    assert_eq!(list("text: one", json!({"text": "été À paris"}))["total"], 1);
    assert_eq!(
        list("text: a place in an error", json!({"text": "/MNT/nas"}))["total"],
        20_000
    );
    assert_eq!(list("text: everything", json!({"text": "bkp-"}))["total"], 80_000);
    assert_eq!(list("text: nothing", json!({"text": "zzz"}))["total"], 0);
    let overview = timed("overview", "overview", json!({}));
    assert_eq!(overview["figures"]["kept"], 60_000);
    let calendar = overview["calendar"].as_array().unwrap();
    assert!(calendar.len() >= 365, "{}", calendar.len());
    let counted: u64 = calendar
        .iter()
        .map(|day| day["verified"].as_u64().unwrap() + day["failed"].as_u64().unwrap())
        .sum();
    assert!(
        (42_000..=42_300).contains(&counted),
        "144 runs a day, of which a fifth was deleted: {counted}"
    );
    let sizes = overview["sizes"].as_array().unwrap();
    assert_eq!(sizes.last().unwrap()["stored_bytes"], json!(60_000_u64 * 2 * 40_000_000));
    let bytes: Vec<u64> = sizes.iter().map(|point| point["stored_bytes"].as_u64().unwrap()).collect();
    // Thirty days of what was deleted later lay there too, at every earlier moment.
    assert!(bytes[100] > bytes[99] && bytes[bytes.len() - 60] > 0);
    timed("overview again", "overview", json!({}));
    timed("attention", "attention", json!({}));
    timed("sources", "list_sources", json!({}));
    timed("plans", "list_plans", json!({}));
    timed("destinations", "list_destinations", json!({}));
    timed("health", "health", json!({}));
    timed("one backup", "show_backup", json!({"id": page["backups"][0]["id"]}));
    let journal = timed("journal", "list_journal", json!({"query": {"page": 1, "per_page": 50}}));
    assert!(journal["total"].as_u64().unwrap() >= 120_000);
    timed(
        "journal, text",
        "list_journal",
        json!({"query": {"text": "BKP-00000000077777", "page": 1, "per_page": 50}}),
    );
}
