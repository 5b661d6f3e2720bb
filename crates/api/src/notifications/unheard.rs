//! Channels that do not reach their receiver: whether anybody can be told at all.

use coffre_model::{Error, Id, Result};
use serde::Serialize;
use ts_rs::TS;

use crate::Coffre;

use super::ChannelState;

/// A channel that does not reach its receiver.
#[derive(Clone, Debug, PartialEq, Serialize, TS)]
pub struct FailingChannel {
    /// The channel.
    pub id: Id,
    /// Its name.
    pub name: String,
    /// Why not.
    pub error: Error,
}

/// Who should be told, and cannot be. Says nothing about backups: a source is as safe as its copies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, TS)]
pub struct Unheard {
    /// Channels that listen and do not reach their receiver, by name.
    pub channels: Vec<FailingChannel>,
    /// No channel that listens reaches its receiver.
    pub nobody: bool,
}

/// What follows from how channels go. A paused one listens to nothing: that is a person's choice and no failure.
fn unheard(states: Vec<ChannelState>) -> Unheard {
    let listening: Vec<ChannelState> = states.into_iter().filter(|state| state.channel.paused_at.is_none()).collect();
    let count = listening.len();
    let failing = listening.into_iter().filter_map(|state| {
        Some(FailingChannel {
            id: state.channel.id,
            name: state.channel.name,
            error: state.failing?,
        })
    });
    let channels: Vec<FailingChannel> = failing.collect();
    Unheard {
        nobody: count > 0 && channels.len() == count,
        channels,
    }
}

impl Coffre {
    /// Channels that do not reach their receiver: what every view, the tray and the terminal say of it comes from here.
    ///
    /// # Errors
    /// The catalogue's own.
    pub fn unheard(&self) -> Result<Unheard> {
        Ok(unheard(self.channels()?))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use coffre_model::Code;
    use coffre_model::channel::{Channel, ChannelSettings, Wants};
    use proptest::prelude::*;

    /// A channel for everything, that was never told anything.
    pub(in crate::notifications) fn webhook() -> Channel {
        Channel {
            id: Id::new(),
            name: "hook".into(),
            settings: ChannelSettings::Webhook {
                url: "https://example.org".into(),
                ca_file: None,
            },
            language: "en".into(),
            time_zone: "UTC".into(),
            wants: Wants::default(),
            plan_ids: Vec::new(),
            has_secret: false,
            paused_at: None,
            created_at: "2026-11-21T08:00:00Z".parse().unwrap(),
        }
    }

    fn state(paused: bool, fails: bool) -> ChannelState {
        let channel = webhook();
        ChannelState {
            channel: Channel {
                paused_at: paused.then_some(channel.created_at),
                ..channel
            },
            place: "https://example.org".into(),
            plans: Vec::new(),
            last: None,
            waiting: 0,
            failing: fails.then(|| Error::new(Code::NotFound, "http_gone")),
        }
    }

    proptest! {
        #[test]
        fn who_listens_and_is_not_reached_is_named(all in proptest::collection::vec(any::<(bool, bool)>(), 0..6)) {
            let found = unheard(all.iter().map(|(paused, fails)| state(*paused, *fails)).collect());
            let listening = all.iter().filter(|(paused, _)| !paused);
            let failing = listening.clone().filter(|(_, fails)| *fails).count();
            prop_assert_eq!(found.channels.len(), failing);
            // Where nobody was to be told, nobody is missed.
            prop_assert_eq!(found.nobody, failing > 0 && failing == listening.count());
        }
    }
}
