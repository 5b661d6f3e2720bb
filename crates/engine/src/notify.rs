//! Sending what channels are to be told: claims, tries, back-off. What is told is decided in `coffre_model::notice` and queued by
//! [`Catalogue::listen`](crate::catalogue::Catalogue::listen); words are made by a [`Composer`] at the moment of sending.
//!
//! # Once, and at least once
//! A message is queued once, and sent by one process at a time. Whoever is killed between the receiver's yes and the row that says so has
//! it sent again, under the same id: the mail has the same `Message-ID`, the request the same `Idempotency-Key`.

mod email;
mod http;
mod kept;

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use coffre_model::channel::{Channel, ChannelKind, ChannelSettings, DeliveryState};
use coffre_model::notice::Level;
use coffre_model::{Cancel, Code, Error, Id, Result, Secret};
use serde_json::Value;

use crate::catalogue::Delivery;
use crate::context::Engine;
use crate::secrets::channel_secret;

pub use kept::{bring_back, keep};

/// How long a message waits before each further try; the last one holds for all after it.
const BACK_OFF: [TimeDelta; 6] = [
    TimeDelta::minutes(1),
    TimeDelta::minutes(5),
    TimeDelta::minutes(15),
    TimeDelta::hours(1),
    TimeDelta::hours(3),
    TimeDelta::hours(6),
];
/// For how long a message is tried.
pub const TRIED_FOR: TimeDelta = TimeDelta::hours(48);
/// For how long a sign of life is: a late one would be a lie.
pub const PING_FOR: TimeDelta = TimeDelta::hours(1);
/// For how long messages that ended are remembered.
pub const REMEMBERED: TimeDelta = TimeDelta::days(30);

/// A message in words, in every form that a channel may want.
#[derive(Clone, Debug)]
pub struct Composed {
    /// One line.
    pub title: String,
    /// Plain text.
    pub text: String,
    /// The same for a mail reader.
    pub html: String,
    /// The same for Slack.
    pub slack: Value,
    /// The same for programs.
    pub json: Value,
    /// What it is about in one word, for a header: `backup.failed`.
    pub event: String,
}

/// Puts messages into words.
pub trait Composer: Sync {
    /// In the words of the channel's language, times in its zone.
    fn compose(&self, channel: &Channel, delivery: &Delivery) -> Result<Composed>;
}

/// Why a message was not taken.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: Error,
    /// Whether trying again can help without anybody changing anything.
    pub(crate) again: bool,
    /// Not before, says the receiver.
    pub(crate) after: Option<Duration>,
}

impl Failure {
    pub(crate) fn for_good(error: Error) -> Failure {
        Failure {
            error,
            again: false,
            after: None,
        }
    }

    pub(crate) fn passing(error: Error) -> Failure {
        Failure {
            error,
            again: true,
            after: None,
        }
    }
}

/// A message was taken; with a remark where not by everybody.
pub(crate) type Taken = std::result::Result<Option<Error>, Failure>;

/// How one message went.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The channel's id.
    pub channel_id: Id,
    /// The channel's name.
    pub channel: String,
    /// The message as it stands now.
    pub delivery: Delivery,
}

/// Sends what is due, each channel beside the others, until nothing is due any more, `until` has come, or it is cancelled.
///
/// # Errors
/// The catalogue's own. What a receiver says is in the answer, and in the rows.
pub fn deliver(engine: &Engine, composer: &dyn Composer, until: Option<Instant>, cancel: &Cancel) -> Result<Vec<Sent>> {
    let mut done = Vec::new();
    let late = || until.is_some_and(|until| Instant::now() >= until);
    while !cancel.is_cancelled() && !late() {
        let claimed = engine.catalogue.claim_deliveries((engine.now)())?;
        if claimed.is_empty() {
            break;
        }
        let sent: Vec<Result<Sent>> = std::thread::scope(|scope| {
            let begun: Vec<_> = claimed
                .into_iter()
                .map(|(channel, delivery)| scope.spawn(move || send_claimed(engine, composer, channel, delivery, until, cancel)))
                .collect();
            let joined = begun.into_iter().map(std::thread::ScopedJoinHandle::join);
            joined
                .map(|end| end.unwrap_or_else(|_| Err(Error::internal("send a message", "it panicked; the log says where"))))
                .collect()
        });
        for outcome in sent {
            done.push(outcome?);
        }
    }
    Ok(done)
}

/// Sends a message that is claimed, and writes what became of it.
///
/// # Errors
/// The catalogue's own.
pub fn send_claimed(
    engine: &Engine,
    composer: &dyn Composer,
    channel: Channel,
    delivery: Delivery,
    until: Option<Instant>,
    cancel: &Cancel,
) -> Result<Sent> {
    let limit = engine.notify_limit()?;
    let left = until.map(|until| until.saturating_duration_since(Instant::now()));
    let whole = left
        .map_or(limit * 3, |left| left.min(limit * 3))
        .max(Duration::from_millis(200));
    let work = std::panic::AssertUnwindSafe(|| attempt(engine, composer, &channel, &delivery, limit, whole, cancel));
    let outcome = std::panic::catch_unwind(work).unwrap_or_else(|_| {
        Err(Failure::passing(Error::internal(
            "send a message",
            "it panicked; the log says where",
        )))
    });
    let now = (engine.now)();
    let delivery = after_try(&channel, delivery, outcome, now);
    engine.catalogue.settle_delivery(&delivery)?;
    Ok(Sent {
        channel_id: channel.id,
        channel: channel.name,
        delivery,
    })
}

/// What becomes of a message after a try.
fn after_try(channel: &Channel, mut delivery: Delivery, outcome: Taken, now: DateTime<Utc>) -> Delivery {
    let failure = match outcome {
        Ok(remark) => {
            delivery.state = DeliveryState::Sent;
            delivery.ended_at = Some(now);
            delivery.error = remark;
            return delivery;
        }
        Err(failure) => failure,
    };
    if failure.error.code() == Code::Cancelled {
        // Not a try: Coffre ends. The next process sends it.
        delivery.state = DeliveryState::Pending;
        delivery.tries = delivery.tries.saturating_sub(1);
        return delivery;
    }
    let tried_for = match channel.settings.kind() {
        ChannelKind::Ping => PING_FOR,
        _ => TRIED_FOR,
    };
    let step = (delivery.tries.saturating_sub(1) as usize).min(BACK_OFF.len() - 1);
    let pause = failure
        .after
        .and_then(|after| TimeDelta::from_std(after).ok())
        .map_or(BACK_OFF[step], |after| after.max(BACK_OFF[step]).min(TimeDelta::hours(24)));
    let is_test = delivery.event_key.starts_with("test:");
    let next = now + pause;
    // A clock that was set far back since it was queued makes nothing be tried for ever.
    let age = (next - delivery.created_at).abs();
    delivery.error = Some(failure.error);
    if failure.again && !is_test && age <= tried_for {
        delivery.state = DeliveryState::Pending;
        delivery.next_try_at = next;
    } else {
        delivery.state = DeliveryState::GivenUp;
        delivery.ended_at = Some(now);
    }
    delivery
}

fn attempt(
    engine: &Engine,
    composer: &dyn Composer,
    channel: &Channel,
    delivery: &Delivery,
    limit: Duration,
    whole: Duration,
    cancel: &Cancel,
) -> Taken {
    let secret = secret_of(engine, channel).map_err(Failure::passing)?;
    let composed = composer.compose(channel, delivery).map_err(Failure::passing)?;
    let id = delivery.id.to_string();
    let at = (engine.now)();
    let limits = Limits { step: limit, whole };
    match &channel.settings {
        ChannelSettings::Email { .. } => email::send(&channel.settings, secret.as_ref(), &composed, &id, limits, cancel),
        ChannelSettings::Slack { .. } => {
            let body = composed.slack.to_string();
            http::send(
                http::Request::json(needed(secret)?, body, &id, &composed.event),
                limits,
                cancel,
            )
        }
        ChannelSettings::Webhook { url, ca_file } => {
            let mut request = http::Request::json(Secret::new(url.as_str()), composed.json.to_string(), &id, &composed.event);
            request.ca_file.clone_from(ca_file);
            if let Some(secret) = &secret {
                request.sign(secret, at);
            }
            http::send(request, limits, cancel)
        }
        ChannelSettings::Ping { .. } => {
            let bad = delivery.message.iter().any(|event| event.level != Level::Good);
            http::send(
                http::Request::ping(&needed(secret)?, bad, composed.title, &id)?,
                limits,
                cancel,
            )
        }
    }
}

/// How long a step may take without an answer, and everything together.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) step: Duration,
    pub(crate) whole: Duration,
}

fn needed(secret: Option<Secret>) -> std::result::Result<Secret, Failure> {
    secret.ok_or_else(|| Failure::for_good(Error::new(Code::Usage, "channel_no_address")))
}

fn secret_of(engine: &Engine, channel: &Channel) -> Result<Option<Secret>> {
    match channel.has_secret {
        true => Ok(Some(engine.secret(&channel_secret(&channel.id), &channel.name)?)),
        false => Ok(None),
    }
}

/// Drives asynchronous work to its end on this thread, within a limit, and stops when it is cancelled.
pub(crate) fn drive<T>(
    work: impl Future<Output = std::result::Result<T, Failure>>,
    whole: Duration,
    slow: impl Fn(Duration) -> Error,
    cancel: &Cancel,
) -> std::result::Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::passing(Error::internal("start a runtime", e)))?;
    let outcome = runtime.block_on(async {
        let stopped = async {
            while !cancel.is_cancelled() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::select! {
            done = work => done,
            () = tokio::time::sleep(whole) => Err(Failure::passing(slow(whole))),
            () = stopped => Err(Failure::passing(Error::new(Code::Cancelled, "cancelled"))),
        }
    });
    // A name that is still being looked up must not hold anybody.
    runtime.shutdown_background();
    outcome
}

/// Words of a receiver, as one short line without anything that a terminal or a page would obey.
pub(crate) fn said(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
    line.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Certificates of a file, as they lie there.
pub(crate) fn read_ca(path: &str) -> std::result::Result<Vec<u8>, Failure> {
    let absent = |cause: String| {
        Failure::for_good(
            Error::new(Code::NotFound, "channel_ca_file")
                .with("path", path)
                .with("cause", cause),
        )
    };
    let bytes = std::fs::read(path).map_err(|e| absent(e.to_string()))?;
    match bytes.len() {
        0..=1_000_000 => Ok(bytes),
        n => Err(absent(format!("{n} bytes"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coffre_model::channel::Wants;

    fn world(kind: ChannelKind) -> (Channel, Delivery) {
        let now = at(0);
        let settings = match kind {
            ChannelKind::Ping => ChannelSettings::Ping {
                place: "https://h".into(),
                failures: true,
            },
            _ => ChannelSettings::Slack {
                place: "https://h".into(),
            },
        };
        let channel = Channel {
            id: Id::new(),
            name: "team".into(),
            settings,
            language: "en".into(),
            time_zone: "UTC".into(),
            wants: Wants::default(),
            plan_ids: Vec::new(),
            has_secret: true,
            paused_at: None,
            created_at: now,
        };
        let delivery = Delivery {
            id: Id::new(),
            channel_id: channel.id,
            event_key: "backup:x".into(),
            message: Vec::new(),
            state: DeliveryState::Sending,
            tries: 1,
            created_at: now,
            next_try_at: now,
            ended_at: None,
            error: None,
        };
        (channel, delivery)
    }

    fn at(minutes: i64) -> DateTime<Utc> {
        "2026-11-21T08:00:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::minutes(minutes)
    }

    fn passing() -> Failure {
        Failure::passing(Error::new(Code::Unreachable, "channel_unreachable"))
    }

    #[test]
    fn tries_end_and_come_more_seldom() {
        let (channel, mut delivery) = world(ChannelKind::Slack);
        let mut now = at(0);
        let mut pauses = Vec::new();
        while delivery.state != DeliveryState::GivenUp {
            delivery = after_try(&channel, delivery, Err(passing()), now);
            pauses.push((delivery.next_try_at - now).num_minutes());
            now = delivery.next_try_at;
            delivery.tries += 1;
            assert!(pauses.len() < 30);
        }
        assert_eq!(pauses[..6], [1, 5, 15, 60, 180, 360]);
        assert!(now - delivery.created_at <= TRIED_FOR);
    }

    #[test]
    fn a_refusal_ends_at_once_and_a_stop_is_no_try() {
        let (channel, delivery) = world(ChannelKind::Slack);
        let refused = Failure::for_good(Error::new(Code::NotFound, "http_gone"));
        let after = after_try(&channel, delivery.clone(), Err(refused), at(1));
        assert_eq!((after.state, after.ended_at), (DeliveryState::GivenUp, Some(at(1))));
        let stopped = Failure::passing(Error::new(Code::Cancelled, "cancelled"));
        let after = after_try(&channel, delivery.clone(), Err(stopped), at(1));
        assert_eq!((after.state, after.tries, after.error), (DeliveryState::Pending, 0, None));
        let busy = Failure {
            after: Some(Duration::from_secs(1800)),
            ..passing()
        };
        assert_eq!(after_try(&channel, delivery, Err(busy), at(0)).next_try_at, at(30));
    }

    #[test]
    fn a_late_sign_of_life_is_not_sent() {
        let (channel, mut delivery) = world(ChannelKind::Ping);
        delivery.tries = 4;
        assert_eq!(
            after_try(&channel, delivery, Err(passing()), at(21)).state,
            DeliveryState::GivenUp
        );
    }
}
