use std::path::Path;
use std::sync::Barrier;

use coffre_model::backup::{BackupState, CopyState};
use proptest::prelude::*;
use rustix::process::Signal;

use super::*;
use crate::catalogue::tests::child::{Running, argument, say, wait};
use crate::catalogue::tests::{LENGTH, World, artifact_key, ended, manifest_json, moment, running};

fn acquire(catalogue: &Catalogue, resource: &Resource, run: &Id) -> Result<Lease> {
    Lease::acquire(catalogue, resource, run, LENGTH, &Cancel::new())
}

#[test]
fn one_holds_it_and_the_others_are_told_which_run() {
    let world = World::new();
    let resource = Resource::Source(world.source.id);
    let run = Id::new();
    let lease = acquire(&world.catalogue, &resource, &run).unwrap();
    lease.check().unwrap();
    let error = acquire(&world.catalogue, &resource, &Id::new()).err().unwrap();
    assert_eq!((error.code(), error.text()), (Code::Busy, "busy_source"));
    assert_eq!(error.detail("run"), Some(run.to_string()));
    assert_eq!(error.detail("code"), None);
    // Something else is free.
    let other = acquire(&world.catalogue, &Resource::Backup(world.source.id), &Id::new()).unwrap();
    let fence = lease.fence();
    assert!(other.fence() > fence);
    drop(lease);
    let lease = acquire(&world.catalogue, &resource, &Id::new()).unwrap();
    assert!(lease.fence() > other.fence(), "a fence is never used twice");
}

#[test]
fn the_refusal_names_the_backup_where_it_is_one() {
    let world = World::new();
    let backup = running(&world.source, 1);
    let lease = acquire(&world.catalogue, &Resource::Source(world.source.id), &backup.id).unwrap();
    world
        .catalogue
        .begin_run(&backup, &[(world.local.id, artifact_key(&backup))], &lease)
        .unwrap();
    let error = acquire(&world.catalogue, &Resource::Source(world.source.id), &Id::new())
        .err()
        .unwrap();
    assert_eq!(error.detail("code"), Some(backup.code.to_string()));
}

#[test]
fn slots_are_a_number_of_places() {
    let world = World::new();
    let (first, second) = (Id::new(), Id::new());
    let take = |run: &Id| Lease::acquire_slot(&world.catalogue, 2, run, LENGTH, &Cancel::new());
    let one = take(&first).unwrap();
    let two = take(&second).unwrap();
    let error = take(&Id::new()).err().unwrap();
    assert_eq!((error.code(), error.text()), (Code::Busy, "busy_slots"));
    assert_eq!(error.detail("max").as_deref(), Some("2"));
    assert_eq!(error.detail("run"), Some(first.to_string()));
    drop(one);
    let again = take(&Id::new()).unwrap();
    assert_eq!((again.resource(), two.resource()), ("slot:0", "slot:1"));
}

#[test]
fn a_hundred_threads_and_one_wins() {
    let world = World::new();
    let barrier = Barrier::new(100);
    let resource = Resource::Source(world.source.id);
    // Half of them through a catalogue of their own, as another process would.
    let second = Catalogue::open(&world.home).unwrap();
    let third = Catalogue::open(&Home::open(world.home.root()).unwrap()).unwrap();
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..100)
            .map(|n| {
                let catalogue = [&world.catalogue, &second, &third][n % 3];
                let (barrier, resource) = (&barrier, &resource);
                scope.spawn(move || {
                    let run = Id::new();
                    barrier.wait();
                    (run, acquire(catalogue, resource, &run))
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let winners: Vec<_> = results.iter().filter(|(_, result)| result.is_ok()).collect();
    assert_eq!(winners.len(), 1);
    for (_, result) in &results {
        if let Err(error) = result {
            assert_eq!(error.detail("run"), Some(winners[0].0.to_string()), "{error}");
        }
    }
}

/// Opens the home, says so, waits; asks for the source's lease, says what came of it, waits; says whether it was lost.
#[test]
fn asking_child() {
    let Some(given) = argument("lease::tests::asking_child") else {
        return;
    };
    let mut given = given.splitn(3, ' ');
    let (source, length, path) = (given.next().unwrap(), given.next().unwrap(), given.next().unwrap());
    let home = Home::open(Path::new(path)).unwrap();
    let catalogue = Catalogue::open(&home).unwrap();
    say("ready");
    wait();
    let run = Id::new();
    let cancel = Cancel::new();
    let length = Duration::from_millis(length.parse().unwrap());
    match Lease::acquire(&catalogue, &Resource::Source(source.parse().unwrap()), &run, length, &cancel) {
        Ok(lease) => {
            say(&format!("won {run}"));
            wait();
            let lost = lease.check().is_err();
            say(if lost && cancel.check().is_err_and(|e| e.text() == "lease_lost") {
                "lost"
            } else {
                "held"
            });
        }
        Err(e) if e.code() == Code::Busy => say(&format!("busy {}", e.detail("run").unwrap())),
        Err(e) => say(&e.to_string()),
    }
}

fn child(world: &World, length_ms: u64) -> Running {
    let argument = format!("{} {length_ms} {}", world.source.id, world.home.root().display());
    let mut child = Running::start("lease::tests::asking_child", &argument);
    assert_eq!(child.hear().as_deref(), Some("ready"));
    child
}

/// A child that holds the lease; the child and its run.
fn holder(world: &World, length_ms: u64) -> (Running, String) {
    let mut child = child(world, length_ms);
    child.go();
    let said = child.hear().unwrap();
    let run = said.strip_prefix("won ").unwrap().to_owned();
    (child, run)
}

#[test]
fn a_hundred_processes_and_one_wins() {
    let world = World::new();
    let mut children: Vec<_> = (0..100).map(|_| child(&world, 60_000)).collect();
    children.iter_mut().for_each(Running::go);
    let said: Vec<_> = children.iter_mut().map(|child| child.hear().unwrap()).collect();
    let won: Vec<_> = said.iter().filter_map(|line| line.strip_prefix("won ")).collect();
    assert_eq!(won.len(), 1, "{said:?}");
    let busy = format!("busy {}", won[0]);
    assert_eq!(said.iter().filter(|line| **line == busy).count(), 99, "{said:?}");
    for (mut child, line) in children.into_iter().zip(&said) {
        if line.starts_with("won") {
            child.go();
            assert_eq!(child.hear().as_deref(), Some("held"));
        }
        assert!(child.end());
    }
    // Given back at its end.
    acquire(&world.catalogue, &Resource::Source(world.source.id), &Id::new()).unwrap();
}

#[test]
fn a_killed_process_is_dead_at_once() {
    let world = World::new();
    let resource = Resource::Source(world.source.id);
    // An hour: no clock has a part in this.
    let (mut child, run) = holder(&world, 3_600_000);
    let error = acquire(&world.catalogue, &resource, &Id::new()).err().unwrap();
    assert_eq!(error.detail("run"), Some(run));
    child.kill();
    let lease = acquire(&world.catalogue, &resource, &Id::new()).unwrap();
    lease.check().unwrap();
}

#[test]
fn a_killed_process_and_a_hundred_heirs() {
    let world = World::new();
    let (mut child, _) = holder(&world, 3_600_000);
    let mut heirs: Vec<_> = (0..20).map(|_| self::child(&world, 60_000)).collect();
    child.kill();
    heirs.iter_mut().for_each(Running::go);
    let said: Vec<_> = heirs.iter_mut().map(|heir| heir.hear().unwrap()).collect();
    assert_eq!(said.iter().filter(|line| line.starts_with("won")).count(), 1, "{said:?}");
    assert_eq!(said.iter().filter(|line| line.starts_with("busy")).count(), 19, "{said:?}");
}

#[test]
fn a_killed_run_is_found_and_its_keys_with_it() {
    let world = World::new();
    let c = &world.catalogue;
    let (mut child, run) = holder(&world, 3_600_000);
    // The child's run, as it would have written it itself.
    let mut backup = running(&world.source, 1);
    backup.id = run.parse().unwrap();
    let fence: i64 = world
        .raw()
        .query_row("SELECT fence FROM leases", [], |row| row.get(0))
        .unwrap();
    let resource = Resource::Source(world.source.id).to_string();
    {
        let mine = world.lease(&Resource::Slot(9));
        c.begin_run(&backup, &[(world.local.id, artifact_key(&backup))], &mine)
            .unwrap();
    }
    world
        .raw()
        .execute("UPDATE backups SET resource = ?1, fence = ?2", params![resource, fence])
        .unwrap();
    assert!(c.dead_runs().unwrap().is_empty());
    assert!(!c.interrupt_run(&backup.id, moment(5)).unwrap());
    child.kill();
    assert_eq!(c.dead_runs().unwrap()[0].copies[0].key, artifact_key(&backup));
    assert!(c.interrupt_run(&backup.id, moment(5)).unwrap());
    assert_eq!(c.leftovers().unwrap().len(), 1);
    assert_eq!(c.backup(&run).unwrap().state, BackupState::Interrupted);
}

/// Puts the end of every lease elsewhere, now and at every renewal: what another clock would write.
fn other_clock(world: &World, expires_at: &str) {
    world
        .raw()
        .execute_batch(&format!(
            "UPDATE leases SET expires_at = '{expires_at}';
             CREATE TRIGGER other_clock AFTER UPDATE OF beat ON leases
             BEGIN UPDATE leases SET expires_at = '{expires_at}' WHERE resource = NEW.resource; END;"
        ))
        .unwrap();
}

#[test]
fn no_jump_of_the_clock_kills_a_living_lease() {
    for expires_at in ["1999-01-01T00:00:00.000Z", "2999-01-01T00:00:00.000Z"] {
        let world = World::new();
        let (mut child, run) = holder(&world, 300);
        other_clock(&world, expires_at);
        // Returns as soon as the heart is seen to beat; the margin would be an hour.
        let margin = Duration::from_secs(3_600);
        let resource = Resource::Source(world.source.id);
        let error = Lease::acquire_within(&world.catalogue, &resource, &Id::new(), LENGTH, &Cancel::new(), margin)
            .err()
            .unwrap();
        assert_eq!((error.code(), error.detail("run")), (Code::Busy, Some(run)), "{expires_at}");
        child.go();
        assert_eq!(child.hear().as_deref(), Some("held"));
    }
}

#[test]
fn a_frozen_process_loses_its_lease_and_is_told_when_it_wakes() {
    for expires_at in ["1999-01-01T00:00:00.000Z", "2999-01-01T00:00:00.000Z"] {
        let world = World::new();
        let resource = Resource::Source(world.source.id);
        let (mut child, _) = holder(&world, 300);
        child.signal(Signal::STOP);
        stopped(&child);
        // It may have been stopped in the middle of a write; then nobody can write before it goes on. That is SQLite's lock, not ours.
        let raw = world.raw();
        raw.busy_timeout(Duration::ZERO).unwrap();
        let free = loop {
            match raw.execute("UPDATE leases SET expires_at = ?1", [expires_at]) {
                Ok(_) => break true,
                Err(e) if e.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => {
                    child.signal(Signal::CONT);
                    child.signal(Signal::STOP);
                    stopped(&child);
                }
                Err(_) => break false,
            }
        };
        assert!(free);
        let margin = Duration::from_millis(200);
        let lease = Lease::acquire_within(&world.catalogue, &resource, &Id::new(), LENGTH, &Cancel::new(), margin).unwrap();
        child.signal(Signal::CONT);
        child.go();
        assert_eq!(child.hear().as_deref(), Some("lost"));
        lease.check().unwrap();
    }
}

/// Waits until the system says that the child is stopped.
fn stopped(child: &Running) {
    let path = format!("/proc/{}/stat", child.child.id());
    loop {
        let stat = std::fs::read_to_string(&path).unwrap();
        if stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')) {
            return;
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_process_killed_while_it_is_watched_is_dead_at_once() {
    let world = World::new();
    let (mut child, _) = holder(&world, 3_600_000);
    other_clock(&world, "1999-01-01T00:00:00.000Z");
    let resource = Resource::Source(world.source.id);
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            // An hour and a third of it: only the end of the process ends this.
            Lease::acquire_within(
                &world.catalogue,
                &resource,
                &Id::new(),
                LENGTH,
                &Cancel::new(),
                Duration::from_secs(3_600),
            )
        });
        child.kill();
        watching.join().unwrap().unwrap();
    });
}

#[test]
fn watching_can_be_cancelled() {
    let world = World::new();
    let (_child, _) = holder(&world, 3_600_000);
    other_clock(&world, "1999-01-01T00:00:00.000Z");
    let cancel = Cancel::new();
    cancel.cancel(Reason::Interrupt);
    let error = Lease::acquire(
        &world.catalogue,
        &Resource::Source(world.source.id),
        &Id::new(),
        LENGTH,
        &cancel,
    )
    .err()
    .unwrap();
    assert_eq!(error.code(), Code::Cancelled);
}

#[test]
fn a_lost_lease_raises_the_flag_by_itself() {
    let world = World::new();
    let cancel = Cancel::new();
    let resource = Resource::Source(world.source.id);
    let lease = Lease::acquire(&world.catalogue, &resource, &Id::new(), Duration::from_millis(60), &cancel).unwrap();
    world.raw().execute("UPDATE leases SET fence = fence + 1", []).unwrap();
    // Ends when the flag is raised, or not at all.
    while !cancel.is_cancelled() {
        std::thread::yield_now();
    }
    assert_eq!(cancel.reason(), Some(Reason::LeaseLost));
    assert_eq!(lease.check().unwrap_err().text(), "lease_lost");
    // What is somebody else's now is not given back.
    drop(lease);
    let left: i64 = world
        .raw()
        .query_row("SELECT COUNT(*) FROM leases", [], |row| row.get(0))
        .unwrap();
    assert_eq!(left, 1);
}

#[test]
fn the_heart_beats_while_a_lease_is_held() {
    let world = World::new();
    let resource = Resource::Source(world.source.id);
    let length = Duration::from_millis(30);
    let lease = Lease::acquire(&world.catalogue, &resource, &Id::new(), length, &Cancel::new()).unwrap();
    let beat = || -> i64 {
        world
            .raw()
            .query_row("SELECT beat FROM leases", [], |row| row.get(0))
            .unwrap()
    };
    while beat() < 5 {
        std::thread::yield_now();
    }
    lease.check().unwrap();
}

#[test]
fn a_lease_that_could_not_be_given_back_is_dead_for_its_own_process() {
    let world = World::new();
    let resource = Resource::Source(world.source.id);
    let lease = acquire(&world.catalogue, &resource, &Id::new()).unwrap();
    world
        .raw()
        .execute_batch("CREATE TRIGGER stuck BEFORE DELETE ON leases BEGIN SELECT RAISE(ABORT, 'stuck'); END")
        .unwrap();
    drop(lease);
    acquire(&world.catalogue, &resource, &Id::new()).unwrap();
}

#[test]
fn a_lease_outlives_a_closed_catalogue_without_a_panic() {
    let world = World::new();
    let lease = acquire(&world.catalogue, &Resource::Slot(0), &Id::new()).unwrap();
    world.catalogue.clone().close().unwrap();
    assert_eq!(lease.check().unwrap_err().code(), Code::Internal);
    drop(lease);
    let again = Catalogue::open(&world.home).unwrap();
    acquire(&again, &Resource::Slot(0), &Id::new()).unwrap();
}

#[test]
fn who_took_over_can_finish_and_who_lost_cannot() {
    let world = World::new();
    let c = &world.catalogue;
    let resource = Resource::Source(world.source.id);
    let lost = acquire(c, &resource, &Id::new()).unwrap();
    let backup = running(&world.source, 1);
    c.begin_run(&backup, &[(world.local.id, artifact_key(&backup))], &lost)
        .unwrap();
    world.home.fences().remove(&lost.fence());
    let taken = acquire(c, &resource, &Id::new()).unwrap();
    let good = ended(&backup, BackupState::Verified, &[(&world.local, CopyState::Verified)]);
    let json = manifest_json(&good);
    assert_eq!(c.finish_run(&good, Some(&json), &[], &lost).unwrap_err().text(), "lease_lost");
    assert_eq!(c.finish_run(&good, Some(&json), &[], &taken).unwrap(), good);
}

proptest! {
    #[test]
    fn an_end_is_plausible_within_a_lease(length in 1..10_000_u64, offset in -100_000..100_000_i64) {
        let now = moment(0);
        let end = now + TimeDelta::seconds(offset);
        let may = offset > 0 && offset <= 2 * i64::try_from(length).unwrap();
        prop_assert_eq!(plausible(Some(end), Duration::from_secs(length), now), may);
        prop_assert!(!plausible(None, Duration::from_secs(length), now));
    }
}
