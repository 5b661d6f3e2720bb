//! What retention chose, and what it was told to stop at.

use coffre_model::backup::BackupState;
use coffre_model::retention::{Reason, Rule};
use coffre_model::{Code, Error};

use super::super::Choice;
use super::*;

fn leaves(backup: &Backup, reason: Reason) -> Choice {
    Choice {
        id: backup.id,
        leaves: Some((moment(1_000), reason)),
    }
}

#[test]
fn chosen_only_while_everything_is_as_it_was_seen() {
    let world = World::new();
    let c = &world.catalogue;
    let (first, second) = (
        world.finished(1, BackupState::Verified),
        world.finished(2, BackupState::Verified),
    );
    let seen = c.candidates(&world.source.id).unwrap();
    assert_eq!(seen.iter().map(|b| b.id).collect::<Vec<_>>(), [first.id, second.id]);
    let one = &seen[0];
    assert!(one.unusual && one.has_bytes && !one.pinned && one.plan.is_none());
    assert_eq!((one.bytes, one.places.len(), one.proved_at), (8_000, 2, first.ended_at));
    let asked = [leaves(&first, Reason::number(Rule::Asked, 7))];

    for change in [
        (|c: &Catalogue, b: &Backup| c.set_pinned(&b.id, true).unwrap()) as fn(&Catalogue, &Backup),
        |c, b| c.acknowledge(&b.id, moment(5)).unwrap(),
    ] {
        let seen = c.candidates(&world.source.id).unwrap();
        change(c, &second);
        assert!(!c.choose(&world.source.id, &seen, &asked).unwrap());
        assert_eq!(c.backup(first.code.as_str()).unwrap().leaves_at, None, "nothing was written");
    }
    let seen = c.candidates(&world.source.id).unwrap();
    assert!(c.choose(&world.source.id, &seen, &asked).unwrap());
    assert_eq!(c.backup(first.code.as_str()).unwrap().leaves_at, Some(moment(1_000)));
    assert_eq!(c.candidates(&world.source.id).unwrap()[0].asked, Some(7));
    assert!(c.plans_leaving(moment(2_000)).unwrap().is_empty(), "it belongs to no plan");
    // A pin takes it back, and takes the reason with it.
    c.set_pinned(&first.id, true).unwrap();
    c.set_pinned(&first.id, false).unwrap();
    let one = &c.candidates(&world.source.id).unwrap()[0];
    assert_eq!((one.leaving, one.asked), (None, None));
}

#[test]
fn two_deletions_do_not_count_on_each_other() {
    let world = World::new();
    let c = &world.catalogue;
    let (first, second) = (
        world.finished(1, BackupState::Verified),
        world.finished(2, BackupState::Verified),
    );
    let (of_first, of_second) = (world.backup_lease(&first), world.backup_lease(&second));
    c.begin_delete_unless_last(&first.id, &of_first).unwrap();
    let error = c.begin_delete_unless_last(&second.id, &of_second).unwrap_err();
    assert_eq!((error.code(), error.text()), (Code::Refused, "delete_last_verified"));
    assert_eq!(c.backup(second.code.as_str()).unwrap(), second);
    // The same where there are others, but none of what the source points to now.
    let elsewhere = Source {
        address: "postgres://joe@h:5433/other".to_owned(),
        ..world.source.clone()
    };
    c.update_source(&elsewhere).unwrap();
    world.finished(3, BackupState::Verified);
    c.begin_delete_unless_last(&second.id, &of_second).unwrap();
}

#[test]
fn a_pinned_one_is_not_deleted() {
    let world = World::new();
    let c = &world.catalogue;
    let first = world.finished(1, BackupState::Verified);
    world.finished(2, BackupState::Verified);
    c.set_pinned(&first.id, true).unwrap();
    let lease = world.backup_lease(&first);
    assert_eq!(
        c.begin_delete_unless_last(&first.id, &lease).unwrap_err().text(),
        "delete_pinned"
    );
}

#[test]
fn a_hold_is_told_once_and_released() {
    let world = World::new();
    let c = &world.catalogue;
    let plan = c.add_plan(&plan("nightly", &world.source, &[&world.local])).unwrap();
    let reason = |text| Error::new(Code::Refused, text).with("plan", "nightly");
    assert_eq!(c.retention_hold(&plan.id).unwrap(), None);
    assert!(
        c.hold_retention(&plan.id, moment(1), &reason("retention_implausible"))
            .unwrap()
    );
    assert!(
        !c.hold_retention(&plan.id, moment(2), &reason("retention_implausible"))
            .unwrap()
    );
    let (since, held) = c.retention_hold(&plan.id).unwrap().unwrap();
    assert_eq!((since, held.text()), (moment(1), "retention_implausible"));
    assert!(
        c.hold_retention(&plan.id, moment(3), &reason("retention_rebuilt")).unwrap(),
        "another reason is news"
    );
    assert!(c.release_retention(&plan.id, false).unwrap());
    assert!(!c.release_retention(&plan.id, true).unwrap());
}

#[test]
fn what_came_from_manifests_is_remembered_until_a_person_says_so() {
    let lost = World::new();
    let mut backup = lost.finished(1, BackupState::Verified);
    let id = Id::new();
    (backup.plan, backup.plan_id) = (Some("nightly".into()), Some(id));
    let json = manifest_json(&backup);
    let found: Manifest = serde_json::from_str(&json).unwrap();
    let world = World::new();
    let c = &world.catalogue;
    assert!(!c.taken_in_again(&id).unwrap());
    c.adopt(&found, &json, &world.local.id, &artifact_key(&backup), None).unwrap();
    assert!(c.taken_in_again(&id).unwrap());
    c.release_retention(&id, false).unwrap();
    assert!(
        c.taken_in_again(&id).unwrap(),
        "that retention goes on for another reason says nothing of this"
    );
    assert!(c.release_retention(&id, true).unwrap());
    assert!(!c.taken_in_again(&id).unwrap());
    // A further copy of what is known brings nothing new.
    c.adopt(&found, &json, &world.remote.id, &artifact_key(&backup), None)
        .unwrap();
    assert!(!c.taken_in_again(&id).unwrap());
}
