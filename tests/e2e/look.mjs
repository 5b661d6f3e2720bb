// Looking at what is shown: pictures in both languages and themes, wide and narrow, with what no picture may have.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { until } from './desktop.mjs'

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

/** What axe finds in the window as it stands. */
export async function findings(desk) {
  await desk.driver.executeScript(AXE)
  return desk.driver.executeAsyncScript(`
    const done = arguments[0]
    window.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'] })
      .then((r) => done(r.violations.map((v) => v.id + ': ' + v.nodes.map((n) => n.target).join(' | '))), (e) => done([String(e)]))`)
}

/**
 * Takes pictures of what lies open, and answers what is wrong with it: parts (a selector) that are wider than their place, and what axe finds.
 * The window is English, light and wide afterwards.
 */
export async function pictures(desk, name, parts) {
  const problems = []
  const set = async (key, value, is) => {
    await desk.invoke('set_setting', { args: { key, value } })
    await until(`${key} ${value}`, () => desk.driver.executeScript(is, value))
  }
  for (const language of ['fr', 'en']) {
    await set('language', language, 'return document.documentElement.lang === arguments[0]')
    for (const theme of ['dark', 'light']) {
      await set('theme', theme, 'return document.documentElement.dataset.theme === arguments[0]')
      for (const [width, height] of theme === 'dark' ? [[1280, 832]] : [[960, 800], [1280, 832]]) {
        await desk.resize(width, height)
        await until('the size', async () => Math.abs((await desk.driver.executeScript('return innerWidth')) - width) < 20)
        await desk.picture(`${name}.${language}.${theme}${width < 1000 ? '.960' : ''}`)
        const wider = await desk.driver.executeScript(
          `return [document.documentElement, ...document.querySelectorAll(arguments[0])]
            .filter((e) => e.scrollWidth > e.clientWidth + 1 || e.getBoundingClientRect().right > innerWidth + 1)
            .map((e) => e.className || 'page')`,
          parts,
        )
        if (wider.length) problems.push(`${name} ${language} ${width}: wider than its place: ${wider}`)
        for (const finding of await findings(desk)) problems.push(`${name} ${language} ${theme}: ${finding}`)
      }
    }
  }
  return problems
}
