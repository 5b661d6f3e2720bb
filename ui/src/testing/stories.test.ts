import { fireEvent } from '@testing-library/svelte'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { accessible, accessibleAbove, NOON, screen, start, waitFor, within } from './start'

afterEach(() => vi.useRealTimers())

describe('a restore', () => {
  async function toConfirm() {
    const opened = await start('/overview', { now: NOON })
    const { memory, user } = opened
    const backup = memory.data.backups.find((b) => b.source === 'shop' && b.state === 'verified' && b.plan)
    window.location.hash = `/backups/${backup?.id}`
    await user.click(await screen.findByRole('button', { name: 'Restore…' }))
    await screen.findByText('Where should it go?')
    await accessibleAbove()
    await user.click(screen.getByRole('button', { name: 'Preview' }))
    await screen.findByText('Checked just now')
    await accessibleAbove()
    await user.click(screen.getByRole('button', { name: 'Continue' }))
    return { ...opened, field: await screen.findByLabelText(/Type the name to confirm/) }
  }

  it('goes through where, preview, name, count-down, work and result', async () => {
    const { memory, user, field } = await toConfirm()
    const go = screen.getByRole('button', { name: 'Start the restore' })
    expect(go).toHaveProperty('disabled', true)
    await user.type(field, 'shop2')
    expect(screen.getByText('This is another name.')).toBeTruthy()
    expect(go).toHaveProperty('disabled', true)
    await user.clear(field)
    await user.type(field, 'shop')
    expect(screen.getByText('The name matches.')).toBeTruthy()

    vi.useFakeTimers({ now: NOON })
    fireEvent.click(go)
    await vi.advanceTimersByTimeAsync(100)
    expect(screen.getAllByText('The restore starts in 10 seconds').length).toBeGreaterThan(0)
    expect(document.activeElement?.textContent).toBe('Stop the count-down')
    await vi.advanceTimersByTimeAsync(9000)
    expect(memory.works.list).toHaveLength(0)
    expect(screen.getAllByText('The restore starts in 1 second').length).toBeGreaterThan(0)
    await vi.advanceTimersByTimeAsync(1100)
    vi.useRealTimers()
    expect(memory.works.list).toHaveLength(1)
    await screen.findByText('The live data is untouched')
    await accessibleAbove()
    memory.works.advance(80)
    expect(await screen.findByText(/is exactly the backup/)).toBeTruthy()
    expect(screen.getByText('13 tables and 1,142,402 rows, each count equal to the manifest.')).toBeTruthy()
    // What the tool had to leave out is told beside the result.
    expect(screen.getByText(/Owners and privileges were left out/)).toBeTruthy()
    await accessibleAbove()
    await user.click(screen.getByRole('button', { name: 'Done' }))
    await waitFor(() => expect(screen.queryByRole('dialog')).toBeNull())
  })

  it('the count-down can be stopped, with Escape too, and nothing has happened', async () => {
    const { memory, user, field } = await toConfirm()
    await user.type(field, 'shop')
    for (const stop of [
      () => user.click(screen.getByRole('button', { name: 'Stop the count-down' })),
      () => user.keyboard('{Escape}'),
    ]) {
      await user.click(screen.getByRole('button', { name: 'Start the restore' }))
      await screen.findByRole('button', { name: 'Stop the count-down' })
      await stop()
      await waitFor(() => expect(screen.queryByRole('button', { name: 'Stop the count-down' })).toBeNull())
    }
    expect(memory.works.list).toHaveLength(0)
    expect(screen.getByRole('dialog')).toBeTruthy()
  })

  it('a target that is not empty is refused before anything is asked', async () => {
    const { memory, user } = await start('/overview', { now: NOON })
    const backup = memory.data.backups.find((b) => b.source === 'chrono' && b.state === 'verified')
    window.location.hash = `/backups/${backup?.id}`
    await user.click(await screen.findByRole('button', { name: 'Restore…' }))
    const path = await screen.findByLabelText('Path of the new file')
    await user.clear(path)
    await user.type(path, '/tmp/taken.db')
    await user.click(screen.getByRole('button', { name: 'Preview' }))
    expect(await screen.findByText('This cannot be done')).toBeTruthy()
    expect(screen.getByRole('button', { name: 'Continue' })).toHaveProperty('disabled', true)
  })

  it('goes on while its sheet is closed, and can be opened again', async () => {
    const { memory, user, field } = await toConfirm()
    await user.type(field, 'shop')
    vi.useFakeTimers({ now: NOON })
    fireEvent.click(screen.getByRole('button', { name: 'Start the restore' }))
    await vi.advanceTimersByTimeAsync(10_500)
    vi.useRealTimers()
    await screen.findByText('The live data is untouched')
    for (const button of screen.getAllByRole('button', { name: 'Close' }).slice(-1)) await user.click(button)
    await waitFor(() => expect(screen.queryByRole('dialog')).toBeNull())
    memory.works.advance(20)
    await waitFor(() => expect(document.querySelector('.pill')?.textContent).toContain('shop'))
    await user.click(document.querySelector('.pill') as HTMLElement)
    expect(await screen.findByRole('heading', { name: 'Restore shop' })).toBeTruthy()
    memory.works.cancel(memory.works.list[0]?.running.id ?? '')
    await user.click(await screen.findByRole('button', { name: 'Another place' }))
    expect(await screen.findByText('Where should it go?')).toBeTruthy()
  })

  it('cancelled in the middle says that everything is as before', async () => {
    const { memory, user, field } = await toConfirm()
    await user.type(field, 'shop')
    vi.useFakeTimers({ now: NOON })
    fireEvent.click(screen.getByRole('button', { name: 'Start the restore' }))
    await vi.advanceTimersByTimeAsync(10_500)
    vi.useRealTimers()
    memory.works.advance(20)
    await user.click(await screen.findByRole('button', { name: 'Cancel, change nothing' }))
    expect(await screen.findByText('Everything is as before')).toBeTruthy()
    expect(screen.queryByText(/is exactly the backup/)).toBeNull()
  })
})

describe('a restore in place of live data', () => {
  type Opened = Awaited<ReturnType<typeof start>>
  async function toPreview(source = 'shop', options: Parameters<typeof start>[1] = {}) {
    const opened = await start('/overview', { now: NOON, ...options })
    const backup = opened.memory.data.backups.find((b) => b.source === source && b.state === 'verified' && b.plan)
    window.location.hash = `/backups/${backup?.id}`
    await opened.user.click(await screen.findByRole('button', { name: 'Restore…' }))
    await opened.user.click(await screen.findByRole('radio', { name: /In place of the live data/ }))
    await opened.user.click(screen.getByRole('button', { name: 'Preview' }))
    await screen.findByText('Checked just now')
    return opened
  }
  /** Types the name and lets the ten seconds pass. */
  async function confirm({ user }: Opened, name = 'shop') {
    await user.click(screen.getByRole('button', { name: 'Continue' }))
    await user.type(await screen.findByLabelText(/Type the source’s name to confirm/), name)
    vi.useFakeTimers({ now: NOON })
    fireEvent.click(screen.getByRole('button', { name: `Replace the data of ${name}` }))
    await vi.advanceTimersByTimeAsync(10_500)
    vi.useRealTimers()
  }
  const sheet = () => within(screen.getByRole('dialog'))
  const cells = (table: string) =>
    [...(sheet().getByRole('rowheader', { name: table }).closest('tr')?.querySelectorAll('td') ?? [])].map((td) =>
      td.textContent?.trim(),
    )

  it('shows what goes, the worst first, before anything can be asked for', async () => {
    const { user, memory } = await toPreview()
    const order = sheet()
      .getAllByRole('rowheader')
      .map((th) => th.textContent)
    expect(order.slice(0, 3)).toEqual(['public.promo_2025q4', 'public.order_lines', 'public.orders'])
    expect(cells('public.promo_2025q4').slice(0, 3)).toEqual(['1,204', '–', '− table vanishes'])
    expect(cells('public.order_lines').slice(0, 3)).toEqual(['611,034', '610,118', '−916'])
    expect(cells('public.legacy_tax').slice(0, 3)).toEqual(['–', '88', '+ table comes back'])
    // Exactly the rows that go: those of the six tables, and of the one that vanishes.
    expect(screen.getByText('3,115')).toBeTruthy()
    expect(screen.getByText('1 table vanishes: public.promo_2025q4')).toBeTruthy()
    expect(screen.getByText('public.customers.vat_no (text) goes: the backup does not have it.')).toBeTruthy()
    expect(screen.getByText('7 sessions are connected')).toBeTruthy()
    expect(screen.getByText(/kept for 7 days \(4\.2.GB\), and one click brings it back/)).toBeTruthy()
    expect(screen.getByText(/coffre restore BKP-\S+ --replace$/)).toBeTruthy()
    await accessibleAbove()
    await user.click(screen.getByRole('button', { name: 'Show all 14 tables' }))
    expect(cells('public.settings').slice(0, 3)).toEqual(['36', '36', '='])
    expect(memory.works.list).toHaveLength(0)
  })

  it('goes from the name to the proved result, and back with one click', async () => {
    const opened = await toPreview()
    const { memory, user } = opened
    await confirm(opened)
    expect(memory.works.list).toHaveLength(1)
    expect(await screen.findByText(/shop still answers your application as before/)).toBeTruthy()
    await accessibleAbove()
    memory.works.advance(200)
    expect(await screen.findByText(/^shop is exactly the backup of /)).toBeTruthy()
    expect(screen.getByText('13 tables and 1,142,402 rows, each count equal to the manifest.')).toBeTruthy()
    expect(cells('public.promo_2025q4')).toEqual(['1,204', '–', '–', 'not there any more'])
    expect(sheet().getByText(/^Kept until .* \(4\.2.GB\)$/)).toBeTruthy()
    await accessibleAbove()

    await user.keyboard('{Control>}z{/Control}')
    expect(await screen.findByText('Take back the restore of shop?')).toBeTruthy()
    await waitFor(() => expect(document.activeElement?.textContent).toBe('Leave it as it is'))
    await accessibleAbove()
    await user.click(screen.getByRole('button', { name: 'Leave it as it is' }))
    await waitFor(() => expect(document.querySelectorAll('[data-dialog-content]')).toHaveLength(1))
    expect(memory.works.list).toHaveLength(0)
    await user.click(sheet().getByRole('button', { name: /^Undo the restore/ }))
    const question = (await screen.findByText('Take back the restore of shop?')).closest<HTMLElement>(
      '[data-dialog-content]',
    )
    const yes = within(question as HTMLElement).getByRole('button', { name: 'Undo the restore' })
    await waitFor(() => expect(yes).toHaveProperty('disabled', false))
    await user.click(yes)
    await waitFor(() => expect(memory.works.list).toHaveLength(1))
    await waitFor(() => expect(document.querySelectorAll('[data-dialog-content]')).toHaveLength(1))
    expect(await screen.findByText('Taking shop back')).toBeTruthy()
    memory.works.advance(10)
    expect(await screen.findByText('shop is what it was before the restore')).toBeTruthy()
    await waitFor(() => expect(sheet().queryByRole('button', { name: /^Undo the restore/ })).toBeNull())
    await accessibleAbove()
  })

  it('the count-down can be stopped with Escape, and nothing has happened', async () => {
    const { memory, user } = await toPreview()
    await user.click(screen.getByRole('button', { name: 'Continue' }))
    expect(await screen.findByText('3,115 rows of shop leave the live data')).toBeTruthy()
    expect(screen.getByText('1 table vanishes:')).toBeTruthy()
    await accessibleAbove()
    await user.type(screen.getByLabelText(/Type the source’s name to confirm/), 'shop')
    await user.click(screen.getByRole('button', { name: 'Replace the data of shop' }))
    await screen.findByRole('button', { name: 'Stop the count-down' })
    await user.keyboard('{Escape}')
    await waitFor(() => expect(screen.queryByRole('button', { name: 'Stop the count-down' })).toBeNull())
    expect(memory.works.list).toHaveLength(0)
    expect(screen.getByRole('dialog')).toBeTruthy()
  })

  it('rows that came since are asked about, and the same answer goes on', async () => {
    const opened = await toPreview('shop', { refuse: ['replace_rows_changed'] })
    const { memory, user } = opened
    await confirm(opened)
    memory.works.advance(5)
    expect(await screen.findByText('shop has changed since the preview')).toBeTruthy()
    expect(sheet().getAllByRole('rowheader')).toHaveLength(1)
    expect(screen.queryByText('REFUSED')).toBeNull()
    await accessibleAbove()
    await user.click(screen.getByRole('button', { name: 'Go on: the application keeps writing' }))
    await waitFor(() => expect(memory.works.list).toHaveLength(1))
    memory.works.advance(200)
    expect(await screen.findByText(/^shop is exactly the backup of /)).toBeTruthy()
  })

  it('another database, or other tables, can only be looked at again', async () => {
    const opened = await toPreview('shop', { refuse: ['replace_target_changed'] })
    const { memory, user } = opened
    await confirm(opened)
    memory.works.advance(5)
    expect(await screen.findByText('shop is not what the preview showed')).toBeTruthy()
    expect(screen.queryByRole('button', { name: /Go on/ })).toBeNull()
    await user.click(screen.getByRole('button', { name: 'Look again' }))
    expect(await screen.findByText('Checked just now')).toBeTruthy()
    expect(screen.getByRole('button', { name: 'Continue' })).toHaveProperty('disabled', false)
  })

  it('cannot be cancelled while the data changes places', async () => {
    const opened = await toPreview()
    await confirm(opened)
    const { memory } = opened
    await waitFor(() => expect(memory.works.list).toHaveLength(1))
    while (memory.works.list[0]?.running.progress.step !== 'swapping') memory.works.advance(1)
    memory.invalidate('running')
    expect(await screen.findByText(/This cannot be stopped half-way/)).toBeTruthy()
    expect(screen.getByRole('button', { name: 'Cancel, change nothing' })).toHaveProperty('disabled', true)
  })

  it('where nothing can be kept beside it, the safety backup is the way back', async () => {
    const opened = await toPreview('crm')
    const { memory, user } = opened
    expect(screen.getByText('The safety backup is the way back')).toBeTruthy()
    await confirm(opened, 'crm')
    memory.works.advance(200)
    expect(await screen.findByText(/Undo restores the safety backup in place of crm/)).toBeTruthy()
    expect(screen.queryByText(/^Kept until/)).toBeNull()
    await user.click(screen.getByRole('button', { name: /^Undo the restore/ }))
    expect(await screen.findByText(/The safety backup BKP-\S+, made before the restore of/)).toBeTruthy()
    await user.keyboard('{Escape}')
    await waitFor(() => expect(screen.queryByRole('alertdialog')).toBeNull())
  })

  it('what is kept stands in health, in the panel and in the palette, and can be let go', async () => {
    const opened = await toPreview()
    const { memory, user } = opened
    await confirm(opened)
    memory.works.advance(200)
    await user.click(await screen.findByRole('button', { name: 'Done' }))
    await waitFor(() => expect(screen.queryByRole('dialog')).toBeNull())
    const panel = await screen.findByText('In place of live data')
    expect(panel.closest('section')?.textContent).toMatch(/Replaced shop on .*Undo…/)
    await accessible()
    await user.keyboard('{Control>}k{/Control}')
    await user.type(await screen.findByRole('combobox', { name: 'Search or run a command' }), 'undo the restore')
    await user.keyboard('{Enter}')
    await screen.findByText('Take back the restore of shop?')
    await user.keyboard('{Escape}')
    await waitFor(() => expect(screen.queryByRole('alertdialog')).toBeNull())

    window.location.hash = '/health'
    expect(await screen.findByText('Kept for an undo')).toBeTruthy()
    expect(screen.getByText('4.2 GB in all', { normalizer: (text) => text.replace(/\s/g, ' ') })).toBeTruthy()
    await accessible()
    await user.click(screen.getByRole('button', { name: 'Remove now… shop' }))
    expect(await screen.findByText('Remove the kept data of shop now?')).toBeTruthy()
    await waitFor(() => expect(document.activeElement?.textContent).toBe('Keep'))
    await accessibleAbove()
    const remove = screen.getByRole('button', { name: 'Remove' })
    await waitFor(() => expect(remove).toHaveProperty('disabled', false))
    await user.click(remove)
    await waitFor(() => expect(screen.queryByText('Kept for an undo')).toBeNull())
    expect(memory.replaces.kept()).toHaveLength(0)
  })

  it('a file replaces the data of a source that is chosen, never of one that is guessed', async () => {
    const { user } = await start('/overview', { now: NOON, chosen: '/home/anna/other.db' })
    await user.keyboard('{Control>}k{/Control}')
    await user.type(await screen.findByRole('combobox', { name: 'Search or run a command' }), 'restore from a file')
    await user.keyboard('{Enter}')
    await user.click(await screen.findByRole('radio', { name: /In place of the live data/ }))
    expect(screen.getByRole('button', { name: 'Preview' })).toHaveProperty('disabled', true)
    await user.selectOptions(
      screen.getByLabelText('Whose live data?'),
      screen.getByRole('option', { name: /^chrono,/ }),
    )
    await user.click(screen.getByRole('button', { name: 'Preview' }))
    expect(await screen.findByText(/--replace --source chrono$/)).toBeTruthy()
  })

  it('in French, every step', async () => {
    const { memory, user } = await start('/overview', { now: NOON, language: 'fr' })
    const backup = memory.data.backups.find((b) => b.source === 'shop' && b.state === 'verified' && b.plan)
    window.location.hash = `/backups/${backup?.id}`
    await user.click(await screen.findByRole('button', { name: 'Restaurer…' }))
    await user.click(await screen.findByRole('radio', { name: /À la place des données vivantes/ }))
    await user.click(screen.getByRole('button', { name: 'Aperçu' }))
    expect(await screen.findByText(/^1 table disparaît/)).toBeTruthy()
    expect(document.body.textContent).not.toMatch(/\b(ui|restore|kept)\.[a-z_]+/)
    await user.click(screen.getByRole('button', { name: 'Continuer' }))
    expect(await screen.findByText(/lignes de shop quittent les données vivantes/)).toBeTruthy()
    expect(document.body.textContent).not.toMatch(/\b(ui|restore|kept)\.[a-z_]+/)
  })
})

describe('forms', () => {
  it('a source: checked while typing, tested, saved, and its plan comes next', async () => {
    const { memory, user } = await start('/sources/new', { now: NOON })
    await user.type(await screen.findByLabelText('Database'), 'billing')
    await user.type(screen.getByLabelText(/^Port/), '54322222')
    expect(await screen.findByText('A port is a number from 1 to 65535.')).toBeTruthy()
    await user.clear(screen.getByLabelText(/^Port/))
    await user.type(screen.getByLabelText('User'), 'coffre')
    await user.type(screen.getByLabelText('Password'), 'wrong')
    expect(screen.getByLabelText('Name')).toHaveProperty('value', 'billing')
    await user.click(screen.getByRole('button', { name: 'Test connection' }))
    expect(await screen.findByText('The server refuses the password of coffre.')).toBeTruthy()
    await user.clear(screen.getByLabelText('Password'))
    await user.type(screen.getByLabelText('Password'), 'right')
    await user.click(screen.getByRole('button', { name: 'Test connection' }))
    expect(await screen.findByText('The database answers')).toBeTruthy()
    await user.click(screen.getByRole('button', { name: 'Save and continue' }))
    await waitFor(() => expect(window.location.hash).toMatch(/^#\/plans\/new\?source=/))
    expect(memory.data.sources.at(-1)?.source).toMatchObject({ name: 'billing', has_secret: true })
    expect(await screen.findByDisplayValue('billing daily')).toBeTruthy()
    await user.click(screen.getByRole('button', { name: 'Save and back up now' }))
    await screen.findByRole('heading', { level: 2, name: /billing/ })
  })

  it('a password never comes back; empty means keep', async () => {
    const { memory, user } = await start('/sources/0199f000-0001-7000-8000-000000000001', { now: NOON })
    const field = await screen.findByLabelText('Password')
    expect(field).toHaveProperty('value', '')
    expect(document.body.textContent).toContain('Kept in the keychain')
    await user.clear(screen.getByLabelText('Host'))
    await user.type(screen.getByLabelText('Host'), 'db2.acme.fr')
    await user.click(screen.getByRole('button', { name: 'Save' }))
    await waitFor(() => expect(window.location.hash).toBe('#/sources'))
    expect(memory.data.sources.find((s) => s.source.name === 'shop')?.source).toMatchObject({
      has_secret: true,
      address: 'postgres://coffre@db2.acme.fr:5432/shop',
    })
  })

  it('leaving a form with changes asks first', async () => {
    const { user } = await start('/plans/0199f000-0003-7000-8000-000000000001', { now: NOON })
    await user.type(await screen.findByLabelText('Name of the plan'), ' x')
    await user.click(screen.getByRole('link', { name: /^Journal/ }))
    expect(await screen.findByText('Leave without saving?')).toBeTruthy()
    expect(document.activeElement?.textContent).toBe('Stay')
    await accessibleAbove()
    await user.click(screen.getByRole('button', { name: 'Stay' }))
    expect(screen.getByDisplayValue('nightly x')).toBeTruthy()
    await user.click(screen.getByRole('link', { name: /^Journal/ }))
    await user.click(await screen.findByRole('button', { name: 'Leave' }))
    await waitFor(() => expect(window.location.hash).toBe('#/journal'))
  })

  it('a source in use is not removed, and the reason is in the question', async () => {
    const { memory, user } = await start('/sources/0199f000-0001-7000-8000-000000000001', { now: NOON })
    await user.click(await screen.findByRole('button', { name: 'Remove…' }))
    await user.click(await screen.findByRole('button', { name: 'Remove' }))
    expect(await screen.findByText('shop is used by nightly.')).toBeTruthy()
    expect(memory.data.sources.some((s) => s.source.name === 'shop')).toBe(true)
  })
})

describe('backups', () => {
  it('pin, and take it back with the keyboard', async () => {
    const { memory, user } = await start('/overview', { now: NOON })
    const id = memory.data.backups.find((b) => b.source === 'shop' && b.state === 'verified' && !b.pinned)?.id
    window.location.hash = `/backups/${id}`
    await screen.findByText('Proofs')
    await user.keyboard('p')
    expect(await screen.findByText('Pinned: retention leaves it')).toBeTruthy()
    expect(memory.data.backups.find((b) => b.id === id)?.pinned).toBe(true)
    await user.keyboard('{Control>}z{/Control}')
    await waitFor(() => expect(memory.data.backups.find((b) => b.id === id)?.pinned).toBe(false))
  })

  it('deleting shows what goes and what stays; focus starts on Keep', async () => {
    const { memory, user } = await start('/overview', { now: NOON })
    const id = memory.data.backups.find((b) => b.source === 'shop' && b.state === 'verified')?.id
    window.location.hash = `/backups/${id}`
    await user.click(await screen.findByRole('button', { name: 'More' }))
    await user.click(await screen.findByRole('menuitem', { name: 'Delete…' }))
    expect(await screen.findByText(/verified backups of shop stay/)).toBeTruthy()
    await waitFor(() => expect(document.activeElement?.textContent).toBe('Keep'))
    await accessibleAbove()
    memory.options.fail = { deleteBackups: 'dest_unreachable' }
    await user.click(screen.getByRole('button', { name: 'Delete' }))
    expect(await screen.findByText('DEST_UNREACHABLE')).toBeTruthy()
    expect(memory.data.backups.some((b) => b.id === id)).toBe(true)
    memory.options.fail = {}
    await waitFor(() => expect(screen.getByRole('button', { name: 'Delete' })).toHaveProperty('disabled', false))
    await user.click(screen.getByRole('button', { name: 'Delete' }))
    await waitFor(() => expect(memory.data.backups.some((b) => b.id === id)).toBe(false))
  })

  it('a dialog that is cancelled is no download and no error', async () => {
    const { memory, user } = await start('/overview', { now: NOON, chosen: null })
    window.location.hash = `/backups/${memory.data.backups.find((b) => b.source === 'shop' && b.state === 'verified')?.id}`
    await user.click(await screen.findByRole('button', { name: 'Download…' }))
    expect(screen.queryByText('Downloaded')).toBeNull()
    expect(screen.queryByRole('alert')).toBeNull()
  })

  it('progress moves, is told by tenths, and Cancel cancels', async () => {
    const { memory, user } = await start('/overview', { now: NOON })
    await screen.findByText(/sources are protected/)
    await memory.commands.runBackup({ plan_id: '0199f000-0003-7000-8000-000000000003', source_id: null })
    memory.works.advance(40)
    const bar = await screen.findByRole('progressbar', { name: 'Progress of chrono' })
    await waitFor(() => expect(Number(bar.getAttribute('aria-valuenow'))).toBeGreaterThan(20))
    await user.click(screen.getByRole('button', { name: 'Cancel chrono' }))
    await waitFor(() => expect(screen.queryByRole('progressbar')).toBeNull())
    expect(memory.data.backups[0]?.state).toBe('cancelled')
  })

  it('what another Coffre does is shown, and not offered to be ended', async () => {
    const { memory } = await start('/overview', { now: NOON })
    await memory.commands.runBackup({ plan_id: '0199f000-0003-7000-8000-000000000003', source_id: null })
    for (const work of memory.works.list) work.running = { ...work.running, elsewhere: true }
    memory.invalidate('running')
    expect(await screen.findByText('By another Coffre on this computer')).toBeTruthy()
    expect(screen.queryByRole('button', { name: 'Cancel chrono' })).toBeNull()
  })

  it('remarks of the tool and of the retention are beside the backup', async () => {
    const { memory } = await start('/overview', { now: NOON })
    const i = memory.data.backups.findIndex((b) => b.source === 'shop' && b.pinned)
    const pinned = memory.data.backups[i]
    if (pinned) memory.data.backups[i] = { ...pinned, flags: ['shrunk'] }
    window.location.hash = `/backups/${pinned?.id}`
    expect(await screen.findByText(/circular foreign keys/)).toBeTruthy()
    expect(screen.getByText('Much smaller than before')).toBeTruthy()
  })

  it('arrows move through the rows, Enter opens, Escape closes', async () => {
    const { user } = await start('/backups', { now: NOON })
    await waitFor(() => expect(document.querySelectorAll('[data-index]').length).toBeGreaterThan(5))
    document.querySelector<HTMLElement>('[data-index="0"]')?.focus()
    await user.keyboard('{ArrowDown}')
    await waitFor(() => expect((document.activeElement as HTMLElement).dataset.index).toBe('1'))
    await user.keyboard('{Enter}')
    await waitFor(() => expect(window.location.hash).toMatch(/^#\/backups\/0199/))
    await screen.findByRole('heading', { level: 2 })
    await user.keyboard('{Escape}')
    await waitFor(() => expect(window.location.hash).toBe('#/backups'))
  })
})

describe('keyboard', () => {
  it('digits, palette, list of shortcuts', async () => {
    const { user } = await start('/overview', { now: NOON })
    await user.keyboard('7')
    await waitFor(() => expect(window.location.hash).toBe('#/journal'))
    await user.keyboard('?')
    expect(await screen.findByText('Keyboard shortcuts')).toBeTruthy()
    await accessibleAbove()
    await user.keyboard('{Escape}')
    await user.keyboard('{Control>}k{/Control}')
    const field = await screen.findByRole('combobox', { name: 'Search or run a command' })
    await accessibleAbove()
    await user.type(field, 'settings')
    await user.keyboard('{Enter}')
    await waitFor(() => expect(window.location.hash).toBe('#/settings'))
  })

  it('single letters can be switched off; fields keep theirs', async () => {
    const { user } = await start('/journal', { now: NOON, settings: { shortcuts: 'off' } })
    await screen.findByRole('table')
    await user.keyboard('1')
    expect(window.location.hash).toBe('#/journal')
    const { user: again } = await start('/journal', { now: NOON })
    await again.type(await screen.findByLabelText('Search the journal'), '1b?')
    expect(window.location.hash.startsWith('#/journal')).toBe(true)
    expect(screen.queryByRole('dialog')).toBeNull()
  })
})

describe('pushed events', () => {
  it('somebody else’s change appears by itself', async () => {
    const { memory } = await start('/sources', { now: NOON })
    await screen.findByRole('link', { name: 'shop' })
    for (const s of memory.data.sources) if (s.source.name === 'shop') s.source = { ...s.source, name: 'shop-eu' }
    memory.invalidate('sources')
    expect(await screen.findByRole('link', { name: 'shop-eu' })).toBeTruthy()
  })
  it('quitting with work running is a question whose harmless answer has focus', async () => {
    const { memory } = await start('/overview', { now: NOON })
    await memory.commands.runBackup({ plan_id: '0199f000-0003-7000-8000-000000000003', source_id: null })
    memory.push({ type: 'quit_requested', running: memory.works.list.map((w) => w.running) })
    expect(await screen.findByText('A backup is running. Quit anyway?')).toBeTruthy()
    await waitFor(() => expect(document.activeElement?.textContent).toBe('Stay'))
    await accessibleAbove()
  })
  it('a notification leads to its view', async () => {
    const { memory } = await start('/overview', { now: NOON })
    memory.push({ type: 'navigate', route: '/health' })
    await waitFor(() => expect(window.location.hash).toBe('#/health'))
  })
})

describe('settings', () => {
  it('language and theme at once, without losing the place', async () => {
    const { user } = await start('/settings', { now: NOON })
    await user.click(await screen.findByRole('radio', { name: 'Français' }))
    expect(await screen.findByText('Langue et aspect')).toBeTruthy()
    await user.click(screen.getByRole('radio', { name: 'Sombre' }))
    await waitFor(() => expect(document.documentElement.dataset.theme).toBe('dark'))
  })
  it('a locked keychain has its own words and next action', async () => {
    await start('/settings', { now: NOON, secrets: 'locked' })
    expect(await screen.findByText('The keychain is locked')).toBeTruthy()
    expect(screen.getByText(/Unlock it/)).toBeTruthy()
  })
  it('a key that nobody holds a copy of is said to be one', async () => {
    const { user } = await start('/settings', { now: NOON })
    await screen.findAllByText('coffre-2026')
    await user.click(await screen.findByRole('button', { name: 'Make a key…' }))
    await user.click(await screen.findByRole('button', { name: 'Make the key' }))
    const warning = await screen.findByText('Nobody holds a copy yet')
    expect(warning).toBeTruthy()
    await accessible()
  })
})
