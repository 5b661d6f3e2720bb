import { tick } from 'svelte'
import { describe, expect, it, vi } from 'vitest'
import { accessible, accessibleAbove, NOON, screen, start, waitFor, within } from './start'

/** A verified backup of a source that was never rehearsed, with its panel open. */
async function panel(options: Parameters<typeof start>[1] = {}, rehearsed = false) {
  const opened = await start('/overview', { now: NOON, ...options })
  const { memory } = opened
  const all = memory.data.backups.filter((b) => b.source === 'shop' && b.state === 'verified')
  const backup = all.find((b) => (memory.drills.last(b.id) !== null) === rehearsed)
  if (!backup) throw new Error('no such backup')
  window.location.hash = `/backups/${backup.id}`
  await screen.findByText('Proofs')
  return { ...opened, backup, aside: screen.getByRole('complementary', { name: 'Chosen backup' }) }
}

describe('a rehearsed restore', () => {
  it('goes on in the panel, step by step, and says what it proved and how long it took', async () => {
    const { memory, user, backup, aside } = await panel()
    expect(within(aside).getByText(/leaves nothing behind/)).toBeTruthy()
    await user.click(within(aside).getByRole('button', { name: 'Rehearse a restore' }))
    await within(aside).findByText('Reading the stored bytes to their end')
    expect(within(aside).queryByRole('button', { name: /Rehearse/ })).toBeNull()
    memory.works.advance(10)
    await within(aside).findByText('Loading into a throw-away database')
    await accessible()
    memory.works.advance(16)
    await within(aside).findByText('Counting and comparing every table')
    memory.works.advance(20)
    await within(aside).findByText(/restored into a throw-away database .* all equal/)
    expect(within(aside).getByText(/It took/)).toBeTruthy()
    expect(within(aside).getByText('Rows equal').closest('li')?.hasAttribute('data-open')).toBe(false)
    expect(within(aside).getByText('Restore rehearsed: restored and counted')).toBeTruthy()
    expect(memory.drills.of(backup.id)).toHaveLength(1)
    await accessible()
  })

  it('can be stopped, and then says nothing of the backup', async () => {
    const { memory, user, aside } = await panel()
    await user.click(within(aside).getByRole('button', { name: 'Rehearse a restore' }))
    await user.click(await within(aside).findByRole('button', { name: /^Cancel/ }))
    await within(aside).findByText(/was stopped; it says nothing about this backup/)
    expect(memory.works.list).toHaveLength(0)
  })

  it('says why it went no deeper', async () => {
    const { memory, user, aside } = await panel({ drills: ['structure'] })
    await user.click(within(aside).getByRole('button', { name: 'Rehearse a restore' }))
    await within(aside).findByText('Reading the stored bytes to their end')
    memory.works.advance(80)
    await within(aside).findByText(/as deep as this machine can: structure read/)
    expect(within(aside).getByText('Why no deeper')).toBeTruthy()
    expect(within(aside).getByText(/No PostgreSQL server program/)).toBeTruthy()
    expect(within(aside).getByText('Restored').closest('li')?.hasAttribute('data-open')).toBe(true)
    await accessible()
  })

  it('lists every table that differs', async () => {
    const { memory, user, aside } = await panel({ drills: ['differs'] })
    await user.click(within(aside).getByRole('button', { name: 'Rehearse a restore' }))
    await within(aside).findByText('Reading the stored bytes to their end')
    memory.works.advance(80)
    await within(aside).findByText(/^The rehearsal of .* failed$/)
    const table = within(aside).getByRole('table', { name: 'What differs' })
    expect(within(table).getAllByRole('row')).toHaveLength(3)
    expect(within(aside).getByText('Rows equal').closest('li')?.hasAttribute('data-open')).toBe(true)
    await accessible()
  })

  it('is told in the list, and with its source', async () => {
    const { memory } = await start('/backups', { now: NOON })
    await screen.findByRole('grid')
    const shown = memory.data.backups.slice(0, 15).some((b) => memory.drills.last(b.id))
    expect(shown).toBe(true)
    await waitFor(() => expect(screen.getByRole('grid').textContent).toContain(', restored and counted'))
    await start('/overview', { now: NOON })
    const card = (await screen.findByRole('heading', { level: 3, name: 'shop' })).closest('article')
    expect(card?.textContent).toMatch(/Rehearsed 9\sh ago: restored and counted\./)
  })
})

describe('a backup, open', () => {
  async function open(options: Parameters<typeof start>[1] = {}) {
    const opened = await panel(options, true)
    const { memory, user, aside } = opened
    await user.click(within(aside).getByRole('button', { name: 'Look inside…' }))
    await screen.findByText('Opening the backup')
    await waitFor(() => expect(memory.works.list).toHaveLength(1))
    return opened
  }
  async function opened(options: Parameters<typeof start>[1] = {}) {
    const all = await open(options)
    await accessibleAbove()
    all.memory.works.advance(60)
    const sheet = within(await screen.findByRole('dialog'))
    await sheet.findByRole('searchbox', { name: 'Search the rows' })
    await waitFor(() => expect(sheet.getAllByRole('row').length).toBeGreaterThan(2))
    return { ...all, sheet }
  }

  it('shows rows as they are, in pages, searched', async () => {
    const { user, sheet, memory } = await opened()
    await user.click(sheet.getByRole('button', { name: /public\.orders/ }))
    await sheet.findByRole('columnheader', { name: 'payload' })
    await waitFor(() => expect(sheet.getAllByText('NULL').length).toBeGreaterThan(0))
    expect(sheet.getAllByText('empty').length).toBeGreaterThan(0)
    // Markup in a value is its letters.
    expect(sheet.getAllByText('<b>bold</b> & <img src=x onerror=alert(1)>').length).toBeGreaterThan(0)
    expect(document.querySelector('.look-tbl img, .look-tbl b')).toBeNull()
    expect(sheet.getByText(/^1 to 50 of/)).toBeTruthy()
    await user.click(sheet.getByRole('button', { name: 'Next page' }))
    await sheet.findByText(/^51 to 100 of/)
    await accessibleAbove()
    await user.type(sheet.getByRole('searchbox', { name: 'Search the rows' }), 'orders 77')
    await sheet.findByText(/^1 to \d+ of \d+$/)
    await waitFor(() => expect(sheet.getAllByRole('row').length).toBeLessThan(20))
    // Who reads a row keeps it while the search goes on, as long as it is where it was.
    await user.click(sheet.getAllByRole('row')[1] as HTMLElement)
    await sheet.findByRole('region', { name: 'Row 1' })
    const asked = vi.spyOn(memory.drills, 'rows')
    await user.type(sheet.getByRole('searchbox', { name: 'Search the rows' }), ' ')
    await waitFor(() => expect(asked).toHaveBeenCalled())
    await asked.mock.results[0]?.value
    await tick()
    expect(sheet.getByRole('region', { name: 'Row 1' })).toBeTruthy()
    await user.clear(sheet.getByRole('searchbox', { name: 'Search the rows' }))
    await user.type(sheet.getByRole('searchbox', { name: 'Search the rows' }), 'nowhere')
    await waitFor(() => expect(sheet.queryByRole('region', { name: 'Row 1' })).toBeNull())
    await sheet.findByText('No row holds “nowhere”.')
    await user.click(sheet.getAllByRole('button', { name: 'Close' }).at(-1) as HTMLElement)
    await waitFor(() => expect(screen.queryByRole('dialog')).toBeNull())
    expect(memory.drills.isOpen).toBe(false)
  })

  it('shows one row whole, by keyboard too; Escape closes that first', async () => {
    const { user, sheet } = await opened()
    const row = sheet.getAllByRole('row')[5] as HTMLElement
    await user.click(row)
    const whole = within(await sheet.findByRole('region', { name: 'Row 5' }))
    expect(whole.getByText('Cut here; an export has all of it.')).toBeTruthy()
    row.focus()
    await user.keyboard('{ArrowUp}')
    expect(within(await sheet.findByRole('region', { name: 'Row 4' })).getByText(/two\s+lines/)).toBeTruthy()
    await accessibleAbove()
    await user.keyboard('{Escape}')
    await waitFor(() => expect(sheet.queryByRole('region', { name: 'Row 4' })).toBeNull())
    expect(screen.getByRole('dialog')).toBeTruthy()
    await user.keyboard('{Escape}')
    await waitFor(() => expect(screen.queryByRole('dialog')).toBeNull())
  })

  it('exports a table, and brings one back under a new name', async () => {
    const { user, sheet } = await opened()
    await user.click(sheet.getByRole('button', { name: 'CSV…' }))
    await screen.findByText(/rows? exported/)
    await user.click(sheet.getByRole('button', { name: 'Bring the table back…' }))
    const form = within(sheet.getByRole('form'))
    const name = form.getByLabelText('New name') as HTMLInputElement
    expect(name.value).toMatch(/_restored_20261120$/)
    await accessibleAbove()
    await user.click(form.getByRole('button', { name: 'Bring back' }))
    await sheet.findByText(/is in shop: /)
    await user.click(sheet.getByRole('button', { name: 'Bring the table back…' }))
    await user.click(within(sheet.getByRole('form')).getByRole('button', { name: 'Bring back' }))
    await sheet.findByText(/has something called .* already/)
    expect(sheet.getByRole('form')).toBeTruthy()
  })

  it('can be stopped while it opens, and opened again', async () => {
    const { memory, user } = await open()
    const sheet = within(screen.getByRole('dialog'))
    await user.click(await sheet.findByRole('button', { name: /^Cancel/ }))
    await user.click(await sheet.findByRole('button', { name: 'Open again' }))
    await waitFor(() => expect(memory.works.list).toHaveLength(1))
    // Closing the sheet stops it as well.
    await user.click(sheet.getAllByRole('button', { name: 'Close' })[0] as HTMLElement)
    await waitFor(() => expect(memory.works.list).toHaveLength(0))
    expect(memory.drills.isOpen).toBe(false)
  })

  it('that was closed meanwhile says so, with the way on', async () => {
    const { memory, user, sheet, backup } = await opened()
    memory.drills.close(memory.drills.openId ?? '')
    await user.click(sheet.getByRole('button', { name: 'SQL…' }))
    await sheet.findByText('This backup is no longer open.')
    await user.click(sheet.getByRole('button', { name: 'Try again' }))
    await waitFor(() => expect(memory.works.list.map((w) => w.running.id)).toEqual([backup.id]))
  })
})
