/** The backend in memory for a browser, steered by the address: `?backups=100000&empty&delay=800&fail=overview&hang=health&lang=fr&theme=dark`. */
import type { Backend } from '../backend'
import { memoryBackend } from './memory'

export function demoBackend(): Backend {
  const wish = new URLSearchParams(window.location.search)
  const list = (name: string) => wish.get(name)?.split(',').filter(Boolean) ?? []
  const settings: Record<string, string> = {}
  const theme = wish.get('theme')
  if (theme) settings.theme = theme
  const { backend } = memoryBackend({
    live: !wish.has('still'),
    now: wish.has('now') ? Date.parse(wish.get('now') ?? '') : undefined,
    backups: Number(wish.get('backups') ?? 1284),
    empty: wish.has('empty'),
    delay: Number(wish.get('delay') ?? 0),
    hang: list('hang'),
    fail: Object.fromEntries(
      list('fail').map((name) => {
        const [command, text] = name.split(':')
        return [command, text ?? 'internal']
      }),
    ) as never,
    language: wish.get('lang') === 'fr' ? 'fr' : wish.get('lang') === 'en' ? 'en' : undefined,
    settings,
    damaged: wish.has('damaged'),
    ...(wish.has('bare') ? { features: [] } : {}),
  })
  return backend
}
