//! Replacing a live PostgreSQL database with a backup, and taking that back.
//!
//! The usual way is a second database that is loaded beside the live one, dressed the same (`dress`), and then takes its name in one transaction
//! (`moment`). Which of the two is live is always told by their numbers (`places`), so a killed process leaves no doubt. Where no second database
//! can be made, everything happens inside the live one in one transaction (`within`). `survey` says which way it is, and what forbids it.

mod dress;
mod facts;
mod moment;
mod newest;
mod places;
mod survey;
mod within;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use coffre_model::database::{Access, Checker, DumpFormat, Load, TableCount};
use coffre_model::replace::{LiveLook, Replace, ReplaceWay, Replacement, Standing, TableShape};
use coffre_model::source::{Source, SourceOptions};
use coffre_model::{Cancel, Code, Error, Id, Result};
use tokio_postgres::types::Type;

use self::facts::Facts;
use self::moment::Change;
use self::places::{Found, NEW, OLD, Places, beside, place, remove};
use self::survey::{Survey, survey};
pub(crate) use self::within::HandedOver;
use self::within::Within;
use super::archive::Archive;
use super::connect::{Server, Session};
use super::counts;
use super::load::{PgLoad, Surroundings};
use super::names::quote_ident;
use super::tables::{Table, listed};
use super::target::{self, allowing};
use super::tools::{Found as FoundTools, Search};

/// How long sessions of a killed process get to end.
const ENDING: Duration = Duration::from_secs(10);
/// How many names are tried before it is given up.
const NAMES: u32 = 100;

/// Replaces one database.
pub(crate) struct PgReplace {
    options: SourceOptions,
    server: Server,
    access: Access,
    remarks: Arc<Mutex<Vec<Error>>>,
    within: Option<Within>,
    /// How the names of tables begin that are somebody else's and stay.
    left_alone: Vec<String>,
}

impl PgReplace {
    /// Makes ready. Does not connect.
    pub(crate) fn new(source: &Source, access: Access) -> Result<PgReplace> {
        let application = format!("coffre {}", Id::new().short());
        Ok(PgReplace {
            options: source.options.clone(),
            server: Server::new(source, application, &access)?,
            access,
            remarks: Arc::default(),
            within: None,
            left_alone: Vec::new(),
        })
    }

    fn name(&self) -> &str {
        &self.server.database
    }

    fn tell(&self, remark: Error) {
        self.remarks.lock().unwrap_or_else(PoisonError::into_inner).push(remark);
    }

    fn find(&self, name: &'static str) -> Result<FoundTools> {
        let own = self.options.tool_path.as_ref().map(std::path::PathBuf::from);
        Search {
            own: own.as_deref(),
            folders: &self.access.tool_paths,
            runtime: &self.access.runtime,
            cancel: &self.access.cancel,
        }
        .find(name)
    }

    fn elsewhere(&self, cancel: &Cancel) -> Result<Session> {
        let mut session = target::elsewhere(&self.server, cancel)?;
        session.run("SET default_transaction_read_only = off")?;
        Ok(session)
    }

    /// A session in the live database; nothing where it is not there.
    fn live(&self) -> Result<Option<Session>> {
        match Session::open(&self.server, self.name(), &self.access.cancel) {
            Ok(session) => Ok(Some(session)),
            Err(error) if error.text() == "pg_database_absent" => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes sure that the live database lets everybody in again.
    fn open_live(&self, session: &mut Session, places: &Places) -> Result<()> {
        match places.live {
            Some(place) if !place.open => session.run(&allowing(self.name(), true)),
            _ => Ok(()),
        }
    }

    /// Ends what a killed process has left at work, and waits until it is gone: the server goes on with what it was asked for last.
    fn end_left_over(&self, session: &mut Session, application: &str) -> Result<()> {
        if application.is_empty() {
            return Ok(());
        }
        let began = Instant::now();
        loop {
            let left = session.query(
                "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
                  WHERE application_name = $1 AND usename = current_user AND pid <> pg_catalog.pg_backend_pid()",
                &[(&application, Type::TEXT)],
            )?;
            if left.is_empty() {
                return Ok(());
            }
            if began.elapsed() >= ENDING {
                return Err(Error::new(Code::Stalled, "pg_query_stalled")
                    .with("seconds", ENDING.as_secs())
                    .with("database", self.name()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn surroundings(&self, database: &str) -> Surroundings {
        Surroundings {
            server: self.server.with_database(database),
            access: self.access.clone(),
            remarks: self.remarks.clone(),
        }
    }

    fn within(&mut self) -> Result<&mut Within> {
        self.within
            .as_mut()
            .ok_or_else(|| Error::internal("replace within a database", "no transaction was begun"))
    }

    fn change_places(&self, change: &Change<'_>, plan: &Replacement) -> Result<()> {
        // Driven from where nobody is in the way of the renaming.
        let home = self.elsewhere(&self.access.cancel)?.database().to_owned();
        let changed = moment::change(&self.server, &home, change, &self.access.cancel);
        let Err(error) = changed else { return Ok(()) };
        // Whatever went wrong: nobody stays locked out.
        let again = || -> Result<()> {
            let mut session = self.elsewhere(&Cancel::new())?;
            self.end_left_over(&mut session, &self.server.application)?;
            let places = Places::look(&mut session, self.name(), plan)?;
            self.open_live(&mut session, &places)
        };
        match again() {
            Ok(()) => Err(error),
            Err(also) => Err(error.with_also("left_behind", &also)),
        }
    }

    fn foreign_number(&self) -> Error {
        Error::new(Code::Refused, "pg_replace_changed").with("database", self.name())
    }
}

impl Replace for PgReplace {
    fn look(&mut self) -> Result<LiveLook> {
        let mut live = self.live()?;
        let seen = survey(&self.server, live.as_mut(), &self.access.cancel)?;
        let mut look = LiveLook {
            exists: seen.oid.is_some(),
            identity: seen.identity(),
            way: Some(seen.way),
            refusals: seen.refusals,
            remarks: seen.remarks,
            ..LiveLook::default()
        };
        let Some(session) = live.as_mut() else {
            let session = self.elsewhere(&self.access.cancel)?;
            look.server_version = Some(session.version().text.clone());
            return Ok(look);
        };
        look.server_version = Some(session.version().text.clone());
        // All of them: what the source leaves out of its backups is lost as well.
        let (counts, closed) = counts::readable_now(session, self.access.stall)?;
        look.counts = counts;
        if !closed.is_empty() {
            look.remarks.push(
                Error::new(Code::Privilege, "pg_replace_uncounted")
                    .with("database", self.name())
                    .with("user", self.server.user.clone())
                    .with("tables", listed(closed.iter().map(String::as_str)))
                    .with("count", closed.len()),
            );
        }
        look.newest = newest::newest(session)?;
        let bytes: i64 = session.value("SELECT pg_catalog.pg_database_size(pg_catalog.current_database())")?;
        look.bytes = u64::try_from(bytes).ok();
        look.sessions = Some(survey::sessions(session, &self.server.application)?);
        match self.shapes(session)? {
            Ok(shapes) => look.shapes = shapes,
            Err(remark) => look.remarks.push(remark),
        }
        Ok(look)
    }

    fn tables(&mut self) -> Result<Vec<String>> {
        let mut session = Session::open(&self.server, self.name(), &self.access.cancel)?;
        let (counted, closed) = counts::readable(&mut session)?;
        Ok(counted.iter().map(Table::display).chain(closed).collect())
    }

    fn plan(&mut self, id: &Id) -> Result<Replacement> {
        let mut live = self.live()?;
        let seen = survey(&self.server, live.as_mut(), &self.access.cancel)?;
        let identity = seen.identity();
        let Survey {
            oid,
            system,
            way,
            refusals,
            ..
        } = seen;
        if let Some(first) = refusals.into_iter().next() {
            return Err(first);
        }
        let (mut scratch, mut kept) = (String::new(), String::new());
        if way == ReplaceWay::Swap {
            let mut session = self.elsewhere(&self.access.cancel)?;
            let mut free = |mark| -> Result<String> {
                for number in 0..NAMES {
                    let name = beside(mark, id, number, self.name());
                    if place(&mut session, &name)?.is_none() {
                        return Ok(name);
                    }
                }
                Err(Error::internal("find a free name", "all of them are taken"))
            };
            scratch = free(NEW)?;
            if oid.is_some() {
                kept = free(OLD)?;
            }
        }
        let mut plan = Replacement {
            way,
            identity,
            existed: oid.is_some(),
            scratch,
            kept,
            facts: std::collections::BTreeMap::new(),
        };
        Facts {
            system,
            live: oid,
            application: self.server.application.clone(),
            ..Facts::default()
        }
        .write(&mut plan)?;
        Ok(plan)
    }

    fn prepare(&mut self, plan: &mut Replacement) -> Result<()> {
        let mut facts = Facts::of(plan)?;
        if plan.way == ReplaceWay::Within {
            let within = Within::begin(&self.server, &self.access)?;
            facts.transaction = Some(within.transaction().to_owned());
            self.within = Some(within);
            return facts.write(plan);
        }
        let mut session = self.elsewhere(&self.access.cancel)?;
        let places = Places::look(&mut session, self.name(), plan)?;
        if places.live.map(|place| place.oid) != facts.live {
            return Err(self.foreign_number());
        }
        match facts.live {
            None => {
                drop(session);
                target::make(&self.server.with_database(&plan.scratch), &self.access.cancel, &mut None)?;
                session = self.elsewhere(&self.access.cancel)?;
            }
            Some(live) => {
                let sql = dress::making(&mut session, live, &plan.scratch)?;
                session.run(&sql)?;
                let commands = dress::dressing(&mut session, live, &plan.scratch)?;
                dress::try_on(&mut session, &commands)?;
                let commands = dress::closing(&mut session, live, &plan.scratch)?;
                dress::put_on(&mut session, &commands)?;
            }
        }
        let made = place(&mut session, &plan.scratch)?;
        facts.scratch = made.map(|place| place.oid);
        facts.write(plan)
    }

    fn load(&mut self, plan: &Replacement, format: DumpFormat) -> Result<Box<dyn Load>> {
        let held = match plan.way {
            ReplaceWay::Swap => None,
            ReplaceWay::Within => Some(self.within()?.hand_over()?),
        };
        if let Some(held) = &held {
            self.left_alone = held
                .foreign
                .iter()
                .map(|schema| format!("{}.", quote_ident(schema)))
                .collect();
            for remark in held.remarks() {
                self.tell(remark);
            }
        }
        let database = match plan.way {
            ReplaceWay::Swap => plan.scratch.as_str(),
            ReplaceWay::Within => self.name(),
        };
        let surroundings = self.surroundings(database);
        match format {
            DumpFormat::PgCustom => Ok(Box::new(PgLoad::archive(surroundings, self.find("pg_restore")?).held(held))),
            DumpFormat::Sql => Ok(Box::new(PgLoad::text(surroundings).held(held))),
            DumpFormat::Sqlite => Err(Error::new(Code::Usage, "format_not_loadable").with("format", format.as_str())),
        }
    }

    fn counts(&mut self, plan: &Replacement) -> Result<Vec<TableCount>> {
        let stall = self.access.stall;
        if plan.way == ReplaceWay::Within {
            return self.within()?.counts(stall);
        }
        let mut session = Session::open(&self.server.with_database(&plan.scratch), &plan.scratch, &self.access.cancel)?;
        counts::now(&mut session, &SourceOptions::default(), stall)
    }

    fn left_alone(&self) -> Vec<String> {
        self.left_alone.clone()
    }

    fn swap(&mut self, plan: &mut Replacement) -> Result<()> {
        let mut facts = Facts::of(plan)?;
        self.access.cancel.check()?;
        if plan.way == ReplaceWay::Within {
            self.within()?.commit()?;
            self.within = None;
            facts.swapped = true;
            return facts.write(plan);
        }
        let mut session = self.elsewhere(&self.access.cancel)?;
        let places = Places::look(&mut session, self.name(), plan)?;
        if places.live.map(|place| place.oid) != facts.live
            || facts.scratch.is_none()
            || places.scratch.map(|place| place.oid) != facts.scratch
        {
            return Err(self.foreign_number());
        }
        if let Some(live) = facts.live {
            // Anew: somebody may have granted something since.
            let commands = dress::dressing(&mut session, live, &plan.scratch)?;
            dress::put_on(&mut session, &commands)?;
            moment::let_finish(&mut session, live)?;
        }
        drop(session);
        let change = Change {
            live: self.name(),
            live_oid: facts.live,
            coming: Some(&plan.scratch),
            away: &plan.kept,
        };
        if let Err(error) = self.change_places(&change, plan) {
            // The answer may have been lost after it was done.
            let mut session = self.elsewhere(&Cancel::new()).map_err(|_| error.clone())?;
            let places = Places::look(&mut session, self.name(), plan).map_err(|_| error.clone())?;
            if places.found(plan, &facts) != Found::After {
                return Err(error);
            }
        }
        facts.swapped = true;
        facts.write(plan)
    }

    fn discard(&mut self, plan: &Replacement) -> Result<()> {
        if plan.way == ReplaceWay::Within {
            self.within = None;
            return Ok(());
        }
        let facts = Facts::of(plan)?;
        if facts.swapped {
            // What lies there now is what an undo has kept.
            return Ok(());
        }
        let mut session = self.elsewhere(&Cancel::new())?;
        self.end_left_over(&mut session, &facts.application)?;
        remove(&self.server, &mut session, &plan.scratch, facts.scratch)
    }

    fn recover(&mut self, plan: &Replacement) -> Result<Standing> {
        let facts = Facts::of(plan)?;
        if plan.way == ReplaceWay::Within {
            self.within = None;
            let (standing, remark) = within::recover(&self.server, &facts, &self.access.cancel)?;
            if let Some(remark) = remark {
                self.tell(remark);
            }
            return Ok(standing);
        }
        let mut session = self.elsewhere(&self.access.cancel)?;
        self.end_left_over(&mut session, &facts.application)?;
        let places = Places::look(&mut session, self.name(), plan)?;
        match places.found(plan, &facts) {
            Found::Before => {
                if plan.existed {
                    self.open_live(&mut session, &places)?;
                }
                self.discard(plan)?;
                Ok(Standing::Before)
            }
            Found::After => {
                self.open_live(&mut session, &places)?;
                Ok(Standing::After)
            }
            Found::Unknown(_) if facts.scratch.is_some() && places.scratch.map(|place| place.oid) == facts.scratch => {
                // The backup still lies where it was loaded, so the swap was not: what has the name now is somebody else's doing, and stays.
                self.discard(plan)?;
                Ok(Standing::Before)
            }
            Found::Unknown(standing) => {
                self.tell(
                    Error::new(Code::Refused, "pg_replace_unknown")
                        .with("database", self.name())
                        .with("scratch", plan.scratch.clone())
                        .with("kept", plan.kept.clone()),
                );
                Ok(standing)
            }
        }
    }

    fn undo(&mut self, plan: &Replacement) -> Result<()> {
        let facts = Facts::of(plan)?;
        let gone = || Error::new(Code::Refused, "pg_undo_gone").with("database", self.name());
        if plan.way == ReplaceWay::Within {
            return Err(gone());
        }
        let mut session = self.elsewhere(&self.access.cancel)?;
        let places = Places::look(&mut session, self.name(), plan)?;
        if places.is_undone(plan, &facts) {
            return self.open_live(&mut session, &places);
        }
        if plan.existed && places.kept.map(|place| place.oid) != facts.live {
            return Err(gone());
        }
        let live = places.live.map(|place| place.oid);
        // Where nothing has the name any more, what is kept is all there is: it only has to come back.
        let ours = live.is_none() || facts.scratch.is_none() || live == facts.scratch;
        if !ours || places.scratch.is_some() || (live.is_none() && !plan.existed) {
            return Err(self.foreign_number());
        }
        drop(session);
        let change = Change {
            live: self.name(),
            live_oid: live,
            coming: plan.existed.then_some(plan.kept.as_str()),
            away: &plan.scratch,
        };
        let Err(error) = self.change_places(&change, plan) else {
            return Ok(());
        };
        match self.is_undone(plan) {
            Ok(true) => Ok(()),
            _ => Err(error),
        }
    }

    fn is_undone(&mut self, plan: &Replacement) -> Result<bool> {
        if plan.way == ReplaceWay::Within {
            return Ok(false);
        }
        let facts = Facts::of(plan)?;
        let mut session = self.elsewhere(&self.access.cancel)?;
        self.end_left_over(&mut session, &facts.application)?;
        let places = Places::look(&mut session, self.name(), plan)?;
        // An undo that was cut off may have closed it.
        self.open_live(&mut session, &places)?;
        Ok(places.is_undone(plan, &facts))
    }

    fn kept_bytes(&mut self, plan: &Replacement) -> Result<Option<u64>> {
        if plan.way == ReplaceWay::Within {
            return Ok(None);
        }
        let facts = Facts::of(plan)?;
        let mut session = self.elsewhere(&self.access.cancel)?;
        let places = Places::look(&mut session, self.name(), plan)?;
        let kept = if places.is_undone(plan, &facts) {
            places.scratch.filter(|place| Some(place.oid) == facts.scratch)
        } else {
            places.kept.filter(|place| Some(place.oid) == facts.live)
        };
        let Some(kept) = kept else { return Ok(None) };
        let rows = session.query("SELECT pg_catalog.pg_database_size($1)", &[(&kept.oid, Type::OID)])?;
        let bytes: Option<i64> = rows.first().and_then(|row| row.try_get(0).ok());
        Ok(bytes.and_then(|bytes| u64::try_from(bytes).ok()))
    }

    fn forget(&mut self, plan: &Replacement) -> Result<()> {
        if plan.way == ReplaceWay::Within {
            return Ok(());
        }
        let facts = Facts::of(plan)?;
        let mut session = self.elsewhere(&self.access.cancel)?;
        let places = Places::look(&mut session, self.name(), plan)?;
        if places.is_undone(plan, &facts) {
            return remove(&self.server, &mut session, &plan.scratch, facts.scratch);
        }
        if !plan.existed {
            return Ok(());
        }
        if places.live.is_none() && places.kept.is_some_and(|place| Some(place.oid) == facts.live) {
            // All there is of it.
            return Err(Error::new(Code::Refused, "pg_kept_alone")
                .with("database", self.name())
                .with("kept", plan.kept.clone()));
        }
        remove(&self.server, &mut session, &plan.kept, facts.live)
    }

    fn remarks(&mut self) -> Vec<Error> {
        std::mem::take(&mut *self.remarks.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl PgReplace {
    /// What the live tables are made of, told by the same program and reader as a backup's. Nothing where there is no program; the inner error says
    /// why it did not work.
    fn shapes(&self, session: &Session) -> Result<std::result::Result<Option<Vec<TableShape>>, Error>> {
        let read = || -> Result<Option<Vec<TableShape>>> {
            let Ok(program) = self.find("pg_dump")?.choose_dump(session.version()) else {
                // That a program is missing is told elsewhere.
                return Ok(None);
            };
            let mut output = super::dump::schema_only(&self.server, &self.access, &program)?;
            let mut archive = Archive::new();
            let mut piece = vec![0; 64 << 10];
            loop {
                let read = std::io::Read::read(&mut output, &mut piece);
                let n = read.map_err(|e| coffre_model::error::from_io(e, |e| Error::internal("read a dump", e)))?;
                if n == 0 {
                    return Ok(archive.finish()?.shapes);
                }
                archive.feed(&piece[..n])?;
            }
        };
        match read() {
            Err(error) if error.code() == Code::Cancelled => Err(error),
            other => Ok(other),
        }
    }
}
