/** Schedules of the in-memory backend: five fields, read plainly; the next times; the words. No time zone but that of the machine. */
import type { BackupType, PlanDraft } from '../generated'
import { DAY } from './data'
import type { ErrorText } from './errors'

export interface Refused {
  text: ErrorText
  details: Record<string, string | number>
}

const RANGES: [number, number][] = [
  [0, 59],
  [0, 23],
  [1, 31],
  [1, 12],
  [0, 7],
]

/** The numbers that a field names, or what is wrong with it. */
function field(text: string, at: number): Set<number> | Refused {
  const [low, high] = RANGES[at] ?? [0, 0]
  const wrong: Refused = { text: 'cron_value', details: { field: at + 1, given: text, low, high } }
  const found = new Set<number>()
  for (const part of text.split(',')) {
    const [range = '', step = '1'] = part.split('/')
    const [from = '', to] = range === '*' ? [String(low), String(at === 4 ? 6 : high)] : range.split('-')
    const end = to ?? (part.includes('/') ? String(high) : from)
    if (![from, end, step].every((n) => /^\d{1,3}$/.test(n)) || +from < low || +end > high || +from > +end || +step < 1)
      return wrong
    for (let n = +from; n <= +end; n += +step) found.add(at === 4 ? n % 7 : n)
  }
  return found
}

/** The five fields that a form means. */
export function cronOf(draft: PlanDraft): string | null {
  if (draft.cron !== null) return draft.cron
  if (!draft.every || draft.every === 'manual') return null
  const [hour, minute] = (draft.at ?? '03:00').split(':').map(Number)
  if (draft.every === 'hourly') return `${minute ?? 0} * * * *`
  const days = { daily: '* * *', weekly: `* * ${draft.weekday ?? 1}`, monthly: `${draft.month_day ?? 1} * *` }
  return `${minute ?? 0} ${hour ?? 3} ${days[draft.every]}`
}

export function readCron(text: string): Set<number>[] | Refused {
  const parts = text.trim().split(/\s+/).filter(Boolean)
  if (parts.length !== 5)
    return {
      text: parts.length === 6 || parts.length === 7 ? 'cron_seconds' : 'cron_fields',
      details: { given: text.trim(), found: parts.length },
    }
  const fields: Set<number>[] = []
  for (const [at, part] of parts.entries()) {
    const found = field(part, at)
    if (!(found instanceof Set)) return found
    fields.push(found)
  }
  const longest = [...(fields[3] ?? [])].map((month) => (month === 2 ? 29 : [4, 6, 9, 11].includes(month) ? 30 : 31))
  if (!longest.some((last) => [...(fields[2] ?? [])].some((day) => day <= last)))
    return { text: 'cron_never', details: { given: text.trim() } }
  return fields
}

/** The next times, five at most. */
export function nextTimes(fields: Set<number>[], now: number, count: number): number[] {
  const found: number[] = []
  const [minutes, hours, days, months, weekdays] = fields
  const day = new Date(now)
  day.setHours(0, 0, 0, 0)
  for (let d = 0; d < 366 * 8 && found.length < count; d++) {
    if (months?.has(day.getMonth() + 1) && days?.has(day.getDate()) && weekdays?.has(day.getDay()))
      for (const hour of [...(hours ?? [])].sort((a, b) => a - b))
        for (const minute of [...(minutes ?? [])].sort((a, b) => a - b)) {
          const at = new Date(day).setHours(hour, minute)
          if (at > now && found.length < count) found.push(at)
        }
    day.setTime(day.getTime() + DAY * 1.2)
    day.setHours(0, 0, 0, 0)
  }
  return found
}

/** What a form says, in words; of free expressions only the times. */
export function explain(draft: PlanDraft, cron: string, language: 'en' | 'fr'): string {
  const fr = language === 'fr'
  const zone = draft.time_zone ?? 'UTC'
  const every: Partial<Record<BackupType, string>> = fr
    ? { hourly: 'toutes les heures', daily: 'tous les jours', weekly: 'chaque semaine', monthly: 'chaque mois' }
    : { hourly: 'every hour', daily: 'every day', weekly: 'every week', monthly: 'every month' }
  const kind = draft.cron === null ? draft.every : null
  const at = draft.at ?? '03:00'
  if (kind === 'hourly') return `${every.hourly}, ${fr ? 'à la minute' : 'at minute'} ${at.slice(3)} (${zone})`
  if (kind) return `${every[kind] ?? ''}${fr ? ' à ' : ', at '}${at} (${zone})`
  return `${fr ? 'selon' : 'as in'} ${cron} (${zone})`
}
