//! Channels and what they are told: add, edit, test, pause, remove; looking at what is new, and sending it.

mod audience;
mod compose;
mod standings;
mod unheard;

use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use coffre_engine::catalogue::{Delivery, Fresh, Listening, Whose};
use coffre_engine::context::Subject;
use coffre_engine::notify::{self, REMEMBERED, Sent, TRIED_FOR};
use coffre_engine::secrets::channel_secret;
use coffre_model::channel::{Channel, ChannelKind, ChannelSettings, DeliveryState, Digest, Wants, secret_place};
use coffre_model::journal::Entry;
use coffre_model::notice::{self, Event, GROUPED_FROM, Level, Occurrence, Standing, Tell, What};
use coffre_model::plan::Plan;
use coffre_model::schedule::Schedule;
use coffre_model::{Cancel, Code, Error, Id, Result, Secret};
use serde::Serialize;
use serde_json::{Value, json};
use ts_rs::TS;

use crate::Coffre;
use crate::secret_change::with_row;

use compose::InWords;
pub(crate) use standings::{failing, meaning, not_good};
pub use unheard::{FailingChannel, Unheard};

/// A channel that is to be added.
#[derive(Clone, Debug)]
pub struct NewChannel {
    /// Its name.
    pub name: String,
    /// How it reaches its receiver. The place of a secret address is filled in.
    pub settings: ChannelSettings,
    /// `en` or `fr`.
    pub language: String,
    /// The time zone in which it tells times; without one that of this machine.
    pub time_zone: Option<String>,
    /// What it wants to hear.
    pub wants: Wants,
    /// Only of these plans, by name or id; empty: of all.
    pub plans: Vec<String>,
}

/// What is to change in a channel; nothing leaves it as it is.
#[derive(Clone, Default)]
pub struct ChannelChange {
    /// Its name.
    pub name: Option<String>,
    /// How it reaches its receiver, of the same kind.
    pub settings: Option<ChannelSettings>,
    /// `en` or `fr`.
    pub language: Option<String>,
    /// The time zone.
    pub time_zone: Option<String>,
    /// What it wants to hear.
    pub wants: Option<Wants>,
    /// Only of these plans.
    pub plans: Option<Vec<String>>,
    /// Its secret; an empty one is forgotten.
    pub secret: Option<Secret>,
}

/// A channel and how it goes.
#[derive(Clone, Debug, Serialize, TS)]
pub struct ChannelState {
    /// The channel.
    #[serde(flatten)]
    pub channel: Channel,
    /// Where it goes, as may be shown.
    pub place: String,
    /// The plans' names that it is limited to.
    pub plans: Vec<String>,
    /// What became of the message that was tried last.
    pub last: Option<LastDelivery>,
    /// How many messages wait.
    pub waiting: u64,
    /// Why it does not reach its receiver, if so.
    pub failing: Option<Error>,
}

/// The message that was tried last.
#[derive(Clone, Debug, Serialize, TS)]
pub struct LastDelivery {
    /// When it was queued.
    pub at: DateTime<Utc>,
    /// What became of it.
    pub state: DeliveryState,
    /// How often it was tried.
    pub tries: u32,
    /// When it is tried again.
    pub next_try_at: Option<DateTime<Utc>>,
}

/// A message and what became of it, for showing.
#[derive(Clone, Debug, Serialize, TS)]
pub struct DeliveryShown {
    /// Its id; the receiver got it too.
    pub id: Id,
    /// The channel's name.
    pub channel: String,
    /// What it tells: `backup.failed`, …
    pub events: Vec<String>,
    /// What about: names of sources, without repetition.
    pub about: Vec<String>,
    /// What became of it.
    pub state: DeliveryState,
    /// How often it was tried.
    pub tries: u32,
    /// When it was queued.
    pub created_at: DateTime<Utc>,
    /// When it was sent or given up.
    pub ended_at: Option<DateTime<Utc>>,
    /// When it is tried again.
    pub next_try_at: Option<DateTime<Utc>>,
    /// Why the last try did not work.
    pub error: Option<Error>,
}

/// What telling came to.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// How many messages were queued.
    pub queued: usize,
    /// What was tried, and what became of it.
    pub sent: Vec<Sent>,
    /// How many messages wait for a later try.
    pub waiting: u64,
}

/// A copy of an error that may leave the machine: lines of a server in which rows of a table can stand are taken out.
pub(crate) fn sayable(error: &Error) -> Error {
    fn without_rows(text: &str) -> String {
        const ROWS: [&str; 8] = [
            "DETAIL:",
            "CONTEXT:",
            "STATEMENT:",
            "QUERY:",
            "LINE ",
            "COPY ",
            "Command was:",
            "VALUES",
        ];
        let kept = text.lines().filter(|line| !ROWS.iter().any(|mark| line.contains(mark)));
        // What stands in quotes after a colon is a value; names of tables stand in the middle of a sentence.
        let masked = kept.map(|line| match line.find(": \"") {
            Some(at) => format!("{}: …", &line[..at]),
            None => line.to_owned(),
        });
        // On one line: what a server said begins none of ours.
        let whole = masked.collect::<Vec<_>>().join(" ");
        whole.trim().chars().take(400).collect()
    }
    fn clean(value: &mut Value) {
        match value {
            Value::String(text) => *text = without_rows(text),
            Value::Array(list) => list.iter_mut().for_each(clean),
            Value::Object(fields) => fields.values_mut().for_each(clean),
            _ => {}
        }
    }
    let cleaned = serde_json::to_value(error).ok().and_then(|mut value| {
        if let Some(details) = value.get_mut("details") {
            clean(details);
        }
        serde_json::from_value(value).ok()
    });
    cleaned.unwrap_or_else(|| Error::internal("tell an error", error.code()))
}

impl Coffre {
    /// Adds a channel. Does not connect.
    ///
    /// # Errors
    /// `USAGE`, `REFUSED` for a name that is taken and for a secret that would go in the clear, `SECRET_UNAVAILABLE`.
    pub fn add_channel(&self, new: NewChannel, secret: Option<Secret>) -> Result<Channel> {
        coffre_model::source::check_name(&new.name)?;
        let secret = secret.filter(|secret| !secret.is_empty());
        let channel = Channel {
            id: Id::new(),
            name: new.name,
            settings: placed(new.settings, secret.as_ref())?,
            language: new.language,
            time_zone: new.time_zone.unwrap_or_else(crate::schedules::local_zone),
            wants: new.wants,
            plan_ids: self.plan_ids(&new.plans)?,
            has_secret: secret.is_some(),
            paused_at: None,
            created_at: (self.engine.now)(),
        };
        channel.check(channel.has_secret)?;
        let mut added = None;
        with_row(&self.engine, &channel_secret(&channel.id), secret.as_ref(), || {
            added = Some(self.engine.catalogue.add_channel(&channel)?);
            Ok(())
        })?;
        self.record_channel("channel.add", &channel)?;
        Ok(added.unwrap_or(channel))
    }

    /// Changes a channel. What it could not be sent lately is tried again.
    ///
    /// # Errors
    /// Those of [`Coffre::add_channel`].
    pub fn edit_channel(&self, before: &Channel, change: ChannelChange) -> Result<Channel> {
        let has_secret = change.secret.as_ref().map_or(before.has_secret, |secret| !secret.is_empty());
        let settings = change.settings.unwrap_or_else(|| before.settings.clone());
        if settings.kind() != before.settings.kind() {
            return Err(Error::new(Code::Usage, "channel_kind_changed").with("name", before.name.as_str()));
        }
        let channel = Channel {
            name: change.name.unwrap_or_else(|| before.name.clone()),
            settings: match &change.secret {
                Some(secret) => placed(settings, Some(secret).filter(|secret| !secret.is_empty()))?,
                None => settings,
            },
            language: change.language.unwrap_or_else(|| before.language.clone()),
            time_zone: change.time_zone.unwrap_or_else(|| before.time_zone.clone()),
            wants: change.wants.unwrap_or_else(|| before.wants.clone()),
            plan_ids: match change.plans {
                Some(plans) => self.plan_ids(&plans)?,
                None => before.plan_ids.clone(),
            },
            has_secret,
            ..before.clone()
        };
        channel.check(has_secret)?;
        let now = (self.engine.now)();
        with_row(&self.engine, &channel_secret(&channel.id), change.secret.as_ref(), || {
            self.engine.catalogue.update_channel(&channel, now - TRIED_FOR, now)
        })?;
        self.record_channel("channel.edit", &channel)?;
        Ok(channel)
    }

    fn plan_ids(&self, plans: &[String]) -> Result<Vec<Id>> {
        plans.iter().map(|plan| self.plan(plan).map(|plan| plan.id)).collect()
    }

    /// One channel, by name or id.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub fn channel(&self, name: &str) -> Result<Channel> {
        self.engine.catalogue.channel(name)
    }

    /// Every channel and how it goes.
    ///
    /// # Errors
    /// The catalogue's own.
    pub fn channels(&self) -> Result<Vec<ChannelState>> {
        let catalogue = &self.engine.catalogue;
        let last = catalogue.last_deliveries()?;
        let plans = self.plans()?;
        let state = |channel: Channel| {
            let tried = last.get(&channel.id);
            Ok(ChannelState {
                place: channel.settings.place(),
                plans: names(&plans, &channel.plan_ids),
                last: tried.map(|delivery| LastDelivery {
                    at: delivery.created_at,
                    state: delivery.state,
                    tries: delivery.tries,
                    next_try_at: next_try(delivery),
                }),
                waiting: catalogue.waiting_deliveries(Some(&channel.id))?,
                failing: tried.and_then(failing).cloned(),
                channel,
            })
        };
        catalogue.channels()?.into_iter().map(state).collect()
    }

    /// One channel and how it goes.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub fn channel_state(&self, name: &str) -> Result<ChannelState> {
        let channel = self.channel(name)?;
        let found = self.channels()?.into_iter().find(|state| state.channel.id == channel.id);
        found.ok_or_else(|| Error::new(Code::NotFound, "channel_not_found").with("given", name))
    }

    /// Pauses a channel, or lets it listen again.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub fn pause_channel(&self, channel: &Channel, paused: bool) -> Result<Channel> {
        if paused == channel.paused_at.is_some() {
            return Ok(channel.clone());
        }
        self.engine
            .catalogue
            .pause_channel(&channel.id, paused, (self.engine.now)())?;
        self.record_channel(if paused { "channel.pause" } else { "channel.resume" }, channel)?;
        self.channel(&channel.id.to_string())
    }

    /// Removes a channel, its secret, and what was to be sent to it.
    ///
    /// # Errors
    /// `NOT_FOUND`, `SECRET_UNAVAILABLE`.
    pub fn remove_channel(&self, channel: &Channel) -> Result<()> {
        self.engine.catalogue.remove_channel(&channel.id, (self.engine.now)())?;
        if channel.has_secret {
            self.engine.secrets.store()?.remove(&channel_secret(&channel.id))?;
        }
        self.record_channel("channel.remove", channel)
    }

    /// Sends a test, and waits for what becomes of it. It is not tried again. A paused channel is tested too.
    ///
    /// # Errors
    /// Why it was not taken.
    pub fn test_channel(&self, channel: &Channel, cancel: &Cancel) -> Result<Delivery> {
        let engine = &self.engine;
        let now = (engine.now)();
        let event = Event::new(What::Test, now, Level::Good);
        let delivery = engine
            .catalogue
            .queue_claimed(&channel.id, &format!("test:{}", Id::new()), &[event], now)?;
        let sent = notify::send_claimed(engine, &self.composer(), channel.clone(), delivery, None, cancel)?;
        let error = sent.delivery.error.clone();
        self.record_channel_with("channel.test", channel, error.as_ref())?;
        match (sent.delivery.state, error) {
            (DeliveryState::Sent, None) => Ok(sent.delivery),
            (_, Some(error)) => Err(error),
            // Stopped by a person.
            (_, None) => Err(Error::new(Code::Cancelled, "cancelled")),
        }
    }

    /// Messages, the newest first: of a channel, or of all.
    ///
    /// # Errors
    /// The catalogue's own.
    pub fn deliveries(&self, channel: Option<&Channel>, limit: u32) -> Result<Vec<DeliveryShown>> {
        let channels = self.engine.catalogue.channels()?;
        let found = self.engine.catalogue.deliveries(channel.map(|channel| &channel.id), limit)?;
        let shown = |delivery: Delivery| {
            let channel = channels.iter().find(|channel| channel.id == delivery.channel_id);
            let mut about: Vec<String> = Vec::new();
            for event in &delivery.message {
                let name = event.source.as_ref().map(|source| source.name.clone());
                if let Some(name) = name.filter(|name| !about.contains(name)) {
                    about.push(name);
                }
            }
            DeliveryShown {
                channel: channel.map(|channel| channel.name.clone()).unwrap_or_default(),
                events: delivery
                    .message
                    .iter()
                    .map(|event| event.what.as_str().replacen('_', ".", 1))
                    .collect(),
                about,
                next_try_at: next_try(&delivery),
                id: delivery.id,
                state: delivery.state,
                tries: delivery.tries,
                created_at: delivery.created_at,
                ended_at: delivery.ended_at,
                error: delivery.error,
            }
        };
        Ok(found.into_iter().map(shown).collect())
    }

    /// Looks at what is new for each channel, queues it, and sends what is due, until `until`. Nothing where nobody listens.
    ///
    /// # Errors
    /// The catalogue's own. What a receiver says is in the answer.
    pub fn tell(&self, until: Option<Instant>, cancel: &Cancel) -> Result<Told> {
        let catalogue = &self.engine.catalogue;
        if !catalogue.anybody_listens()? {
            return Ok(Told::default());
        }
        let mut told = Told {
            queued: self.queue_news()?,
            ..Told::default()
        };
        told.sent = notify::deliver(&self.engine, &self.composer(), until, cancel)?;
        told.waiting = catalogue.waiting_deliveries(None)?;
        catalogue.forget_deliveries((self.engine.now)() - REMEMBERED)?;
        Ok(told)
    }

    /// Queues what is new. Answers how many messages that made.
    fn queue_news(&self) -> Result<usize> {
        let catalogue = &self.engine.catalogue;
        let looked_at = (self.engine.now)();
        let look = standings::look(self)?;
        let plans = self.plans()?;
        let mut queued = 0;
        for channel in catalogue.channels()?.iter().filter(|channel| channel.paused_at.is_none()) {
            let digest = self.digest(channel, &look, looked_at)?;
            queued += catalogue.listen(&channel.id, looked_at, (self.engine.now)(), |channel, listening| {
                Ok(news(channel, listening, &look.standings, &plans, digest, looked_at))
            })?;
        }
        Ok(queued)
    }

    /// The summary that is due last, and its moment.
    fn digest(&self, channel: &Channel, look: &standings::Look, now: DateTime<Utc>) -> Result<Option<(DateTime<Utc>, Event)>> {
        let Some(cron) = channel.wants.digest_cron()? else {
            return Ok(None);
        };
        let schedule = Schedule::new(&cron, &channel.time_zone)?;
        let due = schedule.between(now - TimeDelta::days(8), now, 20).pop();
        let Some(due) = due.filter(|due| *due > channel.created_at) else {
            return Ok(None);
        };
        let length = match channel.wants.digest {
            Digest::Weekly => TimeDelta::days(7),
            _ => TimeDelta::days(1),
        };
        let spans = [(due - length, due)];
        let outcomes = self.engine.catalogue.outcomes_within(&spans)?.pop();
        let mut event = Event::new(What::Digest, due, Level::Good);
        let mut sources: Vec<_> = look.protections.iter().collect();
        // Worst first.
        sources.sort_by_key(|(source, protection)| (std::cmp::Reverse(protection.state), source.name.clone()));
        let state = |state: coffre_model::protection::ProtectionState| sources.iter().filter(|(_, p)| p.state == state).count();
        use coffre_model::protection::ProtectionState::{AtRisk, Protected, Unprotected};
        let mut fact = |name: &str, value: Value| drop(event.facts.insert(name.to_owned(), value));
        fact("protected_count", json!(state(Protected)));
        fact("at_risk_count", json!(state(AtRisk)));
        fact("unprotected_count", json!(state(Unprotected)));
        if let Some(outcomes) = outcomes {
            fact("verified_count", json!(outcomes.verified));
            fact("failed_count", json!(outcomes.failed));
        }
        fact("from_at", json!(due - length));
        fact("until_at", json!(due));
        let list = sources.iter().take(50).map(|(source, protection)| {
            json!({"name": source.name, "state": protection.state, "verified_at": protection.last_verified_at})
        });
        fact("sources", list.collect());
        event.level = if state(Unprotected) > 0 {
            Level::Bad
        } else if state(AtRisk) > 0 {
            Level::Warning
        } else {
            Level::Good
        };
        Ok(Some((due, event)))
    }

    fn composer(&self) -> InWords {
        InWords {
            machine: sysinfo::System::host_name().unwrap_or_else(|_| "localhost".to_owned()),
        }
    }

    /// Every change of a channel is also written down beside the catalogue.
    fn record_channel(&self, action: &str, channel: &Channel) -> Result<()> {
        notify::keep(&self.engine)?;
        self.record_channel_with(action, channel, None)
    }

    fn record_channel_with(&self, action: &str, channel: &Channel, error: Option<&Error>) -> Result<()> {
        let subject = Subject {
            kind: "channel",
            id: Some(&channel.id),
            name: &channel.name,
        };
        self.engine.record(action, subject, error)
    }
}

fn next_try(delivery: &Delivery) -> Option<DateTime<Utc>> {
    (delivery.state == DeliveryState::Pending).then_some(delivery.next_try_at)
}

fn names(plans: &[Plan], ids: &[Id]) -> Vec<String> {
    let known = plans.iter().filter(|plan| ids.contains(&plan.id));
    known.map(|plan| plan.name.clone()).collect()
}

/// The settings with the place of a secret address in them, where the address is a secret and a new one was given.
fn placed(settings: ChannelSettings, secret: Option<&Secret>) -> Result<ChannelSettings> {
    Ok(match (settings, secret) {
        (ChannelSettings::Slack { .. }, Some(url)) => ChannelSettings::Slack {
            place: secret_place(ChannelKind::Slack, url.expose())?,
        },
        (ChannelSettings::Ping { failures, .. }, Some(url)) => ChannelSettings::Ping {
            place: secret_place(ChannelKind::Ping, url.expose())?,
            failures,
        },
        (settings, _) => settings,
    })
}

/// What one channel is told now. Pure.
fn news(
    channel: &Channel,
    listening: Listening,
    standings: &[Standing],
    plans: &[Plan],
    digest: Option<(DateTime<Utc>, Event)>,
    now: DateTime<Utc>,
) -> Fresh {
    let mut fresh = Fresh::default();
    let is_ping = channel.settings.kind() == ChannelKind::Ping;
    if !is_ping && notice::is_storm(listening.recent, listening.last, now) {
        // It hears of everything that is new by then, in one message.
        return fresh;
    }
    let chosen = |standing: &&Standing| audience::hears(channel, standing, plans);
    let standings: Vec<Standing> = standings.iter().filter(chosen).cloned().collect();
    let since = listening.since;
    let decision = match &channel.settings {
        ChannelSettings::Ping { failures, .. } => {
            notice::pings(*failures, channel.wants.patient, &listening.told, &standings, since)
        }
        _ => {
            let ours = |line: &&(Entry, Whose)| audience::hears_line(channel, &line.1, plans);
            let happened: Vec<Occurrence> = listening
                .journal
                .iter()
                .filter(ours)
                .filter_map(|(entry, whose)| standings::occurrence(entry, whose))
                .collect();
            notice::decide(&channel.wants, &listening.told, &standings, &happened, since, now)
        }
    };
    fresh.journal_seen = listening.journal.last().map(|(entry, _)| entry.id);
    fresh.told = decision.told;
    fresh.gone = decision.gone;
    fresh.messages = messages(decision.tells, is_ping);
    if let Some((due, event)) = digest.filter(|(due, _)| !is_ping && *due > listening.digested_at.unwrap_or(since)) {
        fresh.messages.push((format!("digest:{}", due.timestamp()), vec![event]));
        fresh.digested_at = Some(due);
    }
    fresh
}

/// One message for each thing, or one for all where there are many.
fn messages(tells: Vec<Tell>, is_ping: bool) -> Vec<(String, Vec<Event>)> {
    if tells.len() < GROUPED_FROM || is_ping {
        return tells.into_iter().map(|tell| (tell.key, vec![tell.event])).collect();
    }
    let key = format!("several:{}", tells[0].key);
    let mut events: Vec<Event> = tells.into_iter().map(|tell| tell.event).collect();
    events.sort_by_key(|event| std::cmp::Reverse(event.level));
    vec![(key, events)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_table_never_leave_the_machine() {
        let said = "pg_dump: error: Dumping the contents of table \"customers\" failed\n\
                    DETAIL:  Key (email)=(joe@example.org) already exists.\n\
                    ERROR:  invalid input syntax for type integer: \"4111 1111\"\n\
                    CONTEXT:  COPY customers, line 7, column card: \"4111 1111\"";
        let error = Error::new(Code::DumpFailed, "pg_dump_failed")
            .with("stderr", said)
            .with_also("because", &Error::new(Code::Internal, "internal").with("cause", said));
        let clean = sayable(&error).to_string();
        assert!(!clean.contains("4111") && !clean.contains("joe@"), "{clean}");
        assert!(
            clean.contains("customers") && clean.contains("invalid input syntax"),
            "{clean}"
        );
    }
}
