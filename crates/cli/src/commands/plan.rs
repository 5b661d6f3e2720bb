//! `coffre plan …`

use coffre_api::Coffre;
use coffre_api::model::backup::{BackupType, Kind};
use coffre_api::model::plan::{Plan, Retention};
use coffre_api::model::{Code, Error, Result};
use coffre_api::plans::PlanChange;
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
            no_schedule(&plan, out);
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
            show(&plan, out);
            out.document(&[("plan", &plan)])
        }
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
            no_schedule(&plan, out);
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

/// An interval that nothing obeys yet must not look like protection.
fn no_schedule(plan: &Plan, out: &Out) {
    if plan.every.is_some() {
        out.say_aside("cli.plan_no_schedule", &[("name", json!(plan.name))]);
    }
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
            ("compression", plan.compression.to_string()),
            ("encryption", or_dash(plan.encryption.clone())),
            ("retention", or_dash(Some(retention.join(", ")).filter(|r| !r.is_empty()))),
            ("id", plan.id.to_string()),
        ],
    );
}

fn change(coffre: &Coffre, given: &PlanOptions, to: &[String], no_encrypt: bool) -> Result<PlanChange> {
    for (flag, used) in [
        ("--cron", given.cron.is_some()),
        ("--time-zone", given.time_zone.is_some()),
        ("--full-every", given.full_every.is_some()),
    ] {
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
        preset: given.retention.as_deref().and_then(Retention::preset),
    })
}
