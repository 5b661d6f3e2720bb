/** What replacing live data takes and brings, table by table, the worst first. */
import type { CountComparison, Impact, NewestValue } from '../../backend'

export type Kind = 'vanishes' | 'fewer' | 'returns' | 'more' | 'same'
export interface Line {
  table: string
  kind: Kind
  now: number | null
  backup: number | null
  /** Rows in the backup less rows now. */
  change: number
  newest: NewestValue | null
}

const ORDER: Kind[] = ['vanishes', 'fewer', 'returns', 'more', 'same']

function kindOf(count: CountComparison): Kind {
  if (count.backup === null) return 'vanishes'
  if (count.before === null) return 'returns'
  if (count.backup === count.before) return 'same'
  return count.backup < count.before ? 'fewer' : 'more'
}

export function linesOf(impact: Pick<Impact, 'counts' | 'newest'>): Line[] {
  const newest = new Map(impact.newest.map((value) => [value.table, value]))
  return impact.counts
    .map((count) => ({
      table: count.table,
      kind: kindOf(count),
      now: count.before,
      backup: count.backup,
      change: (count.backup ?? 0) - (count.before ?? 0),
      newest: newest.get(count.table) ?? null,
    }))
    .sort(
      (a, b) =>
        ORDER.indexOf(a.kind) - ORDER.indexOf(b.kind) ||
        Math.abs(b.change) - Math.abs(a.change) ||
        (a.table < b.table ? -1 : 1),
    )
}

export interface Loss {
  /** Rows that go, by the counts: rows that were changed in place are not seen in them. */
  rows: number
  /** Tables that lose rows, the ones that vanish among them. */
  tables: number
  vanish: string[]
  return: string[]
  same: number
}

export function lossOf(lines: Line[]): Loss {
  const losing = lines.filter((line) => line.change < 0)
  const names = (kind: Kind) => lines.filter((line) => line.kind === kind).map((line) => line.table)
  return {
    rows: losing.reduce((sum, line) => sum - line.change, 0),
    tables: lines.filter((line) => line.change < 0 || line.kind === 'vanishes').length,
    vanish: names('vanishes'),
    return: names('returns'),
    same: lines.filter((line) => line.kind === 'same').length,
  }
}

/** A moment as its database wrote it, as short as it can be said: in its own time zone, which only the database knows. */
export function shortMoment(value: string, today: string): string {
  const found = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?))?/.exec(value)
  if (!found) return value.length > 24 ? `${value.slice(0, 23)}…` : value
  const [, day = '', time] = found
  if (!time) return day
  return day === today ? time : `${day} ${time.slice(0, 5)}`
}
