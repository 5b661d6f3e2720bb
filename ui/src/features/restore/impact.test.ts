// @vitest-environment node
import { describe, expect, it } from 'vitest'
import { linesOf, lossOf, shortMoment } from './impact'

const count = (table: string, before: number | null, backup: number | null) => ({ table, before, after: null, backup })

describe('what a replacement takes', () => {
  const lines = linesOf({
    counts: [
      count('same', 5, 5),
      count('old', null, 3),
      count('few', 12, 10),
      count('many', 900, 100),
      count('gone', 7, null),
      count('empty', 0, null),
      count('grown', 1, 4),
    ],
    newest: [{ table: 'many', column: 'at', value: '2026-11-21 14:00:00' }],
  })
  it('is listed the worst first', () => {
    expect(lines.map((line) => line.table)).toEqual(['gone', 'empty', 'many', 'few', 'old', 'grown', 'same'])
    expect(lines.find((line) => line.table === 'many')?.newest?.column).toBe('at')
  })
  it('is counted: rows that go, tables that lose some, tables that go and come', () => {
    expect(lossOf(lines)).toEqual({ rows: 7 + 2 + 800, tables: 4, vanish: ['gone', 'empty'], return: ['old'], same: 1 })
    expect(lossOf([]).rows).toBe(0)
  })
  it('moments are said as the database wrote them', () => {
    expect(shortMoment('2026-11-21 13:41:55.123+00', '2026-11-21')).toBe('13:41:55')
    expect(shortMoment('2026-11-20T13:41:55Z', '2026-11-21')).toBe('2026-11-20 13:41')
    expect(shortMoment('2026-11-20', '2026-11-20')).toBe('2026-11-20')
    expect(shortMoment('1732190000', '2026-11-21')).toBe('1732190000')
    expect(shortMoment('x'.repeat(99), '2026-11-21')).toHaveLength(24)
  })
})
