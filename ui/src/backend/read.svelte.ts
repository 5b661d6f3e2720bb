/**
 * Reads and changes. A read names what it provides and is repeated when the backend says that this changed; what is known stays
 * visible meanwhile. Nothing polls and nothing guesses.
 */
import { untrack } from 'svelte'
import { asCoffreError } from './error'
import { hear, touches } from './events.svelte'
import type { CoffreError, Tag } from './generated'

/** After so long without an answer a skeleton is shown; sooner it would only flicker. */
export const SKELETON_AFTER_MS = 150

export class Read<T> {
  data: T | undefined = $state.raw()
  error: CoffreError | null = $state.raw(null)
  busy = $state(false)
  /** Nothing is known yet and it takes long enough to say so. */
  slow = $state(false)
  #ask: (() => Promise<T>) | undefined
  #round = 0

  /** Asks, or asks again. The last question wins, whatever order the answers come in. */
  async load(ask?: () => Promise<T>): Promise<void> {
    if (ask) this.#ask = ask
    if (!this.#ask) return
    const round = ++this.#round
    this.busy = true
    const timer = setTimeout(() => {
      if (round === this.#round && this.data === undefined) this.slow = true
    }, SKELETON_AFTER_MS)
    try {
      const data = await this.#ask()
      if (round !== this.#round) return
      this.data = data
      this.error = null
    } catch (thrown) {
      if (round !== this.#round) return
      this.error = asCoffreError(thrown)
    } finally {
      clearTimeout(timer)
      if (round === this.#round) {
        this.busy = false
        this.slow = false
      }
    }
  }

  retry = () => this.load()
}

/**
 * A read that belongs to the component that makes it. `ask` is called at once, again when anything reactive that it uses before its
 * first `await` changes, and again when `provides` is invalidated.
 */
export function read<T>(
  provides: Tag[] | (() => Tag[]),
  ask: () => Promise<T>,
  options: { keep?: boolean } = {},
): Read<T> {
  const state = new Read<T>()
  const tags = typeof provides === 'function' ? provides : () => provides
  $effect(() => {
    // Started here so that its dependencies are this effect's; its result is awaited inside `load`.
    let first: Promise<T> | undefined = ask()
    // Each load hears of its own failure; this only keeps the browser from reporting it twice.
    first.catch(() => {})
    untrack(() => {
      if (options.keep === false) state.data = undefined
      void state.load(() => {
        const answer = first ?? ask()
        first = undefined
        return answer
      })
    })
  })
  $effect(() =>
    hear((event) => {
      if (event.type === 'lagged' || (event.type === 'invalidated' && touches(tags(), event.tags))) void state.load()
    }),
  )
  return state
}

/** A change being made: its button is busy, its error is shown, and it cannot be made twice at once. */
export class Change<A extends unknown[], T> {
  busy = $state(false)
  error: CoffreError | null = $state.raw(null)
  #act: (...args: A) => Promise<T>

  constructor(act: (...args: A) => Promise<T>) {
    this.#act = act
  }

  /** Does it. Answers `undefined` where it failed (see `error`) or was already going on. */
  run = async (...args: A): Promise<T | undefined> => {
    if (this.busy) return undefined
    this.busy = true
    this.error = null
    try {
      return await this.#act(...args)
    } catch (thrown) {
      this.error = asCoffreError(thrown)
      return undefined
    } finally {
      this.busy = false
    }
  }
}

export function change<A extends unknown[], T>(act: (...args: A) => Promise<T>): Change<A, T> {
  return new Change(act)
}
