//! Channels as the window edits them: a form from the fields that each kind describes, a test with a precise answer, what was sent.

use std::collections::BTreeMap;

use coffre_model::channel::{Channel, ChannelKind, ChannelSettings, Security, Wants, fields, secret_place, usual_port};
use coffre_model::field::Field;
use coffre_model::source::check_name;
use coffre_model::{Cancel, Code, Error, Id, Result, Secret};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::commands::{ById, Nothing};
use super::drafts::{DraftErrors, FieldValue, SecretChange};
use super::events::Noun;
use super::{Window, tags};
use crate::notifications::{ChannelChange, ChannelState, DeliveryShown, NewChannel};

/// The longest text that a field takes.
const TEXT_MAX: usize = 4096;
/// How many messages are shown.
const SHOWN: u32 = 50;

/// A kind of channel and its form.
#[derive(Debug, Serialize, TS)]
pub(super) struct ChannelForm {
    kind: ChannelKind,
    fields: &'static [Field],
}

/// A channel with what its form holds.
#[derive(Debug, Serialize, TS)]
pub(super) struct ChannelRow {
    state: ChannelState,
    draft: ChannelDraft,
}

/// What the form of a channel holds; never its secret.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct ChannelDraft {
    name: String,
    kind: ChannelKind,
    #[ts(type = "Record<string, FieldValue | null>")]
    values: BTreeMap<String, Option<FieldValue>>,
    #[ts(type = "'en' | 'fr'")]
    language: String,
    /// Nothing: that of this machine.
    time_zone: Option<String>,
    wants: Wants,
    plan_ids: Vec<Id>,
}

/// The arguments of `check_channel`.
#[derive(Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct CheckChannel {
    id: Option<Id>,
    draft: ChannelDraft,
    secret: SecretChange,
}

/// The arguments of `save_channel`: a new one without an id.
#[derive(Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct SaveChannel {
    id: Option<Id>,
    draft: ChannelDraft,
    secret: SecretChange,
}

/// The arguments of `pause_channel`.
#[derive(Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct PauseChannel {
    id: Id,
    paused: bool,
}

/// What became of a test: the error says why it was not taken.
#[derive(Debug, Serialize, TS)]
pub(super) struct ChannelTested {
    ok: bool,
    error: Option<Error>,
}

/// The field that an error is about.
fn field_of(error: &Error, draft: &ChannelDraft) -> &'static str {
    match error.text() {
        "channel_host" => "host",
        "channel_mailbox" if draft.text("from").is_some_and(|from| error.detail("given") == Some(from)) => "from",
        "channel_mailbox" | "channel_no_receiver" => "to",
        "channel_user" | "channel_no_user" => "user",
        "channel_no_password" => "password",
        "smtp_password_in_clear" => "security",
        "channel_ca_path" => "ca_file",
        "channel_url" | "channel_url_user" | "channel_url_in_clear" | "channel_no_address" => "url",
        "channel_digest_time" => "digest_at",
        "channel_reminder" => "reminder_hours",
        _ => "name",
    }
}

impl ChannelDraft {
    fn text(&self, name: &str) -> Option<String> {
        match self.values.get(name)?.as_ref()? {
            FieldValue::Text(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
            FieldValue::Number(number) => Some(number.to_string()),
            FieldValue::Lines(_) | FieldValue::Switch(_) => None,
        }
    }

    fn lines(&self, name: &str) -> Vec<String> {
        let lines = match self.values.get(name) {
            Some(Some(FieldValue::Lines(lines))) => lines.clone(),
            Some(Some(FieldValue::Text(text))) => text.lines().map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        lines
            .into_iter()
            .map(|line| line.trim().to_owned())
            .filter(|line| !line.is_empty())
            .collect()
    }

    fn of(channel: &Channel) -> ChannelDraft {
        let mut values = BTreeMap::new();
        let mut text = |name: &str, value: Option<&String>| {
            if let Some(value) = value {
                values.insert(name.to_owned(), Some(FieldValue::Text(value.clone())));
            }
        };
        match &channel.settings {
            ChannelSettings::Email {
                host,
                port,
                security,
                user,
                from,
                to,
                ca_file,
            } => {
                text("host", Some(host));
                text("user", user.as_ref());
                text("from", Some(from));
                text("ca_file", ca_file.as_ref());
                text("security", Some(&security.to_string()));
                values.insert("port".to_owned(), Some(FieldValue::Number((*port).into())));
                values.insert("to".to_owned(), Some(FieldValue::Lines(to.clone())));
            }
            ChannelSettings::Webhook { url, ca_file } => {
                text("url", Some(url));
                text("ca_file", ca_file.as_ref());
            }
            ChannelSettings::Ping { failures, .. } => {
                values.insert("failures".to_owned(), Some(FieldValue::Switch(*failures)));
            }
            ChannelSettings::Slack { .. } => {}
        }
        ChannelDraft {
            name: channel.name.clone(),
            kind: channel.settings.kind(),
            values,
            language: channel.language.clone(),
            time_zone: Some(channel.time_zone.clone()),
            wants: channel.wants.clone(),
            plan_ids: channel.plan_ids.clone(),
        }
    }

    /// What the fields say; what is missing or too long goes to `errors`.
    fn settings(&self, before: Option<&ChannelSettings>, errors: &mut DraftErrors) -> ChannelSettings {
        for field in fields(self.kind) {
            let long = |text: &String| text.len() > TEXT_MAX;
            let empty = match self.values.get(field.name).and_then(Option::as_ref) {
                Some(FieldValue::Text(text)) if long(text) => {
                    errors.add(field.name, Error::new(Code::Usage, "field_long").with("max", TEXT_MAX));
                    false
                }
                Some(FieldValue::Lines(lines)) => lines.is_empty(),
                _ => self.text(field.name).is_none(),
            };
            let has_default = field.default.is_some() || field.part == coffre_model::field::FieldPart::Secret;
            if field.required && empty && !has_default {
                errors.add(field.name, Error::new(Code::Usage, "field_required"));
            }
        }
        match self.kind {
            ChannelKind::Email => {
                let security = self
                    .text("security")
                    .as_deref()
                    .and_then(Security::parse)
                    .unwrap_or(Security::Starttls);
                let port = match self.text("port") {
                    None => usual_port(security),
                    Some(port) => port.parse().unwrap_or_else(|_| {
                        errors.add("port", Error::new(Code::Usage, "channel_host").with("given", port.as_str()));
                        0
                    }),
                };
                ChannelSettings::Email {
                    host: self.text("host").unwrap_or_default(),
                    port,
                    security,
                    user: self.text("user"),
                    from: self.text("from").unwrap_or_default(),
                    to: self.lines("to"),
                    ca_file: self.text("ca_file"),
                }
            }
            ChannelKind::Webhook => ChannelSettings::Webhook {
                url: self.text("url").unwrap_or_default(),
                ca_file: self.text("ca_file"),
            },
            ChannelKind::Slack => match before {
                Some(settings @ ChannelSettings::Slack { .. }) => settings.clone(),
                _ => ChannelSettings::Slack { place: String::new() },
            },
            ChannelKind::Ping => ChannelSettings::Ping {
                place: match before {
                    Some(ChannelSettings::Ping { place, .. }) => place.clone(),
                    _ => String::new(),
                },
                failures: matches!(self.values.get("failures"), Some(Some(FieldValue::Switch(true)))),
            },
        }
    }
}

impl Window {
    pub(super) fn channel_forms(&self, _: Nothing) -> Result<Vec<ChannelForm>> {
        Ok(ChannelKind::ALL
            .iter()
            .map(|kind| ChannelForm {
                kind: *kind,
                fields: fields(*kind),
            })
            .collect())
    }

    pub(super) fn list_channels(&self, _: Nothing) -> Result<Vec<ChannelRow>> {
        let rows = self.coffre()?.channels()?.into_iter().map(|state| ChannelRow {
            draft: ChannelDraft::of(&state.channel),
            state,
        });
        Ok(rows.collect())
    }

    /// Everything that can be known of a form without asking anybody.
    fn read_channel(
        &self,
        id: Option<&Id>,
        draft: &ChannelDraft,
        secret: &SecretChange,
    ) -> Result<(DraftErrors, ChannelSettings, Option<Channel>)> {
        let coffre = self.coffre()?;
        let before = id.map(|id| coffre.channel(&id.to_string())).transpose()?;
        let mut errors = DraftErrors::default();
        if let Err(error) = check_name(&draft.name) {
            errors.add("name", error);
        }
        let known = coffre.channels()?;
        errors.check_taken(
            &draft.name,
            id,
            known.iter().map(|k| (&k.channel.id, k.channel.name.as_str())),
        );
        let settings = draft.settings(before.as_ref().map(|channel| &channel.settings), &mut errors);
        let kept = before.as_ref().is_some_and(|channel| channel.has_secret);
        let has_secret = match secret {
            SecretChange::Keep {} => kept,
            SecretChange::Set { value } => !value.0.is_empty(),
            SecretChange::Forget {} => false,
        };
        if let SecretChange::Set { value } = secret
            && matches!(draft.kind, ChannelKind::Slack | ChannelKind::Ping)
            && let Err(error) = secret_place(draft.kind, value.0.expose())
        {
            errors.add("url", error);
        }
        let channel = Channel {
            id: before.as_ref().map_or_else(Id::new, |channel| channel.id),
            name: draft.name.clone(),
            settings: settings.clone(),
            language: draft.language.clone(),
            time_zone: draft.time_zone.clone().unwrap_or_else(crate::schedules::local_zone),
            wants: draft.wants.clone(),
            plan_ids: Vec::new(),
            has_secret,
            paused_at: None,
            created_at: super::now(),
        };
        if errors.0.is_empty()
            && let Err(error) = channel.check(has_secret)
        {
            errors.add(field_of(&error, draft), error);
        }
        Ok((errors, settings, before))
    }

    pub(super) fn check_channel(&self, CheckChannel { id, draft, secret }: CheckChannel) -> Result<DraftErrors> {
        Ok(self.read_channel(id.as_ref(), &draft, &secret)?.0)
    }

    pub(super) fn save_channel(&self, SaveChannel { id, draft, secret }: SaveChannel) -> Result<Channel> {
        let (errors, settings, before) = self.read_channel(id.as_ref(), &draft, &secret)?;
        let settings = errors.accept(Some(settings))?;
        let coffre = self.coffre()?;
        let secret = match secret {
            SecretChange::Keep {} => None,
            SecretChange::Set { value } => Some(value.0),
            SecretChange::Forget {} => Some(Secret::new("")),
        };
        let plans: Vec<String> = draft.plan_ids.iter().map(Id::to_string).collect();
        let saved = match before {
            None => coffre.add_channel(
                NewChannel {
                    name: draft.name,
                    settings,
                    language: draft.language,
                    time_zone: draft.time_zone,
                    wants: draft.wants,
                    plans,
                },
                secret,
            ),
            Some(before) => coffre.edit_channel(
                &before,
                ChannelChange {
                    name: Some(draft.name),
                    settings: Some(settings),
                    language: Some(draft.language),
                    time_zone: draft.time_zone,
                    wants: Some(draft.wants),
                    plans: Some(plans),
                    secret,
                },
            ),
        }?;
        self.channels_changed();
        self.wake_clockwork();
        Ok(saved)
    }

    pub(super) fn test_channel(&self, ById { id }: ById) -> Result<ChannelTested> {
        let coffre = self.coffre()?;
        let tested = coffre.test_channel(&coffre.channel(&id.to_string())?, &Cancel::new());
        self.channels_changed();
        Ok(ChannelTested {
            ok: tested.is_ok(),
            error: tested.err(),
        })
    }

    pub(super) fn pause_channel(&self, PauseChannel { id, paused }: PauseChannel) -> Result<Channel> {
        let coffre = self.coffre()?;
        let channel = coffre.pause_channel(&coffre.channel(&id.to_string())?, paused)?;
        self.channels_changed();
        self.wake_clockwork();
        Ok(channel)
    }

    pub(super) fn remove_channel(&self, ById { id }: ById) -> Result<()> {
        let coffre = self.coffre()?;
        coffre.remove_channel(&coffre.channel(&id.to_string())?)?;
        self.channels_changed();
        Ok(())
    }

    pub(super) fn list_deliveries(&self, ById { id }: ById) -> Result<Vec<DeliveryShown>> {
        let coffre = self.coffre()?;
        coffre.deliveries(Some(&coffre.channel(&id.to_string())?), SHOWN)
    }

    pub(super) fn channels_changed(&self) {
        self.changed(tags(&[Noun::Channels, Noun::Journal, Noun::Health, Noun::Overview]));
    }
}
