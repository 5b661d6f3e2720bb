//! `coffre plan …`

use coffre_api::Coffre;
use coffre_api::model::backup::{BackupType, Kind};
use coffre_api::model::hook::{HookFailure, Hooks};
use coffre_api::model::plan::{Plan, Retention};
use coffre_api::model::schedule::Schedule;
use coffre_api::model::{Code, Error, Result};
use coffre_api::plans::{HookChange, PlanChange};
use serde_json::json;

use super::source::facts;
use crate::args::{self, PlanOptions};
use crate::output::Out;

pub(super) fn run(coffre: &Coffre, command: &args::Plan, out: &Out) -> Result<()> {
    match command {
        args::Plan::Add {
            name,
            source,
            to,
            options,
        } => {
            let source = coffre.source(source)?;
            let plan = coffre.add_plan(name, &source, change(coffre, options, to, false)?)?;
            out.say(
                "cli.plan_added",
                &[("name", json!(plan.name)), ("source", json!(plan.source))],
            );
            scheduled(coffre, &plan, out)?;
            out.document(&[("plan", &plan)])
        }
        args::Plan::List => {
            let plans = coffre.plans()?;
            if plans.is_empty() {
                out.say("cli.plan_none", &[]);
            } else {
                let row = |p: &Plan| {
                    vec![
                        p.name.clone(),
                        p.source.clone(),
                        p.destinations.join(", "),
                        p.every
                            .map_or_else(|| "–".to_owned(), |e| out.words.text(&format!("type.{e}"))),
                        p.compression.to_string(),
                        p.encryption.clone().unwrap_or_else(|| "–".to_owned()),
                    ]
                };
                out.table(
                    &["name", "source", "to", "every", "compression", "encryption"],
                    plans.iter().map(row).collect(),
                );
            }
            out.document(&[("plans", &plans)])
        }
        args::Plan::Show(one) => {
            let plan = coffre.plan(&one.one)?;
            let now = (coffre.engine.now)();
            show(&plan, out);
            show_next(&plan, out, now)?;
            out.document(&[("plan", &plan), ("schedule", &explained(&plan, out, now)?)])
        }
        args::Plan::Pause(one) => pause(coffre, one, true, out),
        args::Plan::Resume(one) => pause(coffre, one, false, out),
        args::Plan::Edit {
            one,
            name,
            to,
            no_encrypt,
            options,
        } => {
            let plan = coffre.plan(one)?;
            let edit = PlanChange {
                name: name.clone(),
                ..change(coffre, options, to, *no_encrypt)?
            };
            let plan = coffre.edit_plan(&plan, edit)?;
            show(&plan, out);
            scheduled(coffre, &plan, out)?;
            out.document(&[("plan", &plan)])
        }
        args::Plan::Remove(one) => {
            let plan = coffre.plan(&one.one)?;
            coffre.remove_plan(&plan)?;
            out.say("cli.plan_removed", &[("name", json!(plan.name))]);
            out.document(&[("plan", &plan), ("removed", &true)])
        }
        args::Plan::Simulate(one) => super::cleanup::simulate(coffre, &coffre.plan(&one.one)?, out),
    }
}

fn pause(coffre: &Coffre, one: &args::One, paused: bool, out: &Out) -> Result<()> {
    let plan = coffre.pause_plan(&coffre.plan(&one.one)?, paused)?;
    let key = if paused { "cli.plan_paused" } else { "cli.plan_resumed" };
    out.say(key, &[("name", json!(plan.name))]);
    if !paused {
        scheduled(coffre, &plan, out)?;
    }
    out.document(&[("plan", &plan)])
}

/// A schedule that nobody watches must not look like protection.
fn scheduled(coffre: &Coffre, plan: &Plan, out: &Out) -> Result<()> {
    let status = coffre.schedules()?;
    let next = status.plans.iter().find(|status| status.plan == plan.name);
    match next.and_then(|next| next.next_run) {
        Some(next) => out.say_aside("cli.plan_next_run", &[("when", json!(out.words.moment(next)))]),
        None => return Ok(()),
    }
    if !status.running {
        out.say_aside("cli.scheduler_not_running", &[]);
    }
    Ok(())
}

/// The schedule in words, and the next five runs.
fn explained(plan: &Plan, out: &Out, at: chrono::DateTime<chrono::Utc>) -> Result<serde_json::Value> {
    let Some(given) = &plan.schedule else { return Ok(json!(null)) };
    let schedule = Schedule::of(given)?;
    let upcoming = schedule.upcoming(at, 5);
    let next: Vec<_> = upcoming
        .iter()
        .map(|slot| json!({"at": slot.at, "remark": slot.remark}))
        .collect();
    Ok(json!({
        "cron": given.cron,
        "time_zone": given.time_zone,
        "words": out.words.schedule(&schedule.explanation(), schedule.zone_name()),
        "next": next,
    }))
}

fn show_next(plan: &Plan, out: &Out, at: chrono::DateTime<chrono::Utc>) -> Result<()> {
    let (Some(given), None) = (&plan.schedule, plan.paused_at) else {
        return Ok(());
    };
    let schedule = Schedule::of(given)?;
    out.line("");
    out.say("cli.plan_next_five", &[("zone", json!(schedule.zone_name()))]);
    for slot in schedule.upcoming(at, 5) {
        let when = slot.at.with_timezone(&schedule.zone()).format("%Y-%m-%d %H:%M").to_string();
        let remark = slot
            .remark
            .map(|remark| out.words.text(&format!("schedule.{remark}")))
            .unwrap_or_default();
        out.line(format!("  {when}  {remark}").trim_end());
    }
    Ok(())
}

fn show(plan: &Plan, out: &Out) {
    let kept = &plan.retention;
    let retention: Vec<String> = [
        ("keep-last", kept.keep_last),
        ("keep-days", kept.keep_days),
        ("keep-hourly", kept.keep_hourly),
        ("keep-daily", kept.keep_daily),
        ("keep-weekly", kept.keep_weekly),
        ("keep-monthly", kept.keep_monthly),
        ("keep-yearly", kept.keep_yearly),
        ("keep-min", kept.keep_min),
    ]
    .iter()
    .filter_map(|(name, n)| n.map(|n| format!("{name} {n}")))
    .collect();
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
    facts(
        out,
        vec![
            ("name", plan.name.clone()),
            ("source", plan.source.clone()),
            ("to", plan.destinations.join(", ")),
            ("every", or_dash(plan.every.map(|e| out.words.text(&format!("type.{e}"))))),
            ("schedule", schedule_text(plan, out)),
            ("compression", plan.compression.to_string()),
            ("encryption", or_dash(plan.encryption.clone())),
            ("retention", or_dash(Some(retention.join(", ")).filter(|r| !r.is_empty()))),
            ("before", command(out, plan.hooks.as_ref(), |hooks| &hooks.before)),
            ("after", command(out, plan.hooks.as_ref(), |hooks| &hooks.after)),
            ("id", plan.id.to_string()),
        ],
    );
}

/// A command as it was given: JSON, so that each argument can be told from the next.
fn command(out: &Out, hooks: Option<&Hooks>, of: fn(&Hooks) -> &Vec<String>) -> String {
    match hooks {
        Some(hooks) if !of(hooks).is_empty() => {
            let facts = [
                ("command", json!(json!(of(hooks)).to_string())),
                ("seconds", json!(hooks.limit_seconds)),
                ("failure", json!(out.words.text(&format!("hook.{}", hooks.on_failure)))),
            ];
            out.words.say("cli.plan_hook", &facts)
        }
        _ => "–".to_owned(),
    }
}

fn hooks(given: &PlanOptions) -> Result<HookChange> {
    let command = |given: &Option<String>| {
        let read = |text: &String| {
            serde_json::from_str::<Vec<String>>(text)
                .map_err(|_| Error::new(Code::Usage, "hook_json").with("given", text.as_str()))
        };
        given.as_ref().map(read).transpose()
    };
    Ok(HookChange {
        before: command(&given.before)?,
        after: command(&given.after)?,
        limit_seconds: given.hook_limit.as_deref().map(seconds).transpose()?,
        on_failure: given.hook_failure.as_deref().and_then(HookFailure::parse),
    })
}

/// `90`, `90s`, `5m`, `1h`.
fn seconds(given: &str) -> Result<u64> {
    let (number, unit) = match given.strip_suffix(['s', 'm', 'h']) {
        Some(number) => (number, given.chars().last()),
        None => (given, None),
    };
    let factor = match unit {
        Some('h') => 3600,
        Some('m') => 60,
        _ => 1,
    };
    let read = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    read.ok_or_else(|| Error::new(Code::Usage, "hook_limit").with("max", coffre_api::model::hook::LONGEST))
}

fn schedule_text(plan: &Plan, out: &Out) -> String {
    let Some(given) = &plan.schedule else {
        return out.words.text("cli.plan_by_hand");
    };
    let mut text = match Schedule::of(given) {
        Ok(schedule) => out.words.schedule(&schedule.explanation(), schedule.zone_name()),
        Err(error) => out.words.error(&error).0,
    };
    for (key, holds) in [
        ("cli.plan_waits_for_network", given.wait_for_network),
        ("cli.plan_waits_for_power", given.wait_for_power),
        ("cli.plan_is_paused", plan.paused_at.is_some()),
    ] {
        if holds {
            text = format!("{text}; {}", out.words.text(key));
        }
    }
    text
}

fn change(coffre: &Coffre, given: &PlanOptions, to: &[String], no_encrypt: bool) -> Result<PlanChange> {
    for (flag, used) in [("--full-every", given.full_every.is_some())] {
        if used {
            return Err(Error::new(Code::Refused, "not_yet").with("what", flag));
        }
    }
    let key = match &given.encrypt {
        Some(name) => Some(Some(coffre.key(name)?)),
        None if no_encrypt => Some(None),
        None => None,
    };
    let destinations = match to.is_empty() {
        true => None,
        false => Some(to.iter().map(|name| coffre.destination(name)).collect::<Result<_>>()?),
    };
    Ok(PlanChange {
        name: None,
        destinations,
        every: given.every.as_deref().and_then(BackupType::parse),
        cron: given.cron.clone(),
        time_zone: given.time_zone.clone(),
        wait_for_network: given.wait_for_network.as_deref().map(|given| given == "yes"),
        wait_for_power: given.wait_for_power.as_deref().map(|given| given == "yes"),
        kind: given.kind.as_deref().and_then(Kind::parse),
        compression: given.compression.as_deref().map(str::parse).transpose()?,
        key,
        retention: Retention {
            keep_last: given.keep_last,
            keep_days: given.keep_days,
            keep_hourly: given.keep_hourly,
            keep_daily: given.keep_daily,
            keep_weekly: given.keep_weekly,
            keep_monthly: given.keep_monthly,
            keep_yearly: given.keep_yearly,
            keep_min: given.keep_min,
        },
        hooks: hooks(given)?,
        preset: given.retention.as_deref().and_then(Retention::preset),
    })
}
