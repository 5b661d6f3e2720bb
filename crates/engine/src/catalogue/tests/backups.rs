//! Runs, their ends, verification, deletion, restores.

use coffre_model::restore::{CountComparison, Restore, RestoreMode, RestoreState, RestoreStep, StepState};
use coffre_model::{Code, Error};

use super::super::{CopyResult, Details, Filter, KnownCopy, Leftover};
use super::*;
use crate::catalogue::states::RowState;

#[test]
fn a_run_from_its_first_row_to_its_end() {
    let world = World::new();
    let c = &world.catalogue;
    let lease = world.source_lease();
    let mut backup = world.begin(1, &lease);
    // The keys are there before the first byte, and are not shown.
    assert_eq!(c.backup(backup.code.as_str()).unwrap(), backup);
    assert_eq!(
        c.copies(&backup.id)
            .unwrap()
            .iter()
            .map(|copy| copy.state)
            .collect::<Vec<_>>(),
        [RowState::Writing, RowState::Writing]
    );
    assert_eq!(c.live_runs().unwrap(), vec![backup.clone()]);
    assert_eq!(c.manifest(&backup.id).unwrap(), None);

    backup.raw_bytes = Some(5_000);
    backup.server_version = Some("15.20".into());
    c.update_run(&backup, &lease).unwrap();
    assert_eq!(c.backup(backup.code.as_str()).unwrap(), backup);
    let details = Details {
        database: Some("postgres".into()),
        format: Some(DumpFormat::PgCustom),
        scope: Some(manifest(&backup).scope),
        remarks: vec![Error::new(Code::ToolTooOld, "tool_newer").with("found", "18")],
    };
    c.set_details(&backup.id, &details, &lease).unwrap();

    // A person's note and pin, made meanwhile, are not overwritten by the run's own picture of itself.
    c.set_note(&backup.id, "mine").unwrap();
    c.set_pinned(&backup.id, true).unwrap();
    let done = ended(
        &backup,
        BackupState::Verified,
        &[(&world.local, CopyState::Verified), (&world.remote, CopyState::Stored)],
    );
    let json = manifest_json(&done);
    let stored = c.finish_run(&done, Some(&json), &counts(), &lease).unwrap();
    let expected = Backup {
        note: "mine".into(),
        pinned: true,
        ..done
    };
    assert_eq!(stored, expected);
    assert_eq!(c.backup(&backup.id.to_string()).unwrap(), expected);
    assert_eq!(c.manifest(&backup.id).unwrap().as_deref(), Some(json.as_str()));
    assert_eq!(c.table_counts(&backup.id).unwrap(), counts());
    assert_eq!(c.details(&backup.id).unwrap(), details);
    assert!(c.live_runs().unwrap().is_empty() && c.leftovers().unwrap().is_empty());

    c.set_flags(&backup.id, &[]).unwrap();
    assert!(c.backup(&backup.id.to_string()).unwrap().flags.is_empty());
    // It is over.
    let error = c.update_run(&expected, &lease).unwrap_err();
    assert_eq!((error.code(), error.text()), (Code::Refused, "run_over"));
    assert_eq!(
        c.finish_run(&expected, Some(&json), &[], &lease).unwrap_err().text(),
        "run_over"
    );
    assert_eq!(c.backup("BKP-20260205211302-NONE").unwrap_err().text(), "backup_not_found");
}

#[test]
fn no_green_without_what_proves_it() {
    let world = World::new();
    let c = &world.catalogue;
    let lease = world.source_lease();
    let begun = world.begin(1, &lease);
    let good = ended(&begun, BackupState::Verified, &[(&world.local, CopyState::Verified)]);
    let json = manifest_json(&good);
    let refused = |change: &dyn Fn(&mut Backup), json: Option<&str>| {
        let mut backup = good.clone();
        change(&mut backup);
        let error = c.finish_run(&backup, json, &[], &lease).unwrap_err();
        // Nothing of it stays: the run goes on as it was.
        assert_eq!(c.backup(begun.code.as_str()).unwrap(), begun, "{error}");
        assert_eq!(c.manifest(&begun.id).unwrap(), None);
    };
    refused(&|b| b.copies[0].state = CopyState::Stored, Some(&json));
    refused(&|b| b.copies.clear(), Some(&json));
    refused(&|b| b.copies[0].verified_at = None, Some(&json));
    refused(&|b| b.copies[0].stored_bytes = 0, Some(&json));
    refused(&|b| b.sha256 = None, Some(&json));
    refused(&|b| b.raw_sha256 = None, Some(&json));
    refused(&|b| b.stored_bytes = Some(0), Some(&json));
    refused(&|b| b.ended_at = None, Some(&json));
    refused(&|_| {}, None);
    refused(&|_| {}, Some("{}"));
    refused(&|b| b.copies[0].key.push('x'), Some(&json));
    refused(&|b| b.state = BackupState::Running, Some(&json));
    refused(&|b| b.state = BackupState::Deleted, Some(&json));
    // A failure says why.
    refused(&|b| b.state = BackupState::Failed, None);
    refused(&|b| b.raw_bytes = Some(u64::MAX), Some(&json));
    c.finish_run(&good, Some(&json), &[], &lease).unwrap();
}

#[test]
fn a_copy_that_was_never_finished_stays_known_until_it_is_cleaned() {
    let world = World::new();
    let c = &world.catalogue;
    let lease = world.source_lease();
    let begun = world.begin(1, &lease);
    let refused = c.drop_copy(&begun.id, &world.local.id, None).unwrap_err();
    assert_eq!(refused.text(), "run_not_over");
    c.drop_copy(&begun.id, &world.remote.id, Some(&lease)).unwrap();
    let mut failed = ended(&begun, BackupState::Failed, &[]);
    failed.error = Some(Error::new(Code::DestFull, "dest_full"));
    c.finish_run(&failed, None, &[], &lease).unwrap();
    assert_eq!(
        c.leftovers().unwrap(),
        [Leftover {
            backup_id: begun.id,
            state: BackupState::Failed,
            destination_id: world.local.id,
            key: artifact_key(&begun),
        }]
    );
    c.drop_copy(&begun.id, &world.local.id, None).unwrap();
    assert!(c.leftovers().unwrap().is_empty() && c.copies(&begun.id).unwrap().is_empty());
    drop(lease);
    // Copies that were finished are no leftovers, and cannot be dropped.
    let good = world.finished(5, BackupState::Stored);
    c.drop_copy(&good.id, &world.local.id, None).unwrap();
    assert_eq!(c.backup(good.code.as_str()).unwrap(), good);
}

#[test]
fn a_lost_lease_writes_nothing() {
    let world = World::new();
    let c = &world.catalogue;
    let lease = world.source_lease();
    let begun = world.begin(1, &lease);
    let other = world.finished_elsewhere();
    // Somebody took over.
    world
        .raw()
        .execute(
            "UPDATE leases SET fence = fence + 1000 WHERE resource = ?1",
            [lease.resource()],
        )
        .unwrap();
    let good = ended(&begun, BackupState::Verified, &[(&world.local, CopyState::Verified)]);
    let json = manifest_json(&good);
    let result = CopyResult {
        destination_id: world.local.id,
        state: CopyState::Corrupt,
        verified_at: None,
        error: None,
    };
    for error in [
        lease.check().unwrap_err(),
        c.begin_run(&running(&world.source, 2), &[], &lease).unwrap_err(),
        c.update_run(&begun, &lease).unwrap_err(),
        c.set_details(&begun.id, &Details::default(), &lease).unwrap_err(),
        c.finish_run(&good, Some(&json), &[], &lease).unwrap_err(),
        c.drop_copy(&begun.id, &world.local.id, Some(&lease)).unwrap_err(),
        c.record_verification(&other.id, &[result], &lease).unwrap_err(),
        c.begin_delete(&other.id, &lease).unwrap_err(),
        c.copy_deleted(&other.id, &world.local.id, &lease).unwrap_err(),
        c.finish_delete(&other.id, &lease).unwrap_err(),
    ] {
        assert_eq!((error.code(), error.text()), (Code::Interrupted, "lease_lost"));
    }
    assert_eq!(c.backup(begun.code.as_str()).unwrap(), begun);
    assert_eq!(c.backup(other.code.as_str()).unwrap(), other);
}

impl World {
    /// A verified backup of another source.
    fn finished_elsewhere(&self) -> Backup {
        let source = self.catalogue.add_source(&source("other")).unwrap();
        let lease = self.lease(&Resource::Source(source.id));
        let begun = running(&source, 77);
        self.catalogue
            .begin_run(&begun, &[(self.local.id, artifact_key(&begun))], &lease)
            .unwrap();
        let good = ended(&begun, BackupState::Verified, &[(&self.local, CopyState::Verified)]);
        self.catalogue
            .finish_run(&good, Some(&manifest_json(&good)), &[], &lease)
            .unwrap()
    }
}

#[test]
fn a_lease_of_something_else_does_not_write_a_run() {
    let world = World::new();
    let lease = world.source_lease();
    let begun = world.begin(1, &lease);
    let other = world.lease(&Resource::Slot(0));
    assert_eq!(world.catalogue.update_run(&begun, &other).unwrap_err().code(), Code::Internal);
}

#[test]
fn a_second_run_ends_what_a_lost_lease_left_running() {
    let world = World::new();
    let c = &world.catalogue;
    let old = {
        let lease = world.source_lease();
        world.begin(1, &lease)
    };
    let lease = world.source_lease();
    let new = world.begin(10, &lease);
    let old = c.backup(old.code.as_str()).unwrap();
    assert_eq!((old.state, old.ended_at), (BackupState::Interrupted, Some(moment(10))));
    assert_eq!(old.error.unwrap().code(), Code::Interrupted);
    assert_eq!(c.leftovers().unwrap().len(), 2);
    assert_eq!(c.live_runs().unwrap(), vec![new]);
}

#[test]
fn dead_runs_are_found_and_interrupted_and_living_ones_are_not() {
    let world = World::new();
    let c = &world.catalogue;
    let lease = world.source_lease();
    let run = world.begin(1, &lease);
    assert!(c.dead_runs().unwrap().is_empty());
    assert!(!c.interrupt_run(&run.id, moment(2)).unwrap());
    drop(lease);
    let dead = c.dead_runs().unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].backup, run);
    assert!(dead[0].copies.contains(&KnownCopy {
        destination_id: world.local.id,
        key: artifact_key(&run),
        state: RowState::Writing,
    }));
    assert!(c.interrupt_run(&run.id, moment(2)).unwrap());
    assert!(!c.interrupt_run(&run.id, moment(2)).unwrap());
    assert!(c.dead_runs().unwrap().is_empty());
    let after = c.backup(run.code.as_str()).unwrap();
    assert_eq!(
        (after.state, after.error.unwrap().text()),
        (BackupState::Interrupted, "interrupted")
    );
}

#[test]
fn what_a_dead_process_had_already_stored_can_be_taken_over() {
    let world = World::new();
    let c = &world.catalogue;
    let run = {
        let lease = world.source_lease();
        world.begin(1, &lease)
    };
    let lease = world.source_lease();
    let good = ended(&run, BackupState::Verified, &[(&world.local, CopyState::Verified)]);
    c.finish_run(&good, Some(&manifest_json(&good)), &counts(), &lease).unwrap();
    c.drop_copy(&run.id, &world.remote.id, None).unwrap();
    assert_eq!(c.backup(run.code.as_str()).unwrap(), good);
}

#[test]
fn verification_tells_the_truth_in_both_directions() {
    let world = World::new();
    let c = &world.catalogue;
    let backup = world.finished(1, BackupState::Verified);
    let lease = world.backup_lease(&backup);
    let found = |destination: &Destination, state, seconds| CopyResult {
        destination_id: destination.id,
        state,
        verified_at: (state == CopyState::Verified).then(|| moment(seconds)),
        error: (state != CopyState::Verified)
            .then(|| Error::new(Code::VerifyMismatch, "verify_hash").with("at", destination.name.clone())),
    };
    // One of two copies goes bad: still green.
    let now = c
        .record_verification(&backup.id, &[found(&world.local, CopyState::Corrupt, 0)], &lease)
        .unwrap();
    assert_eq!((now.state, now.error), (BackupState::Verified, None));
    assert_eq!(now.copies[0].error.as_ref().unwrap().text(), "verify_hash");
    // The other one too: no longer.
    let now = c
        .record_verification(&backup.id, &[found(&world.remote, CopyState::Missing, 0)], &lease)
        .unwrap();
    assert_eq!(now.state, BackupState::Failed);
    assert_eq!(now.error.unwrap().detail("at").as_deref(), Some("remote"));
    // One comes back, the other is worse, in one call, whatever the order.
    let results = [
        found(&world.local, CopyState::Missing, 0),
        found(&world.remote, CopyState::Verified, 50),
    ];
    let now = c.record_verification(&backup.id, &results, &lease).unwrap();
    assert_eq!((now.state, now.error), (BackupState::Verified, None));
    assert_eq!(now.copies[1].verified_at, Some(moment(50)));
    // Good and bad change places in one call.
    let results = [
        found(&world.remote, CopyState::Corrupt, 0),
        found(&world.local, CopyState::Verified, 60),
    ];
    assert_eq!(
        c.record_verification(&backup.id, &results, &lease).unwrap().state,
        BackupState::Verified
    );

    // Stored, and one copy is good: green.
    let stored = world.finished(10, BackupState::Stored);
    let lease = world.backup_lease(&stored);
    let now = c
        .record_verification(&stored.id, &[found(&world.local, CopyState::Verified, 70)], &lease)
        .unwrap();
    assert_eq!(now.state, BackupState::Verified);
    // Green by one copy, the other never read: when the good one goes, it is not green, and does not pretend to be merely unread.
    let now = c
        .record_verification(&stored.id, &[found(&world.local, CopyState::Missing, 0)], &lease)
        .unwrap();
    assert_eq!(now.state, BackupState::Failed);

    // Nothing to verify in what failed before there was anything, except by a copy that is there.
    let failed = world.finished(20, BackupState::Failed);
    let lease = world.backup_lease(&failed);
    let error = c
        .record_verification(&failed.id, &[found(&world.local, CopyState::Verified, 1)], &lease)
        .unwrap_err();
    assert_eq!(error.code(), Code::Internal);
    let cancelled = world.finished(30, BackupState::Cancelled);
    let lease = world.backup_lease(&cancelled);
    assert_eq!(
        c.record_verification(&cancelled.id, &[], &lease).unwrap_err().text(),
        "backup_not_verifiable"
    );
}

#[test]
fn deleting_is_announced_done_and_remembered() {
    let world = World::new();
    let c = &world.catalogue;
    let backup = world.finished(1, BackupState::Verified);
    let lease = world.backup_lease(&backup);
    let now = c.begin_delete(&backup.id, &lease).unwrap();
    assert_eq!(now.state, BackupState::Deleting);
    assert!(now.copies.iter().all(|copy| copy.state == CopyState::Deleting));
    c.copy_deleted(&backup.id, &world.local.id, &lease).unwrap();
    let error = c.finish_delete(&backup.id, &lease).unwrap_err();
    assert_eq!((error.text(), error.detail("copies").as_deref()), ("copies_left", Some("1")));
    // The process dies here; somebody else goes on.
    drop(lease);
    assert_eq!(c.dead_runs().unwrap()[0].backup.state, BackupState::Deleting);
    assert!(!c.interrupt_run(&backup.id, moment(3)).unwrap());
    let lease = world.backup_lease(&backup);
    assert!(
        c.dead_runs().unwrap().len() == 1,
        "the lease is there, but the deletion was announced under another"
    );
    c.begin_delete(&backup.id, &lease).unwrap();
    assert!(c.dead_runs().unwrap().is_empty());
    c.copy_deleted(&backup.id, &world.remote.id, &lease).unwrap();
    c.finish_delete(&backup.id, &lease).unwrap();
    let gone = c.backup(backup.code.as_str()).unwrap();
    assert_eq!(gone.state, BackupState::Deleted);
    assert_eq!(c.manifest(&backup.id).unwrap(), None);
    assert!(c.table_counts(&backup.id).unwrap().is_empty());
    assert_eq!(c.list(&Filter::default(), 1, 50).unwrap().total, 0);
    let asked = Filter {
        state: Some(BackupState::Deleted),
        ..Filter::default()
    };
    assert_eq!(c.list(&asked, 1, 50).unwrap().backups, vec![gone]);
    assert_eq!(c.begin_delete(&backup.id, &lease).unwrap_err().code(), Code::NotFound);
    assert_eq!(c.set_note(&backup.id, "x").unwrap_err().code(), Code::NotFound);
}

#[test]
fn what_others_build_on_and_what_runs_is_not_deleted() {
    let world = World::new();
    let c = &world.catalogue;
    let base = world.finished(1, BackupState::Verified);
    let lease = world.source_lease();
    let mut child = running(&world.source, 2);
    child.kind = Kind::Differential;
    child.base_id = Some(base.id);
    c.begin_run(&child, &[(world.local.id, "k".into())], &lease).unwrap();
    let of_base = world.backup_lease(&base);
    let error = c.begin_delete(&base.id, &of_base).unwrap_err();
    assert_eq!(
        (error.text(), error.detail("dependents")),
        ("backup_is_base", Some(child.code.to_string()))
    );
    let of_child = world.backup_lease(&child);
    assert_eq!(c.begin_delete(&child.id, &of_child).unwrap_err().text(), "run_not_over");
}

#[test]
fn latest_is_what_can_be_restored() {
    let world = World::new();
    let c = &world.catalogue;
    assert_eq!(c.latest(&world.source.id, true).unwrap(), None);
    let verified = world.finished(1, BackupState::Verified);
    let stored = world.finished(2, BackupState::Stored);
    world.finished(3, BackupState::Failed);
    assert_eq!(c.latest(&world.source.id, true).unwrap(), Some(verified));
    assert_eq!(c.latest(&world.source.id, false).unwrap(), Some(stored));
    assert_eq!(c.latest(&coffre_model::Id::new(), false).unwrap(), None);
}

#[test]
fn a_restore_is_followed_step_by_step() {
    let world = World::new();
    let c = &world.catalogue;
    let backup = world.finished(1, BackupState::Verified);
    let step = |name: &str, state, ended: bool| RestoreStep {
        name: name.into(),
        state,
        started_at: Some(moment(2)),
        ended_at: ended.then(|| moment(3)),
    };
    let mut restore = Restore {
        id: coffre_model::Id::new(),
        backup_id: Some(backup.id),
        file: None,
        target: "sqlite:///tmp/x.db".into(),
        source_id: None,
        kept_until: None,
        kept_bytes: None,
        mode: RestoreMode::Into,
        state: RestoreState::Running,
        safety_backup_id: None,
        started_at: moment(2),
        ended_at: None,
        steps: vec![step("verify", StepState::Running, false)],
        remarks: Vec::new(),
        counts: Vec::new(),
        error: None,
    };
    assert_eq!(c.begin_restore(&restore, None).unwrap_err().code(), Code::Internal);
    let lease = world.lease(&Resource::Restore(restore.target.clone()));
    c.begin_restore(&restore, Some(&lease)).unwrap();
    assert_eq!(c.restore(&restore.id.to_string()).unwrap(), restore);
    assert!(c.dead_restores().unwrap().is_empty());
    restore.steps = vec![step("verify", StepState::Done, true), step("load", StepState::Running, false)];
    restore.counts = vec![CountComparison {
        table: "t".into(),
        before: None,
        after: Some(5),
        backup: Some(5),
    }];
    c.update_restore(&restore, Some(&lease)).unwrap();
    assert_eq!(c.restores().unwrap(), vec![restore.clone()]);
    drop(lease);
    assert_eq!(c.dead_restores().unwrap(), vec![restore.clone()]);
    assert!(c.interrupt_restore(&restore.id, moment(9)).unwrap());
    assert!(!c.interrupt_restore(&restore.id, moment(9)).unwrap());
    let now = c.restore(&restore.id.to_string()).unwrap();
    assert_eq!((now.state, now.ended_at), (RestoreState::Interrupted, Some(moment(9))));
    assert_eq!(now.steps[1].state, StepState::Failed);
    assert_eq!(now.steps[0].state, StepState::Done);
    // No way back; but one that was cut off right after its moment is done once somebody has looked (`settle`).
    restore.state = RestoreState::Failed;
    restore.error = Some(Error::new(Code::Internal, "interrupted"));
    restore.ended_at = Some(moment(10));
    assert_eq!(c.update_restore(&restore, None).unwrap_err().text(), "catalogue_rule");

    // A dry run needs no lease and never dies.
    let dry = Restore {
        id: coffre_model::Id::new(),
        backup_id: None,
        file: Some("/tmp/a.sql".into()),
        mode: RestoreMode::DryRun,
        state: RestoreState::Planned,
        steps: Vec::new(),
        ended_at: None,
        ..restore
    };
    c.begin_restore(&dry, None).unwrap();
    assert_eq!(
        c.restore(&dry.id.to_string()).unwrap(),
        Restore {
            counts: dry.counts.clone(),
            ..dry
        }
    );
    assert!(c.dead_restores().unwrap().is_empty());
    assert_eq!(c.restore("nothing").unwrap_err().text(), "restore_not_found");
}

#[test]
fn times_are_kept_to_the_millisecond() {
    let world = World::new();
    let lease = world.source_lease();
    let mut backup = running(&world.source, 1);
    backup.started_at = "2026-02-05T21:13:02.123999Z".parse().unwrap();
    world.catalogue.begin_run(&backup, &[], &lease).unwrap();
    let read = world.catalogue.backup(backup.code.as_str()).unwrap();
    assert_eq!(read.started_at, super::super::to_millis(backup.started_at));
    assert_eq!(read.started_at, "2026-02-05T21:13:02.123Z".parse::<DateTime<Utc>>().unwrap());
}
