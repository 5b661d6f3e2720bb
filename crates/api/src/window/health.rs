//! Health: is anything about to break? Databases, disks, memory, the catalogue, the secret store.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use coffre_model::backup::Tool;
use coffre_model::protection::FRESH;
use coffre_model::storage::Space;
use coffre_model::{Code, Error, Id, Result};
use serde::Serialize;
use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System};
use ts_rs::TS;

use super::about::SecretStore;
use super::commands::Nothing;
use super::destinations::GROWTH;
use super::events::Noun;
use super::looks::{Answer, Look};
use super::protection::{Around, Protection, protection};
use super::sources::{adapter_of, place_of};
use super::{Window, tags};
use crate::Coffre;
use crate::notifications::FailingChannel;

/// Less free room than this is said to be little, whatever the size of backups.
const LEAST_FREE: u64 = 10_000_000_000;

/// A source and whether it answers.
#[derive(Debug, Serialize, TS)]
pub struct SourceHealth {
    /// The source.
    pub source_id: Id,
    /// Its name.
    pub source: String,
    /// The kind of database.
    pub adapter: String,
    /// Its name for people.
    pub label: String,
    /// Whether it answered.
    pub state: Answer,
    /// When it was asked.
    pub checked_at: Option<DateTime<Utc>>,
    /// Its version.
    pub server_version: Option<String>,
    /// How long the look took: connecting, and asking what a backup would ask.
    pub latency_ms: Option<f64>,
    /// About how large a dump would be.
    pub bytes: Option<u64>,
    /// How many tables.
    pub tables: Option<u64>,
    /// Whether the connection is encrypted.
    pub tls: Option<bool>,
    /// The tool that would make the dump.
    pub tool: Option<Tool>,
    /// Why it did not answer.
    pub error: Option<Error>,
    /// Remarks for a person.
    pub remarks: Vec<Error>,
    /// How safe it is.
    pub protection: Protection,
}

/// A disk that backups lie on.
#[derive(Debug, Serialize, TS)]
pub struct DiskHealth {
    /// Where it is mounted, or the destination's own place.
    pub path: String,
    /// The destinations on it.
    pub destinations: Vec<String>,
    /// Room on it.
    pub space: Space,
    /// How much should be free: twice the largest backup, at least 10 GB.
    pub wanted_free: u64,
    /// In how many days it is full at the pace of the last thirty; nothing where it does not grow, or would take more than ten years.
    pub full_in_days: Option<u64>,
}

/// Coffre's own database.
#[derive(Debug, Serialize, TS)]
pub struct CatalogueHealth {
    /// The file.
    pub path: String,
    /// Its size with its log.
    pub bytes: u64,
    /// `wal`.
    pub journal_mode: String,
    /// When it was last read whole and checked.
    pub quick_check_at: Option<DateTime<Utc>>,
    /// Whether that found damage.
    pub damaged: bool,
    /// What it found.
    pub error: Option<Error>,
    /// The share of it that holds nothing, 0 to 1.
    pub fragmentation: f64,
}

/// Memory, in bytes.
#[derive(Debug, Serialize, TS)]
pub struct MemoryHealth {
    /// Coffre's own, with the processes that it started.
    pub coffre: u64,
    /// Used on this machine.
    pub used: u64,
    /// All of it.
    pub total: u64,
    /// Used on disk in place of memory.
    pub swap_used: u64,
    /// All of that.
    pub swap_total: u64,
}

/// How the last 24 hours went.
#[derive(Debug, Serialize, TS)]
pub struct DayCounts {
    /// Verified backups.
    pub verified: u64,
    /// Failed and interrupted ones.
    pub failed: u64,
    /// Missed ones.
    pub missed: u64,
}

/// Everything.
#[derive(Debug, Serialize, TS)]
pub struct Health {
    /// When anything was last looked at.
    pub checked_at: Option<DateTime<Utc>>,
    /// Sources.
    pub sources: Vec<SourceHealth>,
    /// Disks.
    pub disks: Vec<DiskHealth>,
    /// Nothing where the system does not tell.
    pub memory: Option<MemoryHealth>,
    /// The catalogue.
    pub catalogue: CatalogueHealth,
    /// The secret store.
    pub secrets: SecretStore,
    /// From what age on a backup is not fresh any more, where no plan says it.
    pub stale_after_ms: i64,
    /// The last 24 hours.
    pub day: DayCounts,
    /// What dead runs left at destinations and could not be removed, and what Coffre's own daily work could not do.
    pub leftovers: Vec<Error>,
    /// Why the system did not show the last notification.
    pub notices: Option<Error>,
    /// Channels that do not reach their receiver.
    pub channels: Vec<FailingChannel>,
}

/// What a process takes of memory, in bytes, with each page that several share counted in parts: the web view's processes share most of
/// theirs, and the sum of what each holds would count it several times.
///
/// Fields: <https://www.kernel.org/doc/html/latest/filesystems/proc.html>, `smaps_rollup`.
#[cfg(target_os = "linux")]
fn share_of(pid: sysinfo::Pid) -> Option<u64> {
    pss(&std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?)
}

/// Elsewhere the system's own figure has to do.
#[cfg(not(target_os = "linux"))]
fn share_of(_: sysinfo::Pid) -> Option<u64> {
    None
}

/// The proportional share in a roll-up, in bytes.
#[cfg(target_os = "linux")]
fn pss(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Memory of this process and of those below it (a web view lives in processes of its own).
fn memory() -> Option<MemoryHealth> {
    let mut system = System::new().ok()?;
    system.refresh_memory();
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, ProcessRefreshKind::nothing().with_memory());
    let own = sysinfo::get_current_pid().ok()?;
    let is_ours = |mut pid: sysinfo::Pid| {
        // No chain of parents is longer than this, whatever the system says.
        for _ in 0..64 {
            if pid == own {
                return true;
            }
            match system.process(pid).and_then(sysinfo::Process::parent) {
                Some(parent) => pid = parent,
                None => return false,
            }
        }
        false
    };
    // On Linux each thread is listed too, with the memory of its process.
    let whole = |process: &sysinfo::Process| process.thread_kind().is_none();
    let ours = system
        .processes()
        .iter()
        .filter(|(pid, process)| whole(process) && is_ours(**pid));
    Some(MemoryHealth {
        coffre: ours
            .map(|(pid, process)| share_of(*pid).unwrap_or_else(|| process.memory()))
            .sum(),
        used: system.used_memory(),
        total: system.total_memory(),
        swap_used: system.used_swap(),
        swap_total: system.total_swap(),
    })
}

impl Window {
    /// What is known: nothing is looked at now but memory and the catalogue's size.
    pub(super) fn health(&self, _: Nothing) -> Result<Health> {
        let coffre = self.coffre()?;
        let around = self.around(&coffre)?;
        let sources = coffre
            .sources()?
            .iter()
            .map(|source| {
                let adapter = adapter_of(&coffre, source);
                let look = self.lock_looks().sources.get(&source.id).cloned();
                let found = look.as_ref().and_then(|look| look.found.as_ref().ok());
                Ok(SourceHealth {
                    source_id: source.id,
                    source: source.name.clone(),
                    label: self.label(&adapter),
                    adapter,
                    state: Look::answer(look.as_ref()),
                    checked_at: look.as_ref().map(|look| look.at),
                    server_version: found.map(|probe| probe.server_version.clone()),
                    latency_ms: found.and(look.as_ref()).map(|look| look.took.as_secs_f64() * 1000.0),
                    bytes: found.and_then(|probe| probe.estimated_bytes),
                    tables: found.map(|probe| probe.tables),
                    tls: found.and_then(|probe| probe.tls),
                    tool: found.map(|probe| probe.tool.clone()),
                    error: Look::error(look.as_ref()),
                    remarks: found.map(|probe| probe.remarks.clone()).unwrap_or_default(),
                    protection: protection(&coffre, source, &around)?,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let day = (around.now - TimeDelta::hours(24), around.now + TimeDelta::hours(1));
        let day = coffre
            .engine
            .catalogue
            .outcomes_within(&[day])?
            .first()
            .copied()
            .unwrap_or_default();
        let looks = self.lock_looks();
        let times = looks.sources.values().map(|look| look.at);
        let checked_at = times.chain(looks.destinations.values().map(|look| look.at)).max();
        let mut leftovers = looks.left.clone();
        leftovers.extend(looks.unsettled.iter().filter(|error| !looks.left.contains(error)).cloned());
        drop(looks);
        for error in coffre.jobs()?.into_iter().filter_map(|job| job.last_error) {
            if !leftovers.contains(&error) {
                leftovers.push(error);
            }
        }
        Ok(Health {
            checked_at,
            sources,
            disks: self.disks(&coffre, &around)?,
            memory: memory(),
            catalogue: self.catalogue_health(&coffre)?,
            secrets: self.secret_store(),
            stale_after_ms: FRESH.num_milliseconds(),
            day: DayCounts {
                verified: day.verified,
                failed: day.failed,
                missed: day.missed,
            },
            leftovers,
            notices: self.unseen_notices(),
            channels: coffre.unheard()?.channels,
        })
    }

    /// Looks at everything again, then answers.
    pub(super) fn check_health(&self, _: Nothing) -> Result<Health> {
        let coffre = self.coffre()?;
        self.look_at_everything(&coffre)?;
        self.look_at_secrets(&coffre);
        let checked = coffre.engine.catalogue.check();
        let error = match checked {
            Ok(()) => None,
            Err(error) if error.code() == Code::CatalogueCorrupt => Some(error),
            Err(error) => return Err(error),
        };
        self.lock_looks().catalogue = Some((super::now(), error));
        self.changed(tags(&[
            Noun::Health,
            Noun::Sources,
            Noun::Destinations,
            Noun::About,
            Noun::Overview,
        ]));
        self.health(Nothing {})
    }

    fn catalogue_health(&self, coffre: &Coffre) -> Result<CatalogueHealth> {
        let facts = coffre.engine.catalogue.file_facts()?;
        let (at, error) = match self.lock_looks().catalogue.clone() {
            Some((at, error)) => (Some(at), error),
            // Opening it read it whole.
            None => (self.opened_at(), None),
        };
        Ok(CatalogueHealth {
            path: coffre.engine.catalogue.path().display().to_string(),
            bytes: facts.bytes,
            journal_mode: facts.journal_mode,
            quick_check_at: at,
            damaged: error.is_some(),
            error,
            fragmentation: facts.fragmentation,
        })
    }

    /// The disks that destinations lie on, those of one disk together.
    fn disks(&self, coffre: &Coffre, around: &Around) -> Result<Vec<DiskHealth>> {
        let figures = coffre.engine.catalogue.destination_figures(around.now - GROWTH)?;
        let spaces: BTreeMap<Id, Space> = self
            .lock_looks()
            .destinations
            .iter()
            .filter_map(|(id, look)| Some((*id, look.found.as_ref().ok().copied().flatten()?)))
            .collect();
        let mut disks: BTreeMap<String, (DiskHealth, u64)> = BTreeMap::new();
        for destination in &around.destinations {
            let Some(space) = spaces.get(&destination.id) else { continue };
            let figures = figures.get(&destination.id).copied().unwrap_or_default();
            let path = around.mounts.mounted_at(&destination.address);
            let path = path.unwrap_or_else(|| place_of(&destination.address));
            let (disk, recent) = disks.entry(path.clone()).or_insert_with(|| {
                let disk = DiskHealth {
                    path,
                    destinations: Vec::new(),
                    space: *space,
                    wanted_free: LEAST_FREE,
                    full_in_days: None,
                };
                (disk, 0)
            });
            disk.destinations.push(destination.name.clone());
            disk.wanted_free = disk.wanted_free.max(figures.largest_bytes.saturating_mul(2));
            *recent += figures.recent_bytes;
        }
        let days = GROWTH.num_days().unsigned_abs();
        let disks = disks.into_values().map(|(disk, recent)| DiskHealth {
            // As if nothing left: what came in thirty days comes in the next thirty too. Beyond ten years that says nothing.
            full_in_days: disk
                .space
                .free
                .saturating_mul(days)
                .checked_div(recent)
                .filter(|days| *days <= 3650),
            ..disk
        });
        Ok(disks.collect())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_process_has_some_memory_and_not_all_of_it() {
        let memory = super::memory().unwrap();
        assert!(memory.coffre > 1_000_000 && memory.coffre < memory.total, "{memory:?}");
        assert!(memory.used <= memory.total);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn shared_pages_are_counted_once() {
        let rollup = "55f0-7ffd ---p 00000000 00:00 0 [rollup]\nRss:  8000 kB\nPss:  3210 kB\nPss_Dirty:  99 kB\n";
        assert_eq!(super::pss(rollup), Some(3210 * 1024));
        assert_eq!(super::pss("Rss: 1 kB\nPss: much kB\n"), None);
        let own = super::share_of(sysinfo::get_current_pid().unwrap()).unwrap();
        let mut system = sysinfo::System::new().unwrap();
        system.refresh_processes(sysinfo::ProcessesToUpdate::All, true);
        let resident = system.process(sysinfo::get_current_pid().unwrap()).unwrap().memory();
        // Pages may come and go between the two looks; the C library alone is shared with every other process.
        assert!(own > 500_000 && own < resident + 50_000_000, "{own} {resident}");
    }
}
