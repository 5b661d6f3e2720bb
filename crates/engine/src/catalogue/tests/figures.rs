//! Figures and searches, on backups that ran, failed, were stopped and were deleted.

use super::super::{DestinationFigures, JournalFilter, Outcomes, PlanFigures, Search, Sort, Totals};
use super::*;
use coffre_model::journal::{Author, Entry};
use coffre_model::{Code, Error};

fn line(world: &World, seconds: i64, action: &str, backup: &Backup, error: Option<Error>) {
    let entry = Entry {
        id: 0,
        at: moment(seconds),
        author: Author::App,
        actor: Some("anna".into()),
        action: action.into(),
        subject_kind: "backup".into(),
        subject_id: Some(backup.id.to_string()),
        subject: backup.code.to_string(),
        result: if error.is_some() { "failed" } else { "ok" }.into(),
        error,
    };
    world.catalogue.record(&entry).unwrap();
}

#[test]
fn outcomes_and_sizes_over_time() {
    let world = World::new();
    let c = &world.catalogue;
    let first = world.finished(0, BackupState::Verified);
    let second = world.finished(100, BackupState::Verified);
    world.finished(150, BackupState::Failed);
    world.finished(250, BackupState::Cancelled);
    let spans = [
        (moment(0), moment(100)),
        (moment(100), moment(200)),
        (moment(200), moment(300)),
    ];
    let counted = c.outcomes_within(&spans).unwrap();
    let expected = [(1, 0, 0), (1, 1, 0), (0, 0, 1)].map(|(verified, failed, other)| Outcomes {
        verified,
        failed,
        other,
        ..Outcomes::default()
    });
    assert_eq!(counted, expected, "the end of a stretch is not in it");

    let moments = [moment(50), moment(150), moment(250), moment(350)];
    let one = c.stored_at(&moments).unwrap()[0];
    assert!(one > 0);
    assert_eq!(c.stored_at(&moments).unwrap(), [one, 2 * one, 2 * one, 2 * one]);
    // Deleted after the second moment: from then on it takes no room, before it did.
    let lease = world.backup_lease(&first);
    c.begin_delete(&first.id, &lease).unwrap();
    for destination in [&world.local, &world.remote] {
        c.copy_deleted(&first.id, &destination.id, &lease).unwrap();
    }
    c.finish_delete(&first.id, &lease).unwrap();
    line(&world, 200, "backup.delete", &first, None);
    assert_eq!(c.stored_at(&moments).unwrap(), [one, 2 * one, one, one]);
    assert_eq!(c.stored_at(&[]).unwrap(), Vec::<u64>::new());
    assert_eq!(
        c.outcomes_within(&spans).unwrap()[0],
        Outcomes::default(),
        "what is deleted is not counted"
    );
    let totals = Totals {
        verified: 1,
        kept: 1,
        stored_bytes: one,
    };
    assert_eq!(c.totals().unwrap(), totals);
    let figures = c.destination_figures(moment(100)).unwrap()[&world.local.id];
    let copies = second.copies.iter().filter(|copy| copy.destination_id == world.local.id);
    let bytes: u64 = copies.map(|copy| copy.stored_bytes).sum();
    assert_eq!(
        figures,
        DestinationFigures {
            copies: 1,
            verified: 1,
            stored_bytes: bytes,
            recent_bytes: bytes,
            largest_bytes: bytes,
        }
    );
    assert_eq!(c.destination_figures(moment(101)).unwrap()[&world.local.id].recent_bytes, 0);
}

#[test]
fn last_runs_are_those_that_say_something() {
    let world = World::new();
    let c = &world.catalogue;
    assert!(c.is_blank().is_ok_and(|blank| !blank));
    assert_eq!(c.last_run(&world.source.id).unwrap(), None);
    let failed = world.finished(0, BackupState::Failed);
    world.finished(10, BackupState::Cancelled);
    let last = c.last_run(&world.source.id).unwrap().unwrap();
    assert_eq!(last.id, failed.id, "what a person stopped says nothing about the source");
    assert_eq!(
        c.last_states(&world.source.id, 14).unwrap(),
        [BackupState::Failed, BackupState::Cancelled]
    );
    assert_eq!(c.last_states(&world.source.id, 1).unwrap(), [BackupState::Cancelled]);
    assert_eq!(c.last_ended().unwrap().unwrap().state, BackupState::Cancelled);
    assert_eq!(c.sources_with_backups().unwrap(), 1);
    assert!(c.plan_figures().unwrap().is_empty());
}

#[test]
fn a_plan_has_its_sums() {
    let world = World::new();
    let c = &world.catalogue;
    let plan = c.add_plan(&plan("nightly", &world.source, &[&world.local])).unwrap();
    let lease = world.source_lease();
    let mut planned = running(&world.source, 0);
    planned.plan = Some(plan.name.clone());
    planned.plan_id = Some(plan.id);
    c.begin_run(&planned, &[(world.local.id, artifact_key(&planned))], &lease)
        .unwrap();
    let done = ended(&planned, BackupState::Verified, &[(&world.local, CopyState::Verified)]);
    c.finish_run(&done, Some(&manifest_json(&done)), &counts(), &lease).unwrap();
    let figures = c.plan_figures().unwrap()[&plan.id];
    assert_eq!(
        figures,
        PlanFigures {
            successes: 1,
            failures: 0
        }
    );
    assert_eq!(c.last_of_plan(&plan.id).unwrap().unwrap().id, planned.id);
    assert_eq!(c.kept_of_plan(&plan.id).unwrap(), 1);
}

#[test]
fn a_list_is_sorted_by_any_column_and_searched_in_errors() {
    let world = World::new();
    let c = &world.catalogue;
    let verified = world.finished(0, BackupState::Verified);
    let failed = world.finished(10, BackupState::Failed);
    let stored = world.finished(20, BackupState::Stored);
    let ids = |sort, descending| -> Vec<Id> {
        let search = Search {
            sort,
            descending,
            page: 1,
            per_page: 10,
            ..Search::default()
        };
        let (page, stats) = c.search(&search).unwrap();
        assert_eq!((page.total, stats.verified, stats.failed), (3, 1, 1));
        page.backups.iter().map(|backup| backup.id).collect()
    };
    assert_eq!(ids(Sort::StartedAt, true), [stored.id, failed.id, verified.id]);
    assert_eq!(ids(Sort::StartedAt, false), [verified.id, failed.id, stored.id]);
    assert_eq!(ids(Sort::State, false), [failed.id, stored.id, verified.id]);
    // Equal ones, and those without a value, are sorted newest first whatever the direction.
    for descending in [true, false] {
        for sort in [Sort::StoredBytes, Sort::Source, Sort::Plan] {
            assert_eq!(ids(sort, descending), [stored.id, failed.id, verified.id], "{sort:?}");
        }
    }
    // What has no value comes last both ways.
    let begun = world.begin(30, &world.source_lease());
    for descending in [true, false] {
        let search = Search {
            sort: Sort::Duration,
            descending,
            page: 1,
            per_page: 10,
            ..Search::default()
        };
        let page = c.search(&search).unwrap().0;
        assert_eq!((page.total, page.backups[3].id), (4, begun.id));
    }
    let found = |text: &str, errors: &[&str]| {
        let mut search = Search {
            page: 1,
            per_page: 10,
            ..Search::default()
        };
        search.filter.text = Some(text.into());
        search.filter.errors = errors.iter().map(|key| (*key).to_owned()).collect();
        let (page, stats) = c.search(&search).unwrap();
        assert_eq!(page.total, page.backups.len() as u64);
        (page.backups.iter().map(|backup| backup.id).collect::<Vec<_>>(), stats)
    };
    let code = failed.error.as_ref().unwrap().code().as_str().to_lowercase();
    assert_eq!(found(&code, &[]).0, [failed.id]);
    assert_eq!(found("in no word", &[failed.error.as_ref().unwrap().text()]).0, [failed.id]);
    assert!(found("in no word", &["another_key"]).0.is_empty());
    assert_eq!(found("PG_DUMP", &[]).0, [failed.id], "a fact of the error");
    for name in ["details", "\"code\"", "dump_failed"] {
        let expected: &[Id] = if name == "dump_failed" { &[failed.id] } else { &[] };
        assert_eq!(found(name, &[]).0, expected, "{name}: code and facts alone are text");
    }
    let (all, stats) = found("SHOP", &[]);
    assert_eq!(all.len(), 4);
    assert_eq!(stats, c.stats(&Default::default()).unwrap());
}

#[test]
fn the_journal_is_searched_in_its_words_and_facts() {
    let world = World::new();
    let c = &world.catalogue;
    let backup = world.finished(0, BackupState::Verified);
    line(&world, 1, "backup.run", &backup, None);
    line(&world, 2, "backup.pin", &backup, None);
    let error = Error::new(Code::DestFull, "destination_full").with("place", "/mnt/nas");
    line(&world, 3, "backup.verify", &backup, Some(error));
    let found = |filter: JournalFilter| c.search_journal(&filter, 1, 10).unwrap().1;
    let text = |text: &str| JournalFilter {
        text: Some(text.into()),
        ..JournalFilter::default()
    };
    assert_eq!(found(JournalFilter::default()), 3);
    assert_eq!((found(text("ANNA")), found(text("pin")), found(text("/MNT"))), (3, 1, 1));
    assert_eq!(found(text("nothing")), 0);
    let worded = JournalFilter {
        actions: vec!["backup.pin".into(), "backup.run".into()],
        ..text("Épinglée")
    };
    assert_eq!(found(worded), 2);
    let failed = JournalFilter {
        ok: Some(false),
        ..JournalFilter::default()
    };
    assert_eq!(found(failed), 1);
    let other = JournalFilter {
        author: Some(Author::Cli),
        ..JournalFilter::default()
    };
    assert_eq!(found(other), 0);
    let (page, total) = c.search_journal(&JournalFilter::default(), 2, 2).unwrap();
    assert_eq!((page.len(), total, page[0].action.as_str()), (1, 3, "backup.run"));
    let about: Vec<String> = c
        .journal_about(&backup.id)
        .unwrap()
        .into_iter()
        .map(|line| line.action)
        .collect();
    assert_eq!(about, ["backup.run", "backup.pin", "backup.verify"]);
}

#[test]
fn only_the_changes_of_others_count_as_such() {
    let world = World::new();
    let c = &world.catalogue;
    let before = c.changes_of_others().unwrap();
    c.set_setting("language", "fr").unwrap();
    c.stats(&Default::default()).unwrap();
    assert_eq!(c.changes_of_others().unwrap(), before);
    let other = Catalogue::open(&world.home).unwrap();
    assert_eq!(c.changes_of_others().unwrap(), before, "opening changes nothing");
    other.set_setting("language", "en").unwrap();
    let after = c.changes_of_others().unwrap();
    assert_ne!(after, before);
    assert_eq!(c.changes_of_others().unwrap(), after);
    let facts = c.file_facts().unwrap();
    assert!(facts.bytes > 0 && facts.journal_mode == "wal" && (0.0..=1.0).contains(&facts.fragmentation));
    c.check().unwrap();
}

#[test]
fn what_was_made_of_another_database_proves_nothing() {
    let mut world = World::new();
    let old = world.finished(0, BackupState::Verified);
    let c = world.catalogue.clone();
    let there = world.source.clone();
    assert_eq!(c.latest_proof(&there).unwrap().unwrap().id, old.id);
    assert_eq!((c.proofs(&there).unwrap(), old.aim.as_ref().map(String::len)), (1, Some(64)));
    // Another user is another way to the same database.
    let by_another = Source {
        address: "postgres://anna@h:5433/shop".into(),
        ..there.clone()
    };
    assert_eq!(c.latest_proof(&by_another).unwrap().unwrap().id, old.id);
    let here = Source {
        address: "postgres://joe@h:5433/shop2".into(),
        ..there.clone()
    };
    c.update_source(&here).unwrap();
    world.source = here.clone();
    assert_eq!((c.latest_proof(&here).unwrap(), c.proofs(&here).unwrap()), (None, 0));
    assert_eq!(c.last_run_here(&here).unwrap(), None);
    assert_eq!(c.latest(&here.id, true).unwrap().unwrap().id, old.id, "it stays restorable");
    // Clocks go back: what counts is what it was made of, not when.
    let new = world.finished(-3600, BackupState::Verified);
    assert_eq!(c.latest_proof(&here).unwrap().unwrap().id, new.id);
    assert_eq!(c.last_run_here(&here).unwrap().unwrap().id, new.id);
    assert_eq!(c.latest_proof(&there).unwrap().unwrap().id, old.id);
    let error = world.raw().execute("UPDATE backups SET aim = NULL", []).unwrap_err();
    assert!(error.to_string().contains("backups_identity"), "{error}");
}

#[test]
fn a_rebuilt_catalogue_still_knows_what_was_backed_up() {
    let lost = World::new();
    let backup = lost.finished(1, BackupState::Verified);
    let json = manifest_json(&backup);
    let found: Manifest = serde_json::from_str(&json).unwrap();
    for (address, proves) in [("postgres://anna@h:5433/shop", true), ("postgres://joe@h:5433/other", false)] {
        let world = World::new();
        let c = &world.catalogue;
        c.remove_source(&world.source.id, moment(0)).unwrap();
        let key = artifact_key(&backup);
        c.adopt(&found, &json, &world.local.id, &key, Some(moment(90))).unwrap();
        let again = Source {
            address: address.into(),
            ..source("shop")
        };
        let again = c.add_source(&again).unwrap();
        assert_eq!(again.id, backup.source_id);
        assert_eq!(c.latest_proof(&again).unwrap().is_some(), proves, "{address}");
        assert!(c.latest(&again.id, true).unwrap().is_some());
    }
}
