// After a build: is everything that the first picture needs within the limit, and is the backend of tests left out?
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'

const LIMIT = 150_000
const dist = join(import.meta.dirname, '..', 'dist')
const assets = join(dist, 'assets')
const sizes = new Map()
const texts = new Map()
for (const name of readdirSync(assets)) {
  const content = readFileSync(join(assets, name))
  if (content.includes('tax migration')) throw new Error(`${name} holds the in-memory backend`)
  if (!/\.(js|css)$/.test(name)) continue
  sizes.set(name, gzipSync(content, { level: 9 }).length)
  texts.set(name, content.toString())
}

// What the page names, one language (the larger one), all views, and whatever these import at once: all but charts and the engine's words.
const page = readFileSync(join(dist, 'index.html'), 'utf8')
const called = (start) => [...sizes.keys()].filter((name) => name.startsWith(`${start}-`))
const words = [...called('en'), ...called('fr')].sort((a, b) => sizes.get(b) - sizes.get(a))
const views = called('rest').filter((name) => name.endsWith('.js'))
if (words.length !== 2 || views.length !== 1) throw new Error(`unexpected files: ${[...words, ...views]}`)
const all = [...page.matchAll(/assets\/([^"]+\.(?:js|css))/g)].map((found) => found[1])
// The page asks for both languages.
const named = all.filter((name) => !words.includes(name))
const first = new Set()
const add = (name) => {
  if (!sizes.has(name) || first.has(name)) return
  first.add(name)
  for (const found of texts.get(name).matchAll(/(?:from|import)\s*["']\.\/([^"']+\.js)["']/g)) add(found[1])
}
for (const name of [...named, ...views, words[0]]) add(name)

const sum = (names) => [...names].reduce((total, name) => total + sizes.get(name), 0)
const total = sum(first)
console.log(
  `bundle before charts: ${(total / 1000).toFixed(1)} kB gzip of ${LIMIT / 1000}, later: ${((sum(sizes.keys()) - total) / 1000).toFixed(1)} kB`,
)
if (total > LIMIT) process.exit(1)
