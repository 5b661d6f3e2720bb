//! Which channels a piece of news is for: all of them, or those that are limited to a plan that it concerns. Pure.

use coffre_engine::catalogue::Whose;
use coffre_model::Id;
use coffre_model::channel::Channel;
use coffre_model::notice::{About, Level, Named, Standing};
use coffre_model::plan::Plan;

fn id(named: Option<&Named>) -> Option<Id> {
    named.map(|named| named.id)
}

/// Whether this is the source of one of the channel's plans.
fn is_own_source(channel: &Channel, source: Option<Id>, plans: &[Plan]) -> bool {
    let own = plans.iter().filter(|plan| channel.plan_ids.contains(&plan.id));
    source.is_some_and(|source| own.into_iter().any(|plan| plan.source_id == source))
}

/// Whether a backup is one of the channel's plans: made by one; or made by none, of the source of one.
fn is_own_backup(channel: &Channel, plan: Option<Id>, source: Option<Id>, plans: &[Plan]) -> bool {
    match plan {
        Some(plan) => channel.plan_ids.contains(&plan),
        None => is_own_source(channel, source, plans),
    }
}

/// Whether a channel hears how this stands.
pub(super) fn hears(channel: &Channel, standing: &Standing, plans: &[Plan]) -> bool {
    if standing.about == About::Channel {
        return standing.id != channel.id && channel.plan_ids.is_empty();
    }
    if channel.plan_ids.is_empty() {
        return true;
    }
    let (plan, source) = (id(standing.event.plan.as_ref()), id(standing.event.source.as_ref()));
    match standing.about {
        About::Protection => is_own_source(channel, source, plans),
        // The next good one ends it, whichever plan's it is.
        About::Drill if standing.level == Level::Good => is_own_source(channel, source, plans),
        About::Drill | About::Verification => is_own_backup(channel, plan, source, plans),
        About::Backup | About::Retention | About::Channel => channel.plan_ids.contains(&standing.id),
    }
}

/// Whether a channel hears of a line of the journal: where it concerns one of its backups, or replaced live data of one of its sources.
pub(super) fn hears_line(channel: &Channel, whose: &Whose, plans: &[Plan]) -> bool {
    channel.plan_ids.is_empty()
        || is_own_source(channel, id(whose.replaced.as_ref()), plans)
        || is_own_backup(channel, id(whose.plan.as_ref()), id(whose.source.as_ref()), plans)
}

#[cfg(test)]
mod tests {
    use super::super::unheard::tests::webhook;
    use super::*;
    use coffre_model::notice::{Event, What};

    fn plan(source: Id) -> Plan {
        let fields = serde_json::json!({
            "id": Id::new(), "name": "p", "source": "s", "source_id": source, "destinations": [], "destination_ids": [], "kind": "full",
            "every": null, "schedule": null, "compression": "zstd:3", "key": null, "key_id": null, "retention": {}, "created_at":
            "2026-11-21T08:00:00Z", "paused_at": null, "hooks": null,
        });
        serde_json::from_value(fields).unwrap()
    }

    fn channel(plans: &[&Plan]) -> Channel {
        Channel {
            plan_ids: plans.iter().map(|plan| plan.id).collect(),
            ..webhook()
        }
    }

    fn named(id: Id) -> Option<Named> {
        Some(Named { id, name: String::new() })
    }

    fn standing(about: About, plan: Option<Id>, source: Id, level: Level) -> Standing {
        let mut event = Event::new(What::DrillFailed, "2026-11-21T08:00:00Z".parse().unwrap(), level);
        (event.plan, event.source) = (plan.and_then(named), named(source));
        Standing {
            about,
            id: source,
            level,
            fact: String::new(),
            retrying: false,
            event,
            recovery: None,
            success: false,
            said_by: Vec::new(),
        }
    }

    #[test]
    fn the_plan_of_the_backup_decides_and_where_there_is_none_the_source() {
        let (shop, crm) = (Id::new(), Id::new());
        let (nightly, weekly, other) = (plan(shop), plan(shop), plan(crm));
        let plans = [nightly.clone(), weekly.clone(), other.clone()];
        let (all, limited) = (channel(&[]), channel(&[&nightly]));
        for (made_by, source, heard) in [
            (Some(nightly.id), shop, true),
            (Some(weekly.id), shop, false),
            (None, shop, true),
            (Some(other.id), crm, false),
            (None, crm, false),
        ] {
            for about in [About::Drill, About::Verification] {
                let bad = standing(about, made_by, source, Level::Bad);
                assert_eq!(hears(&limited, &bad, &plans), heard, "{about} {made_by:?}");
                assert!(hears(&all, &bad, &plans));
            }
            let whose = Whose {
                plan: made_by.and_then(named),
                source: named(source),
                ..Whose::default()
            };
            assert_eq!(hears_line(&limited, &whose, &plans), heard);
            // Live data of its source was replaced, with whatever backup.
            let replaced = Whose {
                replaced: named(shop),
                ..whose
            };
            assert!(hears_line(&limited, &replaced, &plans) && hears_line(&all, &replaced, &plans));
        }
        // What ends a failed rehearsal may be a backup of another plan of that source.
        let good = |source| standing(About::Drill, Some(weekly.id), source, Level::Good);
        assert!(hears(&limited, &good(shop), &plans) && !hears(&limited, &good(crm), &plans));
        // Whoever does not hear of the rehearsal hears that the source is at risk.
        let risk = |source| standing(About::Protection, None, source, Level::Warning);
        assert!(hears(&limited, &risk(shop), &plans) && !hears(&limited, &risk(crm), &plans));
        // What concerns no backup at all (a rebuilt catalogue) is for those who hear everything.
        let none = Whose::default();
        assert!(hears_line(&all, &none, &plans) && !hears_line(&limited, &none, &plans));
    }
}
