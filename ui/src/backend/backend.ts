import type { BackendEvent, Commands } from './generated'

/** `list_backups` → `listBackups`. */
type Camel<S extends string> = S extends `${infer Head}_${infer Tail}` ? `${Head}${Capitalize<Camel<Tail>>}` : S

/** A command as a method: one object of named arguments, or nothing where it takes none. */
type Method<C extends { args: unknown; answer: unknown }> = keyof C['args'] extends symbol
  ? () => Promise<C['answer']>
  : (args: C['args']) => Promise<C['answer']>

/**
 * Everything that the window can ask for: one method per command, as Rust declares them. Each answers, or rejects with a
 * `CoffreError`. What each provides and invalidates stands in README.md beside this file.
 */
export type Backend = { [Name in keyof Commands as Camel<Name>]: Method<Commands[Name]> } & {
  /** Hears everything that the backend pushes, until the answer is called. */
  subscribe(handler: (event: BackendEvent) => void): () => void
}

/** The names of the methods that are commands. */
export type Command = Exclude<keyof Backend, 'subscribe'>

/** `listBackups` → `list_backups`: the name of the command in Rust. */
export function commandName(method: string): string {
  return method.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
}
