// @vitest-environment node
import { readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, expect, it } from 'vitest'
import en from './en.json'
import fr from './fr.json'

type Tree = { [key: string]: Tree | string }
function leaves(tree: Tree, path = ''): Map<string, string> {
  const found = new Map<string, string>()
  for (const [key, value] of Object.entries(tree)) {
    if (typeof value === 'string') found.set(path + key, value)
    else for (const [k, v] of leaves(value, `${path}${key}.`)) found.set(k, v)
  }
  return found
}
const english = leaves(en.ui as unknown as Tree)
const french = leaves(fr.ui as unknown as Tree)
const places = (text: string) => [...text.matchAll(/\{\w+\}/g)].map((m) => m[0]).sort()

describe('words', () => {
  it('are the same in both languages', () => {
    expect([...french.keys()]).toEqual([...english.keys()])
  })
  it('have the same places for facts', () => {
    for (const [key, text] of english) expect(places(french.get(key) ?? ''), key).toEqual(places(text))
  })
  it('come in both plural forms', () => {
    for (const map of [english, french]) {
      for (const key of map.keys())
        if (key.endsWith('.one')) expect(map.has(key.replace(/one$/, 'other')), key).toBe(true)
    }
  })
  it('are calm: no exclamation mark, no dots for an ellipsis', () => {
    for (const map of [english, french]) for (const [key, text] of map) expect(text, key).not.toMatch(/!|\.\.\./)
  })
  it('follow French typography: narrow spaces, curved apostrophes', () => {
    for (const [key, text] of french) {
      expect(text, key).not.toMatch(/[ \u00a0][:;?»%]/)
      expect(text.replace(/\w:\/\/|\{\w+\}/g, ''), key).not.toMatch(/[^\u202f\s\d][;?»]/)
      expect(text, key).not.toMatch(/'/)
    }
  })
  it('are all used', () => {
    const root = resolve(import.meta.dirname, '..')
    const source = readdirSync(root, { recursive: true, encoding: 'utf8' })
      .filter((f) => /\.(ts|svelte)$/.test(f) && !f.includes('.test.'))
      .map((f) => readFileSync(join(root, f), 'utf8'))
      .join('\n')
    // Keys put together from a word: `state.${…}`.
    const stems = [...source.matchAll(/[`'"]([a-z_]+(?:\.[a-z_]+)*\.)(?:\$\{|')/g)].map((m) => m[1] ?? '')
    const groups = [...source.matchAll(/word\('([a-z_.]+)'/g)].map((m) => `${m[1]}.`)
    const unused = [...english.keys()]
      .map((key) => key.replace(/\.(one|other)$/, ''))
      .filter((key) => !source.includes(`'${key}'`) && !source.includes(`"${key}"`))
      .filter((key) => ![...stems, ...groups].some((stem) => key.startsWith(stem)))
      .filter(
        (key) =>
          !/^(welcome|backups\.now_|keys\.(kind|text)_|restore\.(state|step|mode|target|value|ended)_|plans\.clock_|settings|outcomes|fields)/.test(
            key,
          ),
      )
    expect([...new Set(unused)]).toEqual([])
  })
})
