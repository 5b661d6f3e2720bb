//! Leases: two processes on one home never do the same work twice.
//!
//! A lease is a row of the catalogue: a resource, the owner who holds it, and a **fence**, a number that is never given out twice. Whoever
//! takes a lease over gets a greater fence, and everything a run writes is written under its own: a run that lost its lease (a laptop that
//! slept, a process that was stopped) changes nothing any more.
//!
//! # Who is dead
//! - *The process is gone*: the system has given back the lock on `runtime/<owner>.lock`. Seen at once, also after `kill -9`; no clock
//!   and no process id is asked.
//! - *The process is frozen*: the lock is held, but the lease has not been renewed. Its end by the wall clock is only a hint, since
//!   clocks jump: who finds it in the past (or further in the future than a lease can be) watches the row's heartbeat, over
//!   its own monotonic time, for longer than a living owner takes to renew. Only where that stands still is the lease taken over.
//!
//! Not here: what becomes of the runs of dead owners (`catalogue::runs`), and what they left at a destination.

#![allow(
    clippy::disallowed_methods,
    reason = "a heartbeat is a fact about now: the one place of the engine that reads the wall clock"
)]

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use coffre_model::cancel::Reason;
use coffre_model::{Cancel, Code, Error, Id, Result};
use rusqlite::{Connection, OptionalExtension, params};

use crate::catalogue::{Catalogue, Fault, time_text};
use crate::home::Home;

/// A living owner renews after a third of the lease; its write may then have to wait for its turn (`busy_timeout`).
const MARGIN: Duration = Duration::from_secs(5);

/// What can be worked on by one run at a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// Backing up this source.
    Source(Id),
    /// Verifying, restoring or deleting this backup.
    Backup(Id),
    /// One of the places for runs at the same time (`max_parallel_runs`), counted from 0.
    Slot(u32),
    /// Running what this plan's schedule asks for.
    Plan(Id),
    /// Coffre's own work of this name.
    Job(&'static str),
    /// Restoring into this target.
    Restore(String),
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Resource::Source(id) => write!(f, "source:{id}"),
            Resource::Backup(id) => write!(f, "backup:{id}"),
            Resource::Slot(n) => write!(f, "slot:{n}"),
            Resource::Plan(id) => write!(f, "plan:{id}"),
            Resource::Job(name) => write!(f, "job:{name}"),
            Resource::Restore(target) => write!(f, "restore:{target}"),
        }
    }
}

impl Resource {
    /// The text of the refusal where somebody else works on it.
    fn busy_text(&self) -> &'static str {
        match self {
            Resource::Source(_) => "busy_source",
            Resource::Backup(_) => "busy_backup",
            Resource::Slot(_) => "busy_slots",
            Resource::Plan(_) => "busy_plan",
            Resource::Job(_) => "busy_slots",
            Resource::Restore(_) => "busy_restore",
        }
    }
}

/// A lease that this process holds: renewed by a thread of its own, given back on drop.
pub struct Lease {
    held: Arc<Held>,
    heartbeat: Option<JoinHandle<()>>,
}

struct Held {
    catalogue: Catalogue,
    resource: String,
    fence: i64,
    length: Duration,
    cancel: Cancel,
    over: Mutex<bool>,
    wake: Condvar,
}

/// A lease as somebody who wants it finds it.
struct Row {
    owner: String,
    fence: i64,
    run_id: String,
    beat: i64,
    length: Duration,
    expires_at: Option<DateTime<Utc>>,
}

/// What a look at the row says.
enum Judgement {
    /// Somebody works on it.
    Alive,
    /// Its owner is gone.
    Dead,
    /// Its owner is there, but the clock says that it should have renewed.
    Doubtful,
}

/// What watching a doubtful lease showed.
enum Watched {
    Beating,
    Frozen,
    /// It is not the same lease any more, or its owner has gone: look again.
    Changed,
}

impl Lease {
    /// Takes the lease on `resource` for the run `run_id`. It is renewed after every third of `length` (the setting
    /// `lease_seconds`); if it is lost, `cancel` is raised with [`Reason::LeaseLost`].
    ///
    /// Returns at once, but for one case: the holder's process is there and seems frozen. Then it is watched for a third of its lease
    /// and five seconds.
    ///
    /// # Errors
    /// `BUSY`, with the facts `run` (the id of the run that holds it) and, where that is a backup, `code`. The error of `cancel`.
    pub fn acquire(catalogue: &Catalogue, resource: &Resource, run_id: &Id, length: Duration, cancel: &Cancel) -> Result<Lease> {
        Lease::acquire_within(catalogue, resource, run_id, length, cancel, MARGIN)
    }

    /// Takes one of `max` places for runs at the same time.
    ///
    /// # Errors
    /// `BUSY` where all are taken, with the facts `max` and `run` (one of those that hold them).
    pub fn acquire_slot(catalogue: &Catalogue, max: u32, run_id: &Id, length: Duration, cancel: &Cancel) -> Result<Lease> {
        let mut busy = None;
        for n in 0..max.max(1) {
            match Lease::acquire(catalogue, &Resource::Slot(n), run_id, length, cancel) {
                Err(e) if e.code() == Code::Busy && e.text() == "busy_slots" => busy = busy.or(Some(e)),
                other => return other,
            }
        }
        Err(busy.unwrap_or_else(|| Error::new(Code::Busy, "busy_slots")).with("max", max))
    }

    fn acquire_within(
        catalogue: &Catalogue,
        resource: &Resource,
        run_id: &Id,
        length: Duration,
        cancel: &Cancel,
        margin: Duration,
    ) -> Result<Lease> {
        let home = catalogue.home();
        let name = resource.to_string();
        loop {
            cancel.check()?;
            let row = catalogue.read(|c| find(c, &name))?;
            let Some(row) = row else {
                match take(catalogue, &name, run_id, length, None)? {
                    Some(fence) => return Lease::hold(catalogue, name, fence, length, cancel),
                    None => continue,
                }
            };
            let expected = match judge(home, &row)? {
                Judgement::Alive => return Err(busy(catalogue, resource, &row)?),
                // Dead stays dead: a name of an owner is never used again.
                Judgement::Dead => (row.fence, None),
                Judgement::Doubtful => match watch(catalogue, &name, &row, cancel, margin)? {
                    Watched::Beating => return Err(busy(catalogue, resource, &row)?),
                    Watched::Changed => continue,
                    Watched::Frozen => (row.fence, Some(row.beat)),
                },
            };
            if let Some(fence) = take(catalogue, &name, run_id, length, Some(expected))? {
                return Lease::hold(catalogue, name, fence, length, cancel);
            }
        }
    }

    fn hold(catalogue: &Catalogue, resource: String, fence: i64, length: Duration, cancel: &Cancel) -> Result<Lease> {
        let held = Arc::new(Held {
            catalogue: catalogue.clone(),
            resource,
            fence,
            length,
            cancel: cancel.clone(),
            over: Mutex::new(false),
            wake: Condvar::new(),
        });
        let mut lease = Lease {
            held: Arc::clone(&held),
            heartbeat: None,
        };
        let thread = std::thread::Builder::new()
            .name("lease".into())
            .spawn(move || held.beat())
            .map_err(|e| Error::internal("lease", e))?;
        lease.heartbeat = Some(thread);
        Ok(lease)
    }

    /// Asks the catalogue whether the lease is still ours. Called before every step that others can see.
    ///
    /// # Errors
    /// `INTERRUPTED` (`lease_lost`).
    pub fn check(&self) -> Result<()> {
        let checked = self.held.catalogue.read(|c| self.fenced(c));
        if let Err(e) = &checked
            && e.code() == Code::Interrupted
        {
            self.held.cancel.cancel(Reason::LeaseLost);
        }
        checked
    }

    /// The same inside a transaction.
    pub(crate) fn fenced(&self, connection: &Connection) -> Result<(), Fault> {
        let ours = connection
            .prepare_cached("SELECT 1 FROM leases WHERE resource = ?1 AND fence = ?2")?
            .exists(params![self.held.resource, self.held.fence])?;
        if ours {
            Ok(())
        } else {
            Err(Fault::Ours(Error::new(Code::Interrupted, "lease_lost")))
        }
    }

    /// What it is on, as the catalogue writes it.
    pub fn resource(&self) -> &str {
        &self.held.resource
    }

    /// Its fence.
    pub fn fence(&self) -> i64 {
        self.held.fence
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        *self.held.over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.held.wake.notify_all();
        if let Some(thread) = self.heartbeat.take() {
            // A panic of the heartbeat is no reason to panic here; the lease ends now either way.
            let _ended = thread.join();
        }
        // If the row cannot be removed (a full disk), it is not renewed any more and counts as dead: at once for this process, which no
        // longer lists its fence, and for others once they have watched it.
        let _seen_as_dead = self.held.catalogue.write(|c| {
            c.prepare_cached("DELETE FROM leases WHERE resource = ?1 AND fence = ?2")?
                .execute(params![self.held.resource, self.held.fence])?;
            Ok(())
        });
        self.held.catalogue.home().fences().remove(&self.held.fence);
    }
}

impl Held {
    /// Renews until it is over or lost.
    fn beat(&self) {
        let usual = self.length / 3;
        let mut pause = usual;
        loop {
            let over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
            let (over, _) = self
                .wake
                .wait_timeout_while(over, pause, |over| !*over)
                .unwrap_or_else(PoisonError::into_inner);
            if *over {
                return;
            }
            drop(over);
            let renewed = self.catalogue.write(|c| {
                Ok(
                    c.prepare_cached("UPDATE leases SET beat = beat + 1, expires_at = ?3 WHERE resource = ?1 AND fence = ?2")?
                        .execute(params![self.resource, self.fence, expiry(self.length)])?,
                )
            });
            match renewed {
                Ok(0) => {
                    self.cancel.cancel(Reason::LeaseLost);
                    return;
                }
                Ok(_) => pause = usual,
                // A catalogue that cannot be written now (a full disk, a long queue) may be in a moment. Nothing is lost by trying again: if
                // somebody takes the lease meanwhile, the next beat and every write of the run see it.
                Err(_) => pause = usual / 4,
            }
        }
    }
}

/// Whether the process `owner` holds the lease with this `fence`: it lives, and (where it is this very process) has not let go of it.
pub(crate) fn owner_holds(home: &Home, owner: &str, fence: i64) -> Result<bool> {
    if home.is_owner(owner) {
        return Ok(home.fences().contains(&fence));
    }
    home.owner_alive(owner)
}

fn find(connection: &Connection, resource: &str) -> Result<Option<Row>, Fault> {
    Ok(connection
        .prepare_cached("SELECT owner, fence, run_id, beat, lease_ms, expires_at FROM leases WHERE resource = ?1")?
        .query_row([resource], |row| {
            let expires_at: String = row.get(5)?;
            Ok(Row {
                owner: row.get(0)?,
                fence: row.get(1)?,
                run_id: row.get(2)?,
                beat: row.get(3)?,
                length: Duration::from_millis(row.get::<_, i64>(4)?.unsigned_abs()),
                // What cannot be read is doubtful, not dead.
                expires_at: DateTime::parse_from_rfc3339(&expires_at).ok().map(|t| t.to_utc()),
            })
        })
        .optional()?)
}

fn judge(home: &Home, row: &Row) -> Result<Judgement> {
    if !owner_holds(home, &row.owner, row.fence)? {
        return Ok(Judgement::Dead);
    }
    // If this process can look, it is not frozen, and neither is its heartbeat.
    if home.is_owner(&row.owner) || plausible(row.expires_at, row.length, Utc::now()) {
        return Ok(Judgement::Alive);
    }
    Ok(Judgement::Doubtful)
}

/// Whether a lease of this length, renewed in time, can end at `expires_at` if it is `now`.
fn plausible(expires_at: Option<DateTime<Utc>>, length: Duration, now: DateTime<Utc>) -> bool {
    let length = TimeDelta::from_std(length).unwrap_or(TimeDelta::MAX);
    // Twice the length: two clocks of one machine may differ a little, but not by a whole lease.
    expires_at.is_some_and(|end| end > now && end.signed_duration_since(now) <= length.checked_mul(2).unwrap_or(TimeDelta::MAX))
}

fn watch(catalogue: &Catalogue, resource: &str, row: &Row, cancel: &Cancel, margin: Duration) -> Result<Watched> {
    let began = Instant::now();
    let long_enough = row.length / 3 + margin;
    loop {
        // Asked before looking, so that the last look comes after the whole time.
        let enough = began.elapsed() >= long_enough;
        match catalogue.read(|c| find(c, resource))? {
            Some(now) if now.fence == row.fence => {
                if now.beat != row.beat {
                    return Ok(Watched::Beating);
                }
                if !catalogue.home().owner_alive(&now.owner)? {
                    return Ok(Watched::Changed);
                }
            }
            _ => return Ok(Watched::Changed),
        }
        if enough {
            return Ok(Watched::Frozen);
        }
        std::thread::sleep(Duration::from_millis(100));
        cancel.check()?;
    }
}

/// Takes the lease if it still is as it was found: absent, or with this fence (and this heartbeat). Answers the new fence.
fn take(
    catalogue: &Catalogue,
    resource: &str,
    run_id: &Id,
    length: Duration,
    expected: Option<(i64, Option<i64>)>,
) -> Result<Option<i64>> {
    let home = catalogue.home();
    let owner = home.owner()?;
    let length_ms = i64::try_from(length.as_millis()).unwrap_or(i64::MAX).max(1);
    let mut given = None;
    let taken = catalogue.write(|c| {
        let found = find(c, resource)?;
        let same = match (&found, expected) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(row), Some((fence, beat))) => row.fence == fence && beat.is_none_or(|beat| row.beat == beat),
        };
        if !same {
            return Ok(None);
        }
        let fence: i64 = c
            .prepare_cached("UPDATE fence SET last = last + 1 WHERE one = 1 RETURNING last")?
            .query_row([], |row| row.get(0))?;
        c.prepare_cached(
            "INSERT INTO leases (resource, owner, fence, run_id, beat, lease_ms, expires_at) VALUES (?1, ?2, ?3, ?4, 0, ?5, ?6)
             ON CONFLICT (resource) DO UPDATE SET owner = excluded.owner, fence = excluded.fence, run_id = excluded.run_id,
                beat = 0, lease_ms = excluded.lease_ms, expires_at = excluded.expires_at",
        )?
        .execute(params![resource, owner, fence, run_id.to_string(), length_ms, expiry(length)])?;
        // Before it can be seen: a lease of ours that we do not list counts as left behind.
        home.fences().insert(fence);
        given = Some(fence);
        Ok(Some(fence))
    });
    if taken.is_err()
        && let Some(fence) = given
    {
        home.fences().remove(&fence);
    }
    taken
}

fn expiry(length: Duration) -> String {
    let length = TimeDelta::from_std(length).unwrap_or(TimeDelta::zero());
    let now = Utc::now();
    time_text(now.checked_add_signed(length).unwrap_or(now))
}

fn busy(catalogue: &Catalogue, resource: &Resource, row: &Row) -> Result<Error> {
    let code: Option<String> = catalogue.read(|c| {
        Ok(c.prepare_cached("SELECT code FROM backups WHERE id = ?1")?
            .query_row([&row.run_id], |row| row.get(0))
            .optional()?)
    })?;
    let error = Error::new(Code::Busy, resource.busy_text()).with("run", row.run_id.clone());
    Ok(match code {
        Some(code) => error.with("code", code),
        None => error,
    })
}

#[cfg(test)]
mod tests;
