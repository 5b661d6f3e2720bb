import { svelte } from '@sveltejs/vite-plugin-svelte'
import tailwindcss from '@tailwindcss/vite'
import { svelteTesting } from '@testing-library/svelte/vite'
import { defineConfig } from 'vitest/config'

export default defineConfig({
  plugins: [tailwindcss(), svelte(), svelteTesting()],
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
    testTimeout: 60_000,
    // One thread at a time: two cores are shared with Rust builds, and a process that starts late would count as a failure.
    pool: 'threads',
    maxWorkers: 1,
  },
})
