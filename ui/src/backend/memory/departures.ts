/** What would leave by the rules of a plan, in memory: roughly as the engine would have it, for every kind of rule. */
import type * as T from '../generated'
import type { Core } from './core'
import { DAY } from './data'

const BIN_DAYS = 3

/** Those in the bin, and those that the coming ninety days would send there. */
export function departuresOf(core: Core, id: string | null, draft: T.PlanDraft): T.Departure[] {
  const rules = draft.retention
  const bytes = core.data.sources.find((x) => x.source.id === draft.source_id)?.stored ?? 0
  const found: T.Departure[] = []
  // Without a rule everything comes back out of the bin.
  if (!Object.entries(rules).some(([name, number]) => name !== 'keep_min' && number)) return found
  const day = (at: number) => {
    const d = new Date(at)
    return `${d.getFullYear()}-${String(d.getMonth() + 1).padStart(2, '0')}-${String(d.getDate()).padStart(2, '0')}`
  }
  const own = core.data.backups.filter((b) => b.plan_id === id && b.state === 'verified')
  for (const b of own) {
    if (!b.leaves_at) continue
    found.push({
      day: day(Date.parse(b.leaves_at)),
      id: b.id,
      code: b.code,
      started_at: b.started_at,
      chosen_at: null,
      leaves_at: b.leaves_at,
      stored_bytes: b.stored_bytes ?? 0,
      reason: { rule: 'no_rule_keeps_it' },
      kept_by: null,
      replaced: false,
      asks: false,
    })
  }
  const days = rules.keep_daily ?? rules.keep_days ?? rules.keep_last ?? rules.keep_hourly
  if (!days || (!draft.every && draft.cron === null)) return found
  for (let d = 1; d < 90; d++) {
    const at = core.now() + d * DAY
    const weekday = new Date(at).getDay()
    // Its week keeps the one of Sunday.
    if (weekday === 0 && rules.keep_weekly) continue
    for (let k = 0; k < (weekday === 1 && rules.keep_weekly ? 2 : 1); k++) {
      const made = at - (days + BIN_DAYS) * DAY - k * DAY
      const known = own.find((b) => !b.leaves_at && Math.abs(Date.parse(b.started_at) - made) < DAY / 2)
      found.push({
        day: day(at),
        id: known?.id ?? null,
        code: known?.code ?? null,
        started_at: known?.started_at ?? core.iso(made),
        chosen_at: core.iso(at - BIN_DAYS * DAY),
        leaves_at: core.iso(at),
        stored_bytes: bytes,
        reason: { rule: 'no_rule_keeps_it' },
        kept_by: rules.keep_daily
          ? { rule: k ? 'weekly' : 'daily', period: k ? `week of ${day(made)}` : day(made) }
          : rules.keep_days
            ? { rule: 'days', number: days }
            : { rule: 'last', number: days },
        replaced: false,
        asks: false,
      })
    }
  }
  return found.sort((a, b) => (a.leaves_at < b.leaves_at ? -1 : 1))
}

/** What a plan's retention would do, if a person says that it is right. */
export function previewRetention(core: Core, id: string): T.RetentionPreview {
  const own = core.data.backups.filter((b) => b.plan_id === id && b.state === 'verified')
  const leaving = core.holds.has(id) ? own.slice(Math.ceil(own.length / 4)) : []
  return {
    leaving: leaving.slice(0, 200).map((b) => ({
      id: b.id,
      code: b.code,
      started_at: b.started_at,
      state: b.state,
      stored_bytes: b.stored_bytes ?? 0,
      leaves_at: core.iso(core.now() + BIN_DAYS * DAY),
      reason: { rule: 'no_rule_keeps_it' },
    })),
    leaving_count: leaving.length,
    bytes: leaving.reduce((sum, b) => sum + (b.stored_bytes ?? 0), 0),
    kept: own.length - leaving.length,
    kept_verified: own.length - leaving.length,
    stopped: core.holds.get(id) ?? null,
    confirmation: `retention-${id}`,
  }
}
