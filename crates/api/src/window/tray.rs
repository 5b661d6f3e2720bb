//! The tray: the state in one sentence, and what its menu offers.

use coffre_engine::scheduler::paused_at;
use coffre_model::{Id, Result};
use serde::Serialize;

use super::Window;
use super::backups::RunBackup;
use super::commands::Nothing;
use super::events::{BackendEvent, Noun};
use super::sources::Named;

/// Which icon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TrayState {
    /// Every source is protected.
    Protected,
    /// Something runs.
    Running,
    /// Something needs a person.
    Attention,
    /// There is no source yet.
    Empty,
}

/// What the tray shows, in the language of the settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tray {
    /// The icon.
    pub state: TrayState,
    /// The state in one sentence.
    pub sentence: String,
    /// Plans to back up now, by name.
    pub plans: Vec<PlanEntry>,
    /// `Back up all now`.
    pub back_up_all: String,
    /// `Pause schedules`, or `Resume schedules`; nothing where no plan runs by itself.
    pub pause: Option<String>,
    /// Whether schedules are paused.
    pub paused: bool,
    /// `Open Coffre`.
    pub open: String,
    /// `Quit`.
    pub quit: String,
}

/// A plan in the menu.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlanEntry {
    /// The plan.
    pub id: Id,
    /// `Back up shop now`.
    pub label: String,
    /// Whether it can be chosen: not while its source is being backed up.
    pub enabled: bool,
}

impl Window {
    /// Whether an event means that the tray is to be drawn again.
    pub fn changes_tray(event: &BackendEvent) -> bool {
        let touched = |noun: Noun| {
            matches!(
                noun,
                Noun::Overview | Noun::Plans | Noun::Running | Noun::Sources | Noun::Settings
            )
        };
        match event {
            BackendEvent::Invalidated { tags } => tags.iter().any(|tag| touched(tag.noun)),
            BackendEvent::Lagged => true,
            _ => false,
        }
    }

    /// What the tray shows now. A catalogue that cannot be read needs a person, and says why.
    pub fn tray(&self) -> Tray {
        self.try_tray().unwrap_or_else(|error| Tray {
            state: TrayState::Attention,
            sentence: self.words().error_in_window(&error).0,
            ..self.blank_tray()
        })
    }

    fn blank_tray(&self) -> Tray {
        let words = self.words();
        Tray {
            state: TrayState::Empty,
            sentence: words.text("tray.empty"),
            plans: Vec::new(),
            back_up_all: words.text("tray.back_up_all"),
            pause: None,
            paused: false,
            open: words.text("tray.open"),
            quit: words.text("tray.quit"),
        }
    }

    fn try_tray(&self) -> Result<Tray> {
        let words = self.words();
        let attention = self.attention(Nothing {})?;
        let running = self.all_running()?;
        let count = |n: usize| serde_json::Value::from(n);
        let facts = [
            ("protected_count", count(attention.protected)),
            ("sources_count", count(attention.sources)),
            ("unprotected_count", count(attention.unprotected)),
            ("risk_count", count(attention.at_risk)),
        ];
        let (mut state, mut sentence) = if attention.sources == 0 {
            (TrayState::Empty, words.text("tray.empty"))
        } else if let Some(first) = running.first() {
            let facts = [
                ("source", first.source.as_str().into()),
                ("others_count", count(running.len() - 1)),
            ];
            let key = if running.len() > 1 {
                "tray.running_several"
            } else {
                "tray.running"
            };
            (TrayState::Running, words.say(key, &facts))
        } else if attention.unprotected > 0 {
            (TrayState::Attention, words.say("tray.unprotected", &facts))
        } else if attention.at_risk > 0 || attention.failures_open > 0 {
            (TrayState::Attention, words.say("tray.at_risk", &facts))
        } else {
            (TrayState::Protected, words.say("tray.protected", &facts))
        };
        if attention.channels_failing > 0 {
            // A sentence of its own: backups may be fine. But all is not quiet while nobody would hear that they are not.
            let key = if attention.nobody_told {
                "tray.nobody_told"
            } else {
                "tray.channels_failing"
            };
            let told = words.say(key, &[("channels_count", count(attention.channels_failing))]);
            sentence = words.say("tray.and", &[("first", sentence.into()), ("second", told.into())]);
            if state == TrayState::Protected {
                state = TrayState::Attention;
            }
        }
        let coffre = self.coffre()?;
        let plans = coffre.plans()?;
        let paused = paused_at(&coffre.engine)?.is_some();
        let scheduled = plans.iter().any(|plan| plan.schedule.is_some());
        let entry = |plan: &coffre_model::plan::Plan| PlanEntry {
            id: plan.id,
            label: words.say(
                "tray.back_up",
                &[("plan", plan.name.as_str().into()), ("source", plan.source.as_str().into())],
            ),
            enabled: !running.iter().any(|running| running.source_id == Some(plan.source_id)),
        };
        Ok(Tray {
            state,
            sentence,
            plans: plans.iter().map(entry).collect(),
            pause: scheduled.then(|| {
                words.text(if paused {
                    "tray.resume_schedules"
                } else {
                    "tray.pause_schedules"
                })
            }),
            paused,
            ..self.blank_tray()
        })
    }

    /// *Back up now* of the tray.
    ///
    /// # Errors
    /// `BUSY` while its source is being backed up.
    pub fn back_up_plan(&self, plan: Id) -> Result<Id> {
        self.run_backup(RunBackup::of_plan(plan)).map(|begun| begun.id)
    }

    /// *Back up all now*: starts every plan that is not running. Answers those that were started.
    ///
    /// # Errors
    /// The first that says why a plan could not be started; the others are started all the same.
    pub fn back_up_all(&self) -> Result<Vec<Named>> {
        let mut started = Vec::new();
        let mut first = None;
        for plan in self.coffre()?.plans()? {
            match self.back_up_plan(plan.id) {
                Ok(_) => started.push(Named {
                    id: plan.id,
                    name: plan.name,
                }),
                // Two plans of one source: the second has nothing to add while the first runs.
                Err(error) if error.code() == coffre_model::Code::Busy => {}
                Err(error) => drop(first.get_or_insert(error)),
            }
        }
        match first {
            Some(error) => Err(error),
            None => Ok(started),
        }
    }

    /// Writes down that something the shell was asked to do could not be done (a menu entry has nobody to answer to), as a
    /// notification.
    pub fn tell_error(&self, error: &coffre_model::Error) {
        let (title, body) = self.words().error_in_window(error);
        self.dialogs().notify(&super::notices::Notice {
            title,
            body,
            urgent: true,
            route: "/".to_owned(),
        });
    }
}
