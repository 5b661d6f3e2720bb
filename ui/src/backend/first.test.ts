import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { Backend } from './backend'
import { answeredFirst, firstAnswers, firstLanguage, inDesktopFonts } from './first'

const settings = (language: string) => [{ key: 'language', value: language }]

describe('the answers that lie in the page', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'requestAnimationFrame'] })
  })
  afterEach(() => {
    vi.useRealTimers()
    document.body.replaceChildren()
  })

  function page(answers: unknown) {
    const element = document.createElement('script')
    element.type = 'application/json'
    element.id = 'first-answers'
    element.textContent = JSON.stringify(answers)
    document.body.append(element)
  }

  it('are taken out of it once', () => {
    page({ overview: { protected: 1 } })
    expect(firstAnswers()).toEqual({ overview: { protected: 1 } })
    expect(firstAnswers()).toEqual({})
  })

  it('say the language: the one that was chosen, else that of the system', () => {
    expect(firstLanguage({ list_settings: settings('fr'), about: { system_language: 'en' } })).toBe('fr')
    expect(firstLanguage({ list_settings: settings('system'), about: { system_language: 'fr' } })).toBe('fr')
    expect(firstLanguage({})).toBeUndefined()
  })

  it('are written in the fonts of the desktop, where the page knows them', () => {
    const { style } = document.documentElement
    expect(inDesktopFonts({ about: 1 })).toEqual({ about: 1 })
    expect(style.getPropertyValue('--font-ui')).toBe('')
    expect(inDesktopFonts({ about: 1, desktop_fonts: '"Cantarell", sans-serif' })).toEqual({ about: 1 })
    expect(style.getPropertyValue('--font-ui')).toBe('"Cantarell", sans-serif')
    style.removeProperty('--font-ui')
    style.removeProperty('--font-mono')
  })

  it('serve until the first picture is there; then the backend is heard, and answers everything', async () => {
    const asked: string[] = []
    let heard = 0
    const behind = {
      overview: () => Promise.resolve(void asked.push('overview')),
      listKeys: () => Promise.resolve(void asked.push('listKeys')),
      subscribe: () => {
        heard++
        return () => heard--
      },
    } as unknown as Backend
    const backend = answeredFirst(behind, { overview: { protected: 1 } })
    const end = backend.subscribe(() => {})
    expect(await backend.overview()).toEqual({ protected: 1 })
    await backend.listKeys()
    expect([asked, heard]).toEqual([['listKeys'], 0])
    vi.advanceTimersByTime(40)
    expect(heard).toBe(1)
    await backend.overview()
    expect(asked).toEqual(['listKeys', 'overview'])
    // The limit for a window that is not seen changes nothing any more.
    vi.advanceTimersByTime(2000)
    expect(heard).toBe(1)
    end()
    expect(heard).toBe(0)
  })

  it('are nothing where there are none: the backend is heard at once', () => {
    const behind = {} as Backend
    expect(answeredFirst(behind, {})).toBe(behind)
  })

  it('a window that ends before its first picture never listens', () => {
    const subscribe = vi.fn()
    answeredFirst({ subscribe } as unknown as Backend, { overview: {} }).subscribe(() => {})()
    vi.advanceTimersByTime(2000)
    expect(subscribe).not.toHaveBeenCalled()
  })
})
