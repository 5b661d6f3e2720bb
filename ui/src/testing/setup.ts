/** What every test starts from. Tests that need no page run without one (`@vitest-environment node`). */
import { vi } from 'vitest'

// jsdom has no canvas to draw on. The chart is looked at in real browsers.
vi.mock('uplot', () => ({
  default: class {
    setSize() {}
    destroy() {}
  },
}))

if (typeof document !== 'undefined') await import('./page')
