//! A channel: where messages go when something is wrong, or is over. What is told when is decided in [`crate::notice`].

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::backup::words;
use crate::error::{Code, Error, Result};
use crate::field::{Field, FieldKind, FieldPart};
use crate::id::Id;

words! {
    /// How a channel carries messages.
    ChannelKind {
        /// A mail server.
        Email = "email",
        /// An incoming webhook of Slack, or of what understands its form.
        Slack = "slack",
        /// JSON to an address, signed where a secret is kept.
        Webhook = "webhook",
        /// A sign of life for an outside monitor, after each run.
        Ping = "ping",
    }
}

words! {
    /// How the connection with a mail server is protected.
    Security {
        /// TLS from the server's STARTTLS on; without it nothing is sent.
        Starttls = "starttls",
        /// TLS from the first byte.
        Tls = "tls",
        /// Not at all: chosen by a person, never fallen back to, and never with a password.
        None = "none",
    }
}

words! {
    /// How often a channel gets a summary.
    Digest {
        /// Never.
        None = "none",
        /// Each day.
        Daily = "daily",
        /// Each Monday.
        Weekly = "weekly",
    }
}

words! {
    /// What became of a message.
    DeliveryState {
        /// To be sent, now or at its next try.
        Pending = "pending",
        /// Somebody sends it now.
        Sending = "sending",
        /// The receiver took it.
        Sent = "sent",
        /// It was refused for good, or tried for too long.
        GivenUp = "given_up",
    }
}

/// What a kind of channel needs to reach its receiver. Never a secret: those are kept under the channel's id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub enum ChannelSettings {
    /// A mail server. Its secret is the password.
    Email {
        /// The server's name.
        host: String,
        /// Its port.
        port: u16,
        /// How the connection is protected.
        security: Security,
        /// Who signs in; nothing for a server that asks nobody.
        user: Option<String>,
        /// The sender's address.
        from: String,
        /// The receivers' addresses.
        to: Vec<String>,
        /// Certificates (PEM) that are trusted beside the system's.
        ca_file: Option<String>,
    },
    /// Slack. Its secret is the whole address: who knows it can write there.
    Slack {
        /// What may be shown of the address: scheme and host.
        place: String,
    },
    /// Any address. Its secret, where there is one, signs.
    Webhook {
        /// The address.
        url: String,
        /// Certificates (PEM) that are trusted beside the system's.
        ca_file: Option<String>,
    },
    /// An outside monitor. Its secret is the whole address.
    Ping {
        /// What may be shown of the address: scheme and host.
        place: String,
        /// Whether a failed run is told too, at the address with `/fail` behind it. Else silence tells.
        failures: bool,
    },
}

impl ChannelSettings {
    /// The kind.
    pub fn kind(&self) -> ChannelKind {
        match self {
            ChannelSettings::Email { .. } => ChannelKind::Email,
            ChannelSettings::Slack { .. } => ChannelKind::Slack,
            ChannelSettings::Webhook { .. } => ChannelKind::Webhook,
            ChannelSettings::Ping { .. } => ChannelKind::Ping,
        }
    }

    /// Where it goes, as may be shown.
    pub fn place(&self) -> String {
        match self {
            ChannelSettings::Email { host, to, .. } => format!("{} ({host})", to.join(", ")),
            ChannelSettings::Slack { place } | ChannelSettings::Ping { place, .. } => place.clone(),
            ChannelSettings::Webhook { url, .. } => url.clone(),
        }
    }
}

/// What a channel wants to hear.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct Wants {
    /// What went wrong.
    pub failures: bool,
    /// That it is over.
    pub recoveries: bool,
    /// Every verified backup.
    pub successes: bool,
    /// Waits with a failure until it is not tried again by itself any more.
    pub patient: bool,
    /// After how many hours it hears again of what still goes wrong; 0 is never.
    pub reminder_hours: u32,
    /// How often it gets a summary.
    pub digest: Digest,
    /// At what time of the day, `HH:MM` in the channel's time zone.
    pub digest_at: String,
}

impl Default for Wants {
    fn default() -> Self {
        Wants {
            failures: true,
            recoveries: true,
            successes: false,
            patient: false,
            reminder_hours: 24,
            digest: Digest::None,
            digest_at: "08:00".to_owned(),
        }
    }
}

impl Wants {
    /// The five fields of cron at which a summary is due, if it wants any.
    ///
    /// # Errors
    /// `USAGE` for a time that is none.
    pub fn digest_cron(&self) -> Result<Option<String>> {
        let wrong = || Error::new(Code::Usage, "channel_digest_time").with("given", self.digest_at.as_str());
        let (hour, minute) = self.digest_at.split_once(':').ok_or_else(wrong)?;
        let two = |text: &str, limit: u32| {
            let digits = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
            text.parse::<u32>().ok().filter(|n| digits && *n < limit)
        };
        let (hour, minute) = (two(hour, 24).ok_or_else(wrong)?, two(minute, 60).ok_or_else(wrong)?);
        Ok(match self.digest {
            Digest::None => None,
            Digest::Daily => Some(format!("{minute} {hour} * * *")),
            Digest::Weekly => Some(format!("{minute} {hour} * * 1")),
        })
    }
}

/// A channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct Channel {
    /// Identity.
    pub id: Id,
    /// The name a person gave it.
    pub name: String,
    /// How it reaches its receiver.
    pub settings: ChannelSettings,
    /// `en` or `fr`.
    #[cfg_attr(feature = "typescript", ts(type = "'en' | 'fr'"))]
    pub language: String,
    /// The IANA time zone in which it tells times.
    pub time_zone: String,
    /// What it wants to hear.
    pub wants: Wants,
    /// Only of these plans and their sources; empty: of all.
    pub plan_ids: Vec<Id>,
    /// Whether a secret is kept for it.
    pub has_secret: bool,
    /// Since when it hears nothing.
    pub paused_at: Option<DateTime<Utc>>,
    /// When it was added.
    pub created_at: DateTime<Utc>,
}

/// The longest name of a host and the longest address of a mailbox that are taken.
const LONGEST: usize = 320;

fn wrong(text: &'static str, given: &str) -> Error {
    Error::new(Code::Usage, text).with("given", given)
}

/// One line of visible text: what goes into a header or a command of a protocol must not be able to begin a new one.
fn is_line(text: &str) -> bool {
    !text.is_empty() && text.len() <= LONGEST && !text.chars().any(char::is_control)
}

/// Checks the form of an address of a mailbox: nothing in it can end a command of SMTP or a header.
///
/// # Errors
/// `USAGE`.
pub fn check_mailbox(text: &str) -> Result<()> {
    let good = is_line(text)
        && !text.chars().any(|c| c.is_whitespace() || "<>,;:\"()[]\\".contains(c))
        && text
            .rsplit_once('@')
            .is_some_and(|(user, host)| !user.is_empty() && !user.contains('@') && is_host(host));
    if good { Ok(()) } else { Err(wrong("channel_mailbox", text)) }
}

fn is_host(text: &str) -> bool {
    is_line(text) && !text.starts_with(['.', '-']) && text.chars().all(|c| c.is_alphanumeric() || "-._:".contains(c))
}

/// An address that messages are posted to, taken apart as far as is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Scheme, host and port: what may be shown.
    pub place: String,
    /// Whether it is reached over TLS.
    pub encrypted: bool,
    /// Whether it is on this machine.
    pub loopback: bool,
}

/// Reads an address of the web. The error never holds the address: it may be a secret.
///
/// # Errors
/// `USAGE` for what is none, and for one with a user or a password in it.
pub fn target(url: &str) -> Result<Target> {
    let malformed = || Error::new(Code::Usage, "channel_url");
    let (encrypted, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (_, Some(rest)) => (false, rest),
        _ => return Err(malformed()),
    };
    if url.len() > 2048 || url.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(malformed());
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(Error::new(Code::Usage, "channel_url_user"));
    }
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((inner, rest)) => (format!("[{inner}]"), rest.strip_prefix(':')),
        None => match authority.split_once(':') {
            Some((host, port)) => (host.to_owned(), Some(port)),
            None => (authority.to_owned(), None),
        },
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if !is_host(bare) || port.is_some_and(|port| port.parse::<u16>().is_err()) || url.contains('\\') {
        return Err(malformed());
    }
    let address = bare.parse::<std::net::IpAddr>();
    Ok(Target {
        place: format!("{}://{authority}", if encrypted { "https" } else { "http" }),
        encrypted,
        loopback: bare == "localhost" || address.is_ok_and(|address| address.is_loopback()),
    })
}

impl Channel {
    /// Checks everything that can be known without asking anybody. `secret`: whether there is one.
    ///
    /// # Errors
    /// `USAGE`; `REFUSED` where a password or a secret address would go over the network in the clear.
    pub fn check(&self, secret: bool) -> Result<()> {
        if !matches!(self.language.as_str(), "en" | "fr") {
            return Err(wrong("channel_language", &self.language));
        }
        crate::schedule::time_zone(&self.time_zone)?;
        self.wants.digest_cron()?;
        if self.wants.reminder_hours > 24 * 365 {
            return Err(Error::new(Code::Usage, "channel_reminder").with("given", self.wants.reminder_hours));
        }
        let absolute = |path: &Option<String>| match path {
            Some(path) if !std::path::Path::new(path).is_absolute() => Err(wrong("channel_ca_path", path)),
            _ => Ok(()),
        };
        match &self.settings {
            ChannelSettings::Email {
                host,
                port,
                security,
                user,
                from,
                to,
                ca_file,
            } => {
                if !is_host(host) || *port == 0 {
                    return Err(wrong("channel_host", host));
                }
                check_mailbox(from)?;
                to.iter().try_for_each(|to| check_mailbox(to))?;
                if to.is_empty() {
                    return Err(Error::new(Code::Usage, "channel_no_receiver"));
                }
                match (user, secret) {
                    (Some(user), true) if is_line(user) => {}
                    (Some(user), true) => return Err(wrong("channel_user", user)),
                    (Some(_), false) => return Err(Error::new(Code::Usage, "channel_no_password")),
                    (None, true) => return Err(Error::new(Code::Usage, "channel_no_user")),
                    (None, false) => {}
                }
                if *security == Security::None && user.is_some() {
                    return Err(Error::new(Code::Refused, "smtp_password_in_clear").with("host", host.as_str()));
                }
                absolute(ca_file)
            }
            ChannelSettings::Webhook { url, ca_file } => {
                target(url)?;
                absolute(ca_file)
            }
            ChannelSettings::Slack { .. } | ChannelSettings::Ping { .. } if !secret => {
                Err(Error::new(Code::Usage, "channel_no_address"))
            }
            ChannelSettings::Slack { .. } | ChannelSettings::Ping { .. } => Ok(()),
        }
    }
}

/// The place of a secret address, for a channel of this kind.
///
/// # Errors
/// `USAGE` for what is no address; `REFUSED` for one of Slack that would go over the network in the clear.
pub fn secret_place(kind: ChannelKind, url: &str) -> Result<String> {
    let target = target(url)?;
    if kind == ChannelKind::Slack && !target.encrypted && !target.loopback {
        return Err(Error::new(Code::Refused, "channel_url_in_clear").with("place", target.place));
    }
    Ok(target.place)
}

const fn field(name: &'static str, kind: FieldKind, required: bool) -> Field {
    Field {
        name,
        kind,
        required,
        choices: &[],
        default: None,
        part: if matches!(kind, FieldKind::Secret) {
            FieldPart::Secret
        } else {
            FieldPart::Option
        },
    }
}

const EMAIL: [Field; 8] = [
    field("host", FieldKind::Text, true),
    Field {
        choices: &["starttls", "tls", "none"],
        default: Some("starttls"),
        ..field("security", FieldKind::Choice, true)
    },
    field("port", FieldKind::Number, false),
    field("user", FieldKind::Text, false),
    field("password", FieldKind::Secret, false),
    field("from", FieldKind::Text, true),
    field("to", FieldKind::Lines, true),
    field("ca_file", FieldKind::File, false),
];
const SLACK: [Field; 1] = [field("url", FieldKind::Secret, true)];
const WEBHOOK: [Field; 3] = [
    field("url", FieldKind::Text, true),
    field("secret", FieldKind::Secret, false),
    field("ca_file", FieldKind::File, false),
];
const PING: [Field; 2] = [
    field("url", FieldKind::Secret, true),
    field("failures", FieldKind::Switch, false),
];

/// The form of a kind. Words are `fields.channel_<kind>.<name>`.
pub fn fields(kind: ChannelKind) -> &'static [Field] {
    match kind {
        ChannelKind::Email => &EMAIL,
        ChannelKind::Slack => &SLACK,
        ChannelKind::Webhook => &WEBHOOK,
        ChannelKind::Ping => &PING,
    }
}

/// The usual port of a mail server.
pub fn usual_port(security: Security) -> u16 {
    match security {
        Security::Starttls => 587,
        Security::Tls => 465,
        Security::None => 25,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_of_the_web() {
        let good = target("https://hooks.slack.com/services/T0/B0/xyz").unwrap();
        assert_eq!((good.place.as_str(), good.encrypted), ("https://hooks.slack.com", true));
        assert!(target("http://127.0.0.1:8080/x").unwrap().loopback);
        assert!(target("http://[::1]:8080/x").unwrap().loopback);
        for wrong in [
            "",
            "ftp://h/",
            "https://",
            "https://a b/",
            "https://h:99999/",
            "https://h\n/",
            "file:///etc/passwd",
        ] {
            assert_eq!(target(wrong).unwrap_err().text(), "channel_url", "{wrong}");
        }
        let error = target("https://joe:secret@h/").unwrap_err();
        assert!(error.text() == "channel_url_user" && !error.to_string().contains("secret"));
        assert_eq!(
            secret_place(ChannelKind::Slack, "http://hooks.example/x").unwrap_err().code(),
            Code::Refused
        );
    }

    #[test]
    fn a_time_of_the_day() {
        let at = |text: &str| Wants {
            digest: Digest::Weekly,
            digest_at: text.into(),
            ..Wants::default()
        };
        assert_eq!(at("08:05").digest_cron().unwrap().as_deref(), Some("5 8 * * 1"));
        for wrong in ["", "8", "24:00", "08:60", "+8:00", "08:00 *"] {
            assert!(at(wrong).digest_cron().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_mailbox_ends_a_command(text in ".{0,60}") {
            if check_mailbox(&text).is_ok() {
                prop_assert!(!text.contains(['\r', '\n', '<', '>', ' ', '\0']));
                prop_assert_eq!(text.matches('@').count(), 1);
            }
        }
    }
}
