/** Plans: when they are due next, what their rules would let go, and the commands that change them. */
import type { Backend } from '../backend'
import type * as T from '../generated'
import type { Core } from './core'
import { DAY, type PlanData } from './data'
import { refuse } from './drafts'

export function nextRun(core: Core, p: PlanData): number | null {
  if (p.paused || core.paused || !core.has('schedule')) return null
  return slots(core, p.plan.every, p.at, 1)[0]?.at ?? null
}

export function slots(
  core: Core,
  every: T.BackupType | null,
  at: string | null,
  count: number,
): { at: number; remark: 'clock_back' | 'clock_forward' | null }[] {
  if (!every || every === 'manual') return []
  const [hours, minutes] = (at ?? '00:00').split(':').map(Number)
  const date = new Date(core.now())
  const slots: { at: number; remark: 'clock_back' | 'clock_forward' | null }[] = []
  date.setSeconds(0, 0)
  if (every === 'hourly') date.setMinutes(0)
  else date.setHours(hours ?? 0, minutes ?? 0)
  for (let guard = 0; slots.length < count && guard < 2000; guard++) {
    const fits = every === 'weekly' ? date.getDay() === 1 : every === 'monthly' ? date.getDate() === 1 : true
    if (fits && date.getTime() > core.now()) slots.push({ at: date.getTime(), remark: null })
    if (every === 'hourly') date.setHours(date.getHours() + 1)
    else date.setDate(date.getDate() + 1)
  }
  return slots
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
    schedule: null,
    hooks: draft.hooks ?? null,
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
    draft: {
      name: p.plan.name,
      source_id: p.plan.source_id,
      destination_ids: p.plan.destination_ids,
      kind: p.plan.kind,
      every: p.plan.every,
      at: p.at,
      cron: null,
      time_zone: 'Europe/Paris',
      compression: p.plan.compression,
      key_id: p.plan.key_id,
      retention: p.plan.retention,
    },
    successes: own.filter((b) => b.state === 'verified').length,
    failures: own.filter((b) => b.state === 'failed' || b.state === 'interrupted').length,
    last_error: failure?.error ?? null,
  }
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
  const to = core.data.destinations.filter((d) => draft.destination_ids.includes(d.destination.id))
  const s = core.data.sources.find((x) => x.source.id === draft.source_id)
  const kept = core.data.backups.filter((b) => b.plan_id === id && b.state === 'verified')
  const departures: T.Departure[] = []
  const rules = draft.retention
  const some = Object.values(rules).some((v) => v !== null)
  if (core.has('retention') && some && id) {
    const days = rules.keep_daily ?? rules.keep_days ?? rules.keep_last ?? 7
    for (let d = 0; d < 90; d++) {
      const at = new Date(core.now() + d * DAY)
      if ((at.getDay() + 6) % 7 === 6 && rules.keep_weekly) continue
      const b = kept[Math.min(kept.length - 1, Math.max(0, days - d))]
      const key = `${at.getFullYear()}-${String(at.getMonth() + 1).padStart(2, '0')}-${String(at.getDate()).padStart(2, '0')}`
      const times = d > 0 && at.getDay() === 1 && rules.keep_weekly ? 2 : d > 0 ? 1 : 0
      for (let k = 0; k < times; k++) {
        departures.push({
          day: key,
          code: b?.code ?? '',
          started_at: core.iso(at.getTime() - days * DAY - k * DAY),
          stored_bytes: s?.stored ?? 0,
          reason: rules.keep_daily ? (k ? 'weekly' : 'daily') : rules.keep_days ? 'older' : 'beyond_last',
        })
      }
    }
  }
  const now = kept.length
  return {
    errors,
    departures,
    kept_now: Math.min(now, 16),
    explanation: null,
    kept_then: id ? 19 : 0,
    copies: to.length,
    places: new Set(to.map((d) => d.site)).size,
    next: core.has('schedule')
      ? slots(core, draft.every, draft.at, 5).map((slot) => ({ at: core.iso(slot.at), remark: slot.remark }))
      : [],
    offsite: to.filter((d) => d.offsite).length,
    raw_bytes: s?.bytes ?? null,
    stored_bytes: s?.stored ?? null,
  }
}

export function planCommands(
  core: Core,
): Pick<Backend, 'listPlans' | 'previewPlan' | 'addPlan' | 'editPlan' | 'removePlan' | 'pausePlan' | 'pauseSchedules'> {
  return {
    listPlans: async () => core.data.plans.map((p) => planRow(core, p)),
    previewPlan: async ({ id, draft }) => previewPlan(core, id, draft),
    addPlan: async ({ draft }) => {
      refuse(previewPlan(core, null, draft).errors)
      const plan: PlanData = { plan: planOf(core, core.id(3), draft), at: draft.at, paused: false }
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
  }
}
