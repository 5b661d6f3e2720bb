/** Asking the system for a path. Where it has no file dialogs, that is said: it must not look like a change of mind. */
import { type Sayable, sayError } from '../i18n/index.svelte'
import { toasts } from './toasts.svelte'

export async function dialog(
  ask: () => Promise<string | null>,
  asError: (thrown: unknown) => Sayable,
): Promise<string | null> {
  try {
    return await ask()
  } catch (thrown) {
    const words = sayError(asError(thrown))
    toasts.show(words.message, { bad: true, text: words.hint })
    return null
  }
}
