/** The journal: a believable one, made of the backups that there are, and how it is searched. */
import type { Backend } from '../backend'
import type { Author, Entry } from '../generated'
import type { Core } from './core'
import { type Data, HOUR } from './data'

export function journalOf(data: Data, now: number): Entry[] {
  const entries: Entry[] = []
  const add = (
    at: number,
    author: Author,
    actor: string | null,
    action: string,
    kind: string,
    id: string | null,
    subject: string,
    error: Entry['error'] = null,
  ) =>
    entries.push({
      id: 0,
      at: new Date(at).toISOString(),
      author,
      actor,
      action,
      subject_kind: kind,
      subject_id: id,
      subject,
      result: error ? 'failed' : 'ok',
      error,
    })
  for (const b of data.backups.slice(0, 400)) {
    if (b.state === 'missed' || b.state === 'skipped') continue
    add(
      Date.parse(b.ended_at ?? b.started_at),
      b.plan ? 'schedule' : 'app',
      b.plan ? null : 'anna',
      'backup.run',
      'backup',
      b.id,
      b.code,
      b.state === 'failed' || b.state === 'interrupted' ? b.error : null,
    )
  }
  const pinned = data.backups.find((b) => b.pinned)
  if (pinned) {
    add(now - 19.9 * HOUR, 'app', 'anna', 'backup.pin', 'backup', pinned.id, pinned.code)
    add(now - 19.8 * HOUR, 'app', 'anna', 'backup.note', 'backup', pinned.id, pinned.code)
  }
  add(now - 50 * HOUR, 'cli', 'anna', 'plan.edit', 'plan', data.plans[0]?.plan.id ?? null, 'nightly')
  add(
    now - 51 * HOUR,
    'api',
    'ci-deploy',
    'backup.download',
    'backup',
    data.backups[40]?.id ?? null,
    data.backups[40]?.code ?? '',
  )
  add(now - 70 * HOUR, 'system', null, 'coffre.start', 'coffre', null, '0.1.0')
  entries.sort((a, b) => (a.at < b.at ? 1 : -1))
  return entries.map((e, i) => ({ ...e, id: entries.length - i }))
}

export function journalCommands(core: Core): Pick<Backend, 'listJournal'> {
  return {
    listJournal: async ({ query }) => {
      const text = query.text?.toLowerCase() ?? ''
      const found = core.journal.filter(
        (e) =>
          (!query.author || e.author === query.author) &&
          (!query.result || e.result === query.result) &&
          (!text || `${e.action} ${e.subject} ${e.actor ?? ''} ${e.error?.message ?? ''}`.toLowerCase().includes(text)),
      )
      const start = (query.page - 1) * query.per_page
      return {
        entries: found.slice(start, start + query.per_page),
        total: found.length,
        page: query.page,
        per_page: query.per_page,
      }
    },
  }
}
