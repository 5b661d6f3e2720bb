/** What is wrong with the store of secrets, if anything is. */
import { type Sayable, t } from '../i18n/index.svelte'

export interface StoreParts {
  name: string
  state: 'ready' | 'locked' | 'absent' | 'refused' | 'unknown'
  error: (Sayable & { code: string }) | null
}

/** Nothing where it is ready, or where nobody has looked yet: that is said, but is no trouble. */
export function storeTrouble(store: StoreParts): (Sayable & { code: string }) | null {
  if (store.state === 'ready' || store.state === 'unknown') return null
  if (store.error) return store.error
  return {
    code: 'SECRET_UNAVAILABLE',
    text: '',
    message: t(`settings.secrets.${store.state}`, { name: store.name }),
    hint: t(`settings.secrets_hint.${store.state}`),
  }
}
