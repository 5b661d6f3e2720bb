//! Sources, destinations, plans, keys, settings, journal.

use coffre_model::backup::BackupState;
use coffre_model::journal::{Author, Entry};
use coffre_model::{Code, Error, Id};

use super::*;

/// Names that somebody will try, and that must come back unchanged.
const NAMES: &[&str] = &[
    "shop",
    "Shop",
    "'; DROP TABLE sources; --",
    "--help",
    "../../etc",
    "a\nb",
    "\u{202e}evil",
    "%_\\",
    "émoji 🗄",
    " leading",
    "$(id)`id`",
];

#[test]
fn names_come_back_unchanged_and_are_compared_exactly() {
    let world = World::new();
    let c = &world.catalogue;
    let mut all = vec![world.source.clone()];
    for name in NAMES.iter().skip(1).copied().chain([&*"n".repeat(1024)]) {
        let source = source(name);
        assert_eq!(c.add_source(&source).unwrap(), source);
        assert_eq!(c.source(name).unwrap(), source);
        assert_eq!(c.source(&source.id.to_string()).unwrap(), source);
        all.push(source);
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(c.sources().unwrap(), all);
    for (wrong, text) in [("", "name_empty"), (" \t", "name_empty"), ("a\0b", "name_nul")] {
        assert_eq!(c.add_source(&source(wrong)).unwrap_err().text(), text);
    }
    let error = c.add_source(&source("shop")).unwrap_err();
    assert_eq!((error.code(), error.text()), (Code::Refused, "name_taken"));
    let error = c.source("SHOP").unwrap_err();
    assert_eq!(
        (error.code(), error.detail("given").as_deref()),
        (Code::NotFound, Some("SHOP"))
    );
}

#[test]
fn an_exact_name_wins_over_an_id() {
    let world = World::new();
    let confusing = source(&world.source.id.to_string());
    world.catalogue.add_source(&confusing).unwrap();
    assert_eq!(world.catalogue.source(&world.source.id.to_string()).unwrap(), confusing);
    assert_eq!(world.catalogue.source("shop").unwrap(), world.source);
}

#[test]
fn everything_that_can_be_edited_is() {
    let world = World::new();
    let c = &world.catalogue;
    let mut edited = world.source.clone();
    edited.name = "store".into();
    edited.address = "sqlite:///data/store.db".into();
    edited.options = SourceOptions::default();
    edited.has_secret = false;
    c.update_source(&edited).unwrap();
    assert_eq!(c.source("store").unwrap(), edited);
    assert_eq!(c.source("shop").unwrap_err().code(), Code::NotFound);
    c.update_source(&edited).unwrap();

    let mut place = world.local.clone();
    place.name = "remote".into();
    assert_eq!(c.update_destination(&place).unwrap_err().text(), "name_taken");
    place.name = "disk".into();
    place.identity = None;
    place.has_secret = true;
    c.update_destination(&place).unwrap();
    assert_eq!(c.destination("disk").unwrap(), place);

    let mut key = key("mine");
    c.add_key(&key).unwrap();
    key.name = "yours".into();
    key.exported_at = Some(moment(5));
    c.update_key(&key).unwrap();
    assert_eq!(c.key("yours").unwrap(), key);
    assert_eq!(c.keys().unwrap(), vec![key.clone()]);

    let mut plan = plan("nightly", &edited, &[&world.remote, &place]);
    assert_eq!(c.add_plan(&plan).unwrap(), plan);
    plan.destination_ids = vec![place.id];
    plan.destinations = vec!["disk".into()];
    plan.key_id = Some(key.id);
    plan.encryption = Some("yours".into());
    plan.every = None;
    plan.compression = Compression::None;
    plan.retention = Retention::default();
    c.update_plan(&plan).unwrap();
    assert_eq!(c.plan("nightly").unwrap(), plan);
    // Names inside a plan follow those of what it names.
    key.name = "ours".into();
    c.update_key(&key).unwrap();
    assert_eq!(c.plans().unwrap()[0].encryption.as_deref(), Some("ours"));

    let absent = source("x");
    assert_eq!(c.update_source(&absent).unwrap_err().code(), Code::NotFound);
    assert_eq!(c.remove_source(&absent.id, moment(1)).unwrap_err().code(), Code::NotFound);
}

#[test]
fn a_plan_needs_things_that_are_there() {
    let world = World::new();
    let c = &world.catalogue;
    let refused = |change: &dyn Fn(&mut Plan)| {
        let mut plan = plan("p", &world.source, &[&world.local]);
        change(&mut plan);
        let error = c.add_plan(&plan).unwrap_err();
        assert!(c.plans().unwrap().is_empty());
        error.text().to_owned()
    };
    assert_eq!(refused(&|p| p.source_id = Id::new()), "source_not_found");
    assert_eq!(refused(&|p| p.destination_ids = vec![Id::new()]), "destination_not_found");
    assert_eq!(refused(&|p| p.destination_ids.clear()), "plan_no_destination");
    assert_eq!(
        refused(&|p| p.destination_ids.push(p.destination_ids[0])),
        "plan_destination_twice"
    );
    assert_eq!(refused(&|p| p.key_id = Some(Id::new())), "key_not_found");
}

#[test]
fn what_is_needed_cannot_be_removed_and_backups_outlive_their_source() {
    let world = World::new();
    let c = &world.catalogue;
    let key = key("k");
    c.add_key(&key).unwrap();
    let mut plan = plan("nightly", &world.source, &[&world.local]);
    plan.key_id = Some(key.id);
    plan.encryption = Some("k".into());
    c.add_plan(&plan).unwrap();
    let backup = world.finished(1, BackupState::Verified);

    for (result, text) in [
        (c.remove_source(&world.source.id, moment(9)), "source_has_plans"),
        (c.remove_destination(&world.local.id, moment(9)), "destination_has_plans"),
        (c.remove_key(&key.id, moment(9)), "key_has_plans"),
    ] {
        let error = result.unwrap_err();
        assert_eq!((error.code(), error.text()), (Code::Refused, text));
        assert_eq!(error.detail("plans").as_deref(), Some("nightly"));
    }
    c.remove_plan(&plan.id, moment(9)).unwrap();
    let error = c.remove_destination(&world.local.id, moment(9)).unwrap_err();
    assert_eq!(
        (error.text(), error.detail("copies").as_deref()),
        ("destination_has_copies", Some("1"))
    );
    c.remove_key(&key.id, moment(9)).unwrap();
    c.remove_source(&world.source.id, moment(9)).unwrap();

    assert!(c.sources().unwrap().is_empty() && c.plans().unwrap().is_empty() && c.keys().unwrap().is_empty());
    assert_eq!(c.source("shop").unwrap_err().code(), Code::NotFound);
    assert_eq!(
        c.remove_source(&world.source.id, moment(10)).unwrap_err().code(),
        Code::NotFound
    );
    // The backup is whole, and its source can still be asked for, by name and by id.
    assert_eq!(c.backup(backup.code.as_str()).unwrap(), backup);
    assert_eq!(c.known_source("shop").unwrap(), world.source);
    assert_eq!(c.known_source(&world.source.id.to_string()).unwrap(), world.source);
    assert_eq!(c.known_plan("nightly").unwrap().id, plan.id);
    // It can be verified and deleted; then the destination is free.
    let lease = world.backup_lease(&backup);
    c.begin_delete(&backup.id, &lease).unwrap();
    assert_eq!(
        c.remove_destination(&world.local.id, moment(9)).unwrap_err().text(),
        "destination_has_copies"
    );
    c.copy_deleted(&backup.id, &world.local.id, &lease).unwrap();
    c.copy_deleted(&backup.id, &world.remote.id, &lease).unwrap();
    c.finish_delete(&backup.id, &lease).unwrap();
    c.remove_destination(&world.local.id, moment(9)).unwrap();
    assert_eq!(c.known_destination("local").unwrap(), world.local);

    // The name is free again; the newest holder of it is the one meant.
    let second = source("shop");
    assert_eq!(c.add_source(&second).unwrap(), second);
    assert_eq!(c.known_source("shop").unwrap(), second);
    // A destination comes back under its own id.
    let mut back = world.local.clone();
    back.name = "disk".into();
    assert_eq!(c.add_destination(&back).unwrap(), back);
    assert_eq!(c.add_destination(&destination("disk")).unwrap_err().text(), "name_taken");
    back.name = "again".into();
    assert_eq!(c.add_destination(&back).unwrap_err().text(), "destination_known");
}

#[test]
fn a_key_that_backups_need_stays() {
    let world = World::new();
    let c = &world.catalogue;
    let mut key = key("k");
    c.add_key(&key).unwrap();
    let lease = world.source_lease();
    let mut backup = running(&world.source, 1);
    backup.encryption = Some("nobody's".into());
    let copies = [(world.local.id, artifact_key(&backup))];
    assert_eq!(c.begin_run(&backup, &copies, &lease).unwrap_err().text(), "key_not_found");
    backup.encryption = Some("k".into());
    c.begin_run(&backup, &copies, &lease).unwrap();
    let backup = ended(&backup, BackupState::Verified, &[(&world.local, CopyState::Verified)]);
    c.finish_run(&backup, Some(&manifest_json(&backup)), &[], &lease).unwrap();
    let error = c.remove_key(&key.id, moment(2)).unwrap_err();
    assert_eq!(
        (error.text(), error.detail("backups").as_deref()),
        ("key_has_backups", Some("1"))
    );
    drop(lease);
    // Renamed, it is still the key of its backups.
    key.name = "renamed".into();
    c.update_key(&key).unwrap();
    assert_eq!(
        c.backup(&backup.id.to_string()).unwrap().encryption.as_deref(),
        Some("renamed")
    );
    assert_eq!(c.key_of(&backup.id).unwrap(), Some(key));
    assert_eq!(c.key_of(&world.finished(5, BackupState::Verified).id).unwrap(), None);
}

#[test]
fn a_source_with_a_running_run_stays() {
    let world = World::new();
    let lease = world.source_lease();
    let run = world.begin(1, &lease);
    let error = world.catalogue.remove_source(&world.source.id, moment(2)).unwrap_err();
    assert_eq!((error.code(), error.detail("run")), (Code::Busy, Some(run.id.to_string())));
}

#[test]
fn settings_are_kept() {
    let world = World::new();
    let c = &world.catalogue;
    assert_eq!(c.setting("stall_seconds").unwrap(), None);
    c.set_setting("stall_seconds", "10").unwrap();
    c.set_setting("stall_seconds", "20").unwrap();
    c.set_setting("language", "fr").unwrap();
    assert_eq!(c.setting("stall_seconds").unwrap().as_deref(), Some("20"));
    assert_eq!(
        c.settings().unwrap(),
        [
            ("language".to_owned(), "fr".to_owned()),
            ("stall_seconds".into(), "20".into())
        ]
    );
    c.unset_setting("language").unwrap();
    assert_eq!(c.setting("language").unwrap(), None);
}

fn entry(n: i64) -> Entry {
    Entry {
        id: 0,
        at: moment(n),
        author: Author::Cli,
        actor: Some("root".into()),
        action: "backup.run".into(),
        subject_kind: "backup".into(),
        subject_id: Some(Id::new().to_string()),
        subject: "a\nb".into(),
        result: if n % 2 == 0 { "ok" } else { "failed" }.into(),
        error: (n % 2 != 0).then(|| Error::new(Code::DumpFailed, "dump_failed").with("status", 1)),
    }
}

#[test]
fn the_journal_is_read_newest_first_in_pages() {
    let world = World::new();
    let c = &world.catalogue;
    let mut written: Vec<_> = (1..=5)
        .map(|n| {
            let mut entry = entry(n);
            entry.id = c.record(&entry).unwrap();
            entry
        })
        .collect();
    written.reverse();
    assert_eq!(c.journal(100, None).unwrap(), written);
    assert_eq!(c.journal(2, None).unwrap(), written[..2]);
    assert_eq!(c.journal(2, Some(written[1].id)).unwrap(), written[2..4]);
}

#[test]
fn the_journal_is_only_ever_added_to() {
    let world = World::new();
    let id = world.catalogue.record(&entry(2)).unwrap();
    let before = world.catalogue.journal(10, None).unwrap();
    let raw = world.raw();
    raw.pragma_update(None, "recursive_triggers", "OFF").unwrap();
    for sql in [
        "UPDATE journal SET subject = 'x'".to_owned(),
        "DELETE FROM journal".to_owned(),
        format!(
            "INSERT OR REPLACE INTO journal SELECT {id}, at, author, actor, 'x', subject_kind, subject_id, subject, result, error FROM journal"
        ),
        format!(
            "REPLACE INTO journal SELECT {id}, at, author, actor, 'x', subject_kind, subject_id, subject, result, error FROM journal"
        ),
        "UPDATE OR REPLACE journal SET id = id".to_owned(),
    ] {
        let error = raw.execute(&sql, []).unwrap_err().to_string();
        assert!(error.contains("journal_append"), "{sql}: {error}");
    }
    assert_eq!(world.catalogue.journal(10, None).unwrap(), before);
}
