//! A fresh catalogue takes backups back from manifests.

use super::super::{Adopted, Filter};
use super::*;

/// A second, empty catalogue that knows the same destinations, as after a loss.
fn fresh(lost: &World) -> World {
    let world = World::new();
    let c = &world.catalogue;
    c.remove_source(&world.source.id, moment(0)).unwrap();
    c.remove_destination(&world.local.id, moment(0)).unwrap();
    c.remove_destination(&world.remote.id, moment(0)).unwrap();
    c.add_destination(&lost.local).unwrap();
    c.add_destination(&lost.remote).unwrap();
    world
}

#[test]
fn a_backup_comes_back_with_its_copies_and_its_source() {
    let lost = World::new();
    let mut backup = lost.finished(1, BackupState::Verified);
    backup.plan = Some("nightly".into());
    backup.plan_id = Some(Id::new());
    let json = manifest_json(&backup);
    let found: Manifest = serde_json::from_str(&json).unwrap();
    let world = fresh(&lost);
    let c = &world.catalogue;
    let key = artifact_key(&backup);

    assert_eq!(c.adopt(&found, &json, &lost.local.id, &key, None).unwrap(), Adopted::New);
    let now = c.backup(backup.code.as_str()).unwrap();
    assert_eq!(now.state, BackupState::Stored);
    assert_eq!(now.copies.len(), 1);
    assert_eq!(
        (now.copies[0].state, now.copies[0].key.as_str()),
        (CopyState::Stored, key.as_str())
    );
    let expected = Backup {
        state: BackupState::Stored,
        copies: now.copies.clone(),
        ..backup.clone()
    };
    assert_eq!(now, expected);
    assert_eq!(c.manifest(&backup.id).unwrap().as_deref(), Some(json.as_str()));
    assert_eq!(c.table_counts(&backup.id).unwrap(), counts());

    // The second destination, read to its end: green.
    let read = Some(moment(90));
    assert_eq!(c.adopt(&found, &json, &lost.remote.id, &key, read).unwrap(), Adopted::Copy);
    let now = c.backup(backup.code.as_str()).unwrap();
    assert_eq!((now.state, now.copies.len()), (BackupState::Verified, 2));
    assert_eq!(c.adopt(&found, &json, &lost.remote.id, &key, None).unwrap(), Adopted::Known);
    assert_eq!(c.backup(backup.code.as_str()).unwrap(), now);

    // Its source is a name without an address, in no list.
    assert!(c.sources().unwrap().is_empty() && c.plans().unwrap().is_empty());
    let known = c.known_source("shop").unwrap();
    assert_eq!((known.id, known.address.as_str()), (lost.source.id, ""));
    // Added again under its name, it is the same source, and so is its plan.
    let again = source("shop");
    let added = c.add_source(&again).unwrap();
    assert_eq!(
        added,
        Source {
            id: lost.source.id,
            ..again
        }
    );
    assert_eq!(c.source("shop").unwrap(), added);
    let planned = c.add_plan(&plan("nightly", &added, &[&lost.local])).unwrap();
    assert_eq!(Some(planned.id), backup.plan_id);
    let filter = Filter {
        source: Some(added.id),
        plan: Some(planned.id),
        ..Filter::default()
    };
    assert_eq!(c.list(&filter, 1, 10).unwrap().total, 1);
    assert_eq!(c.latest(&added.id, true).unwrap().unwrap().id, backup.id);
    // A placeholder is taken once.
    assert_eq!(c.add_source(&source("shop")).unwrap_err().text(), "name_taken");
}

#[test]
fn one_that_was_read_is_green_at_once_and_keys_are_known_by_what_they_are() {
    let lost = World::new();
    let mut backup = lost.finished(1, BackupState::Verified);
    backup.encryption = Some("k".into());
    let mut found = manifest(&backup);
    let mine = key("renamed since");
    found.recipient = mine.recipient.clone();
    let json = serde_json::to_string(&found).unwrap();
    let world = fresh(&lost);
    let c = &world.catalogue;
    c.add_key(&mine).unwrap();
    c.adopt(&found, &json, &lost.local.id, "key", Some(moment(9))).unwrap();
    let now = c.backup(backup.code.as_str()).unwrap();
    assert_eq!(
        (now.state, now.encryption.as_deref()),
        (BackupState::Verified, Some("renamed since"))
    );
    assert_eq!(c.key_of(&backup.id).unwrap(), Some(mine));

    // A key that is imported afterwards is found all the same.
    let mut other = lost.finished(5, BackupState::Verified);
    other.encryption = Some("late".into());
    let mut found = manifest(&other);
    let late = key("called otherwise");
    found.recipient = late.recipient.clone();
    c.adopt(&found, &serde_json::to_string(&found).unwrap(), &lost.local.id, "key2", None)
        .unwrap();
    assert_eq!(c.backup(other.code.as_str()).unwrap().encryption.as_deref(), Some("late"));
    assert_eq!(c.key_of(&other.id).unwrap_err().text(), "key_not_found");
    c.add_key(&late).unwrap();
    assert_eq!(c.key_of(&other.id).unwrap(), Some(late));
}

#[test]
fn manifests_that_contradict_each_other_are_refused() {
    let lost = World::new();
    let backup = lost.finished(1, BackupState::Verified);
    let found = manifest(&backup);
    let json = manifest_json(&backup);
    let world = fresh(&lost);
    let c = &world.catalogue;
    c.adopt(&found, &json, &lost.local.id, "key", None).unwrap();
    let before = c.backup(backup.code.as_str()).unwrap();
    let mut other = found.clone();
    other.backup.sha256 = Some("c".repeat(64));
    assert_eq!(
        c.adopt(&other, &json, &lost.remote.id, "key", None).unwrap_err().text(),
        "adopt_clash"
    );
    let mut other = found.clone();
    other.backup.code = BackupCode::parse("BKP-20200205211302-AAAA").unwrap();
    assert_eq!(
        c.adopt(&other, &json, &lost.remote.id, "key", None).unwrap_err().text(),
        "adopt_clash"
    );
    let mut other = found.clone();
    other.backup.id = Id::new();
    assert_eq!(
        c.adopt(&other, &json, &lost.remote.id, "other", None).unwrap_err().text(),
        "adopt_clash"
    );
    other.backup.code = BackupCode::parse("BKP-20200205211302-AAAA").unwrap();
    assert_eq!(
        c.adopt(&other, &json, &lost.local.id, "key", None).unwrap_err().text(),
        "adopt_clash"
    );
    assert_eq!(
        c.adopt(&found, &json, &Id::new(), "key", None).unwrap_err().text(),
        "destination_not_found"
    );
    assert_eq!(c.list(&Filter::default(), 1, 10).unwrap().backups, vec![before]);
}

#[test]
fn a_copy_whose_run_was_killed_before_it_was_recorded_is_taken_in() {
    let world = World::new();
    let c = &world.catalogue;
    let lease = world.source_lease();
    let begun = world.begin(1, &lease);
    let good = ended(&begun, BackupState::Verified, &[(&world.local, CopyState::Verified)]);
    let json = manifest_json(&good);
    c.finish_run(&good, Some(&json), &[], &lease).unwrap();
    assert_eq!(c.leftovers().unwrap().len(), 1);
    let found = manifest(&good);
    assert_eq!(
        c.adopt(&found, &json, &world.remote.id, "elsewhere", None)
            .unwrap_err()
            .text(),
        "adopt_clash"
    );
    let key = artifact_key(&good);
    assert_eq!(
        c.adopt(&found, &json, &world.remote.id, &key, Some(moment(9))).unwrap(),
        Adopted::Copy
    );
    assert!(c.leftovers().unwrap().is_empty());
    assert_eq!(c.backup(good.code.as_str()).unwrap().copies[1].state, CopyState::Verified);
}

#[test]
fn what_is_deleted_stays_deleted() {
    let world = World::new();
    let c = &world.catalogue;
    let backup = world.finished(1, BackupState::Verified);
    let json = c.manifest(&backup.id).unwrap().unwrap();
    let lease = world.backup_lease(&backup);
    c.begin_delete(&backup.id, &lease).unwrap();
    assert_eq!(
        c.adopt(&manifest(&backup), &json, &world.local.id, "other key", None)
            .unwrap(),
        Adopted::Known
    );
    assert_eq!(c.backup(backup.code.as_str()).unwrap().state, BackupState::Deleting);
}
