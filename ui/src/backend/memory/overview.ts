/** What the first view is made of. */
import type { Backend } from '../backend'
import type * as T from '../generated'
import { unheard } from './channels'
import type { Core } from './core'
import { DAY } from './data'
import { nextRun, planRow } from './plans'
import { protectionOf, sourceRow, worst } from './sources'

export function overview(core: Core): T.Overview {
  const rows = worst(core.data.sources.map((s) => sourceRow(core, s)))
  const byDay = new Map<string, T.Calendar>()
  const sizes: T.SizePoint[] = []
  const since = core.now() - 365 * DAY
  let total = core.data.backups.length > 10 ? 83e9 : 0
  const month = core.now() - 30 * DAY
  let failures = 0
  for (let i = core.data.backups.length - 1; i >= 0; i--) {
    const b = core.data.backups[i] as T.Backup
    const at = new Date(b.started_at)
    const kept = b.copies.reduce((sum, c) => sum + c.stored_bytes, 0)
    // Hourly copies leave after some days; what stays grows slowly.
    total += b.type === 'hourly' ? kept * 0.004 : kept * 0.11
    if (at.getTime() < since) continue
    if (b.state === 'failed' && at.getTime() > month) failures++
    const key = `${at.getFullYear()}-${String(at.getMonth() + 1).padStart(2, '0')}-${String(at.getDate()).padStart(2, '0')}`
    let cell = byDay.get(key)
    if (!cell) {
      cell = { day: key, verified: 0, stored: 0, failed: 0, missed: 0, other: 0 }
      byDay.set(key, cell)
      sizes.push({ day: key, stored_bytes: Math.round(total) })
    }
    if (b.state === 'verified') cell.verified++
    else if (b.state === 'stored') cell.stored++
    else if (b.state === 'failed' || b.state === 'interrupted') cell.failed++
    else if (b.state === 'missed') cell.missed++
    else cell.other++
  }
  const last = core.data.backups.find((b) => b.state !== 'running')
  const kept = core.data.backups.filter((b) => b.copies.length > 0)
  const next: T.NextRun[] = []
  for (const p of core.data.plans) {
    const at = nextRun(core, p)
    if (at === null) continue
    const row = planRow(core, p)
    const overdue = p.plan.name === 'daily' && p.plan.source === 'wiki'
    next.push({
      plan_id: p.plan.id,
      plan: p.plan.name,
      source: p.plan.source,
      at: core.iso(overdue ? at - DAY : at),
      overdue,
      tries: 0,
      next_try_at: null,
      remark: row.last_error?.text === 'tool_too_old' || overdue ? row.last_error : null,
    })
  }
  next.sort((a, b) => Number(a.overdue) - Number(b.overdue) || (a.at < b.at ? -1 : 1))
  return {
    sources: rows,
    protected: rows.filter((r) => r.protection.state === 'protected').length,
    figures: {
      stored_bytes: sizes.at(-1)?.stored_bytes ?? 0,
      capacity_bytes: core.data.destinations.length ? 480e9 : null,
      places: new Set(core.data.destinations.map((d) => d.site)).size,
      verified: kept.filter((b) => b.state === 'verified').length,
      kept: kept.length,
      failures,
      failures_open: rows.filter((r) => r.protection.error).length,
      last: last ? { id: last.id, source: last.source, state: last.state, at: last.ended_at ?? last.started_at } : null,
    },
    calendar: [...byDay.values()],
    sizes,
    running: core.works.list.map((w) => w.running),
    lanes: 2,
    next,
    schedules_paused: core.paused,
    unheard: unheard(core),
  }
}

export function overviewCommands(core: Core): Pick<Backend, 'attention' | 'overview' | 'running'> {
  return {
    attention: async () => {
      const states = core.data.sources.map((s) => protectionOf(core, s))
      const next = core.data.plans.map((p) => nextRun(core, p)).filter((at) => at !== null)
      const count = (state: T.ProtectionState) => states.filter((p) => p.state === state).length
      return {
        sources: states.length,
        protected: count('protected'),
        at_risk: count('at_risk'),
        unprotected: count('unprotected'),
        failures_open: states.filter((p) => p.error).length,
        channels_failing: unheard(core).channels.length,
        nobody_told: unheard(core).nobody,
        schedules_paused: core.paused,
        next_run_at: next.length ? core.iso(Math.min(...next)) : null,
      }
    },
    overview: async () => overview(core),
    running: async () => core.works.list.map((w) => w.running),
  }
}
