//! A message in words: text, HTML, Slack's blocks, JSON. Everything that comes from outside (names, what a server said) is data: it is
//! escaped for the medium that it stands in, and can neither begin a line of a header nor a tag nor a mention.

use chrono::{DateTime, Utc};
use coffre_engine::catalogue::Delivery;
use coffre_engine::notify::{Composed, Composer};
use coffre_model::Result;
use coffre_model::channel::Channel;
use coffre_model::error::Details;
use coffre_model::notice::{Event, Level, Named, What};
use coffre_model::schedule::time_zone;
use serde_json::{Value, json};

use super::sayable;
use crate::words::{Language, Words, plain};

/// The format of the JSON that webhooks get.
const SCHEMA: u32 = 1;
/// Of so many events of one message everything is said; the others are counted.
const SHOWN: usize = 30;

/// Puts messages into words.
pub(super) struct InWords {
    /// The name of this machine.
    pub(super) machine: String,
}

/// One event in words.
struct Said {
    title: String,
    message: String,
    hint: String,
    /// Label and value.
    facts: Vec<(String, String)>,
}

impl Composer for InWords {
    fn compose(&self, channel: &Channel, delivery: &Delivery) -> Result<Composed> {
        let words = Words::new(Language::of_locale(&channel.language));
        let say = Saying {
            words,
            zone: &channel.time_zone,
        };
        let said: Vec<Said> = delivery.message.iter().take(SHOWN).map(|event| say.event(event)).collect();
        let more = delivery.message.len() - said.len();
        let title = match said.as_slice() {
            [one] => one.title.clone(),
            _ => words.say(
                "notices.several",
                &[
                    ("events_count", json!(delivery.message.len())),
                    ("machine", json!(plain(&self.machine))),
                ],
            ),
        };
        let more = (more > 0).then(|| words.say("notices.more", &[("events_count", json!(more))]));
        let foot = words.say(
            "notices.foot",
            &[
                ("machine", json!(plain(&self.machine))),
                ("channel", json!(plain(&channel.name))),
            ],
        );
        let event = match delivery.message.as_slice() {
            [one] => name(one.what),
            _ => "several".to_owned(),
        };
        Ok(Composed {
            text: text(&said, more.as_deref(), &foot, &words),
            html: html(&title, &said, more.as_deref(), &foot, &words),
            slack: slack(&title, &said, more.as_deref(), &foot, &words),
            json: self.json(channel, delivery, &title, &said, &event),
            title,
            event,
        })
    }
}

/// `backup_failed` as programs read it: `backup.failed`.
fn name(what: What) -> String {
    what.as_str().replacen('_', ".", 1)
}

struct Saying<'a> {
    words: Words,
    zone: &'a str,
}

impl Saying<'_> {
    /// A time in the channel's zone, with its offset and the zone's name.
    fn time(&self, at: DateTime<Utc>) -> String {
        match time_zone(self.zone) {
            Ok(zone) => format!("{} ({})", at.with_timezone(&zone).format("%Y-%m-%d %H:%M %:z"), zone.name()),
            Err(_) => at.format("%Y-%m-%d %H:%M UTC").to_string(),
        }
    }

    fn event(&self, event: &Event) -> Said {
        let words = &self.words;
        let mut facts: Details = event.facts.clone();
        for (name, value) in &mut facts {
            if let Some(text) = value.as_str() {
                let time = name
                    .ends_with("_at")
                    .then(|| DateTime::parse_from_rfc3339(text).ok())
                    .flatten();
                *value = json!(time.map_or_else(|| plain(text), |at| self.time(at.to_utc())));
            }
        }
        let called = |named: &Option<Named>| named.as_ref().map(|named| plain(&named.name));
        let (source, plan) = (called(&event.source), called(&event.plan));
        let subject = source.clone().or_else(|| facts.get("subject")?.as_str().map(str::to_owned));
        facts.insert("source".to_owned(), json!(subject));
        facts.insert("plan".to_owned(), json!(plan));
        facts.insert("backup".to_owned(), json!(called(&event.backup)));
        let key = format!("notices.{}", event.what);
        let title = words.fill(&format!("{key}.title"), &facts);
        let title = match event.reminder {
            true => words.say("notices.again", &[("title", json!(title))]),
            false => title,
        };
        let cause = facts.get("cause").and_then(Value::as_str).map(str::to_owned);
        let body = match &cause {
            Some(cause) => words
                .find(&format!("notices.cause.{cause}"))
                .map(|_| words.fill(&format!("notices.cause.{cause}"), &facts)),
            None => None,
        };
        let body = body.or_else(|| {
            words
                .find(&format!("{key}.body"))
                .map(|_| words.fill(&format!("{key}.body"), &facts))
        });
        let hint = words
            .find(&format!("{key}.hint"))
            .map(|_| words.fill(&format!("{key}.hint"), &facts));
        let (message, hint) = match &event.error {
            Some(error) => {
                let (message, next) = words.error(&sayable(error));
                (
                    lines(&message),
                    if next.is_empty() {
                        hint.unwrap_or_default()
                    } else {
                        lines(&next)
                    },
                )
            }
            None => (body.unwrap_or_default(), hint.unwrap_or_default()),
        };
        let mut rows = Vec::new();
        let mut row = |label: &str, value: Option<String>| {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                rows.push((words.text(&format!("notices.fact.{label}")), value));
            }
        };
        row("source", source);
        row("plan", plan);
        row("backup", called(&event.backup));
        row("when", Some(self.time(event.at)));
        let fact = |name: &str| facts.get(name).and_then(Value::as_str).map(str::to_owned);
        row("slot", fact("slot_at"));
        row("again", fact("again_at"));
        row("last_verified", fact("verified_at"));
        row("code", event.error.as_ref().map(|error| error.code().to_string()));
        if event.what == What::Digest {
            self.digest(event, &mut rows);
        }
        Said {
            title,
            message,
            hint,
            facts: rows,
        }
    }

    /// A line for each source.
    fn digest(&self, event: &Event, rows: &mut Vec<(String, String)>) {
        let sources = event.facts.get("sources").and_then(Value::as_array);
        for source in sources.into_iter().flatten() {
            let text = |name: &str| source.get(name).and_then(Value::as_str);
            let state = self
                .words
                .text(&format!("notices.protection.{}", text("state").unwrap_or_default()));
            let at = text("verified_at").and_then(|at| DateTime::parse_from_rfc3339(at).ok());
            let since = match at {
                Some(at) => self
                    .words
                    .say("notices.verified_at", &[("when", json!(self.time(at.to_utc())))]),
                None => self.words.text("notices.never_verified"),
            };
            rows.push((plain(text("name").unwrap_or_default()), format!("{state}. {since}")));
        }
    }
}

/// Every line made safe, line breaks kept.
fn lines(text: &str) -> String {
    text.lines().map(plain).collect::<Vec<_>>().join("\n")
}

fn text(said: &[Said], more: Option<&str>, foot: &str, words: &Words) -> String {
    let mut out = String::new();
    let mut line = |text: &str| {
        out.push_str(text);
        out.push('\n');
    };
    for (index, said) in said.iter().enumerate() {
        if index > 0 {
            line("");
        }
        line(&said.title);
        for part in [&said.message, &said.hint] {
            if !part.is_empty() {
                line("");
                line(&if std::ptr::eq(part, &said.hint) {
                    format!("{} {part}", words.text("cli.next"))
                } else {
                    part.clone()
                });
            }
        }
        if !said.facts.is_empty() {
            line("");
        }
        for (label, value) in &said.facts {
            line(&format!("{label:<20} {value}"));
        }
    }
    if let Some(more) = more {
        line("");
        line(more);
    }
    line("");
    line("-- ");
    line(foot);
    out
}

/// For the text of a page and the value of an attribute.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' => out.push_str("<br>"),
            c => out.push(c),
        }
    }
    out
}

fn html(title: &str, said: &[Said], more: Option<&str>, foot: &str, words: &Words) -> String {
    const FONT: &str =
        "font-family:-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;font-size:15px;line-height:1.5;color:#1f2328";
    let language = words.language.code();
    let mut out = format!(
        "<!doctype html><html lang=\"{language}\"><head><meta charset=\"utf-8\"><meta name=\"color-scheme\" content=\"light dark\"><title>{}</title></head>\
         <body style=\"margin:0;padding:24px;{FONT}\"><div style=\"max-width:640px\">",
        escaped(title)
    );
    for said in said {
        out.push_str(&format!(
            "<h2 style=\"font-size:18px;margin:0 0 8px\">{}</h2>",
            escaped(&said.title)
        ));
        if !said.message.is_empty() {
            out.push_str(&format!("<p style=\"margin:0 0 8px\">{}</p>", escaped(&said.message)));
        }
        if !said.hint.is_empty() {
            let next = escaped(&words.text("cli.next"));
            out.push_str(&format!(
                "<p style=\"margin:0 0 8px\"><b>{next}</b> {}</p>",
                escaped(&said.hint)
            ));
        }
        out.push_str("<table style=\"border-collapse:collapse;margin:8px 0 24px\">");
        for (label, value) in &said.facts {
            out.push_str(&format!(
                "<tr><th scope=\"row\" style=\"text-align:left;font-weight:400;opacity:.7;padding:2px 16px 2px 0;vertical-align:top\">{}</th>\
                 <td style=\"padding:2px 0\">{}</td></tr>",
                escaped(label),
                escaped(value)
            ));
        }
        out.push_str("</table>");
    }
    if let Some(more) = more {
        out.push_str(&format!("<p>{}</p>", escaped(more)));
    }
    out.push_str(&format!(
        "<p style=\"font-size:13px;opacity:.7\">{}</p></div></body></html>",
        escaped(foot)
    ));
    out
}

/// At most so many characters, as Slack's limits ask.
fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(most - 1).collect();
    short.push('…');
    short
}

/// Blocks of plain text alone: in them neither markup nor a mention means anything. The text for notifications is escaped as Slack asks.
fn slack(title: &str, said: &[Said], more: Option<&str>, foot: &str, words: &Words) -> Value {
    let plain_text = |text: &str, most: usize| json!({"type": "plain_text", "text": cut(text, most), "emoji": false});
    let mut blocks = Vec::new();
    // Fifty blocks are the most that Slack takes.
    for said in said.iter().take(10) {
        blocks.push(json!({"type": "header", "text": plain_text(&said.title, 150)}));
        let next = (!said.hint.is_empty()).then(|| format!("{} {}", words.text("cli.next"), said.hint));
        let body: Vec<&str> = [Some(said.message.as_str()), next.as_deref()]
            .into_iter()
            .flatten()
            .filter(|text| !text.is_empty())
            .collect();
        if !body.is_empty() {
            blocks.push(json!({"type": "section", "text": plain_text(&body.join("\n"), 2900)}));
        }
        let fields: Vec<Value> = said
            .facts
            .iter()
            .take(10)
            .map(|(label, value)| plain_text(&format!("{label}: {value}"), 1900))
            .collect();
        if !fields.is_empty() {
            blocks.push(json!({"type": "section", "fields": fields}));
        }
    }
    let foot = more.map_or_else(|| foot.to_owned(), |more| format!("{more} {foot}"));
    blocks.push(json!({"type": "context", "elements": [plain_text(&foot, 1900)]}));
    let fallback = title.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    json!({"text": fallback, "blocks": blocks})
}

impl InWords {
    fn json(&self, channel: &Channel, delivery: &Delivery, title: &str, said: &[Said], event: &str) -> Value {
        let events: Vec<Value> = delivery
            .message
            .iter()
            .zip(said)
            .map(|(event, said)| {
                json!({
                    "event": name(event.what),
                    "at": event.at,
                    "level": event.level,
                    "reminder": event.reminder,
                    "title": said.title,
                    "message": said.message,
                    "hint": said.hint,
                    "code": event.error.as_ref().map(|error| error.code()),
                    "source": event.source,
                    "plan": event.plan,
                    "backup": event.backup.as_ref().map(|backup| json!({"id": backup.id, "code": backup.name})),
                    "sources": event.facts.get("sources"),
                })
            })
            .collect();
        let worst = delivery.message.iter().map(|event| event.level).max().unwrap_or(Level::Good);
        json!({
            "schema": SCHEMA,
            "id": delivery.id,
            "event": event,
            "level": worst,
            "at": delivery.created_at,
            "machine": self.machine,
            "channel": {"id": channel.id, "name": channel.name},
            "language": channel.language,
            "title": title,
            "events_count": delivery.message.len(),
            "events": events,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coffre_model::channel::{ChannelSettings, DeliveryState, Wants};
    use coffre_model::{Code, Error, Id};

    #[test]
    fn every_reason_for_worry_is_said_in_both_languages() {
        let words = [Words::new(Language::En), Words::new(Language::Fr)];
        for cause in coffre_model::protection::ProtectionCause::ALL {
            let said = words.each_ref().map(|words| words.find(&format!("notices.cause.{cause}")));
            assert!(said.iter().all(Option::is_some) && said[0] != said[1], "{cause}: {said:?}");
        }
    }

    fn composed(language: &str, message: Vec<Event>) -> Composed {
        let now = "2026-11-21T08:00:00Z".parse().unwrap();
        let channel = Channel {
            id: Id::new(),
            name: "team".into(),
            settings: ChannelSettings::Slack {
                place: "https://h".into(),
            },
            language: language.into(),
            time_zone: "Europe/Paris".into(),
            wants: Wants::default(),
            plan_ids: Vec::new(),
            has_secret: true,
            paused_at: None,
            created_at: now,
        };
        let delivery = Delivery {
            id: Id::new(),
            channel_id: channel.id,
            event_key: "x".into(),
            message,
            state: DeliveryState::Sending,
            tries: 1,
            created_at: now,
            next_try_at: now,
            ended_at: None,
            error: None,
        };
        InWords {
            machine: "<host>".into(),
        }
        .compose(&channel, &delivery)
        .unwrap()
    }

    fn failed(source: &str) -> Event {
        let mut event = Event::new(What::BackupFailed, "2026-11-21T08:00:00Z".parse().unwrap(), Level::Bad);
        event.source = named(source);
        event.error = Some(Error::new(Code::DestFull, "dest_full").with("place", source));
        event
    }

    fn named(name: &str) -> Option<Named> {
        Some(Named {
            id: Id::new(),
            name: name.into(),
        })
    }

    #[test]
    fn a_name_is_text_in_every_medium() {
        let evil = "<b onload=\"x\">&'<!channel> \r\nBcc: e@x\u{202e}";
        let said = composed("en", vec![failed(evil)]);
        assert!(
            !said.html.contains("<b onload") && !said.html.contains("<!channel>"),
            "{}",
            said.html
        );
        assert!(!said.title.contains(['\r', '\n', '\u{202e}']), "{}", said.title);
        assert!(!said.text.lines().any(|line| line.starts_with("Bcc")), "{}", said.text);
        assert!(!said.slack["text"].as_str().unwrap().contains('<'), "{}", said.slack);
        let types = said.slack["blocks"].to_string();
        assert!(!types.contains("mrkdwn"), "{types}");
        assert_eq!(said.json["events"][0]["source"]["name"], evil, "data stays what it is");
    }

    #[test]
    fn reason_next_step_and_time_with_its_zone_in_both_languages() {
        for (language, next) in [("en", "Next:"), ("fr", "Ensuite")] {
            let said = composed(language, vec![failed("shop")]);
            assert!(said.text.contains("2026-11-21 09:00 +01:00 (Europe/Paris)"), "{}", said.text);
            assert!(said.text.contains(next) || !said.text.contains("notices."), "{}", said.text);
            assert!(said.title.contains("shop"), "{}", said.title);
            assert!(said.json["events"][0]["hint"].as_str().is_some_and(|hint| !hint.is_empty()));
        }
    }

    #[test]
    fn everything_that_can_happen_has_words_in_both_languages() {
        for what in What::ALL {
            for language in [Language::En, Language::Fr] {
                let words = Words::new(language);
                let key = format!("notices.{what}.title");
                assert!(words.find(&key).is_some(), "{key}");
            }
        }
        let said = composed("fr", (0..40).map(|n| failed(&format!("s{n}"))).collect());
        assert_eq!(said.event, "several");
        assert!(said.slack["blocks"].as_array().unwrap().len() <= 50);
    }
}
