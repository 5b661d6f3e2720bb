import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { svelte } from '@sveltejs/vite-plugin-svelte'
import tailwindcss from '@tailwindcss/vite'
import { svelteTesting } from '@testing-library/svelte/vite'
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

export default defineConfig({
  plugins: [wordsOfTheWindow, tailwindcss(), svelte(), svelteTesting()],
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
