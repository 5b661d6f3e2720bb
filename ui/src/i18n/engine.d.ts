/** The engine's words of a language: errors, fields, scope, journal (made in `vite.config.ts`). */
declare module 'virtual:engine-words-*' {
  type Words = { [key: string]: Words | string }
  const words: Words
  export default words
}
