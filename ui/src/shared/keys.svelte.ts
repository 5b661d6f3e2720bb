/** Keyboard shortcuts. Single letters count only outside fields and pop-ups, and can be switched off. */

export interface Shortcut {
  /** `b`, `/`, `?`, `ArrowDown`, or `mod+k` (Ctrl, or Cmd on macOS). */
  key: string
  run: (event: KeyboardEvent) => void
}

class Shortcuts {
  /** The setting: single letters. Combinations always work. */
  letters = $state(true)
  #sets: Shortcut[][] = []

  /** Adds a view's shortcuts; the newest set is asked first. The answer takes them away. */
  add(set: Shortcut[]): () => void {
    this.#sets.unshift(set)
    return () => {
      this.#sets = this.#sets.filter((s) => s !== set)
    }
  }

  handle = (event: KeyboardEvent): void => {
    if (event.defaultPrevented || event.isComposing || event.altKey) return
    const mod = event.ctrlKey || event.metaKey
    const name = mod ? `mod+${event.key.toLowerCase()}` : event.key
    if (!mod) {
      const at = event.target instanceof HTMLElement ? event.target : null
      if (
        at?.closest('input, textarea, select, [contenteditable], [role="menu"], [role="dialog"], [role="alertdialog"]')
      )
        return
      if (event.key.length === 1 && !this.letters) return
    }
    for (const set of this.#sets) {
      const found = set.find((shortcut) => shortcut.key === name || shortcut.key === name.toLowerCase())
      if (!found) continue
      event.preventDefault()
      found.run(event)
      return
    }
  }
}

export const shortcuts = new Shortcuts()
/** How the modifier is called on this machine. */
export const modName = typeof navigator !== 'undefined' && /Mac/.test(navigator.platform) ? '⌘' : 'Ctrl'
