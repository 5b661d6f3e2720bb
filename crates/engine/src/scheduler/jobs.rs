//! Coffre's own work: each once a day at its time on the wall, and made up for after sleep; tried again an hour later where it failed.
//!
//! What is known of it is one value in `clockwork`. Two processes on one home carry each out once: under a lease, and judged anew there.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use coffre_model::schedule::Schedule;
use coffre_model::{Cancel, Code, Error, Id, Result};
use serde::{Deserialize, Serialize};

use crate::context::Engine;
use crate::lease::{Lease, Resource};

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Job {
    /// What has served its time leaves: backups out of the bin, data kept for an undo.
    Expired,
    /// Retention of every plan: what was left undone is done, and what is in the bin is looked at anew.
    Retention,
    /// A copy of the catalogue.
    Catalogue,
}

/// A beginning that lies further ahead than this was written by a clock that was wrong.
const AHEAD: TimeDelta = TimeDelta::days(1);
/// How long until what failed is tried again.
const AGAIN: TimeDelta = TimeDelta::hours(1);

impl Job {
    /// All of them, in the order of the day.
    pub const ALL: [Job; 3] = [Job::Expired, Job::Retention, Job::Catalogue];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Job::Expired => "expired",
            Job::Retention => "retention",
            Job::Catalogue => "catalogue",
        }
    }

    /// When it is due, as fields of cron in the machine's time zone.
    pub fn cron(self) -> &'static str {
        match self {
            Job::Expired => "0 3 * * *",
            Job::Retention => "30 3 * * *",
            Job::Catalogue => "0 4 * * *",
        }
    }
}

/// What is known of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobRecord {
    /// When it last began.
    pub started_at: DateTime<Utc>,
    /// When that was over; nothing while it goes on, or where its process died.
    pub ended_at: Option<DateTime<Utc>>,
    /// Why it failed, if it did.
    pub error: Option<Error>,
}

/// A job that is ours to do.
pub struct Doing {
    job: Job,
    started_at: DateTime<Utc>,
    before: Option<DateTime<Utc>>,
    /// Held until it is over.
    lease: Lease,
}

impl Doing {
    /// When it was last begun before that.
    pub fn before(&self) -> Option<DateTime<Utc>> {
        self.before
    }
}

fn name(job: Job) -> String {
    format!("job:{}", job.as_str())
}

/// When a job is due: at once where it never was done, where its process died in the middle, or where the clock was ahead then.
pub fn due(job: Job, record: Option<&JobRecord>, zone: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>> {
    let Some(record) = record.filter(|record| record.started_at - now < AHEAD) else {
        return Ok(now);
    };
    let next = Schedule::new(job.cron(), zone)?.next_after(record.started_at).unwrap_or(now);
    let again = match (&record.error, record.ended_at) {
        (Some(_), Some(ended)) => Some(ended + AGAIN),
        (None, None) => Some(record.started_at + AGAIN),
        _ => None,
    };
    Ok(again.map_or(next, |again| again.min(next)))
}

/// What is known of every job.
///
/// # Errors
/// The catalogue's own.
pub fn jobs(engine: &Engine) -> Result<BTreeMap<String, JobRecord>> {
    engine.catalogue.clockworks("job:")
}

/// Takes a job on, if it is due. Nothing where it is not, or another process has it.
///
/// # Errors
/// The catalogue's own, that of `cancel`; `USAGE` for a time zone that is not known.
pub fn begin_job(engine: &Engine, job: Job, zone: &str, cancel: &Cancel) -> Result<Option<Doing>> {
    let lease = match Lease::acquire(
        &engine.catalogue,
        &Resource::Job(job.as_str()),
        &Id::new(),
        engine.lease()?,
        cancel,
    ) {
        Ok(lease) => lease,
        Err(error) if error.code() == Code::Busy => return Ok(None),
        Err(error) => return Err(error),
    };
    let now = (engine.now)();
    let record: Option<JobRecord> = engine.catalogue.clockwork(&name(job))?;
    if due(job, record.as_ref(), zone, now)? > now {
        return Ok(None);
    }
    let begun = JobRecord {
        started_at: now,
        ended_at: None,
        error: None,
    };
    engine.catalogue.set_clockwork(&name(job), Some(&begun))?;
    Ok(Some(Doing {
        job,
        started_at: now,
        before: record.map(|record| record.started_at),
        lease,
    }))
}

/// Writes down how it ended.
///
/// # Errors
/// The catalogue's own.
pub fn end_job(engine: &Engine, doing: Doing, error: Option<Error>) -> Result<()> {
    let record = JobRecord {
        started_at: doing.started_at,
        ended_at: Some((engine.now)().max(doing.started_at)),
        error,
    };
    engine.catalogue.set_clockwork(&name(doing.job), Some(&record))?;
    drop(doing.lease);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn once_a_day_at_its_time_made_up_for_after_sleep_and_tried_again() {
        let zone = "Europe/Paris";
        let done = |started: &str, error: Option<Error>| JobRecord {
            started_at: at(started),
            ended_at: Some(at(started) + TimeDelta::minutes(5)),
            error,
        };
        let now = at("2026-11-21T12:00:00Z");
        let due = |record: Option<&JobRecord>| due(Job::Expired, record, zone, now).unwrap();
        assert_eq!(due(None), now);
        assert_eq!(due(Some(&done("2026-11-21T02:00:01Z", None))), at("2026-11-22T02:00:00Z"));
        // The machine slept for three nights: once, now.
        assert_eq!(due(Some(&done("2026-11-18T02:00:01Z", None))), at("2026-11-19T02:00:00Z"));
        let failed = Some(Error::new(Code::DestUnreachable, "x"));
        assert_eq!(due(Some(&done("2026-11-21T11:30:00Z", failed))), at("2026-11-21T12:35:00Z"));
        // Begun by a clock that was years ahead.
        assert_eq!(due(Some(&done("2030-01-01T00:00:00Z", None))), now);
        let died = JobRecord {
            ended_at: None,
            ..done("2026-11-21T11:30:00Z", None)
        };
        assert_eq!(due(Some(&died)), at("2026-11-21T12:30:00Z"));
        for job in Job::ALL {
            assert!(Schedule::new(job.cron(), zone).is_ok());
        }
    }
}
