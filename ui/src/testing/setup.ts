/** What every test starts from. Tests that need no page run without one (`@vitest-environment node`). */
if (typeof document !== 'undefined') await import('./page')

export {}
