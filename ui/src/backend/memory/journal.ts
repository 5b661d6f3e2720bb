/** The journal: a believable one, made of the backups that there are, and how it is searched. */
import type { Backend } from '../backend'
import type { Author, Entry, JournalWanted } from '../generated'
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

/** The lines that are wanted, newest first. */
function wantedOf(core: Core, wanted: JournalWanted): Entry[] {
  const text = wanted.text?.toLowerCase() ?? ''
  const about = (id: string | null) =>
    id === wanted.source_id ||
    core.data.backups.some((b) => b.id === id && b.source_id === wanted.source_id) ||
    core.data.plans.some((p) => p.plan.id === id && p.plan.source_id === wanted.source_id)
  return core.journal.filter(
    (e) =>
      (!wanted.author || e.author === wanted.author) &&
      (!wanted.result || e.result === wanted.result) &&
      (!wanted.action || e.action === wanted.action || e.action.startsWith(`${wanted.action}.`)) &&
      (!wanted.since || e.at >= wanted.since) &&
      (!wanted.until || e.at < wanted.until) &&
      (!wanted.source_id || about(e.subject_id)) &&
      (!text || `${e.action} ${e.subject} ${e.actor ?? ''} ${e.error?.message ?? ''}`.toLowerCase().includes(text)),
  )
}

export function journalCommands(core: Core): Pick<Backend, 'listJournal' | 'exportJournal'> {
  return {
    listJournal: async ({ query: { page, per_page, ...wanted } }) => {
      const found = wantedOf(core, wanted)
      const start = (page - 1) * per_page
      return { entries: found.slice(start, start + per_page), total: found.length, page, per_page }
    },
    exportJournal: async ({ format }) => {
      if (core.options.chosen === null) return null
      const path = core.options.chosen ?? `/home/anna/coffre-journal.${format}`
      core.log('journal.export', 'journal', null, path)
      return { path }
    },
  }
}
