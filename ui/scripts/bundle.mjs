// After a build: is everything that is fetched before charts within the limit, and is the backend of tests left out?
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'

// 150 kB is wanted. Until the words of errors (about 20 kB) are fetched after the first paint, this keeps it from growing.
const LIMIT = 156_000
const folder = join(import.meta.dirname, '..', 'dist', 'assets')
let total = 0
const languages = []
for (const name of readdirSync(folder)) {
  const content = readFileSync(join(folder, name))
  if (content.includes('tax migration')) throw new Error(`${name} holds the in-memory backend`)
  if (!/\.(js|css)$/.test(name) || name.startsWith('uPlot')) continue
  const size = gzipSync(content, { level: 9 }).length
  if (/^(en|fr)-/.test(name)) languages.push(size)
  else total += size
}
// One language is fetched, whichever is larger.
total += Math.max(0, ...languages)
console.log(`bundle before charts: ${(total / 1000).toFixed(1)} kB gzip of ${LIMIT / 1000}`)
if (total > LIMIT) process.exit(1)
