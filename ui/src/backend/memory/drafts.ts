/** What is checked in a form of a source or a destination, and the address that it makes. */
import type * as T from '../generated'
import type { Core } from './core'

export function checkDraft(core: Core, draft: T.Draft, adapters: T.Adapter[], taken: string[]): T.DraftErrors {
  const errors: T.DraftErrors = {}
  if (!draft.name.trim()) errors.name = core.error('name_empty')
  else if (taken.includes(draft.name)) errors.name = core.error('name_taken', { name: draft.name })
  const adapter = adapters.find((a) => a.name === draft.adapter)
  for (const field of adapter?.fields ?? []) {
    if (field.part === 'secret') continue
    const value = draft.values[field.name]
    const absent = value === undefined || value === null || value === ''
    if (field.required && absent && field.default === null) errors[field.name] = core.error('field_required')
    if (field.part === 'port' && !absent && !(Number(value) >= 1 && Number(value) <= 65_535))
      errors[field.name] = core.error('address_port')
    if ((field.kind === 'file' || field.kind === 'folder') && !absent && !String(value).startsWith('/')) {
      errors[field.name] = core.error('path_absolute')
    }
  }
  return errors
}

export function refuse(errors: T.DraftErrors): void {
  const first = Object.values(errors)[0]
  if (first) throw first
}

export function address(draft: T.Draft, adapters: T.Adapter[]): string {
  const adapter = adapters.find((a) => a.name === draft.adapter)
  const scheme = adapter?.schemes[0] ?? draft.adapter
  const get = (part: T.FieldPart) => {
    const field = adapter?.fields.find((f) => f.part === part)
    return field ? (draft.values[field.name] ?? field.default ?? '') : ''
  }
  const path = String(get('path'))
  if (path.startsWith('/')) return `${scheme}://${path}`
  const port = get('port')
  return `${scheme}://${get('user') ? `${encodeURIComponent(String(get('user')))}@` : ''}${get('host')}${port ? `:${port}` : ''}/${encodeURIComponent(path)}`
}

export function hasSecret(before: boolean, secret: T.SecretChange): boolean {
  return secret.change === 'set' ? secret.value !== '' : secret.change === 'keep' && before
}
