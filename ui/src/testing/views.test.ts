import { describe, expect, it } from 'vitest'
import { asCoffreError } from '../backend'
import { accessible, NOON, screen, start, waitFor } from './start'

const VIEWS: [path: string, reads: string, heading: RegExp, empty: RegExp | null][] = [
  ['/overview', 'overview', /Overview/, null],
  ['/backups', 'listBackups', /Backups/, /No backup yet/],
  ['/plans', 'listPlans', /Plans/, /No plan yet/],
  ['/sources', 'listSources', /Sources/, /No source yet/],
  ['/destinations', 'listDestinations', /Destinations/, /No destination yet/],
  ['/health', 'health', /Health/, /No source yet/],
  ['/journal', 'listJournal', /Journal/, /Nothing was done yet/],
  ['/settings', 'listTools', /Settings/, null],
]

describe.each(VIEWS)('%s', (path, reads, heading, empty) => {
  it('shows what there is, and axe finds nothing', async () => {
    await start(path, { now: NOON })
    expect(screen.getByRole('heading', { level: 1 }).textContent).toMatch(heading)
    await waitFor(() => expect(document.querySelector('.main')?.textContent?.length).toBeGreaterThan(200))
    await accessible()
  })

  if (empty) {
    it('says what will be here when there is nothing, with the one action', async () => {
      await start(path, { now: NOON, empty: true })
      expect(await screen.findByText(empty)).toBeTruthy()
      await accessible()
    })
  }

  it('shows a skeleton when it takes long', async () => {
    await start(path, { now: NOON, hang: [reads] })
    await waitFor(() => expect(document.querySelector('.main .sk')).not.toBeNull())
  })

  it('says what went wrong, with a way on, and never spins for ever', async () => {
    const { user, memory } = await start(path, { now: NOON, fail: { [reads]: 'catalogue_corrupt' } })
    expect((await screen.findAllByText('Coffre’s own catalogue is damaged.')).length).toBeGreaterThan(0)
    expect(screen.getAllByText('CATALOGUE_CORRUPT').length).toBeGreaterThan(0)
    expect(document.querySelector('.main .spin')).toBeNull()
    await accessible()
    memory.options.fail = {}
    await user.click(screen.getAllByRole('button', { name: 'Try again' })[0] as HTMLElement)
    await waitFor(() => expect(screen.queryByText('CATALOGUE_CORRUPT')).toBeNull())
  })
})

describe('single things', () => {
  const { id: shop } = { id: '0199f000-0001-7000-8000-000000000001' }
  it.each([
    ['/sources/new', /Connection test/],
    [`/sources/${shop}`, /Protection/],
    ['/destinations/new', /Look at the place/],
    ['/destinations/new?recover=1', /Where are the backups/],
    ['/destinations/0199f000-0002-7000-8000-000000000004', /does not answer/],
    ['/plans/new', /Next five runs/],
    ['/plans/0199f000-0003-7000-8000-000000000001', /Departures over 90 days/],
  ])('%s is accessible', async (path, text) => {
    await start(path, { now: NOON })
    await waitFor(() => expect(document.body.textContent).toMatch(text))
    await accessible()
  })

  it('a thing that is gone says so', async () => {
    await start('/sources/nothing', { now: NOON })
    expect(await screen.findByText('This no longer exists.')).toBeTruthy()
  })

  it('the panel of a verified and of a failed backup', async () => {
    const { memory } = await start('/overview', { now: NOON })
    const verified = memory.data.backups.find((b) => b.state === 'verified' && b.source === 'shop')
    window.location.hash = `/backups/${verified?.id}`
    await screen.findByText('Proofs')
    expect(screen.getByText('order_lines', { exact: false })).toBeTruthy()
    await accessible()
    const failed = memory.data.backups.find((b) => b.source === 'crm')
    window.location.hash = `/backups/${failed?.id}`
    await screen.findByText('sudo apt install postgresql-client-17')
    expect(screen.queryByText('Proofs')).toBeNull()
    await accessible()
  })

  it('without a schedule the window promises none', async () => {
    await start('/plans/new', { now: NOON, features: [] })
    expect(await screen.findByText(/starts no plan by itself yet/)).toBeTruthy()
    expect(screen.queryByText('Next five runs')).toBeNull()
    window.location.hash = '/overview'
    await screen.findByText(/sources are protected/)
    expect(screen.queryByText('Pause schedules')).toBeNull()
  })
})

describe('first start', () => {
  it('three doors; the sample leads to a running backup', async () => {
    const { user, memory } = await start('/overview', { now: NOON, empty: true })
    expect((await screen.findAllByText(/Try with a sample|Protect a database|Recover from a destination/)).length).toBe(
      3,
    )
    await accessible()
    await user.click(screen.getByText('Try with a sample'))
    await waitFor(() => expect(window.location.hash).toMatch(/^#\/backups\//))
    await screen.findByRole('heading', { level: 2, name: /sample-shop/ })
    expect(screen.getAllByText('Running').length).toBeGreaterThan(0)
    memory.works.advance(200)
    expect((await screen.findAllByText('Verified')).length).toBeGreaterThan(0)
  })
  it('in French', async () => {
    await start('/overview', { now: NOON, empty: true, language: 'fr' })
    expect(await screen.findByText('Protéger une base')).toBeTruthy()
    expect(document.documentElement.lang).toBe('fr')
    await accessible()
  })
})

describe('a damaged catalogue', () => {
  it('is the one thing shown; set aside, the way leads to a destination', async () => {
    const { user, memory } = await start('/health', { now: NOON, damaged: true })
    expect(await screen.findByText('Coffre’s own catalogue is damaged.')).toBeTruthy()
    await accessible()
    await user.click(screen.getByRole('button', { name: 'Set it aside and begin anew' }))
    expect(await screen.findByText('Where are the backups?')).toBeTruthy()
    expect(memory.damaged).toBe(false)
  })

  it('gives its place to a copy, when asked twice; what was replaced is said to be kept', async () => {
    const { user, memory } = await start('/health', { now: NOON, damaged: true })
    const [newest] = await screen.findAllByRole('button', { name: /^Restore…/ })
    await accessible()
    await user.click(newest as HTMLElement)
    expect(await screen.findByText(/moved aside and kept/)).toBeTruthy()
    await user.click(screen.getByRole('button', { name: 'Leave it' }))
    expect(memory.damaged).toBe(true)
    await user.click(newest as HTMLElement)
    await user.click(await screen.findByRole('button', { name: 'Restore this copy' }))
    expect(await screen.findByText(/What was replaced is kept: .*catalogue\.db\.damaged/)).toBeTruthy()
    expect(memory.damaged).toBe(false)
    expect((await memory.commands.listSources()).length).toBeGreaterThan(0)
  })

  it('is not replaced while it is sound: its copies are only listed', async () => {
    await start('/settings', { now: NOON })
    expect(await screen.findByText('Copies of the catalogue')).toBeTruthy()
    expect(await screen.findByText(/A copy only takes the place of one that is damaged/)).toBeTruthy()
    expect(screen.queryByRole('button', { name: /^Restore…/ })).toBeNull()
    await accessible()
  })
})

describe('in French', () => {
  it.each(VIEWS.map(([path]) => path))('%s', async (path) => {
    await start(path, { now: NOON, language: 'fr' })
    await waitFor(() => expect(document.querySelector('.main')?.textContent?.length).toBeGreaterThan(200))
    // No key is shown in place of a message.
    expect(document.body.textContent).not.toMatch(/\b(ui|overview|backups|plans|health|settings)\.[a-z_]+/)
  })
})

describe('bad input', () => {
  const MARKUP = '<img src=x onerror=alert(1)>&amp;{count}'
  it('markup in every name and in server errors is shown as text', async () => {
    const { memory } = await start('/health', { now: NOON })
    for (const s of memory.data.sources) s.source = { ...s.source, name: MARKUP }
    for (const d of memory.data.destinations) d.destination = { ...d.destination, name: MARKUP }
    for (const p of memory.data.plans) p.plan = { ...p.plan, name: MARKUP, source: MARKUP, destinations: [MARKUP] }
    memory.data.backups = memory.data.backups.map((b) => ({
      ...b,
      source: MARKUP,
      plan: MARKUP,
      note: MARKUP,
      error: b.error
        ? { ...b.error, text: 'unknown_here', message: MARKUP, hint: MARKUP, details: { count: MARKUP } }
        : null,
    }))
    memory.push({ type: 'lagged' })
    for (const [path] of VIEWS.slice(0, 6)) {
      window.location.hash = path
      await waitFor(() => expect(document.querySelector('.main')?.textContent).toContain('<img src=x'))
      expect(document.querySelector('img')).toBeNull()
    }
    window.location.hash = `/backups/${memory.data.backups.find((b) => b.error)?.id}`
    await waitFor(() => expect(document.querySelector('.panel')?.textContent).toContain('<img src=x'))
    expect(document.querySelector('img')).toBeNull()
  })

  it('something thrown that is no error of ours is still said', () => {
    expect(asCoffreError(undefined).code).toBe('INTERNAL')
  })
})
