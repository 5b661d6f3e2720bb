/** Where the window is: `#/backups/<id>?state=failed`. In the fragment, so that it works in the application and behind any server. */

class Router {
  path = $state('/overview')
  query: URLSearchParams = $state.raw(new URLSearchParams())
  /** Asked before the window leaves where it is; `false` keeps it there. */
  guard: ((to: string) => boolean) | null = null

  constructor() {
    this.#read()
  }

  /** Follows the address until the answer is called. */
  start(): () => void {
    const changed = () => {
      const to = window.location.hash.replace(/^#/, '')
      if (to.split('?')[0] !== this.path && this.guard && !this.guard(to)) {
        // A link changed the address already: it goes back to what is shown.
        const query = this.query.toString()
        window.history.replaceState(null, '', `#${this.path}${query ? `?${query}` : ''}`)
        return
      }
      this.#read()
    }
    window.addEventListener('hashchange', changed)
    this.#read()
    return () => window.removeEventListener('hashchange', changed)
  }

  #read(): void {
    if (typeof window === 'undefined') return
    const [path, query] = window.location.hash.replace(/^#/, '').split('?')
    this.path = path?.startsWith('/') ? path : '/overview'
    this.query = new URLSearchParams(query ?? '')
  }

  get parts(): string[] {
    return this.path.split('/').filter(Boolean).map(decodeURIComponent)
  }

  go(to: string): void {
    if (this.guard && !this.guard(to)) return
    window.location.hash = to
    this.#read()
  }

  /** The same place with other parameters, without a step in the history. */
  set(changes: Record<string, string | null>): void {
    const query = new URLSearchParams(this.query)
    for (const [name, value] of Object.entries(changes)) {
      if (value === null || value === '') query.delete(name)
      else query.set(name, value)
    }
    const text = query.toString()
    window.history.replaceState(null, '', `#${this.path}${text ? `?${text}` : ''}`)
    this.query = query
  }
}

export const router = new Router()
export const link = (to: string) => `#${to}`
