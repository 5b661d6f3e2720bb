/**
 * The answers that lie in the page: what the window asks for first, put there by the application, so that the first picture waits for no
 * question. They serve until the window begins to listen; from then on everything is asked for, and read anew at once, because what
 * changed before was not heard.
 */
import { type Backend, commandName } from './backend'
import type { About, SettingRow } from './generated'

/** Where they lie. */
const ELEMENT = 'first-answers'
/** A window that is not seen draws nothing: then it begins to listen after so long. */
const UNSEEN_MS = 1000

/** Called once what is there now was drawn. */
export function afterPicture(then: () => void): void {
  let done = false
  const once = () => {
    if (!done) then()
    done = true
  }
  // The first is before the frame with it, the second after.
  requestAnimationFrame(() => requestAnimationFrame(once))
  setTimeout(once, UNSEEN_MS)
}

/** What lies in the page, taken out of it. */
export function firstAnswers(page: Document = document): Record<string, unknown> {
  const element = page.getElementById(ELEMENT)
  element?.remove()
  return element?.textContent ? (JSON.parse(element.textContent) as Record<string, unknown>) : {}
}

/**
 * Writes in the fonts of the desktop, where the page knows them: the web view of Linux does not, and looks for other names in vain, in each
 * size and weight. Answers what else lay in the page.
 */
export function inDesktopFonts(
  { desktop_fonts: fonts, ...answers }: Record<string, unknown>,
  page: Document = document,
): Record<string, unknown> {
  if (typeof fonts === 'string') {
    page.documentElement.style.setProperty('--font-ui', fonts)
    page.documentElement.style.setProperty('--font-mono', 'monospace')
  }
  return answers
}

/** The language that the answers ask for, where they do. */
export function firstLanguage(answers: Record<string, unknown>): 'en' | 'fr' | undefined {
  const wish = (answers.list_settings as SettingRow[] | undefined)?.find((row) => row.key === 'language')?.value
  return wish === 'en' || wish === 'fr' ? wish : (answers.about as About | undefined)?.system_language
}

/** A backend that answers first from what lay in the page. */
export function answeredFirst(backend: Backend, answers: Record<string, unknown>): Backend {
  if (Object.keys(answers).length === 0) return backend
  let known: Record<string, unknown> | undefined = answers
  const subscribe: Backend['subscribe'] = (handler) => {
    let end: (() => void) | undefined
    let ended = false
    afterPicture(() => {
      known = undefined
      if (!ended) end = backend.subscribe(handler)
    })
    return () => {
      ended = true
      end?.()
    }
  }
  return new Proxy(backend, {
    get: (behind, method) => {
      if (method === 'subscribe') return subscribe
      const command = typeof method === 'string' ? commandName(method) : ''
      if (known && command in known) {
        const answer = known[command]
        return () => Promise.resolve(answer)
      }
      return Reflect.get(behind, method)
    },
  })
}
