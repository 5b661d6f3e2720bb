/** Short confirmations of what somebody just did, with an undo where there is one. */
import type { IconName } from './icons'

export interface Toast {
  id: number
  icon: IconName
  title: string
  text: string
  bad: boolean
  undo: { label: string; act: () => void } | null
}

/** Long enough to read and to reach the undo; a failure stays until it is closed. */
const STAYS_MS = 8000

class Toasts {
  list: Toast[] = $state([])
  #next = 1

  show(title: string, more: Partial<Omit<Toast, 'id' | 'title'>> = {}): number {
    const id = this.#next++
    const toast: Toast = { id, icon: more.bad ? 'failed' : 'check', text: '', bad: false, undo: null, title, ...more }
    this.list = [...this.list.slice(-2), toast]
    if (!toast.bad) setTimeout(() => this.close(id), STAYS_MS)
    return id
  }

  close(id: number): void {
    this.list = this.list.filter((toast) => toast.id !== id)
  }

  /** Something opens that needs the room: what was only a confirmation goes; failures, and what can be undone, stay. */
  makeRoom(): void {
    this.list = this.list.filter((toast) => toast.bad || toast.undo)
  }

  /** Takes back the newest act that can be. Answers whether there was one. */
  undo(): boolean {
    const toast = this.list.findLast((t) => t.undo)
    if (!toast?.undo) return false
    toast.undo.act()
    this.close(toast.id)
    return true
  }
}

export const toasts = new Toasts()
