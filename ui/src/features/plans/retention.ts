/** The presets of "how long", and which one a set of rules is. */
import type { Retention } from '../../backend'

const nothing = {
  keep_last: null,
  keep_days: null,
  keep_hourly: null,
  keep_daily: null,
  keep_weekly: null,
  keep_monthly: null,
  keep_yearly: null,
} satisfies Retention
export const PRESETS = {
  gfs: { ...nothing, keep_daily: 7, keep_weekly: 4, keep_monthly: 12 },
  last30: { ...nothing, keep_last: 30 },
  days30: { ...nothing, keep_days: 30 },
  all: nothing,
} satisfies Record<string, Retention>
export type Preset = keyof typeof PRESETS | 'custom'

export function presetOf(rules: Retention): Preset {
  for (const [name, preset] of Object.entries(PRESETS) as [keyof typeof PRESETS, Retention][]) {
    if ((Object.keys(nothing) as (keyof Retention)[]).every((k) => (rules[k] ?? null) === preset[k])) return name
  }
  return 'custom'
}
