//! Plans: add, list, show, edit, pause, remove.

use coffre_engine::context::Subject;
use coffre_engine::scheduler;
use coffre_model::backup::{BackupType, Kind};
use coffre_model::compression::Compression;
use coffre_model::destination::Destination;
use coffre_model::hook::{HookFailure, Hooks};
use coffre_model::key::Key;
use coffre_model::plan::{Plan, PlanSchedule, Retention};
use coffre_model::schedule::{Schedule, preset};
use coffre_model::source::{Source, check_name};
use coffre_model::{Code, Error, Id, Result};

use crate::Coffre;
use crate::schedules::local_zone;

/// What a plan is made of, or what `edit` changes.
#[derive(Default)]
pub struct PlanChange {
    /// Its name.
    pub name: Option<String>,
    /// Its destinations.
    pub destinations: Option<Vec<Destination>>,
    /// Its interval. Alone it is a schedule too: at Coffre's usual time.
    pub every: Option<BackupType>,
    /// Five fields of cron, or `@daily` and the like.
    pub cron: Option<String>,
    /// The IANA time zone of its schedule; where nothing is said, that of this machine.
    pub time_zone: Option<String>,
    /// Whether it waits for the network.
    pub wait_for_network: Option<bool>,
    /// Whether it waits for mains power.
    pub wait_for_power: Option<bool>,
    /// How much each backup holds.
    pub kind: Option<Kind>,
    /// Compression.
    pub compression: Option<Compression>,
    /// The key; `Some(None)` ends encryption.
    pub key: Option<Option<Key>>,
    /// Commands before and after its runs: fields that are set replace, others stay.
    pub hooks: HookChange,
    /// What is kept: fields that are set replace, others stay.
    pub retention: Retention,
    /// First back to these rules, all of them.
    pub preset: Option<Retention>,
}

/// What changes about a plan's hooks. An empty command ends one.
#[derive(Default)]
pub struct HookChange {
    /// The command before.
    pub before: Option<Vec<String>>,
    /// The command after.
    pub after: Option<Vec<String>>,
    /// How long each may take.
    pub limit_seconds: Option<u64>,
    /// What follows when the one before fails.
    pub on_failure: Option<HookFailure>,
}

impl From<Hooks> for HookChange {
    fn from(hooks: Hooks) -> Self {
        HookChange {
            before: Some(hooks.before),
            after: Some(hooks.after),
            limit_seconds: Some(hooks.limit_seconds),
            on_failure: Some(hooks.on_failure),
        }
    }
}

impl HookChange {
    /// What hooks become with it; nothing where there is no command any more.
    fn applied(self, hooks: Option<&Hooks>) -> Result<Option<Hooks>> {
        let old = hooks.cloned().unwrap_or_default();
        let chosen = self.limit_seconds.is_some() || self.on_failure.is_some();
        let commanded = self.before.is_some() || self.after.is_some();
        let next = Hooks {
            before: self.before.unwrap_or(old.before),
            after: self.after.unwrap_or(old.after),
            limit_seconds: self.limit_seconds.unwrap_or(old.limit_seconds),
            on_failure: self.on_failure.unwrap_or(old.on_failure),
        };
        if chosen && !commanded && next.is_empty() {
            return Err(Error::new(Code::Usage, "hook_none"));
        }
        next.check()?;
        Ok((!next.is_empty()).then_some(next))
    }
}

impl Coffre {
    /// Adds a plan.
    ///
    /// # Errors
    /// `USAGE`, `REFUSED` for a name that is taken or a kind that does not exist yet.
    pub fn add_plan(&self, name: &str, source: &Source, change: PlanChange) -> Result<Plan> {
        let blank = Plan {
            id: Id::new(),
            name: String::new(),
            source_id: source.id,
            source: source.name.clone(),
            destination_ids: Vec::new(),
            destinations: Vec::new(),
            kind: Kind::Full,
            every: None,
            compression: Compression::default(),
            encryption: None,
            key_id: None,
            retention: Retention::default(),
            schedule: None,
            hooks: None,
            paused_at: None,
            created_at: (self.engine.now)(),
        };
        let plan = self.changed(
            &blank,
            PlanChange {
                name: Some(name.to_owned()),
                ..change
            },
        )?;
        let plan = self.engine.catalogue.add_plan(&plan)?;
        // It may have taken the place of an older one, whose time does not count.
        scheduler::count_from(&self.engine, &plan.id, plan.created_at)?;
        self.record_plan("plan.add", &plan)?;
        Ok(plan)
    }

    fn changed(&self, plan: &Plan, change: PlanChange) -> Result<Plan> {
        let mut next = plan.clone();
        self.reschedule(&mut next, &change)?;
        next.hooks = change.hooks.applied(plan.hooks.as_ref())?;
        if let Some(name) = change.name
            && name != plan.name
        {
            check_name(&name)?;
            next.name = name;
        }
        if let Some(destinations) = change.destinations {
            next.destination_ids = destinations.iter().map(|d| d.id).collect();
            next.destinations = destinations.iter().map(|d| d.name.clone()).collect();
        }
        let mut seen = next.destination_ids.clone();
        seen.sort();
        seen.dedup();
        if next.destination_ids.is_empty() || seen.len() != next.destination_ids.len() {
            return Err(Error::new(Code::Usage, "plan_destinations"));
        }
        match change.kind {
            None | Some(Kind::Full) => {}
            Some(kind) => return Err(Error::new(Code::Refused, "not_yet").with("what", format!("--kind {kind}"))),
        }
        next.compression = change.compression.unwrap_or(next.compression);
        if let Some(key) = change.key {
            next.key_id = key.as_ref().map(|k| k.id);
            next.encryption = key.map(|k| k.name);
        }
        let (old, new) = (change.preset.as_ref().unwrap_or(&plan.retention), &change.retention);
        // "Keep none" is what nobody means; the others are no rule where they are zero.
        for (what, given) in [
            ("keep-last", new.keep_last),
            ("keep-days", new.keep_days),
            ("keep-min", new.keep_min),
        ] {
            if given == Some(0) {
                return Err(Error::new(Code::Usage, "keep_zero").with("what", what));
            }
        }
        next.retention = Retention {
            keep_min: new.keep_min.or(old.keep_min),
            keep_last: new.keep_last.or(old.keep_last),
            keep_days: new.keep_days.or(old.keep_days),
            keep_hourly: new.keep_hourly.or(old.keep_hourly),
            keep_daily: new.keep_daily.or(old.keep_daily),
            keep_weekly: new.keep_weekly.or(old.keep_weekly),
            keep_monthly: new.keep_monthly.or(old.keep_monthly),
            keep_yearly: new.keep_yearly.or(old.keep_yearly),
        };
        Ok(next)
    }

    /// One plan, by name or id.
    pub fn plan(&self, name: &str) -> Result<Plan> {
        self.engine.catalogue.plan(name)
    }

    /// Every plan.
    pub fn plans(&self) -> Result<Vec<Plan>> {
        self.engine.catalogue.plans()
    }

    /// Changes a plan.
    pub fn edit_plan(&self, plan: &Plan, change: PlanChange) -> Result<Plan> {
        let next = self.changed(plan, change)?;
        if self.engine.catalogue.plan(&plan.id.to_string())?.schedule != next.schedule {
            // First: nothing of the new schedule lies in the past.
            scheduler::count_from(&self.engine, &plan.id, (self.engine.now)())?;
        }
        self.engine.catalogue.update_plan(&next)?;
        self.record_plan("plan.edit", &next)?;
        Ok(next)
    }

    fn reschedule(&self, next: &mut Plan, change: &PlanChange) -> Result<()> {
        let before = next.schedule.take();
        let preset = change.every.and_then(preset).map(str::to_owned);
        let cron = change.cron.clone().or(preset);
        let chosen = change.time_zone.is_some() || change.wait_for_network.is_some() || change.wait_for_power.is_some();
        let Some(fields) = cron.clone().or_else(|| before.as_ref().map(|b| b.cron.clone())) else {
            if chosen {
                return Err(Error::new(Code::Usage, "plan_not_scheduled"));
            }
            next.every = change.every.or(next.every);
            return Ok(());
        };
        let zone = match (&change.time_zone, &before) {
            (Some(zone), _) => zone.clone(),
            (None, Some(before)) => before.time_zone.clone(),
            (None, None) => local_zone(),
        };
        // What is not touched is not judged anew: a zone that has vanished since must not forbid another name.
        if cron.is_none() && !chosen {
            next.schedule = before;
            return Ok(());
        }
        let schedule = Schedule::new(&fields, &zone)?;
        next.every = match (change.every, &change.cron) {
            (Some(every), _) => Some(every),
            (None, Some(_)) => Some(schedule.backup_type((self.engine.now)())),
            (None, None) => next.every,
        };
        let was = |of: fn(&PlanSchedule) -> bool| before.as_ref().is_some_and(of);
        next.schedule = Some(PlanSchedule {
            cron: schedule.expression().to_owned(),
            time_zone: schedule.zone_name().to_owned(),
            wait_for_network: change.wait_for_network.unwrap_or_else(|| was(|b| b.wait_for_network)),
            wait_for_power: change.wait_for_power.unwrap_or_else(|| was(|b| b.wait_for_power)),
        });
        Ok(())
    }

    /// Pauses a plan, or lets it go on: from now on, without making up for what the pause left out.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub fn pause_plan(&self, plan: &Plan, paused: bool) -> Result<Plan> {
        if plan.paused_at.is_some() == paused {
            return Ok(plan.clone());
        }
        let now = (self.engine.now)();
        if !paused {
            scheduler::count_from(&self.engine, &plan.id, now)?;
        }
        let next = Plan {
            paused_at: paused.then_some(now),
            ..plan.clone()
        };
        self.engine.catalogue.update_plan(&next)?;
        self.record_plan(if paused { "plan.pause" } else { "plan.resume" }, &next)?;
        Ok(next)
    }

    /// Removes a plan. Its backups stay.
    pub fn remove_plan(&self, plan: &Plan) -> Result<()> {
        self.engine.catalogue.remove_plan(&plan.id, (self.engine.now)())?;
        self.record_plan("plan.remove", plan)
    }

    fn record_plan(&self, action: &str, plan: &Plan) -> Result<()> {
        self.engine.record(
            action,
            Subject {
                kind: "plan",
                id: Some(&plan.id),
                name: &plan.name,
            },
            None,
        )
    }
}
