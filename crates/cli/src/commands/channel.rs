//! `coffre channel …`, and what is told at the end of other commands.

use std::time::{Duration, Instant};

use coffre_api::Coffre;
use coffre_api::model::channel::{ChannelKind, ChannelSettings, DeliveryState, Digest, Security, Wants, usual_port};
use coffre_api::model::{Cancel, Code, Error, Result, Secret};
use coffre_api::notifications::{ChannelChange, ChannelState, NewChannel, Told, Unheard};
use serde_json::json;

use super::source::{facts, read_secret};
use crate::args::{self, ChannelOptions};
use crate::output::Out;

/// How long the end of a command waits for receivers.
const PATIENCE: Duration = Duration::from_secs(15);

pub(super) fn run(coffre: &Coffre, command: &args::Channel, out: &Out, cancel: &Cancel) -> Result<()> {
    match command {
        args::Channel::Add { kind, name, options } => {
            let kind = ChannelKind::parse(kind).ok_or_else(|| crate::localise::wrong("KIND", kind))?;
            let new = NewChannel {
                name: name.clone(),
                settings: settings(kind, options, None)?,
                language: options
                    .language
                    .clone()
                    .unwrap_or_else(|| out.words.language.code().to_owned()),
                time_zone: options.time_zone.clone(),
                wants: wants(options, Wants::default()),
                plans: options.plan.clone(),
            };
            let channel = coffre.add_channel(new, secret(options)?)?;
            let state = coffre.channel_state(&channel.id.to_string())?;
            out.say(
                "cli.channel_added",
                &[("name", json!(channel.name)), ("place", json!(state.place))],
            );
            out.document(&[("channel", &state)])
        }
        args::Channel::List => list(coffre, out),
        args::Channel::Show(one) => {
            let state = coffre.channel_state(&one.one)?;
            show(&state, out);
            out.document(&[("channel", &state)])
        }
        args::Channel::Edit { one, name, options } => {
            let before = coffre.channel(one)?;
            let change = ChannelChange {
                name: name.clone(),
                settings: Some(settings(before.settings.kind(), options, Some(&before.settings))?),
                language: options.language.clone(),
                time_zone: options.time_zone.clone(),
                wants: Some(wants(options, before.wants.clone())),
                plans: match (options.all_plans, options.plan.is_empty()) {
                    (true, _) => Some(Vec::new()),
                    (false, true) => None,
                    (false, false) => Some(options.plan.clone()),
                },
                secret: secret(options)?,
            };
            let channel = coffre.edit_channel(&before, change)?;
            let state = coffre.channel_state(&channel.id.to_string())?;
            show(&state, out);
            out.document(&[("channel", &state)])
        }
        args::Channel::Test(one) => {
            let channel = coffre.channel(&one.one)?;
            let tested = coffre.test_channel(&channel, cancel);
            let state = coffre.channel_state(&channel.id.to_string())?;
            match tested {
                Ok(delivery) => {
                    let facts = [("name", json!(channel.name)), ("place", json!(state.place))];
                    out.say("cli.channel_tested", &facts);
                    out.document(&[("channel", &state), ("ok", &true), ("delivery", &json!({"id": delivery.id}))])
                }
                Err(error) => out.failed(&[("channel", &state), ("ok", &false)], error),
            }
        }
        args::Channel::Pause(one) => pause(coffre, &one.one, true, out),
        args::Channel::Resume(one) => pause(coffre, &one.one, false, out),
        args::Channel::Remove(one) => {
            let channel = coffre.channel(&one.one)?;
            coffre.remove_channel(&channel)?;
            out.say("cli.channel_removed", &[("name", json!(channel.name))]);
            out.document(&[("channel", &channel), ("removed", &true)])
        }
        args::Channel::Deliveries { one, limit } => deliveries(coffre, one.as_deref(), *limit, out),
    }
}

fn pause(coffre: &Coffre, name: &str, paused: bool, out: &Out) -> Result<()> {
    let channel = coffre.pause_channel(&coffre.channel(name)?, paused)?;
    let key = if paused { "cli.channel_paused" } else { "cli.channel_resumed" };
    out.say(key, &[("name", json!(channel.name))]);
    out.document(&[("channel", &coffre.channel_state(&channel.id.to_string())?)])
}

/// Says beside the answer which channels do not reach their receiver: whoever looks whether all is well must see it.
pub(super) fn say_unheard(unheard: &Unheard, out: &Out) {
    for channel in &unheard.channels {
        let facts = [
            ("name", json!(channel.name)),
            ("why", json!(out.words.error(&channel.error).0)),
        ];
        out.say_aside("cli.channel_unheard", &facts);
    }
    if unheard.nobody {
        out.say_aside("cli.nobody_told", &[]);
    }
}

fn is_yes(given: &Option<String>, before: bool) -> bool {
    given.as_deref().map_or(before, |word| word == "yes")
}

fn wants(given: &ChannelOptions, before: Wants) -> Wants {
    Wants {
        failures: is_yes(&given.failures, before.failures),
        recoveries: is_yes(&given.recoveries, before.recoveries),
        successes: is_yes(&given.successes, before.successes),
        patient: is_yes(&given.patient, before.patient),
        reminder_hours: given.remind_after.unwrap_or(before.reminder_hours),
        digest: given.digest.as_deref().and_then(Digest::parse).unwrap_or(before.digest),
        digest_at: given.digest_at.clone().unwrap_or(before.digest_at),
    }
}

/// The settings as given over what was there. What does not belong to the kind is refused, never left out silently.
fn settings(kind: ChannelKind, given: &ChannelOptions, before: Option<&ChannelSettings>) -> Result<ChannelSettings> {
    let mail = kind == ChannelKind::Email;
    let foreign = [
        ("--host", given.host.is_some() && !mail),
        ("--port", given.port.is_some() && !mail),
        ("--security", given.security.is_some() && !mail),
        ("--user", given.user.is_some() && !mail),
        ("--from", given.from.is_some() && !mail),
        ("--to", !given.to.is_empty() && !mail),
        ("--url", given.url.is_some() && mail),
        ("--ca-file", given.ca_file.is_some() && !mail && kind != ChannelKind::Webhook),
    ];
    if let Some((flag, _)) = foreign.into_iter().find(|(_, used)| *used) {
        return Err(Error::new(Code::Usage, "channel_option")
            .with("option", flag)
            .with("kind", kind.as_str()));
    }
    let ca = |before: Option<&String>| match &given.ca_file {
        Some(path) if path.is_empty() => Ok(None),
        Some(path) => super::source::absolute(path.clone()).map(Some),
        None => Ok(before.cloned()),
    };
    let missing = |option: &'static str| {
        Error::new(Code::Usage, "channel_needs")
            .with("option", option)
            .with("kind", kind.as_str())
    };
    Ok(match kind {
        ChannelKind::Email => {
            let old = match before {
                Some(ChannelSettings::Email {
                    host,
                    port,
                    security,
                    user,
                    from,
                    to,
                    ca_file,
                }) => Some((host, *port, *security, user, from, to, ca_file)),
                _ => None,
            };
            let security = given.security.as_deref().and_then(Security::parse);
            // Another way of encryption has another usual port; one that was chosen stays.
            let port = match (given.port, security, old.as_ref()) {
                (Some(port), _, _) => port,
                (None, Some(security), Some(old)) if old.1 == usual_port(old.2) => usual_port(security),
                (None, _, Some(old)) => old.1,
                (None, security, None) => usual_port(security.unwrap_or(Security::Starttls)),
            };
            let user = match &given.user {
                Some(user) => Some(user.clone()).filter(|user| !user.is_empty()),
                None => old.as_ref().and_then(|old| old.3.clone()),
            };
            ChannelSettings::Email {
                host: given
                    .host
                    .clone()
                    .or_else(|| Some(old.as_ref()?.0.clone()))
                    .ok_or_else(|| missing("--host"))?,
                port,
                security: security.or_else(|| Some(old.as_ref()?.2)).unwrap_or(Security::Starttls),
                user,
                from: given
                    .from
                    .clone()
                    .or_else(|| Some(old.as_ref()?.4.clone()))
                    .ok_or_else(|| missing("--from"))?,
                to: match (given.to.is_empty(), old.as_ref()) {
                    (true, Some(old)) => old.5.clone(),
                    (true, None) => return Err(missing("--to")),
                    (false, _) => given.to.clone(),
                },
                ca_file: ca(old.as_ref().and_then(|old| old.6.as_ref()))?,
            }
        }
        ChannelKind::Webhook => {
            let old = match before {
                Some(ChannelSettings::Webhook { url, ca_file }) => Some((url, ca_file)),
                _ => None,
            };
            ChannelSettings::Webhook {
                url: given
                    .url
                    .clone()
                    .or_else(|| Some(old?.0.clone()))
                    .ok_or_else(|| missing("--url"))?,
                ca_file: ca(old.and_then(|old| old.1.as_ref()))?,
            }
        }
        // Such an address is a secret, and an argument is seen by everybody on this machine.
        ChannelKind::Slack | ChannelKind::Ping if given.url.is_some() => {
            return Err(Error::new(Code::Usage, "channel_secret_url").with("kind", kind.as_str()));
        }
        ChannelKind::Slack => match before {
            Some(settings) => settings.clone(),
            None => ChannelSettings::Slack { place: String::new() },
        },
        ChannelKind::Ping => {
            let (place, failures) = match before {
                Some(ChannelSettings::Ping { place, failures }) => (place.clone(), *failures),
                _ => (String::new(), false),
            };
            ChannelSettings::Ping {
                place,
                failures: is_yes(&given.failures, failures),
            }
        }
    })
}

fn secret(given: &ChannelOptions) -> Result<Option<Secret>> {
    if let Some(name) = &given.secret_env {
        let value = std::env::var(name).map_err(|_| Error::new(Code::Usage, "password_env").with("variable", name.as_str()))?;
        return Ok(Some(Secret::new(value.trim_end_matches(['\r', '\n']))));
    }
    given.secret_stdin.then(read_secret).transpose()
}

fn list(coffre: &Coffre, out: &Out) -> Result<()> {
    let channels = coffre.channels()?;
    if channels.is_empty() {
        out.say("cli.channel_none", &[]);
    } else {
        let row = |state: &ChannelState| {
            let last = state
                .last
                .as_ref()
                .map_or_else(|| "–".to_owned(), |last| out.words.moment(last.at));
            vec![
                state.channel.name.clone(),
                out.words.text(&format!("channel.{}", state.channel.settings.kind())),
                state.place.clone(),
                how(state, out),
                last,
                state.failing.as_ref().map_or_else(String::new, |why| out.words.error(why).0),
            ]
        };
        out.table(
            &["name", "kind", "to", "state", "last_run", "remark"],
            channels.iter().map(row).collect(),
        );
    }
    out.document(&[("channels", &channels)])
}

/// How a channel goes, in a word.
fn how(state: &ChannelState, out: &Out) -> String {
    let key = match (&state.channel.paused_at, &state.failing, &state.last) {
        (Some(_), _, _) => "paused",
        (None, Some(_), _) => "failing",
        (None, None, Some(_)) => "works",
        (None, None, None) => "unused",
    };
    out.words.text(&format!("channel.state.{key}"))
}

fn show(state: &ChannelState, out: &Out) {
    let words = &out.words;
    let yes_no = |yes: bool| words.text(if yes { "cli.yes" } else { "cli.no" });
    let channel = &state.channel;
    let wants = &channel.wants;
    let mut rows = vec![
        ("name", channel.name.clone()),
        ("kind", words.text(&format!("channel.{}", channel.settings.kind()))),
        ("to", state.place.clone()),
        ("id", channel.id.to_string()),
        ("secret", yes_no(channel.has_secret)),
        ("language", channel.language.clone()),
        ("time_zone", channel.time_zone.clone()),
        ("state", how(state, out)),
    ];
    match &channel.settings {
        ChannelSettings::Email {
            security,
            user,
            from,
            port,
            ..
        } => {
            rows.push(("tls", words.text(&format!("channel.security.{security}"))));
            rows.push(("port", port.to_string()));
            rows.push(("from", from.clone()));
            rows.extend(user.clone().map(|user| ("user", user)));
        }
        ChannelSettings::Ping { failures, .. } => rows.push(("failures", yes_no(*failures))),
        ChannelSettings::Slack { .. } | ChannelSettings::Webhook { .. } => {}
    }
    if channel.settings.kind() != ChannelKind::Ping {
        rows.push(("failures", yes_no(wants.failures)));
        rows.push(("recoveries", yes_no(wants.recoveries)));
        rows.push(("successes", yes_no(wants.successes)));
        rows.push(("remind_after", format!("{} h", wants.reminder_hours)));
        let digest = words.text(&format!("channel.digest.{}", wants.digest));
        rows.push((
            "digest",
            match wants.digest {
                Digest::None => digest,
                Digest::Daily | Digest::Weekly => format!("{digest}, {}", wants.digest_at),
            },
        ));
    }
    if !state.plans.is_empty() {
        rows.push(("plan", state.plans.join(", ")));
    }
    rows.push(("waiting", state.waiting.to_string()));
    facts(out, rows);
    if let Some(why) = &state.failing {
        let (message, hint) = words.error(why);
        out.line("");
        out.line(&coffre_api::words::plain(&message));
        out.line(&format!("{} {}", words.text("cli.next"), coffre_api::words::plain(&hint)));
    }
}

fn deliveries(coffre: &Coffre, one: Option<&str>, limit: u32, out: &Out) -> Result<()> {
    let channel = one.map(|name| coffre.channel(name)).transpose()?;
    let shown = coffre.deliveries(channel.as_ref(), limit)?;
    if shown.is_empty() {
        out.say("cli.deliveries_none", &[]);
    } else {
        let rows = shown.iter().map(|delivery| {
            vec![
                out.words.moment(delivery.created_at),
                delivery.channel.clone(),
                delivery.events.join(", "),
                delivery.about.join(", "),
                out.words.text(&format!("delivery.{}", delivery.state)),
                delivery.tries.to_string(),
                delivery.next_try_at.map_or_else(|| "–".to_owned(), |at| out.words.moment(at)),
                delivery
                    .error
                    .as_ref()
                    .map_or_else(String::new, |error| out.words.error(error).0),
            ]
        });
        out.table(
            &["when", "channel", "what", "source", "state", ">tries", "next_run", "remark"],
            rows.collect(),
        );
    }
    out.document(&[("deliveries", &shown)])
}

/// Tells channels what a command brought about, within a limit. It changes nothing about how the command ends: what could not be sent is
/// said here, stays on record, and is sent by the next command, the daemon or the window.
pub(crate) fn tell(coffre: &Coffre, out: &Out, cancel: &Cancel) {
    let until = Instant::now() + PATIENCE;
    match coffre.tell(Some(until), cancel) {
        Ok(told) => said(&told, out),
        Err(error) => {
            tracing::error!(%error, "tell channels");
            out.remarks(&[error]);
        }
    }
}

/// Says what could not be sent.
pub(super) fn said(told: &Told, out: &Out) {
    for sent in &told.sent {
        let Some(error) = &sent.delivery.error else { continue };
        let (why, next) = out.words.error(error);
        let facts = [
            ("channel", json!(sent.channel)),
            ("why", json!(why)),
            ("next", json!(next)),
            ("when", json!(out.words.moment(sent.delivery.next_try_at))),
        ];
        let key = match sent.delivery.state {
            DeliveryState::GivenUp => "cli.not_told",
            DeliveryState::Sent => "cli.told_in_part",
            DeliveryState::Pending | DeliveryState::Sending => "cli.told_later",
        };
        out.say_aside(key, &facts);
    }
}
