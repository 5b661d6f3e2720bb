//! Coffre's own work: what is done once a day, and how it stands.

use chrono::{DateTime, Utc};
use coffre_engine::scheduler::jobs::{Job, JobRecord, begin_job, due, end_job, jobs};
use coffre_model::{Cancel, Error, Result};
use serde::Serialize;

use crate::Coffre;
use crate::schedules::local_zone;

/// How one job stands.
#[derive(Clone, Debug, Serialize)]
pub struct JobStatus {
    /// Which one.
    pub job: Job,
    /// When it last began.
    pub last_run: Option<DateTime<Utc>>,
    /// When it is due next.
    pub next_run: DateTime<Utc>,
    /// Why it failed last, if it did.
    pub last_error: Option<Error>,
}

impl Coffre {
    /// How Coffre's own work stands, in the order of the day.
    ///
    /// # Errors
    /// The catalogue's own.
    pub fn jobs(&self) -> Result<Vec<JobStatus>> {
        let (zone, now) = (local_zone(), (self.engine.now)());
        let mut known = jobs(&self.engine)?;
        let status = |job: &Job| {
            let record: Option<JobRecord> = known.remove(job.as_str());
            Ok(JobStatus {
                job: *job,
                next_run: due(*job, record.as_ref(), &zone, now)?.max(now),
                last_run: record.as_ref().map(|record| record.started_at),
                last_error: record.and_then(|record| record.error),
            })
        };
        Job::ALL.iter().map(status).collect()
    }

    /// Does what is due of Coffre's own work. Answers whether anything was; why it failed stands in [`Coffre::jobs`].
    ///
    /// # Errors
    /// The catalogue's own, a cancellation.
    pub fn do_jobs(&self, cancel: &Cancel) -> Result<bool> {
        let zone = local_zone();
        let mut any = false;
        for job in &Job::ALL {
            cancel.check()?;
            let Some(doing) = begin_job(&self.engine, *job, &zone, cancel)? else {
                continue;
            };
            any = true;
            let error = self.do_job(*job, doing.before(), cancel);
            if let Some(error) = &error {
                tracing::warn!(%error, job = job.as_str(), "own work");
            }
            end_job(&self.engine, doing, error)?;
        }
        Ok(any)
    }

    /// Answers the first thing that did not work; the others are done all the same.
    fn do_job(&self, job: Job, before: Option<DateTime<Utc>>, cancel: &Cancel) -> Option<Error> {
        match job {
            Job::Expired => {
                let left = self.leave_due(cancel);
                let kept = self.settle_replacements(cancel);
                let left = match left {
                    Ok(done) => done.into_iter().find_map(|done| done.waiting.into_iter().next()),
                    Err(error) => Some(error),
                };
                left.or_else(|| match kept {
                    Ok(waiting) => waiting.into_iter().next(),
                    Err(error) => Some(error),
                })
            }
            Job::Retention => match self.retain_all(before, cancel) {
                Ok(done) => done.into_iter().find_map(|done| done.waiting.into_iter().next()),
                Err(error) => Some(error),
            },
            Job::Catalogue => self.engine.catalogue.copy_aside((self.engine.now)()).err(),
        }
    }
}
