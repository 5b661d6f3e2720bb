/** Plans in the window: the form explained and refused while typing, what would leave, what waits, what stands still. */
import { describe, expect, it } from 'vitest'
import { accessible, accessibleAbove, NOON, screen, start, waitFor, within } from './start'

const NIGHTLY = '/plans/0199f000-0003-7000-8000-000000000001'
const id = (path: string) => path.split('/').at(-1) ?? ''

describe('when', () => {
  it('five fields are explained, refused with the reason at the field, and kept', async () => {
    const { memory, user } = await start(NIGHTLY, { now: NOON })
    await user.click(await screen.findByRole('radio', { name: 'Cron' }))
    const field = await screen.findByLabelText('Expression')
    expect(field).toHaveProperty('value', '30 2 * * *')
    const type = async (text: string) => {
      await user.clear(field)
      await user.type(field, text)
    }
    for (const [text, why] of [
      ['0 0 31 2 *', /would never run/],
      ['* * * * * *', /nothing here runs every second/],
      ['0 25 * * *', /cannot be “25”/],
      ['soon', /five fields are needed/],
    ] as const) {
      await type(text)
      expect(await screen.findByText(why)).toBeTruthy()
      await waitFor(() => expect(field.getAttribute('aria-invalid')).toBe('true'))
      expect(screen.getByText('No run until the schedule is right.')).toBeTruthy()
    }
    await accessible()
    await type('0 4 * * 1-5')
    expect(await screen.findByText(/As in 0 4/)).toBeTruthy()
    await waitFor(() => expect(field.getAttribute('aria-invalid')).toBe('false'))
    await user.click(screen.getByLabelText('Only on mains power'))
    await user.click(screen.getByRole('button', { name: 'Save' }))
    await waitFor(() => expect(window.location.hash).toBe('#/plans'))
    expect(memory.plan(id(NIGHTLY)).plan.schedule).toMatchObject({ cron: '0 4 * * 1-5', wait_for_power: true })
    expect(await screen.findByText('0 4 * * 1-5')).toBeTruthy()
  })

  it('a zone is found by a part of its name; one that does not exist is refused', async () => {
    const { memory, user } = await start(NIGHTLY, { now: NOON })
    const zone = await screen.findByRole('combobox', { name: 'Time zone' })
    await user.click(zone)
    await user.clear(zone)
    await user.type(zone, 'new york')
    expect(screen.getByRole('option', { name: /America\/New York/ })).toBeTruthy()
    await accessible()
    await user.keyboard('{Enter}')
    expect(zone).toHaveProperty('value', 'America/New_York')
    expect(await screen.findByText(/\(America\/New_York\)/)).toBeTruthy()
    await user.clear(zone)
    await user.type(zone, 'Europe/Atlantis')
    await user.tab()
    expect(await screen.findByText(/There is no time zone/)).toBeTruthy()
    await user.click(screen.getByRole('button', { name: 'Save' }))
    expect(memory.plan(id(NIGHTLY)).draft).toBeUndefined()
  })

  it('a week has its day, and pausing one or all is said wherever runs are', async () => {
    const { memory, user } = await start(NIGHTLY, { now: NOON })
    await user.click(await screen.findByRole('radio', { name: 'Week' }))
    await user.selectOptions(screen.getByLabelText('Day'), 'Friday')
    expect(await screen.findByText('30 2 * * 5')).toBeTruthy()
    await user.click(screen.getByRole('button', { name: 'Pause' }))
    expect(await screen.findByRole('button', { name: 'Resume' })).toBeTruthy()
    expect(memory.plan(id(NIGHTLY)).paused).toBe(true)
    await user.click(screen.getByRole('button', { name: 'Save' }))
    await user.click(await screen.findByRole('button', { name: 'Pause schedules' }))
    expect((await screen.findAllByText('Schedules are paused')).length).toBe(2)
    await user.click(screen.getByRole('button', { name: 'Resume' }))
    expect(await screen.findByRole('button', { name: 'Pause schedules' })).toBeTruthy()
  })

  it('commands around a run are one argument a line, kept, and taken out again', async () => {
    const { memory, user } = await start(NIGHTLY, { now: NOON })
    const before = await screen.findByLabelText('Before')
    expect(screen.queryByLabelText('Seconds, at most')).toBeNull()
    await user.type(before, '/usr/bin/systemctl{Enter}stop{Enter}the shop{Enter}')
    await user.tab()
    await user.selectOptions(await screen.findByLabelText('If the one before fails'), 'continue')
    await accessible()
    await user.click(screen.getByRole('button', { name: 'Save' }))
    await waitFor(() => expect(window.location.hash).toBe('#/plans'))
    expect(memory.plan(id(NIGHTLY)).plan.hooks).toEqual({
      before: ['/usr/bin/systemctl', 'stop', 'the shop'],
      after: [],
      limit_seconds: 60,
      on_failure: 'continue',
    })
  })

  it('what is due and waits says for what, in the list, in the form and on the overview', async () => {
    const waits = /^Due .*, will run when there is a network\.$/
    await start('/plans', { now: NOON })
    expect(await screen.findByText(waits)).toBeTruthy()
    await start('/plans/0199f000-0003-7000-8000-000000000005', { now: NOON })
    await waitFor(() => expect(screen.getAllByText(waits).length).toBe(2))
    expect(screen.getByRole('region', { name: 'What became of each run' }).textContent).toContain('Missed')
  })
})

describe('how long', () => {
  it('the calendar goes from day to day by keys, says why, and follows the rules', async () => {
    const { user } = await start(NIGHTLY, { now: NOON })
    const calendar = await screen.findByRole('slider', { name: 'Departures over 90 days' })
    const said = () => calendar.getAttribute('aria-valuetext') ?? ''
    calendar.focus()
    await user.keyboard('{End}')
    await waitFor(() => expect(said()).toMatch(/7 newer days have one each/))
    const last = said()
    await user.keyboard('{ArrowUp}')
    expect(said()).not.toBe(last)
    await user.click(screen.getByRole('button', { name: 'As a list' }))
    expect(screen.getAllByRole('cell', { name: '7 newer days have one each.' }).length).toBeGreaterThan(50)
    await accessible()
    await user.click(screen.getByRole('radio', { name: '30 days' }))
    await waitFor(() => expect(screen.getAllByText('Older than 30 days.').length).toBeGreaterThan(50))
    await user.click(screen.getByRole('radio', { name: 'Everything' }))
    expect(await screen.findByText(/Nothing ever leaves: there are no rules/)).toBeTruthy()
    await user.click(screen.getByRole('radio', { name: 'Custom' }))
    await user.type(screen.getByLabelText('Always at least'), '3')
    expect(screen.getByText(/Coffre stops and asks you/)).toBeTruthy()
  })

  it('what lies in the bin can be kept', async () => {
    const { memory, user } = await start(NIGHTLY, { now: NOON })
    const bin = await screen.findByRole('region', { name: 'In the bin' })
    const [first] = within(bin).getAllByRole('button', { name: /^Keep it BKP-/ })
    if (first) await user.click(first)
    await waitFor(() => expect(memory.data.backups.filter((b) => b.leaves_at).length).toBe(1))
    await waitFor(() => expect(within(bin).getAllByRole('button').length).toBe(1))
  })

  it('where nothing leaves, why is said, what would go is shown, and the harmless answer has the focus', async () => {
    const { memory, user } = await start('/plans', { now: NOON })
    memory.holds.set(
      id(NIGHTLY),
      memory.error('retention_implausible', { plan: 'nightly', leaving_count: 270, verified_count: 360 }),
    )
    const backup = memory.data.backups.find((b) => b.plan_id === id(NIGHTLY) && b.state === 'verified')
    if (backup) backup.flags = ['shrunk']
    memory.invalidate('plans')
    expect(await screen.findByText(/270 of its 360 verified backups/)).toBeTruthy()
    window.location.hash = NIGHTLY
    await user.click(await screen.findByRole('button', { name: 'See what would go…' }))
    expect(await screen.findByText(/Let \d+ backups go\?/)).toBeTruthy()
    await accessibleAbove()
    await waitFor(() => expect(document.activeElement?.textContent).toBe('Keep them'))
    await user.click(screen.getByRole('button', { name: 'It is right' }))
    await waitFor(() => expect(memory.holds.size).toBe(0))
    await waitFor(() => expect(screen.queryByRole('button', { name: 'See what would go…' })).toBeNull())
    expect(await screen.findByText(/is unusual: Much smaller than before/)).toBeTruthy()
    await user.click(screen.getByRole('button', { name: /^It is right BKP/ }))
    await waitFor(() => expect(screen.queryByText(/is unusual:/)).toBeNull())
  })

  it('in French', async () => {
    await start(NIGHTLY, { now: NOON, language: 'fr' })
    expect(await screen.findByText(/^Tous les jours à 02:30/)).toBeTruthy()
    expect(await screen.findByText('Dans la corbeille')).toBeTruthy()
    expect(document.body.textContent).not.toMatch(/\b(ui|plans|due|departure)\.[a-z_]+/)
  })
})

describe('the journal', () => {
  it('is filtered by what, source and days, and written out through the dialog', async () => {
    const { memory, user } = await start('/journal', { now: NOON })
    await user.selectOptions(await screen.findByLabelText('Action'), 'Plans')
    expect(await screen.findByText('plan.edit')).toBeTruthy()
    await user.selectOptions(screen.getByLabelText('Source'), 'events')
    expect(await screen.findByText('Nothing matches')).toBeTruthy()
    expect(screen.getByRole('button', { name: 'Export' })).toHaveProperty('disabled', true)
    await user.click(screen.getByRole('button', { name: 'Clear the filters' }))
    await user.click(await screen.findByRole('button', { name: 'Export' }))
    await accessible()
    await user.click(await screen.findByRole('menuitem', { name: 'For a program (JSON)…' }))
    expect(await screen.findByText('Journal written to /home/anna/coffre-journal.json')).toBeTruthy()
    expect(memory.journal[0]?.action).toBe('journal.export')
  })
})
