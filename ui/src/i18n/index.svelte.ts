/** Words in the chosen language, with facts filled in. Facts are data: they are put into text nodes, never interpreted. */
import type en from './en.json'

export type Language = 'en' | 'fr'
type Words = { [key: string]: Words | string }

/** Every key below `ui`, with the plural forms folded into their parent. */
type Leaves<T, P extends string = ''> = {
  [K in keyof T & string]: T[K] extends string
    ? `${P}${K}`
    : T[K] extends { other: string }
      ? `${P}${K}`
      : Leaves<T[K], `${P}${K}.`>
}[keyof T & string]
export type Key = Leaves<(typeof en)['ui']>
export type Facts = Record<string, string | number>

const catalogues: Partial<Record<Language, Words>> = {}
/** The engine's words: errors, fields, scope, journal. Not needed for the first picture, so that they come after it. */
const engines: Partial<Record<Language, Words>> = {}
const plurals: Record<Language, Intl.PluralRules> = { en: new Intl.PluralRules('en'), fr: new Intl.PluralRules('fr') }

class Speech {
  /** The language of everything that is shown. */
  language: Language = $state('en')
  /** Whether there are words at all. */
  ready = $state(false)
  /** How often words of the engine have come: whoever looked for one looks again. */
  engine = $state(0)
}
export const speech = new Speech()

/** Sets the language of the window and of the document, once its words are there. Only the chosen language is fetched. */
export async function setLanguage(language: Language): Promise<void> {
  if (!catalogues[language]) {
    const words = language === 'fr' ? await import('./fr.json') : await import('./en.json')
    catalogues[language] = words.default as Words
  }
  speech.language = language
  speech.ready = true
  if (typeof document !== 'undefined') document.documentElement.lang = language
  void engineWords(language)
}

/** Fetches the engine's words once the first picture stands. Until then the backend's own words are shown, in the same language. */
async function engineWords(language: Language): Promise<void> {
  if (engines[language]) return
  await new Promise((done) => setTimeout(done, 0))
  try {
    const words = language === 'fr' ? await import('virtual:engine-words-fr') : await import('virtual:engine-words-en')
    engines[language] = words.default
    speech.engine++
  } catch {
    // The backend says its errors in full; without these words they are shown as it said them.
  }
}

function find(path: string): string | { [form: string]: string } | undefined {
  const engine = !path.startsWith('ui.') && speech.engine >= 0
  let at: Words | string | undefined = speech.ready ? (engine ? engines : catalogues)[speech.language] : undefined
  for (const part of path.split('.')) {
    if (typeof at !== 'object') return undefined
    at = at[part]
  }
  return at as string | { [form: string]: string } | undefined
}

/** A message below `ui`, before its facts are filled in. Plural forms are chosen by the fact `count`. */
export function pattern(key: Key, facts: Facts = {}): string {
  const found = find(`ui.${key}`)
  if (typeof found === 'string') return found
  if (found) {
    const form = plurals[speech.language].select(Number(facts.count ?? 0))
    const message = found[form] ?? found.other
    if (message !== undefined) return message
  }
  return key
}

/** Fills `{name}`; a name without a fact stays as it is, so that a mistake is seen. Numbers are written the local way. */
export function fill(message: string, facts: Record<string, unknown>): string {
  return message.replace(/\{(\w+)\}/g, (whole, name: string) => {
    const value = facts[name]
    return value === undefined || value === null ? whole : say(value)
  })
}

const numbers: Record<Language, Intl.NumberFormat> = {
  en: new Intl.NumberFormat('en-GB', { maximumFractionDigits: 2 }),
  fr: new Intl.NumberFormat('fr-FR', { maximumFractionDigits: 2 }),
}

function say(value: unknown): string {
  if (typeof value === 'number') return numbers[speech.language].format(value)
  if (Array.isArray(value)) return value.map(say).join(', ')
  return typeof value === 'string' ? value : JSON.stringify(value)
}

/** A message with its facts. */
export function t(key: Key, facts: Facts = {}): string {
  return fill(pattern(key, facts), facts)
}

/** Whether a message exists: for words that come from the backend and may be newer than this window. */
export function has(key: string): key is Key {
  return find(`ui.${key}`) !== undefined
}

/** A word that comes from the backend, below a group of `ui`; the word itself where it is not known here. */
export function word(group: string, value: string): string {
  const key = `${group}.${value}`
  return has(key) ? t(key) : value
}

/** Words of a group that belongs to the engine (`fields`, `scope`, `journal`), or nothing. */
export function engineWord(path: string, facts: Record<string, unknown> = {}): string | undefined {
  const found = find(path)
  return typeof found === 'string' ? fill(found, facts) : undefined
}

/** What is needed of an error to say it. */
export interface Sayable {
  text: string
  message: string
  hint: string
  details?: Record<string, unknown>
}

/** The message and hint of an error in the window's language, or as the backend said them. */
export function sayError(error: Sayable): { message: string; hint: string } {
  const facts = error.details ?? {}
  const message = engineWord(`errors.${error.text}.message`, facts)
  // Where the next step is a command of the terminal, the window has its own way.
  const hint = engineWord(`errors.${error.text}.hint_window`, facts) ?? engineWord(`errors.${error.text}.hint`, facts)
  // Both from one place: a message of one catalogue must not meet the hint of another.
  return message === undefined ? { message: error.message, hint: error.hint } : { message, hint: hint ?? '' }
}
