import type { CoffreError } from './generated'

/** Whether something thrown is one of ours. */
export function isCoffreError(thrown: unknown): thrown is CoffreError {
  return typeof thrown === 'object' && thrown !== null && 'code' in thrown && 'text' in thrown && 'message' in thrown
}

/** Gives whatever was thrown the shape of {@link CoffreError}, so that no view has a second way to fail. */
export function asCoffreError(thrown: unknown): CoffreError {
  if (isCoffreError(thrown)) {
    return { ...thrown, hint: thrown.hint ?? '', details: thrown.details ?? {} }
  }
  const cause = thrown instanceof Error ? thrown.message : typeof thrown === 'string' ? thrown : JSON.stringify(thrown)
  return { code: 'INTERNAL', text: 'internal', message: cause, hint: '', details: { doing: 'window', cause } }
}
