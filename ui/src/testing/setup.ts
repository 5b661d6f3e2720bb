/** What jsdom lacks and the window needs. */
import { configure } from '@testing-library/svelte'
import { afterEach, vi } from 'vitest'
import { setLanguage } from '../i18n/index.svelte'

// The machine may be busy; a test waits for a state, never for a time.
configure({ asyncUtilTimeout: 8000 })
// jsdom has no canvas to draw on. The chart is looked at in real browsers.
vi.mock('uplot', () => ({
  default: class {
    setSize() {}
    destroy() {}
  },
}))

class Observer {
  observe() {}
  unobserve() {}
  disconnect() {}
}
vi.stubGlobal('ResizeObserver', Observer)
vi.stubGlobal('IntersectionObserver', Observer)
vi.stubGlobal('matchMedia', (query: string) => ({
  matches: false,
  media: query,
  addEventListener() {},
  removeEventListener() {},
  addListener() {},
  removeListener() {},
}))
Element.prototype.scrollTo = () => {}
Element.prototype.scrollIntoView = () => {}
Element.prototype.animate = () => ({ cancel() {}, finished: Promise.resolve(), onfinish: null }) as unknown as Animation
// jsdom lays nothing out: a window of ordinary size, so that long lists have something to show.
Object.defineProperty(HTMLElement.prototype, 'clientHeight', { configurable: true, get: () => 800 })
Object.defineProperty(HTMLElement.prototype, 'clientWidth', { configurable: true, get: () => 1200 })

await setLanguage('fr')
await setLanguage('en')

afterEach(() => {
  window.location.hash = ''
})
