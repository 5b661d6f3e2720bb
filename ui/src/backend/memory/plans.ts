/** Plans: when they are due next, what their rules would let go, and the commands that change them. */
import type { Backend } from '../backend'
import type * as T from '../generated'
import type { Core } from './core'
import { DAY, type PlanData } from './data'
import { departuresOf, previewRetention } from './departures'
import { refuse } from './drafts'
import { cronOf, explain, nextTimes, readCron } from './schedule'

export function nextRun(core: Core, p: PlanData): number | null {
  if (p.paused || core.paused || !core.has('schedule')) return null
  const cron = cronOf(draftOf(p))
  const fields = cron === null ? null : readCron(cron)
  return Array.isArray(fields) ? (nextTimes(fields, core.now(), 1)[0] ?? null) : null
}

export function planOf(core: Core, id: string, draft: T.PlanDraft): T.Plan {
  const key = core.data.keys.find((k) => k.id === draft.key_id)
  return {
    id,
    name: draft.name,
    source_id: draft.source_id,
    source: core.source(draft.source_id).source.name,
    destination_ids: draft.destination_ids,
    destinations: draft.destination_ids.map((d) => core.destination(d).destination.name),
    kind: draft.kind,
    every: draft.every,
    schedule: scheduleOf(draft),
    paused_at: null,
    compression: draft.compression,
    encryption: key?.name ?? null,
    key_id: draft.key_id,
    retention: draft.retention,
    created_at: core.iso(),
  }
}

export function planRow(core: Core, p: PlanData): T.PlanRow {
  const own = core.data.backups.filter((b) => b.plan_id === p.plan.id)
  const next = nextRun(core, p)
  const failure = own.find((b) => b.state !== 'running' && b.state !== 'skipped')
  return {
    plan: p.plan,
    paused: p.paused,
    next_run_at: next === null ? null : core.iso(next),
    last: own[0] ?? null,
    draft: draftOf(p),
    successes: own.filter((b) => b.state === 'verified').length,
    failures: own.filter((b) => b.state === 'failed' || b.state === 'interrupted').length,
    missed: own.filter((b) => b.state === 'missed').length,
    last_error: failure?.error ?? null,
    due: slotsOf(core, p).find((slot) => slot.state === 'due') ?? null,
    retention_stopped: core.holds.get(p.plan.id) ?? null,
  }
}

/** What became of each time at which a plan was due: as its backups say, and for the one that waits. */
export function slotsOf(core: Core, p: PlanData): T.SlotRow[] {
  const found = core.data.backups
    .filter((b) => b.plan_id === p.plan.id && b.trigger !== 'manual' && b.state !== 'running')
    .map((b): T.SlotRow => {
      const state =
        b.state === 'verified' || b.state === 'missed' || b.state === 'skipped' ? b.state : ('failed' as const)
      const at = new Date(b.started_at)
      at.setSeconds(0, 0)
      return {
        at: at.toISOString(),
        state,
        reason: b.error,
        count: 1,
        backup_id: state === 'missed' || state === 'skipped' ? null : b.id,
        tries: 1,
        next_try_at: null,
        ended_at: b.ended_at,
      }
    })
  // The office is closed: nothing reaches the network there.
  if (p.plan.name === 'daily' && p.plan.source === 'wiki' && core.has('schedule'))
    found.splice(0, 1, {
      at: core.iso((nextRun(core, p) ?? core.now()) - DAY),
      state: 'due',
      reason: core.error('waits_for_network'),
      count: 1,
      backup_id: null,
      tries: 0,
      next_try_at: null,
      ended_at: null,
    })
  return found
}

export function previewPlan(core: Core, id: string | null, draft: T.PlanDraft): T.PlanPreview {
  const errors: T.DraftErrors = {}
  if (!draft.name.trim()) errors.name = core.error('name_empty')
  else if (
    core.data.plans.some((p) => p.plan.id !== id && p.plan.name === draft.name && p.plan.source_id === draft.source_id)
  ) {
    errors.name = core.error('name_taken', { name: draft.name })
  }
  if (!draft.source_id) errors.source_id = core.error('field_required')
  if (!draft.destination_ids.length) errors.destination_ids = core.error('destinations_none')
  const cron = cronOf(draft)
  const fields = cron === null ? null : readCron(cron)
  if (fields && !Array.isArray(fields)) errors.cron = core.error(fields.text, fields.details)
  if (cron !== null && draft.time_zone && !zoneExists(draft.time_zone))
    errors.time_zone = core.error('time_zone_unknown', { given: draft.time_zone })
  const right = Array.isArray(fields) && !errors.time_zone
  const to = core.data.destinations.filter((d) => draft.destination_ids.includes(d.destination.id))
  const s = core.data.sources.find((x) => x.source.id === draft.source_id)
  const kept = core.data.backups.filter((b) => b.plan_id === id && b.state === 'verified')
  const departures = core.has('retention') ? departuresOf(core, id, draft) : []
  return {
    errors,
    departures,
    departures_until: null,
    bin_days: 3,
    retention_stopped: (id && core.holds.get(id)) || null,
    unusual: kept
      .filter((b) => b.flags.length && !b.acknowledged_at)
      .map((b) => ({ id: b.id, code: b.code, started_at: b.started_at, flags: b.flags })),
    kept_now: Math.min(kept.length, 16),
    explanation: right && cron ? explain(draft, cron, core.language) : null,
    cron,
    kept_then: id ? 19 : 0,
    copies: to.length,
    places: new Set(to.map((d) => d.site)).size,
    next:
      core.has('schedule') && right && fields
        ? nextTimes(fields, core.now(), 5).map((at) => ({ at: core.iso(at), remark: null }))
        : [],
    offsite: to.filter((d) => d.offsite).length,
    raw_bytes: s?.bytes ?? null,
    stored_bytes: s?.stored ?? null,
  }
}

function zoneExists(zone: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone: zone })
    return true
  } catch {
    return false
  }
}

function scheduleOf(draft: T.PlanDraft): T.PlanSchedule | null {
  const cron = cronOf(draft)
  return cron === null
    ? null
    : {
        cron,
        time_zone: draft.time_zone ?? 'Europe/Paris',
        wait_for_network: draft.wait_for_network,
        wait_for_power: draft.wait_for_power,
      }
}

/** A plan as it is edited. */
function draftOf({ plan, at, draft }: PlanData): T.PlanDraft {
  return {
    at,
    weekday: draft?.weekday ?? null,
    month_day: draft?.month_day ?? null,
    cron: draft?.cron ?? null,
    time_zone: draft?.time_zone ?? 'Europe/Paris',
    wait_for_network: draft?.wait_for_network ?? false,
    wait_for_power: draft?.wait_for_power ?? false,
    name: plan.name,
    source_id: plan.source_id,
    destination_ids: plan.destination_ids,
    kind: plan.kind,
    every: plan.every,
    compression: plan.compression,
    key_id: plan.key_id,
    retention: plan.retention,
  }
}

export function planCommands(
  core: Core,
): Pick<
  Backend,
  | 'listPlans'
  | 'previewPlan'
  | 'addPlan'
  | 'editPlan'
  | 'removePlan'
  | 'pausePlan'
  | 'pauseSchedules'
  | 'listSlots'
  | 'previewRetention'
  | 'confirmRetention'
  | 'acknowledgeBackup'
> {
  return {
    listPlans: async () => core.data.plans.map((p) => planRow(core, p)),
    previewPlan: async ({ id, draft }) => previewPlan(core, id, draft),
    addPlan: async ({ draft }) => {
      refuse(previewPlan(core, null, draft).errors)
      const plan: PlanData = { plan: planOf(core, core.id(3), draft), at: draft.at, paused: false, draft }
      core.data.plans.push(plan)
      core.log('plan.add', 'plan', plan.plan.id, draft.name)
      core.invalidate('plans', 'overview', 'sources', 'destinations')
      return plan.plan
    },
    editPlan: async ({ id, draft }) => {
      refuse(previewPlan(core, id, draft).errors)
      const p = core.plan(id)
      p.plan = { ...planOf(core, id, draft), created_at: p.plan.created_at }
      p.at = draft.at
      p.draft = draft
      core.log('plan.edit', 'plan', id, draft.name)
      core.invalidate('plans', 'overview', 'sources', 'destinations')
      return p.plan
    },
    removePlan: async ({ id }) => {
      const p = core.plan(id)
      core.data.plans = core.data.plans.filter((x) => x !== p)
      core.log('plan.remove', 'plan', id, p.plan.name)
      core.invalidate('plans', 'overview', 'sources', 'destinations')
      return null
    },
    pausePlan: async ({ id, paused }) => {
      const p = core.plan(id)
      p.paused = paused
      core.log(paused ? 'plan.pause' : 'plan.resume', 'plan', id, p.plan.name)
      core.invalidate('plans', 'overview', 'sources')
      return null
    },
    pauseSchedules: async ({ paused }) => {
      core.paused = paused
      core.log(paused ? 'schedule.pause' : 'schedule.resume', 'schedule', null, '')
      core.invalidate('plans', 'overview', 'sources')
      return null
    },
    listSlots: async ({ plan_id, limit }) => slotsOf(core, core.plan(plan_id)).slice(0, limit),
    previewRetention: async ({ id }) => previewRetention(core, core.plan(id).plan.id),
    confirmRetention: async ({ plan_id, confirmation }) => {
      const shown = previewRetention(core, plan_id)
      if (confirmation !== shown.confirmation) throw core.error('not_found')
      for (const one of shown.leaving) {
        const backup = core.backup(one.id)
        core.data.backups[core.data.backups.indexOf(backup)] = { ...backup, leaves_at: one.leaves_at }
      }
      core.holds.delete(plan_id)
      core.log('retention.confirm', 'plan', plan_id, core.plan(plan_id).plan.name)
      core.invalidate('plans', 'backups', 'overview')
      return { leaving: shown.leaving_count, removed: 0, waiting: [] }
    },
    acknowledgeBackup: async ({ id }) => {
      const backup = { ...core.backup(id), acknowledged_at: core.iso() }
      core.data.backups = core.data.backups.map((b) => (b.id === id ? backup : b))
      core.log('backup.acknowledge', 'backup', id, backup.code)
      core.invalidate('plans', { noun: 'backups', id }, 'overview')
      return backup
    },
  }
}
