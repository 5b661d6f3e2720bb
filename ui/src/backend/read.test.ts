import { describe, expect, it, vi } from 'vitest'
import { commandName } from './backend'
import { asCoffreError } from './error'
import { touches } from './events.svelte'
import { change, Read } from './read.svelte'

describe('tags', () => {
  it('a kind touches each of its things, a thing only itself and its kind', () => {
    expect(touches([{ noun: 'backups', id: 'a' }], [{ noun: 'backups' }])).toBe(true)
    expect(touches([{ noun: 'backups' }], [{ noun: 'backups', id: 'a' }])).toBe(true)
    expect(touches([{ noun: 'backups', id: 'a' }], [{ noun: 'backups', id: 'b' }])).toBe(false)
    expect(touches([{ noun: 'plans' }], [{ noun: 'backups' }])).toBe(false)
  })
})

describe('a read', () => {
  it('the last question wins, whatever order the answers come in', async () => {
    const read = new Read<string>()
    let first: (s: string) => void = () => {}
    const slow = read.load(() => new Promise((r) => (first = r)))
    await read.load(async () => 'new')
    first('old')
    await slow
    expect(read.data).toBe('new')
  })
  it('keeps what is known when a repetition fails, and says why', async () => {
    const read = new Read<number>()
    await read.load(async () => 1)
    await read.load(async () => {
      throw { code: 'DEST_FULL', text: 'dest_full', message: 'full', hint: '' }
    })
    expect(read.data).toBe(1)
    expect(read.error?.code).toBe('DEST_FULL')
    await read.load(async () => 2)
    expect([read.data, read.error]).toEqual([2, null])
  })
  it('shows a skeleton only after 150 ms without anything known', async () => {
    vi.useFakeTimers()
    const read = new Read<number>()
    let answer: (n: number) => void = () => {}
    const loading = read.load(() => new Promise((r) => (answer = r)))
    vi.advanceTimersByTime(149)
    expect(read.slow).toBe(false)
    vi.advanceTimersByTime(2)
    expect(read.slow).toBe(true)
    answer(1)
    await loading
    expect(read.slow).toBe(false)
    vi.useRealTimers()
  })
})

describe('a change', () => {
  it('cannot be made twice at once, and ends its busy state when it fails', async () => {
    let calls = 0
    let fail: (e: unknown) => void = () => {}
    const save = change(() => {
      calls++
      return new Promise((_, r) => (fail = r))
    })
    const one = save.run()
    void save.run()
    expect([calls, save.busy]).toEqual([1, true])
    fail(new Error('<b>x</b>'))
    await one
    expect([save.busy, save.error?.code, save.error?.message]).toEqual([false, 'INTERNAL', '<b>x</b>'])
  })
})

describe('errors and names', () => {
  it('whatever is thrown becomes one of ours', () => {
    expect(asCoffreError('text').message).toBe('text')
    expect(asCoffreError({ odd: 1 }).code).toBe('INTERNAL')
    expect(asCoffreError({ code: 'BUSY', text: 'busy', message: 'm' })).toMatchObject({
      code: 'BUSY',
      hint: '',
      details: {},
    })
  })
  it('methods are commands in snake case', () => {
    expect(commandName('listBackups')).toBe('list_backups')
    expect(commandName('about')).toBe('about')
  })
})
