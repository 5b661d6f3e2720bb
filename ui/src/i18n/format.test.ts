import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ago, ahead, bytes, clock, dayKey, duration, moment, number, percent, roughly, spoken } from './format.svelte'
import { fill, sayError, setLanguage, t } from './index.svelte'

const plain = (text: string) => text.replace(/[\u00a0]/g, ' ')
beforeEach(() => {
  clock.now = new Date(2026, 10, 20, 12, 0, 0).getTime()
})
afterEach(() => setLanguage('en'))

describe('English', () => {
  it('sizes in powers of ten', () => {
    expect([0, 999, 1000, 21_400_000, 999_999_999, 4.2e9, 214e9].map(bytes).map(plain)).toEqual([
      '0 B',
      '999 B',
      '1 kB',
      '21.4 MB',
      '1 GB',
      '4.2 GB',
      '214 GB',
    ])
  })
  it('durations', () => {
    expect([900, 41_000, 59_900, 194_000, 7_500_000, 5 * 86_400_000].map(duration).map(plain)).toEqual([
      '0.9 s',
      '41 s',
      '1 min',
      '3 min 14',
      '2 h 05',
      '5 days',
    ])
    expect([0, 42 * 60_000, 7 * 3_600_000, 35 * 3_600_000, 9 * 86_400_000].map(roughly).map(plain)).toEqual([
      '1 s',
      '42 min',
      '7 h',
      '35 h',
      '9 days',
    ])
  })
  it('times relative to now', () => {
    expect(plain(ago(clock.now - 11 * 3_600_000))).toBe('11 h ago')
    expect(ago(clock.now - 3000)).toBe('just now')
    expect(plain(ahead(clock.now + 78 * 60_000))).toBe('in 1 h 18')
    expect(plain(spoken(new Date(2026, 10, 20, 14, 0)))).toBe('14:00')
    expect(plain(spoken(new Date(2026, 10, 23, 2, 30)))).toBe('Mon 02:30')
    expect(plain(spoken(new Date(2026, 10, 19, 2, 30)))).toBe('yesterday 02:30')
    expect(plain(moment(new Date(2026, 9, 23, 2, 30)))).toBe('23 Oct 02:30')
    expect(plain(moment(new Date(2025, 9, 23, 2, 30)))).toBe('23 Oct 25 02:30')
  })
})

describe('French', () => {
  beforeEach(() => setLanguage('fr'))
  it('octets, commas, narrow spaces', () => {
    expect(plain(bytes(4.2e9))).toBe('4,2 Go')
    expect(number(1_142_402)).toBe('1\u202f142\u202f402')
    expect(percent(0.62)).toBe('62\u202f%')
    expect(plain(ago(clock.now - 9 * 86_400_000))).toBe('il y a 9 jours')
    expect(t('nav.failures', { count: 0 })).toBe('0 échec à traiter')
    expect(t('nav.failures', { count: 2 })).toBe('2 échecs à traiter')
  })
})

describe('messages', () => {
  it('facts are data, and a missing one is seen', () => {
    expect(fill('{a} and {b}', { a: '<b>{b}</b>' })).toBe('<b>{b}</b> and {b}')
    expect(fill('{n}', { n: 1284 })).toBe('1,284')
  })
  it('an error without words here is said as the backend said it', () => {
    expect(sayError({ text: 'no_such_text', message: 'm', hint: 'h' })).toEqual({ message: 'm', hint: 'h' })
  })
  it('days are named the local way', () => {
    expect(dayKey(new Date(2026, 0, 5, 23, 59))).toBe('2026-01-05')
  })
})
