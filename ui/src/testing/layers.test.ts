// @vitest-environment node
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { describe, expect, it } from 'vitest'

const root = resolve(import.meta.dirname, '..')
const files = readdirSync(root, { recursive: true, encoding: 'utf8' })
  .filter((f) => /\.(ts|svelte)$/.test(f))
  .map((f) => ({ name: f.replaceAll('\\', '/'), text: readFileSync(join(root, f), 'utf8') }))

/** What each tier may import besides itself. */
const MAY: Record<string, string[]> = {
  app: ['routes', 'features', 'shared', 'backend', 'i18n'],
  routes: ['features', 'shared', 'backend', 'i18n'],
  features: ['shared', 'backend', 'i18n'],
  shared: ['i18n'],
  backend: [],
  i18n: [],
}

function imports(text: string): string[] {
  return [...text.matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)].map((m) => m[1] ?? '')
}

describe('the tiers', () => {
  it('there are files to look at', () => {
    expect(files.length).toBeGreaterThan(80)
  })
  for (const { name, text } of files) {
    const tier = name.split('/')[0] ?? ''
    if (!(tier in MAY) || name.includes('.test.')) continue
    it(`${name} imports only downwards`, () => {
      for (const target of imports(text).filter((i) => i.startsWith('.'))) {
        const path = relative(root, resolve(root, dirname(name), target)).replaceAll('\\', '/')
        const to = path.split('/')[0] ?? ''
        if (to === tier) {
          // One feature knows nothing of another.
          if (tier === 'features') expect(path.split('/')[1]).toBe(name.split('/')[1])
        } else expect(MAY[tier], `${name} imports ${path}`).toContain(to)
      }
    })
  }
})

describe('the rules of the window', () => {
  for (const { name, text } of files) {
    if (name.includes('.test.')) continue
    it(`${name} keeps them`, () => {
      if (name !== 'backend/tauri.ts') expect(imports(text).filter((i) => i.startsWith('@tauri-apps'))).toEqual([])
      expect(text).not.toMatch(/\{@html/)
      // An attribute would need 'unsafe-inline' for styles; `style:` sets properties.
      if (name.endsWith('.svelte')) expect(text).not.toMatch(/\sstyle="/)
      if (!name.startsWith('backend/memory') && name !== 'app/main.ts' && !name.startsWith('testing'))
        expect(text).not.toMatch(/backend\/memory/)
    })
  }
})
