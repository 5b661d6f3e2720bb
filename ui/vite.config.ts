import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { svelte } from '@sveltejs/vite-plugin-svelte'
import tailwindcss from '@tailwindcss/vite'
import { svelteTesting } from '@testing-library/svelte/vite'
import type { IndexHtmlTransformContext } from 'vite'
import { defineConfig } from 'vitest/config'

/**
 * The catalogues of words also hold those of the terminal; the window carries only what it can show, in two parts: its own words, which
 * the first picture needs, and the engine's (errors above all), which are fetched after it as `virtual:engine-words-<language>`.
 */
const ENGINE = 'virtual:engine-words-'
const wordsOfTheWindow = {
  name: 'words-of-the-window',
  enforce: 'pre' as const,
  resolveId(id: string) {
    return id.startsWith(ENGINE) ? `\0${id}` : null
  },
  load(id: string) {
    if (!id.startsWith(`\0${ENGINE}`)) return null
    // The tests' backend in memory brings the words of its errors along, as any backend does for a window that lacks them.
    if (process.env.VITEST) return 'export default {}'
    const file = new URL(`./src/i18n/${id.slice(ENGINE.length + 1)}.json`, import.meta.url)
    const { errors, fields, scope, journal } = JSON.parse(readFileSync(file, 'utf8'))
    return `export default JSON.parse(${JSON.stringify(JSON.stringify({ errors, fields, scope, journal }))})`
  },
  transform(code: string, id: string) {
    if (!/\/i18n\/(en|fr)\.json$/.test(id)) return null
    return { code: JSON.stringify({ ui: JSON.parse(code).ui }), map: null }
  },
}

/**
 * Lucide makes a component of each icon, and a few elements of each component. The window draws some hundred at once: of those that it
 * names, the outline is taken at the time of building, as one path.
 */
const ICONS = 'virtual:icon-shapes'
const iconShapes = {
  name: 'icon-shapes',
  resolveId(id: string) {
    return id === ICONS ? `\0${id}` : null
  },
  load(id: string) {
    if (id !== `\0${ICONS}`) return null
    const named = readFileSync(new URL('./src/shared/icons.ts', import.meta.url), 'utf8').matchAll(/: '([\w-]+)',/g)
    return `export default ${JSON.stringify(Object.fromEntries([...named].map(([, name = '']) => [name, outline(name)])))}`
  },
}

/** An icon of Lucide's as one path. */
function outline(name: string): string {
  const text = (file: string) =>
    readFileSync(new URL(`./node_modules/@lucide/svelte/dist/icons/${file}`, import.meta.url), 'utf8')
  // Some have had another name before.
  const file = /from ["']\.\/([\w-]+\.svelte)["']/.exec(text(`${name}.js`))?.[1] ?? ''
  const data = /const iconData = (\{.*\});/.exec(text(file))?.[1]
  if (!data) throw new Error(`Lucide writes its icons in another way now: ${name}`)
  const { node } = JSON.parse(data) as { node: [string, Record<string, string>][] }
  return node.map(([element, attributes]) => path(element, attributes)).join('')
}

function path(element: string, a: Record<string, string>): string {
  const n = (key: string) => Number(a[key] ?? 0)
  switch (element) {
    case 'path':
      // Where it begins with a relative step, that would count from where the one before it ended; what follows without a letter stays relative.
      return (a.d ?? '').replace(
        /^m(\s*-?[\d.]+[\s,]*-?[\d.]+)\s*(?=([-\d.])?)/,
        (_, to: string, more?: string) => `M${to}${more ? 'l' : ''}`,
      )
    case 'line':
      return `M${n('x1')} ${n('y1')}L${n('x2')} ${n('y2')}`
    case 'polyline':
      return `M${a.points}`
    case 'polygon':
      return `M${a.points}z`
    case 'circle':
      return `M${n('cx') - n('r')} ${n('cy')}a${a.r} ${a.r} 0 1 0 ${2 * n('r')} 0a${a.r} ${a.r} 0 1 0 ${-2 * n('r')} 0`
    case 'ellipse':
      return `M${n('cx') - n('rx')} ${n('cy')}a${a.rx} ${a.ry} 0 1 0 ${2 * n('rx')} 0a${a.rx} ${a.ry} 0 1 0 ${-2 * n('rx')} 0`
    case 'rect': {
      const [w, h] = [n('width'), n('height')]
      const r = n('rx') || n('ry')
      const corner = (x: number, y: number) => (r ? `a${r} ${r} 0 0 1 ${x * r} ${y * r}` : '')
      return `M${n('x') + r} ${n('y')}h${w - 2 * r}${corner(1, 1)}v${h - 2 * r}${corner(-1, 1)}h${2 * r - w}${corner(-1, -1)}v${2 * r - h}${corner(1, -1)}z`
    }
    default:
      throw new Error(`an icon is made of ${element}`)
  }
}

/** The words are fetched beside the script, in both languages: which one is wanted is known only when the script runs. */
const wordsBesideTheScript = {
  name: 'words-beside-the-script',
  apply: 'build' as const,
  transformIndexHtml: {
    order: 'post' as const,
    handler: (_: string, { bundle }: IndexHtmlTransformContext) =>
      Object.values(bundle ?? {})
        .filter((part) => part.type === 'chunk' && /\/i18n\/(en|fr)\.json$/.test(part.facadeModuleId ?? ''))
        .map((part) => ({
          tag: 'link',
          attrs: { rel: 'modulepreload', href: `/${part.fileName}` },
          injectTo: 'head' as const,
        })),
  },
}

export default defineConfig({
  plugins: [wordsOfTheWindow, wordsBesideTheScript, iconShapes, tailwindcss(), svelte(), svelteTesting()],
  clearScreen: false,
  server: { port: 5173, strictPort: true, host: 'localhost' },
  build: {
    target: 'es2022',
    // The polyfill is an inline script, which the content security policy forbids; every target web view preloads by itself.
    modulePreload: { polyfill: false },
    // No `data:` addresses: the policy allows files of our own alone.
    assetsInlineLimit: 0,
  },
  test: {
    environment: 'jsdom',
    setupFiles: ['./src/testing/setup.ts'],
    include: ['src/**/*.test.ts'],
    restoreMocks: true,
    // Every wait is for a state of the page; these limits only end what hangs, however busy the machine is.
    testTimeout: 180_000,
    hookTimeout: 180_000,
    pool: 'threads',
    maxWorkers: 2,
    alias: [
      // Of its 226 components the window uses the dialog: nothing else is compiled for each run.
      {
        find: 'bits-ui',
        replacement: fileURLToPath(new URL('./node_modules/bits-ui/dist/bits/dialog/index.js', import.meta.url)),
      },
      // jsdom has no canvas to draw on; the chart is looked at in real browsers. Not `vi.mock`: a component's dynamic import can be
      // asked for before the mock is known, and then now and then the real one came and failed.
      { find: /^uplot$/, replacement: fileURLToPath(new URL('./src/testing/chart.ts', import.meta.url)) },
    ],
  },
})
