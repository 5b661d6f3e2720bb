//! Sources: rows with their protection, the form, the test, tables, and the sample.

use std::collections::BTreeMap;
use std::time::Instant;

use chrono::{DateTime, Utc};
use coffre_engine::scheduler::next_of;
use coffre_model::address::Address;
use coffre_model::backup::{BackupState, BackupType};
use coffre_model::database::{DatabaseKind, Probe};
use coffre_model::plan::{Plan, Retention};
use coffre_model::protection::ProtectionState;
use coffre_model::source::{Source, SourceOptions};
use coffre_model::{Cancel, Code, Error, Id, Result, Secret};
use serde::Serialize;
use ts_rs::TS;

use super::commands::{ById, Nothing};
use super::drafts::{
    AddDraft, CheckDraft, Draft, DraftErrors, EditDraft, FieldValue, Filled, Form, SecretChange, TestDraft, field_of, options_of,
    source_options,
};
use super::events::Noun;
use super::protection::{Around, Protection, protection};
use super::{Window, one, tags};
use crate::plans::PlanChange;
use crate::sources::Change;
use crate::{Coffre, sample};

/// How many of the last runs a row shows.
const OUTCOMES: u32 = 14;
/// What the sample is called. Names are data: the same in every language.
const SAMPLE_SOURCE: &str = "sample-shop";
const SAMPLE_PLAN: &str = "sample-daily";

/// A thing by id and name.
#[derive(Clone, Debug, Serialize, TS)]
pub struct Named {
    /// Its id.
    pub id: Id,
    /// Its name.
    pub name: String,
}

/// A source in a list.
#[derive(Debug, Serialize, TS)]
pub struct SourceRow {
    /// The source.
    pub source: Source,
    /// The kind of database.
    pub adapter: String,
    /// Its name for people.
    pub label: String,
    /// The server's version, as it was last seen.
    pub server_version: Option<String>,
    /// Size of the last plain dump, or as it was last looked at.
    pub bytes: Option<u64>,
    /// Where it is, ready to show.
    pub place: String,
    /// How safe it is.
    pub protection: Protection,
    /// Its plans.
    pub plans: Vec<Named>,
    /// How its last runs ended, oldest first.
    #[ts(type = "Array<Outcome>")]
    pub outcomes: Vec<BackupState>,
    /// When something of it runs next.
    pub next_run_at: Option<DateTime<Utc>>,
    /// Whether it is being backed up now.
    pub running: bool,
}

/// A source with its form.
#[derive(Debug, Serialize, TS)]
pub struct SourceDetail {
    /// As in the list.
    #[serde(flatten)]
    pub row: SourceRow,
    /// To fill the form again; never with a secret.
    pub draft: Draft,
}

/// Rows of one table.
#[derive(Debug, Serialize, TS)]
pub struct TableStat {
    /// The table.
    pub table: String,
    /// Its rows.
    pub rows: u64,
    /// What it takes, where that is known.
    pub bytes: Option<u64>,
}

/// Tables with their rows.
#[derive(Debug, Serialize, TS)]
pub struct TableStats {
    /// By name.
    pub tables: Vec<TableStat>,
    /// When they were counted: now, or in the last backup's snapshot.
    pub at: DateTime<Utc>,
    /// Whether they were counted one by one.
    pub exact: bool,
}

/// The sample, protected, with its first backup running.
#[derive(Debug, Serialize, TS)]
pub struct SampleMade {
    /// The source.
    pub source_id: Id,
    /// The plan.
    pub plan_id: Id,
    /// The backup that runs.
    pub backup_id: Id,
}

/// The name of the kind of database of a source; its scheme where there is no such kind any more.
pub(super) fn adapter_of(coffre: &Coffre, source: &Source) -> String {
    let scheme = source.address.split("://").next().unwrap_or_default().to_owned();
    let kind = coffre.engine.adapters.database(&scheme);
    kind.map_or(scheme, |kind| kind.name().to_owned())
}

/// Where an address is, ready to show: a path, or `user@host:port/name`.
pub(super) fn place_of(address: &str) -> String {
    let Ok(address) = Address::parse(address) else {
        return address.to_owned();
    };
    if address.path.starts_with('/') && address.host.is_none() {
        return address.path;
    }
    let mut place = String::new();
    if let Some(user) = &address.user {
        place.push_str(user);
        place.push('@');
    }
    place.push_str(address.host.as_deref().unwrap_or("localhost"));
    if let Some(port) = address.port {
        place.push_str(&format!(":{port}"));
    }
    if !address.path.is_empty() {
        place.push('/');
        place.push_str(&address.path);
    }
    place
}

/// The source with this id, and no other: a name that looks like an id must not win here.
pub(super) fn source_by_id(coffre: &Coffre, id: &Id) -> Result<Source> {
    let found = coffre.sources()?.into_iter().find(|source| source.id == *id);
    found.ok_or_else(|| Error::new(Code::NotFound, "source_not_found").with("given", id.to_string()))
}

fn kind_named(coffre: &Coffre, name: &str) -> Result<&'static dyn DatabaseKind> {
    if name.len() > 100 {
        return Err(Error::new(Code::Usage, "field_long").with("max", 100));
    }
    coffre.engine.adapters.database_named(name)
}

fn form_of(kind: &'static dyn DatabaseKind) -> Form {
    Form::of(kind.fields(), kind.schemes(), kind.name())
}

/// A draft as a source that is not kept anywhere. Nothing where something is wrong; `errors` says what.
fn read_draft(coffre: &Coffre, id: Option<&Id>, draft: &Draft, errors: &mut DraftErrors) -> Result<Option<Source>> {
    let known = coffre.sources()?;
    let before = id.map(|id| source_by_id(coffre, id)).transpose()?;
    errors.check_taken(&draft.name, id, known.iter().map(|other| (&other.id, other.name.as_str())));
    let kind = kind_named(coffre, &draft.adapter)?;
    if let Some(before) = &before
        && adapter_of(coffre, before) != kind.name()
    {
        errors.add(
            "adapter",
            Error::new(Code::Refused, "source_other_kind").with("name", before.name.as_str()),
        );
    }
    let form = form_of(kind);
    let Some(Filled { address, options }) = form.fill(draft, errors) else {
        return Ok(None);
    };
    let source = Source {
        id: id.copied().unwrap_or_else(Id::new),
        name: draft.name.clone(),
        address: address.to_string(),
        options: source_options(options)?,
        has_secret: before.is_some_and(|before| before.has_secret),
        created_at: super::now(),
    };
    match kind.validate(&source) {
        Ok(()) => Ok(Some(source)),
        Err(error) => {
            errors.add(field_of(&form, &error), error);
            Ok(None)
        }
    }
}

fn read_or_refuse(coffre: &Coffre, id: Option<&Id>, draft: &Draft) -> Result<Source> {
    let mut errors = DraftErrors::default();
    let read = read_draft(coffre, id, draft, &mut errors)?;
    errors.accept(read)
}

/// Refuses a secret where the kind of database takes none, before anything is kept.
fn check_secret(coffre: &Coffre, source: &Source, secret: &SecretChange) -> Result<()> {
    if let SecretChange::Set { value } = secret
        && !value.0.is_empty()
    {
        let with_secret = Source {
            has_secret: true,
            ..source.clone()
        };
        coffre
            .engine
            .adapters
            .database(&source.parsed()?.scheme)?
            .validate(&with_secret)?;
    }
    Ok(())
}

impl Window {
    pub(super) fn source_row(&self, coffre: &Coffre, source: &Source, around: &Around, running: &[Id]) -> Result<SourceRow> {
        let catalogue = &coffre.engine.catalogue;
        let newest = catalogue.latest_proof(source)?;
        let adapter = adapter_of(coffre, source);
        let looked = self
            .lock_looks()
            .sources
            .get(&source.id)
            .and_then(|look| look.found.clone().ok());
        let probed = looked.as_ref();
        Ok(SourceRow {
            label: self.label(&adapter),
            adapter,
            server_version: probed
                .map(|probe| probe.server_version.clone())
                .or_else(|| newest.as_ref().and_then(|backup| backup.server_version.clone())),
            bytes: newest
                .as_ref()
                .and_then(|backup| backup.raw_bytes)
                .or_else(|| probed.and_then(|probe| probe.estimated_bytes)),
            place: place_of(&source.address),
            protection: protection(coffre, source, around)?,
            plans: around
                .plans_of(&source.id)
                .map(|plan| Named {
                    id: plan.id,
                    name: plan.name.clone(),
                })
                .collect(),
            outcomes: catalogue.last_states(&source.id, OUTCOMES)?,
            // Why a schedule cannot be read is said with its plan.
            next_run_at: around
                .plans_of(&source.id)
                .filter_map(|plan| next_of(&coffre.engine, plan).unwrap_or_default())
                .min(),
            running: running.contains(&source.id),
            source: source.clone(),
        })
    }

    /// Every source, the least safe first.
    pub(super) fn source_rows(&self, coffre: &Coffre, around: &Around) -> Result<Vec<SourceRow>> {
        let running = self.sources_running()?;
        let mut rows = coffre
            .sources()?
            .iter()
            .map(|source| self.source_row(coffre, source, around, &running))
            .collect::<Result<Vec<_>>>()?;
        rows.sort_by_key(|row| match row.protection.state {
            ProtectionState::Unprotected => 0,
            ProtectionState::AtRisk => 1,
            ProtectionState::Protected => 2,
        });
        Ok(rows)
    }

    /// Sources that are being backed up now, here or in another process.
    fn sources_running(&self) -> Result<Vec<Id>> {
        let running = self.all_running()?.into_iter();
        let backups = running.filter(|running| running.noun == super::running::RunningNoun::Backup);
        Ok(backups.filter_map(|running| running.source_id).collect())
    }

    pub(super) fn list_sources(&self, _: Nothing) -> Result<Vec<SourceRow>> {
        let coffre = self.coffre()?;
        let around = self.around(&coffre)?;
        self.source_rows(&coffre, &around)
    }

    pub(super) fn show_source(&self, ById { id }: ById) -> Result<SourceDetail> {
        let coffre = self.coffre()?;
        let source = source_by_id(&coffre, &id)?;
        let row = self.source_row(&coffre, &source, &self.around(&coffre)?, &self.sources_running()?)?;
        // A kind of database that this version does not know has no form.
        let values = match coffre.engine.adapters.database_named(&row.adapter) {
            Ok(kind) => form_of(kind).values(&source.parsed()?, &options_of(&source.options)?),
            Err(_) => BTreeMap::<String, Option<FieldValue>>::new(),
        };
        Ok(SourceDetail {
            draft: Draft {
                name: source.name.clone(),
                adapter: row.adapter.clone(),
                values,
            },
            row,
        })
    }

    pub(super) fn check_source(&self, CheckDraft { id, draft }: CheckDraft) -> Result<DraftErrors> {
        let mut errors = DraftErrors::default();
        let _only_the_errors = read_draft(&*self.coffre()?, id.as_ref(), &draft, &mut errors)?;
        Ok(errors)
    }

    /// Connects and looks, with what the form holds now.
    pub(super) fn test_source(&self, TestDraft { id, draft, secret }: TestDraft) -> Result<Probe> {
        let coffre = self.coffre()?;
        let source = read_or_refuse(&coffre, id.as_ref(), &draft)?;
        check_secret(&coffre, &source, &secret)?;
        let keeps = matches!(secret, SecretChange::Keep {}) && id.is_some() && source.has_secret;
        let given: Option<Secret> = match secret {
            SecretChange::Set { value } => Some(value.0).filter(|secret| !secret.is_empty()),
            SecretChange::Keep {} | SecretChange::Forget {} => None,
        };
        let source = Source {
            has_secret: keeps,
            ..source
        };
        let kind = coffre.engine.adapters.database(&source.parsed()?.scheme)?;
        let runtime = coffre.engine.home.runtime_dir(&Id::new())?;
        let cancel = Cancel::new();
        let access = coffre.engine.access(&source, given, runtime.path().to_owned(), &cancel)?;
        let began = Instant::now();
        let found = kind.open(&source, access).and_then(|mut database| database.probe());
        // What was found of a form that differs from what is kept says nothing of the source.
        let kept = id.map(|id| source_by_id(&coffre, &id)).transpose()?;
        if let Some(kept) = kept.filter(|kept| kept.address == source.address && kept.options == source.options) {
            self.keep_source_look(&coffre, &kept, began.elapsed(), found.clone(), &cancel);
            self.changed([one(Noun::Sources, kept.id), Noun::Health.into()]);
        }
        found
    }

    pub(super) fn add_source(&self, AddDraft { draft, secret }: AddDraft) -> Result<Source> {
        let coffre = self.coffre()?;
        let source = read_or_refuse(&coffre, None, &draft)?;
        check_secret(&coffre, &source, &secret)?;
        let password = match secret {
            SecretChange::Set { value } => Some(value.0),
            SecretChange::Keep {} | SecretChange::Forget {} => None,
        };
        let added = coffre.add_source(&source.address, &source.name, source.options, password)?;
        self.changed(tags(&[
            Noun::Sources,
            Noun::Overview,
            Noun::About,
            Noun::Health,
            Noun::Journal,
            Noun::Tools,
            // One that is known from manifests gets its backups back.
            Noun::Backups,
        ]));
        Ok(added)
    }

    pub(super) fn edit_source(&self, EditDraft { id, draft, secret }: EditDraft) -> Result<Source> {
        let coffre = self.coffre()?;
        let before = source_by_id(&coffre, &id)?;
        let edited = read_or_refuse(&coffre, Some(&id), &draft)?;
        // What runs would count as a backup of whatever the new address means.
        if edited.address != before.address
            && let Some(run) = self.all_running()?.iter().find(|running| running.source_id == Some(id))
        {
            return Err(Error::new(Code::Busy, "busy_source").with("run", run.id.to_string()));
        }
        check_secret(&coffre, &edited, &secret)?;
        let password = match secret {
            SecretChange::Set { value } => Some(value.0),
            SecretChange::Forget {} if before.has_secret => Some(Secret::new("")),
            SecretChange::Forget {} | SecretChange::Keep {} => None,
        };
        let change = Change {
            name: Some(edited.name),
            address: Some(edited.address),
            options: Some(edited.options),
            password,
        };
        let edited = coffre.edit_source(&before, change)?;
        // What was seen there before may be another database.
        self.lock_looks().sources.remove(&id);
        self.changed(tags(&[
            Noun::Sources,
            Noun::Overview,
            Noun::Plans,
            Noun::Health,
            Noun::Journal,
        ]));
        Ok(edited)
    }

    pub(super) fn remove_source(&self, ById { id }: ById) -> Result<()> {
        let coffre = self.coffre()?;
        coffre.remove_source(&source_by_id(&coffre, &id)?)?;
        self.lock_looks().sources.remove(&id);
        self.changed(tags(&[
            Noun::Sources,
            Noun::Overview,
            Noun::Health,
            Noun::Journal,
            Noun::About,
        ]));
        Ok(())
    }

    /// Rows per table: as the last verified backup counted them, else counted now.
    pub(super) fn list_tables(&self, ById { id }: ById) -> Result<TableStats> {
        let coffre = self.coffre()?;
        let source = source_by_id(&coffre, &id)?;
        let (counts, at) = match coffre.engine.catalogue.latest_proof(&source)? {
            Some(backup) => (coffre.engine.catalogue.table_counts(&backup.id)?, backup.started_at),
            None => {
                let kind = coffre.engine.adapters.database(&source.parsed()?.scheme)?;
                let runtime = coffre.engine.home.runtime_dir(&Id::new())?;
                let access = coffre
                    .engine
                    .access(&source, None, runtime.path().to_owned(), &Cancel::new())?;
                (kind.open(&source, access)?.counts()?, super::now())
            }
        };
        let stat = |count: coffre_model::database::TableCount| TableStat {
            table: count.table,
            rows: count.rows,
            bytes: None,
        };
        Ok(TableStats {
            tables: counts.into_iter().map(stat).collect(),
            at,
            exact: true,
        })
    }

    /// Makes the sample shop below the home, protects it with a plan, and starts its first backup. What is there already is used.
    pub(super) fn create_sample(&self, _: Nothing) -> Result<SampleMade> {
        let coffre = self.coffre()?;
        let shop = sample::make_shop(&coffre.engine.home.root().join("sample"))?;
        let known = coffre.sources()?.into_iter().find(|source| source.address == shop.address);
        let source = match known {
            Some(source) => source,
            None => {
                let name = free_name(SAMPLE_SOURCE, coffre.sources()?.iter().map(|source| source.name.as_str()));
                coffre.add_source(&shop.address, &name, SourceOptions::default(), None)?
            }
        };
        let plans = coffre.plans()?;
        let plan: Plan = match plans.iter().find(|plan| plan.source_id == source.id) {
            Some(plan) => plan.clone(),
            None => {
                let change = PlanChange {
                    destinations: Some(vec![coffre.default_destination()?]),
                    every: Some(BackupType::Daily),
                    retention: Retention {
                        keep_daily: Some(7),
                        keep_weekly: Some(4),
                        keep_monthly: Some(12),
                        ..Retention::default()
                    },
                    ..PlanChange::default()
                };
                let name = free_name(SAMPLE_PLAN, plans.iter().map(|plan| plan.name.as_str()));
                coffre.add_plan(&name, &source, change)?
            }
        };
        self.changed(tags(&[
            Noun::Sources,
            Noun::Destinations,
            Noun::Plans,
            Noun::Overview,
            Noun::About,
            Noun::Health,
            Noun::Journal,
        ]));
        Ok(SampleMade {
            source_id: source.id,
            plan_id: plan.id,
            backup_id: self.start_plan(&coffre, plan)?,
        })
    }
}

/// A name that is not taken: the wanted one, or with a number.
fn free_name<'a>(wanted: &str, taken: impl Iterator<Item = &'a str>) -> String {
    let taken: Vec<&str> = taken.collect();
    let numbered = (2..).map(|n| format!("{wanted}-{n}"));
    let mut names = std::iter::once(wanted.to_owned()).chain(numbered);
    names.find(|name| !taken.contains(&name.as_str())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_ready_to_show() {
        assert_eq!(place_of("sqlite:///srv/my%20shop.db"), "/srv/my shop.db");
        assert_eq!(place_of("postgres://joe@db.example:5433/shop"), "joe@db.example:5433/shop");
        assert_eq!(place_of("postgres:///shop"), "localhost/shop");
        assert_eq!(place_of("nonsense"), "nonsense");
    }

    #[test]
    fn a_free_name_is_found() {
        assert_eq!(free_name("a", ["b"].into_iter()), "a");
        assert_eq!(free_name("a", ["a", "a-2"].into_iter()), "a-3");
    }
}
