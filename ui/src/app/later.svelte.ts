/** The part of the window that comes after its first picture. */

class Later {
  parts: typeof import('./rest') | undefined = $state.raw()
  #coming: Promise<void> | undefined

  /** Fetches it, once. It lies in the program itself: that it cannot be had is an error like any other that nobody expects. */
  load(): Promise<void> {
    this.#coming ??= import('./rest').then((parts) => {
      this.parts = parts
    })
    return this.#coming
  }
}

export const later = new Later()
