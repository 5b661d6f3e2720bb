import { describe, expect, it, vi } from 'vitest'
import { setBackend } from '../../backend'
import { memoryBackend } from '../../backend/memory/memory'
import { Pages, PER_PAGE, ROW } from './pages.svelte'

const filters = { sort: 'started_at' as const, descending: true }
const settle = () => new Promise((r) => setTimeout(r, 0))

describe('a list of 100,000', () => {
  const { backend, memory } = memoryBackend({ backups: 100_000, now: Date.parse('2026-11-20T12:00:00Z') })
  let asked = 0
  setBackend(
    new Proxy(backend, {
      get: (b, name) => {
        if (name === 'listBackups') asked++
        return Reflect.get(b, name)
      },
    }),
  )

  it('knows its height from the first page, and reads only what is looked at', async () => {
    const pages = new Pages(filters)
    const end = pages.follow()
    await settle()
    expect(pages.total).toBe(memory.data.backups.length)
    expect(pages.height).toBeGreaterThan((pages.total ?? 0) * ROW - 1)
    expect(asked).toBe(1)

    const middle = pages.height / 2
    const rows = pages.between(middle, middle + 800)
    expect(rows[0]?.backup).toBeUndefined()
    expect(rows.length).toBeLessThan(40)
    pages.want(rows[0]?.index ?? 0, rows.at(-1)?.index ?? 0)
    await settle()
    expect(asked).toBeLessThanOrEqual(3)
    const seen = pages.between(middle, middle + 800)
    expect(seen.every((r) => r.backup)).toBe(true)
    // Rows lie one below the other without gaps.
    for (let i = 1; i < seen.length; i++)
      expect(seen[i]?.top).toBe((seen[i - 1]?.top ?? 0) + (seen[i - 1]?.height ?? 0))
    expect(seen[3]?.backup?.id).toBe(memory.data.backups[seen[3]?.index ?? 0]?.id)
    end()
  })

  it('tells how far rows below moved when a page turns out taller', async () => {
    const pages = new Pages(filters)
    const end = pages.follow()
    await settle()
    let moved = 0
    pages.onshift = (below, delta) => {
      expect(below % PER_PAGE).toBe(0)
      moved += delta
    }
    const before = pages.height
    for (let n = 1; n < 30; n++) {
      pages.want(n * PER_PAGE, n * PER_PAGE + 10)
      await settle()
    }
    expect(moved).toBeGreaterThan(0)
    expect(pages.height).toBe(before + moved)
    end()
  })

  it('reads where a dragged bar comes to rest, not every page it passes', async () => {
    const pages = new Pages(filters)
    const end = pages.follow()
    await settle()
    const before = asked
    // All in one moment, however busy the machine is.
    const now = vi.spyOn(performance, 'now').mockReturnValue(performance.now())
    for (let n = 10; n < 1000; n += 10) pages.want(n * PER_PAGE, n * PER_PAGE + 10)
    now.mockRestore()
    const last = 990 * PER_PAGE
    await expect.poll(() => pages.at(last)?.id).toBe(memory.data.backups[last]?.id)
    // The page of the first jump, the one at the end, and one beside each.
    expect(asked - before).toBeLessThanOrEqual(4)
    end()
  })

  it('an answer to earlier filters is not shown', async () => {
    const pages = new Pages(filters)
    const end = pages.follow()
    pages.filter({ ...filters, state: 'failed' })
    await settle()
    expect(pages.at(0)?.state).toBe('failed')
    end()
  })
})
