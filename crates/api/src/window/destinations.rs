//! Destinations: rows with what lies there, the form, the test, and taking in what others left.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use coffre_engine::catalogue::DestinationFigures;
use coffre_engine::context::Subject;
use coffre_engine::place;
use coffre_engine::secrets::destination_secret;
use coffre_engine::stream::read_small;
use coffre_model::address::Address;
use coffre_model::destination::{Destination, IDENTITY_FILE, Identity};
use coffre_model::naming::MANIFEST_SUFFIX;
use coffre_model::storage::{Space, Storage, StorageAccess, StorageKind};
use coffre_model::{Cancel, Code, Error, Id, Result, Secret};
use serde::Serialize;
use serde_json::Map;
use ts_rs::TS;

use super::commands::{ById, Nothing};
use super::drafts::{AddDraft, CheckDraft, Draft, DraftErrors, EditDraft, Filled, Form, SecretChange, TestDraft, field_of};
use super::events::Noun;
use super::looks::{Answer, Look};
use super::protection::Around;
use super::sources::place_of;
use super::{Window, one, tags};
use crate::Coffre;
use crate::secret_change::with_row;

/// A destination in a list.
#[derive(Debug, Serialize, TS)]
pub struct DestinationRow {
    /// The destination.
    pub destination: Destination,
    /// The kind of storage.
    pub adapter: String,
    /// Its name for people.
    pub label: String,
    /// Where it is, ready to show.
    pub place: String,
    /// Whether it answered.
    pub state: Answer,
    /// When it was asked.
    pub checked_at: Option<DateTime<Utc>>,
    /// Why it did not answer.
    pub error: Option<Error>,
    /// Room there.
    pub space: Option<Space>,
    /// Copies that lie there, or should.
    pub copies: u64,
    /// Those of them that are verified.
    pub verified_copies: u64,
    /// Bytes that they take.
    pub stored_bytes: u64,
    /// Plans that use it.
    pub plans: Vec<PlanThere>,
}

/// A plan that uses a destination. Plans of several sources may have one name.
#[derive(Clone, Debug, Serialize, TS)]
pub struct PlanThere {
    /// Its id.
    pub id: Id,
    /// Its name.
    pub name: String,
    /// Its source's name.
    pub source: String,
}

/// A destination with its form.
#[derive(Debug, Serialize, TS)]
pub struct DestinationDetail {
    /// As in the list.
    #[serde(flatten)]
    pub row: DestinationRow,
    /// To fill the form again; never with a secret.
    pub draft: Draft,
}

/// Whose a place is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum WhoseIdentity {
    /// Nobody's: nothing is there yet.
    New,
    /// This very catalogue's.
    Known,
    /// Another catalogue's: it can be read from.
    Other,
}

/// What a look at a destination found.
#[derive(Debug, Serialize, TS)]
pub struct DestinationProbe {
    /// Where it is.
    pub place: String,
    /// Room there.
    pub space: Option<Space>,
    /// Whose it is.
    pub identity: WhoseIdentity,
    /// Backups (manifests) found there.
    pub backups: usize,
    /// Remarks for a person.
    pub remarks: Vec<Error>,
}

/// What was taken in from a destination.
#[derive(Debug, Serialize, TS)]
pub struct RebuiltFrom {
    /// Backups that were not known.
    pub backups: u64,
    /// Sources that had no backup before.
    pub sources: u64,
    /// Manifests that could not be used, and why.
    pub unusable: Vec<Error>,
}

/// How far back the growth of a destination is looked at.
pub(super) const GROWTH: TimeDelta = TimeDelta::days(30);

/// The destination with this id, and no other.
pub(super) fn destination_by_id(coffre: &Coffre, id: &Id) -> Result<Destination> {
    let found = coffre.destinations()?.into_iter().find(|destination| destination.id == *id);
    found.ok_or_else(|| Error::new(Code::NotFound, "destination_not_found").with("given", id.to_string()))
}

fn kind_named(name: &str) -> Result<&'static dyn StorageKind> {
    let found = coffre_storages::kinds().iter().find(|kind| kind.name() == name);
    found.copied().ok_or_else(|| {
        let known: Vec<&str> = coffre_storages::kinds().iter().map(|kind| kind.name()).collect();
        Error::new(Code::Usage, "destination_scheme")
            .with("given", name.chars().take(100).collect::<String>())
            .with("known", known.join(", "))
    })
}

fn kind_of(coffre: &Coffre, destination: &Destination) -> Option<&'static dyn StorageKind> {
    let scheme = destination.address.split("://").next().unwrap_or_default();
    coffre.engine.adapters.storage(scheme).ok()
}

fn form_of(kind: &'static dyn StorageKind) -> Form {
    Form::of(kind.fields(), kind.schemes(), kind.name())
}

/// A draft as a destination that is not kept anywhere. Nothing where something is wrong; `errors` says what.
fn read_draft(coffre: &Coffre, id: Option<&Id>, draft: &Draft, errors: &mut DraftErrors) -> Result<Option<Destination>> {
    let known = coffre.destinations()?;
    let before = id.map(|id| destination_by_id(coffre, id)).transpose()?;
    errors.check_taken(&draft.name, id, known.iter().map(|other| (&other.id, other.name.as_str())));
    let kind = kind_named(&draft.adapter)?;
    let form = form_of(kind);
    let Some(Filled { mut address, options }) = form.fill(draft, errors) else {
        return Ok(None);
    };
    for (name, value) in options {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        address.query.insert(name, text);
    }
    let destination = Destination {
        id: id.copied().unwrap_or_else(Id::new),
        name: draft.name.clone(),
        address: address.to_string(),
        has_secret: before.as_ref().is_some_and(|before| before.has_secret),
        identity: before.as_ref().and_then(|before| before.identity),
        created_at: super::now(),
    };
    if let Some(before) = before.filter(|before| before.parsed().is_ok_and(|parsed| parsed.scheme != address.scheme)) {
        errors.add(
            "adapter",
            Error::new(Code::Refused, "destination_other_kind").with("name", before.name.as_str()),
        );
    }
    // Two destinations in one place would count one copy as two.
    if let Some(same) = known
        .iter()
        .find(|other| other.address == destination.address && other.id != destination.id)
    {
        errors.add(
            form.main_field(),
            Error::new(Code::Refused, "destination_twice")
                .with("name", same.name.as_str())
                .with("address", same.address.as_str()),
        );
    }
    match kind.validate(&destination) {
        Ok(()) => Ok(Some(destination)),
        Err(error) => {
            errors.add(field_of(&form, &error), error);
            Ok(None)
        }
    }
}

fn read_or_refuse(coffre: &Coffre, id: Option<&Id>, draft: &Draft) -> Result<Destination> {
    let mut errors = DraftErrors::default();
    let read = read_draft(coffre, id, draft, &mut errors)?;
    errors.accept(read)
}

/// Refuses a secret where the kind of storage takes none, before anything is kept.
fn check_secret(coffre: &Coffre, destination: &Destination, secret: &SecretChange) -> Result<()> {
    if let SecretChange::Set { value } = secret
        && !value.0.is_empty()
    {
        let with_secret = Destination {
            has_secret: true,
            ..destination.clone()
        };
        coffre
            .engine
            .adapters
            .storage(&destination.parsed()?.scheme)?
            .validate(&with_secret)?;
    }
    Ok(())
}

/// What lies under the name of the identity file.
fn identity_at(storage: &dyn Storage) -> Result<Option<Id>> {
    let Some(bytes) = read_small(storage, IDENTITY_FILE)? else {
        return Ok(None);
    };
    let identity: Identity = serde_json::from_slice(&bytes).map_err(|e| {
        Error::new(Code::DestIdentity, "destination_identity_unreadable")
            .with("place", storage.place())
            .with("cause", e.to_string())
    })?;
    Ok(Some(identity.id))
}

impl Window {
    fn destination_row(
        &self,
        coffre: &Coffre,
        destination: &Destination,
        around: &Around,
        figures: &BTreeMap<Id, DestinationFigures>,
    ) -> DestinationRow {
        let figures = figures.get(&destination.id).copied().unwrap_or_default();
        let scheme = destination.address.split("://").next().unwrap_or_default().to_owned();
        let adapter = kind_of(coffre, destination).map_or(scheme, |kind| kind.name().to_owned());
        let looks = self.lock_looks();
        let look = looks.destinations.get(&destination.id);
        let space = look.and_then(|look| look.found.as_ref().ok().copied().flatten());
        let (state, error, checked_at) = (Look::answer(look), Look::error(look), look.map(|look| look.at));
        drop(looks);
        DestinationRow {
            label: self.label(&adapter),
            adapter,
            place: place_of(&destination.address),
            state,
            checked_at,
            error,
            space,
            copies: figures.copies,
            verified_copies: figures.verified,
            stored_bytes: figures.stored_bytes,
            plans: around
                .plans
                .iter()
                .filter(|plan| plan.destination_ids.contains(&destination.id))
                .map(|plan| PlanThere {
                    id: plan.id,
                    name: plan.name.clone(),
                    source: plan.source.clone(),
                })
                .collect(),
            destination: destination.clone(),
        }
    }

    pub(super) fn list_destinations(&self, _: Nothing) -> Result<Vec<DestinationRow>> {
        let coffre = self.coffre()?;
        let around = self.around(&coffre)?;
        let figures = coffre.engine.catalogue.destination_figures(around.now - GROWTH)?;
        let rows = around.destinations.iter();
        Ok(rows
            .map(|destination| self.destination_row(&coffre, destination, &around, &figures))
            .collect())
    }

    pub(super) fn show_destination(&self, ById { id }: ById) -> Result<DestinationDetail> {
        let coffre = self.coffre()?;
        let destination = destination_by_id(&coffre, &id)?;
        let around = self.around(&coffre)?;
        let figures = coffre.engine.catalogue.destination_figures(around.now - GROWTH)?;
        let row = self.destination_row(&coffre, &destination, &around, &figures);
        let parsed = destination.parsed()?;
        let options: Map<_, _> = parsed
            .query
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().into()))
            .collect();
        let values = kind_of(&coffre, &destination).map(|kind| form_of(kind).values(&parsed, &options));
        Ok(DestinationDetail {
            draft: Draft {
                name: destination.name,
                adapter: row.adapter.clone(),
                values: values.unwrap_or_default(),
            },
            row,
        })
    }

    pub(super) fn check_destination(&self, CheckDraft { id, draft }: CheckDraft) -> Result<DraftErrors> {
        let mut errors = DraftErrors::default();
        let _only_the_errors = read_draft(&*self.coffre()?, id.as_ref(), &draft, &mut errors)?;
        Ok(errors)
    }

    /// Opens the place and looks, with what the form holds now. Leaves nothing there.
    pub(super) fn test_destination(&self, TestDraft { id, draft, secret }: TestDraft) -> Result<DestinationProbe> {
        let coffre = self.coffre()?;
        let destination = read_or_refuse(&coffre, id.as_ref(), &draft)?;
        check_secret(&coffre, &destination, &secret)?;
        let keeps = matches!(secret, SecretChange::Keep {}) && id.is_some() && destination.has_secret;
        let destination = Destination {
            has_secret: keeps,
            ..destination
        };
        let cancel = Cancel::new();
        let began = Instant::now();
        let found = match secret {
            SecretChange::Set { value } if !value.0.is_empty() => {
                let kind = coffre.engine.adapters.storage(&destination.parsed()?.scheme)?;
                let access = StorageAccess {
                    secret: Some(value.0),
                    stall: coffre.engine.stall()?,
                    cancel: cancel.clone(),
                };
                kind.open(&destination, access)
                    .and_then(|storage| probe(&coffre, &destination, storage.as_ref(), &cancel))
            }
            _ => place::open(&coffre.engine, &destination, &cancel)
                .and_then(|place| probe(&coffre, &destination, place.storage.as_ref(), &cancel)),
        };
        let kept = id.map(|id| destination_by_id(&coffre, &id)).transpose()?;
        if let Some(kept) = kept.filter(|kept| kept.address == destination.address) {
            let look = found.as_ref().map(|found| found.space);
            self.keep_destination_look(&coffre, &kept, began.elapsed(), look.map_err(Error::clone), &cancel);
            self.changed([one(Noun::Destinations, kept.id), Noun::Health.into()]);
        }
        found
    }

    pub(super) fn add_destination(&self, AddDraft { draft, secret }: AddDraft) -> Result<Destination> {
        let coffre = self.coffre()?;
        let destination = read_or_refuse(&coffre, None, &draft)?;
        check_secret(&coffre, &destination, &secret)?;
        let secret = match secret {
            SecretChange::Set { value } => Some(value.0).filter(|secret| !secret.is_empty()),
            SecretChange::Keep {} | SecretChange::Forget {} => None,
        };
        let added = coffre.add_destination(&destination.address, &destination.name, secret)?;
        self.destinations_changed();
        self.look_soon(coffre)?;
        Ok(added)
    }

    /// Looks at the destinations beside the command that made it worth it.
    fn look_soon(&self, coffre: std::sync::Arc<Coffre>) -> Result<()> {
        let window = self.clone();
        std::thread::Builder::new()
            .name("look".into())
            .spawn(move || window.look_at_all_destinations(&coffre))
            .map(drop)
            .map_err(|e| Error::internal("start a thread", e))
    }

    pub(super) fn edit_destination(&self, EditDraft { id, draft, secret }: EditDraft) -> Result<Destination> {
        let coffre = self.coffre()?;
        let before = destination_by_id(&coffre, &id)?;
        let mut edited = read_or_refuse(&coffre, Some(&id), &draft)?;
        check_secret(&coffre, &edited, &secret)?;
        if edited.address != before.address && coffre.engine.catalogue.is_written_to(&id)? {
            return Err(Error::new(Code::Busy, "busy_destination").with("destination", before.name.as_str()));
        }
        edited.created_at = before.created_at;
        let name = destination_secret(&id);
        let change: Option<Secret> = match secret {
            SecretChange::Set { value } => Some(value.0),
            SecretChange::Forget {} if before.has_secret => Some(Secret::new("")),
            SecretChange::Forget {} | SecretChange::Keep {} => None,
        };
        if let Some(secret) = &change {
            edited.has_secret = !secret.is_empty();
        }
        with_row(&coffre.engine, &name, change.as_ref(), || {
            coffre.engine.catalogue.update_destination(&edited)
        })?;
        coffre.engine.record(
            "destination.edit",
            Subject {
                kind: "destination",
                id: Some(&id),
                name: &edited.name,
            },
            None,
        )?;
        {
            let mut looks = self.lock_looks();
            looks.destinations.remove(&id);
            if edited.address != before.address {
                looks.moved.insert(id);
            }
        }
        self.destinations_changed();
        self.look_soon(coffre)?;
        Ok(edited)
    }

    /// The folder `backups/` of the home as a destination: what a first plan can write to without another form.
    pub(super) fn default_destination(&self, _: Nothing) -> Result<Destination> {
        let made = self.coffre()?.default_destination()?;
        self.destinations_changed();
        self.look_around();
        Ok(made)
    }

    pub(super) fn remove_destination(&self, ById { id }: ById) -> Result<()> {
        let coffre = self.coffre()?;
        coffre.remove_destination(&destination_by_id(&coffre, &id)?)?;
        self.lock_looks().destinations.remove(&id);
        self.destinations_changed();
        Ok(())
    }

    fn destinations_changed(&self) {
        self.changed(tags(&[
            Noun::Destinations,
            Noun::Overview,
            Noun::Plans,
            Noun::About,
            Noun::Health,
            Noun::Journal,
        ]));
    }

    /// Takes in every backup whose manifest lies at a destination.
    pub(super) fn rebuild_from_destination(&self, ById { id }: ById) -> Result<RebuiltFrom> {
        let coffre = self.coffre()?;
        let destination = destination_by_id(&coffre, &id)?;
        let before = coffre.engine.catalogue.sources_with_backups()?;
        let rebuilt = coffre_engine::rebuild::rebuild(&coffre.engine, &destination, &Cancel::new());
        let subject = Subject {
            kind: "destination",
            id: Some(&id),
            name: &destination.name,
        };
        coffre.engine.record("catalogue.rebuild", subject, rebuilt.as_ref().err())?;
        self.changed(tags(&Noun::ALL));
        let rebuilt = rebuilt?;
        Ok(RebuiltFrom {
            backups: rebuilt.backups,
            sources: coffre.engine.catalogue.sources_with_backups()?.saturating_sub(before),
            unusable: rebuilt.unusable,
        })
    }
}

/// Looks at an open place. An object that is begun and given up leaves nothing, and proves that one can be written.
fn probe(coffre: &Coffre, destination: &Destination, storage: &dyn Storage, cancel: &Cancel) -> Result<DestinationProbe> {
    let identity = match identity_at(storage) {
        Ok(identity) => identity,
        // Not made yet: that is done at the first use.
        Err(error) if error.code() == Code::DestUnreachable && destination.identity.is_none() => {
            return Ok(DestinationProbe {
                place: storage.place(),
                space: room_above(coffre, destination, cancel),
                identity: WhoseIdentity::New,
                backups: 0,
                remarks: Vec::new(),
            });
        }
        Err(error) => return Err(error),
    };
    // With a new secret too it must be the place that it was.
    if let Some(expected) = destination.identity
        && identity != Some(expected)
    {
        let text = match identity {
            Some(_) => "destination_identity_other",
            None => "destination_identity_missing",
        };
        return Err(Error::new(Code::DestIdentity, text)
            .with("destination", destination.name.as_str())
            .with("place", storage.place()));
    }
    drop(storage.begin(&format!("coffre-write-test-{}", Id::new()))?);
    let ours = |id: &Id| {
        let destinations = coffre.destinations()?;
        Ok::<_, Error>(
            destinations
                .iter()
                .any(|known| known.id == *id || known.identity == Some(*id)),
        )
    };
    let identity = match &identity {
        None => WhoseIdentity::New,
        Some(id) if ours(id)? => WhoseIdentity::Known,
        Some(_) => WhoseIdentity::Other,
    };
    let manifests = storage.list("")?;
    Ok(DestinationProbe {
        place: storage.place(),
        space: storage.space()?,
        identity,
        backups: manifests
            .iter()
            .filter(|object| object.key.ends_with(MANIFEST_SUFFIX))
            .count(),
        remarks: Vec::new(),
    })
}

/// The room on the disk that a folder which does not exist yet would be made on: that of the nearest folder above it.
fn room_above(coffre: &Coffre, destination: &Destination, cancel: &Cancel) -> Option<Space> {
    let parsed = destination.parsed().ok().filter(|parsed| parsed.scheme == "file")?;
    let kind = coffre.engine.adapters.storage("file").ok()?;
    let existing = Path::new(&parsed.path).ancestors().skip(1).find(|folder| folder.is_dir())?;
    let path = existing
        .to_str()
        .map(|path| if path == "/" { "/." } else { path })?
        .to_owned();
    let above = Destination {
        address: Address { path, ..parsed }.to_string(),
        ..destination.clone()
    };
    let access = StorageAccess {
        secret: None,
        stall: coffre.engine.stall().ok()?,
        cancel: cancel.clone(),
    };
    // Only a figure for the form: where it cannot be had, none is shown.
    kind.open(&above, access).ok()?.space().ok().flatten()
}
