import { beforeEach, describe, expect, it } from 'vitest'
import { asCoffreError } from '../backend'
import { setLanguage } from '../i18n/index.svelte'
import { dialog } from './dialog'
import { toasts } from './toasts.svelte'

describe('a file dialog', () => {
  beforeEach(async () => {
    await setLanguage('en')
    toasts.list = []
  })
  it('that was cancelled says nothing', async () => {
    expect(await dialog(async () => null, asCoffreError)).toBeNull()
    expect(toasts.list).toEqual([])
  })
  it('that does not exist is no change of mind', async () => {
    const absent = { code: 'NOT_FOUND', text: 'dialog_absent', message: 'no dialog', hint: 'type it', details: {} }
    expect(await dialog(() => Promise.reject(absent), asCoffreError)).toBeNull()
    expect(toasts.list).toHaveLength(1)
    expect(toasts.list[0]?.bad).toBe(true)
    expect(toasts.list[0]?.text).not.toBe('')
  })
})
