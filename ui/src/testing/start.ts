/** Mounts the whole window over the in-memory backend, the way a person would find it. */
import { cleanup, render, screen, waitFor, within } from '@testing-library/svelte'
import userEvent from '@testing-library/user-event'
import axe from 'axe-core'
import { expect, vi } from 'vitest'
import App from '../app/App.svelte'
import { later } from '../app/later.svelte'
import { setBackend } from '../backend'
import { type MemoryBackend, type MemoryOptions, memoryBackend } from '../backend/memory/memory'
import { clock } from '../i18n/format.svelte'
import { ask } from '../shared/ask.svelte'
import { router } from '../shared/router.svelte'
import { toasts } from '../shared/toasts.svelte'

/** A Friday at noon, in the time zone of whoever runs the tests. */
export const NOON = new Date(2026, 10, 20, 12, 0, 0).getTime()

export async function start(
  path: string,
  options: MemoryOptions = {},
): Promise<{ memory: MemoryBackend; user: ReturnType<typeof userEvent.setup> }> {
  cleanup()
  if (options.now) {
    vi.setSystemTime(options.now)
    clock.now = options.now
  }
  ask.palette = ask.shortcuts = ask.backup = false
  ask.restore = null
  ask.inside = null
  toasts.list = []
  router.guard = null
  window.location.hash = path
  const { backend, memory } = memoryBackend({ backups: 900, language: 'en', ...options })
  setBackend(backend)
  await later.load()
  render(App, { backend })
  await screen.findByRole('main')
  return { memory, user: userEvent.setup() }
}

/** What axe finds; nothing, if all is well. Colours and sizes are looked at in a real browser, where there are some. */
export async function findings(inside: Element = document.documentElement): Promise<string[]> {
  // The cells of charts are many and say nothing; their frame has the name.
  const result = await axe.run(
    { include: [inside], exclude: ['svg'] },
    {
      rules: { 'color-contrast': { enabled: false }, 'target-size': { enabled: false } },
      runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
      // A selector for every element that passed takes longer than all the rules.
      resultTypes: ['violations'],
      selectors: false,
    },
  )
  return result.violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html.slice(0, 160)).join(' | ')}`)
}

export async function accessible(): Promise<void> {
  expect(await findings()).toEqual([])
}

/** The same of what lies open above the view alone: the views themselves are looked at in tests of their own. */
export async function accessibleAbove(): Promise<void> {
  const above = document.querySelector('[role="dialog"], [role="alertdialog"]')
  expect(above).not.toBeNull()
  if (above) expect(await findings(above)).toEqual([])
}

export { screen, waitFor, within }
