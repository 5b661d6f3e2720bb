/** What jsdom lacks and the window needs. */
import { afterEach, vi } from 'vitest'
import { setLanguage } from '../i18n/index.svelte'

class Observer {
  observe() {}
  unobserve() {}
  disconnect() {}
}
vi.stubGlobal('ResizeObserver', Observer)
vi.stubGlobal('IntersectionObserver', Observer)
vi.stubGlobal('matchMedia', (query: string) => ({ matches: false, media: query, addEventListener() {}, removeEventListener() {}, addListener() {}, removeListener() {} }))
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
