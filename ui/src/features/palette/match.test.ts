// @vitest-environment node
import { expect, it } from 'vitest'
import { match } from './match'

it('letters in order, accents and case aside, words first', () => {
  expect(match('rest sh', 'Restore shop…')?.marks).toEqual([0, 1, 2, 3, 8, 9])
  expect(match('reglages', 'Réglages')).not.toBeNull()
  expect(match('xyz', 'Settings')).toBeNull()
  expect(match('', 'Anything')?.marks).toEqual([])
  expect((match('back', 'Back up now')?.score ?? 0) > (match('back', 'Show failed backups')?.score ?? 0)).toBe(true)
  expect(match('aab', 'a xaab')).not.toBeNull()
})
