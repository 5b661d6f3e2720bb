/** Which page shows which address. */
import type { Component } from 'svelte'
import type { Key } from '../i18n/index.svelte'
import Overview from '../routes/Overview.svelte'
import { type ViewName, views } from '../shared/views'

/** The pages that come after the first picture. */
interface Pages {
  lists: Record<Exclude<ViewName, 'overview'>, Component>
  single: Partial<Record<ViewName, Component>>
}

/** The page for a path; the overview for anything unknown. No page where it is one that has not come yet. */
export function find(
  path: string,
  pages: Pages | undefined,
): { name: string; title: Key; page: Component | undefined } {
  const [first, second] = path.split('/').filter(Boolean)
  const view = views.find((v) => v.name === first)
  if (!view || view.name === 'overview') return { name: 'overview', title: 'nav.overview', page: Overview }
  const title: Key = `nav.${view.name}`
  if (!pages) return { name: path, title, page: undefined }
  const one = second ? pages.single[view.name] : undefined
  return { name: one ? `${view.name}/${second}` : view.name, title, page: one ?? pages.lists[view.name] }
}
