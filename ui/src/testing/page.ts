/** What jsdom lacks and the window needs. */
import { configure } from '@testing-library/svelte'
import { afterEach, vi } from 'vitest'
import { setLanguage } from '../i18n/index.svelte'

// A test waits for a state, never for a time: this only ends what will never come, however busy the machine is.
configure({ asyncUtilTimeout: 60_000 })

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

// jsdom matches every rule of its style sheet against an element each time somebody asks for its style, and roles are found by asking
// all of them. Until something in the page changes, the answer is the same.
const computed = window.getComputedStyle.bind(window)
let known = new WeakMap<Element, CSSStyleDeclaration>()
const changes = new MutationObserver(() => {
  known = new WeakMap()
})
changes.observe(document, { subtree: true, childList: true, attributes: true })
window.getComputedStyle = (element, pseudo) => {
  if (pseudo) return computed(element, pseudo)
  if (changes.takeRecords().length > 0) known = new WeakMap()
  let style = known.get(element)
  if (!style) {
    style = computed(element)
    known.set(element, style)
  }
  return style
}

await setLanguage('fr')
await setLanguage('en')

afterEach(() => {
  window.location.hash = ''
})
