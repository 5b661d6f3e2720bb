//! `./dev bench scheduler`: what a look at 1,000 plans costs, what waiting costs, and 400 days in three zones on a real catalogue.
//! Never a test of speed: it prints a table. What must hold (each slot once) ends it.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    reason = "a measuring program: it prints a table, and ends at the first surprise"
)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use coffre_api::model::backup::{Backup, Trigger};
use coffre_api::model::drill::Drill;
use coffre_api::model::journal::Author;
use coffre_api::model::plan::Plan;
use coffre_api::model::schedule::Schedule;
use coffre_api::model::slot::SlotState;
use coffre_api::model::source::SourceOptions;
use coffre_api::model::{Cancel, Code, Error, Id, Result};
use coffre_api::notifications::Told;
use coffre_api::plans::PlanChange;
use coffre_api::schedules::{Clockwork, Ran, Runner};
use coffre_api::{Coffre, Opening};
use coffre_engine::scheduler::{self, Memory};

const PLANS: usize = 1_000;

/// The time of the simulation, in milliseconds.
static NOW: AtomicI64 = AtomicI64::new(0);

fn simulated() -> DateTime<Utc> {
    DateTime::from_timestamp_millis(NOW.load(Ordering::SeqCst)).unwrap()
}

fn set(now: DateTime<Utc>) {
    NOW.store(now.timestamp_millis(), Ordering::SeqCst);
}

fn open(home: &Path, now: Option<fn() -> DateTime<Utc>>) -> Coffre {
    let mut coffre = Coffre::open(Opening {
        home: home.to_owned(),
        author: Author::Cli,
        actor: None,
    })
    .unwrap();
    if let Some(now) = now {
        coffre.engine.now = now;
    }
    coffre
}

/// A home with these schedules: name, fields, zone.
fn planned(folder: &Path, plans: &[(String, String, &str)], now: Option<fn() -> DateTime<Utc>>) -> Coffre {
    let coffre = open(&folder.join("home"), now);
    let address = format!("sqlite://{}", folder.join("shop.db").display());
    let source = coffre.add_source(&address, "shop", SourceOptions::default(), None).unwrap();
    let place = folder.join("safe");
    std::fs::create_dir_all(&place).unwrap();
    let destination = coffre
        .add_destination(&format!("file://{}", place.display()), "safe", None)
        .unwrap();
    for (name, cron, zone) in plans {
        let change = PlanChange {
            destinations: Some(vec![destination.clone()]),
            cron: Some(cron.clone()),
            time_zone: Some((*zone).to_owned()),
            ..PlanChange::default()
        };
        coffre.add_plan(name, &source, change).unwrap();
    }
    coffre
}

fn milliseconds(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort();
    let ms = |at: Option<&Duration>| at.map_or(0.0, |time| time.as_secs_f64() * 1000.0);
    (ms(times.get(times.len() / 2)), ms(times.last()))
}

fn row(what: &str, found: &str, goal: &str) {
    println!("| {what} | {found} | {goal} |");
}

/// A runner whose runs cannot happen: nothing is due while it is watched.
struct Idle(Arc<Coffre>);

impl Runner for Idle {
    fn coffre(&self) -> Result<Arc<Coffre>> {
        Ok(Arc::clone(&self.0))
    }

    fn back_up(&self, _: &Plan, _: Trigger, _: &(dyn Fn(Id) + Sync), _: &Cancel) -> Result<Backup> {
        Err(Error::new(Code::Cancelled, "cancelled"))
    }

    fn drill(&self, _: &Backup, _: &Cancel) -> Result<Drill> {
        Err(Error::new(Code::Cancelled, "cancelled"))
    }

    fn changed(&self) {}
    fn told(&self, _: &Told) {}
    fn ran(&self, _: &Ran) {}

    fn failed(&self, error: &Error) {
        panic!("{error}");
    }
}

/// What this process used of a core until now.
fn used() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let nanoseconds = threads.filter_map(|thread| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanoseconds.sum())
}

fn tick(folder: &Path) {
    // Not due while this runs, and no two of the same schedule.
    let plans: Vec<_> = (0..PLANS)
        .map(|n| {
            let zone = ["Europe/Paris", "America/New_York", "Australia/Lord_Howe", "UTC"][n % 4];
            (
                format!("plan-{n}"),
                format!("{} {} {} 1,7 *", n % 60, n % 24, n % 28 + 1),
                zone,
            )
        })
        .collect();
    let coffre = planned(folder, &plans, None);
    let engine = &coffre.engine;
    let mut memory = Memory::default();
    let began = Instant::now();
    let first = scheduler::look(engine, &mut memory).unwrap();
    assert!(first.starts.is_empty());
    row(
        "the first look at 1,000 plans, all schedules read",
        &format!("{:.1} ms", began.elapsed().as_secs_f64() * 1000.0),
        "shown",
    );
    let look = |memory: &mut Memory, forget: bool| {
        let times = (0..200).map(|_| {
            if forget {
                memory.forget();
            }
            let began = Instant::now();
            scheduler::look(engine, memory).unwrap();
            began.elapsed()
        });
        milliseconds(times.collect())
    };
    let (median, worst) = look(&mut memory, false);
    row(
        "a look at 1,000 plans",
        &format!("{median:.2} ms (worst of 200: {worst:.2})"),
        "< 10 ms",
    );
    let (median, worst) = look(&mut memory, true);
    row(
        "the same after somebody changed the catalogue",
        &format!("{median:.2} ms (worst of 200: {worst:.2})"),
        "shown",
    );
    let seconds = std::env::var("COFFRE_BENCH_IDLE")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(60);
    // The daily work of a new home is done first.
    while coffre.do_jobs(&Cancel::new()).unwrap() {}
    let clockwork = Clockwork::start(Arc::new(Idle(Arc::new(coffre)))).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let (began, before) = (Instant::now(), used());
    std::thread::sleep(Duration::from_secs(seconds));
    let share = used().saturating_sub(before).as_secs_f64() / began.elapsed().as_secs_f64() * 100.0;
    row(
        &format!("the clockwork with 1,000 plans, {seconds} s of waiting"),
        &format!("{share:.4} % of a core"),
        "< 0.1 %",
    );
    assert!(clockwork.stop(Duration::from_secs(5)));
}

/// 400 days, with both changes of clock of each zone, on a real catalogue: each slot once.
fn four_hundred_days(folder: &Path) {
    let created: DateTime<Utc> = "2026-09-01T00:00:30Z".parse().unwrap();
    set(created);
    let plans = [
        ("paris", "30 2 * * *", "Europe/Paris"),
        ("york", "0 */6 * * *", "America/New_York"),
        ("howe", "15 2 * * 0", "Australia/Lord_Howe"),
    ];
    let given: Vec<_> = plans.iter().map(|(n, c, z)| ((*n).to_owned(), (*c).to_owned(), *z)).collect();
    let coffre = planned(folder, &given, Some(simulated));
    let engine = &coffre.engine;
    let plans = coffre.plans().unwrap();
    let schedules: Vec<Schedule> = plans
        .iter()
        .map(|plan| Schedule::of(plan.schedule.as_ref().unwrap()).unwrap())
        .collect();
    let until = created + TimeDelta::days(400);
    let (began, mut memory, mut runs) = (Instant::now(), Memory::default(), 0_usize);
    let mut now = created;
    while let Some(next) = schedules
        .iter()
        .filter_map(|schedule| schedule.next_after(now))
        .min()
        .filter(|next| *next <= until)
    {
        now = next + TimeDelta::seconds(7);
        set(now);
        for start in scheduler::look(engine, &mut memory).unwrap().starts {
            let begun = scheduler::begin(engine, &start, &Cancel::new()).unwrap().unwrap();
            // A run that failed for good ends a slot as well as one that did not, and needs no backup.
            let outcome = Err(Error::new(Code::Privilege, "cancelled"));
            scheduler::end(engine, begun, &outcome, false).unwrap();
            runs += 1;
        }
    }
    let took = began.elapsed().as_secs_f64();
    for (plan, schedule) in plans.iter().zip(&schedules) {
        let expected = schedule.between(created, until, 100_000);
        let mut slots = engine.catalogue.slots_of_plan(&plan.id, 100_000).unwrap();
        slots.reverse();
        let found: Vec<_> = slots.iter().map(|slot| slot.at).collect();
        assert_eq!(found, expected, "{}", plan.name);
        assert!(slots.iter().all(|slot| slot.state == SlotState::Failed && slot.tries == 1));
    }
    row(
        &format!("400 simulated days in three zones, {runs} slots on a real catalogue, each once"),
        &format!("{took:.2} s"),
        "< 10 s",
    );
}

fn main() {
    let base = std::env::var_os("COFFRE_BENCH_FOLDER").map_or_else(std::env::temp_dir, Into::into);
    let folder = tempfile::Builder::new().prefix("coffre-bench-").tempdir_in(base).unwrap();
    println!("| what | found | goal |\n|---|---|---|");
    for (name, work) in [("days", four_hundred_days as fn(&Path)), ("tick", tick)] {
        let own = folder.path().join(name);
        std::fs::create_dir(&own).unwrap();
        work(&own);
    }
}
