/** What the rest of the window sees of the backend. */
import type { Backend } from './backend'

export type { Backend } from './backend'
export { asCoffreError, isCoffreError } from './error'
export { connect, hear } from './events.svelte'
export { afterPicture } from './first'
export type * from './generated'
export { Change, change, Read, read } from './read.svelte'
export { runningWork, type Work } from './running.svelte'

let current: Backend | undefined

/** Decides once, at the start, who answers. */
export function setBackend(backend: Backend): void {
  current = backend
}

/** Who answers. */
export function backend(): Backend {
  if (!current) throw new Error('setBackend() has not been called')
  return current
}
