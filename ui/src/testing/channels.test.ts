import { describe, expect, it } from 'vitest'
import { accessible, NOON, screen, start, waitFor } from './start'

describe('channels', () => {
  it('says which one does not reach its receiver, why, and what to do', async () => {
    const { user } = await start('/settings', { now: NOON })
    expect(await screen.findByText('Does not reach its receiver')).toBeTruthy()
    expect(screen.getAllByText(/refuses the user “coffre”/).length).toBeGreaterThan(0)
    await user.click(screen.getByRole('button', { name: 'Send a test team' }))
    expect(await screen.findByText(/The receiver took it/)).toBeTruthy()
    await accessible()
    await user.click(screen.getByRole('button', { name: 'What was sent ops' }))
    expect(await screen.findByText('backup.failed · shop')).toBeTruthy()
    await accessible()
  })

  it('is added with a form that the engine describes, and removed only when asked twice', async () => {
    const { user, memory } = await start('/settings', { now: NOON, empty: true })
    await user.click(await screen.findByRole('button', { name: 'Add a channel' }))
    await user.click(await screen.findByRole('radio', { name: 'Webhook' }))
    await user.click(screen.getByRole('button', { name: 'Save' }))
    expect(await screen.findAllByText(/needed|name/i)).toBeTruthy()
    await user.type(screen.getByRole('textbox', { name: 'Name' }), 'hook')
    const url = await waitFor(() => {
      const found = document.querySelectorAll<HTMLInputElement>('.dialog input.input')[1]
      expect(found).toBeTruthy()
      return found as HTMLInputElement
    })
    await user.type(url, 'https://example.org/x')
    await accessible()
    await user.click(screen.getByRole('button', { name: 'Save' }))
    expect(await screen.findByText('https://example.org/x')).toBeTruthy()
    const rows = await memory.commands.listChannels()
    expect(rows[0]?.state.settings).toEqual({ kind: 'webhook', url: 'https://example.org/x', ca_file: null })
    await user.click(await screen.findByRole('button', { name: /Edit\s+hook/ }))
    await user.click(await screen.findByRole('button', { name: 'Remove…' }))
    expect(await memory.commands.listChannels()).toHaveLength(1)
    await user.click(screen.getByRole('button', { name: 'Remove it with its secret' }))
    await waitFor(async () => expect(await memory.commands.listChannels()).toHaveLength(0))
  })

  it('that fails is seen where a person looks first, and never hidden by green backups', async () => {
    const { memory } = await start('/overview', { now: NOON })
    expect((await screen.findAllByText('The channel “ops” does not reach its receiver')).length).toBe(1)
    expect(screen.getByText(/would not hear of a failure/)).toBeTruthy()
    expect(screen.getByRole('link', { name: 'See what to do' }).getAttribute('href')).toContain('/settings?at=channels')
    const settings = screen.getByRole('link', { name: /Settings/ })
    expect(settings.textContent).toContain('1 channel does not reach its receiver')
    await accessible()
    // The other one is paused: now nobody is left.
    const [, team] = await memory.commands.listChannels()
    await memory.commands.pauseChannel({ id: team?.state.id ?? '', paused: true })
    expect(await screen.findByText('Nobody can be told')).toBeTruthy()
    expect(screen.getByText(/Nobody would hear of a failure/)).toBeTruthy()
    // Whoever pauses what fails has decided.
    const [ops] = await memory.commands.listChannels()
    await memory.commands.pauseChannel({ id: ops?.state.id ?? '', paused: true })
    await waitFor(() => expect(screen.queryByText('Nobody can be told')).toBeNull())
    expect(screen.queryByText(/does not reach its receiver/)).toBeNull()
  })

  it('is trouble in Health too, with the way to the settings', async () => {
    await start('/health', { now: NOON })
    expect(await screen.findByText('The channel “ops” does not reach its receiver')).toBeTruthy()
    expect(screen.getByRole('link', { name: 'Open the settings' }).getAttribute('href')).toContain('/settings')
  })
})
