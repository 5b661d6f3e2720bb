import { mount } from 'svelte'
import { setBackend } from '../backend'
import { answeredFirst, firstAnswers, firstLanguage, inDesktopFonts } from '../backend/first'
import { tauriBackend } from '../backend/tauri'
import { setLanguage } from '../i18n/index.svelte'
import App from './App.svelte'
import './app.css'

const answers = inDesktopFonts(firstAnswers())

/** The real backend in the application; the one in memory where there is none, which production leaves out altogether. */
async function choose() {
  if (import.meta.env.MODE === 'production' || '__TAURI_INTERNALS__' in window)
    return answeredFirst(tauriBackend, answers)
  return (await import('../backend/memory/demo')).demoBackend()
}

// The first picture in one go: with its words, which the page has asked for beside this script.
const language = firstLanguage(answers)
const [backend] = await Promise.all([choose(), language ? setLanguage(language) : undefined])
setBackend(backend)
const target = document.getElementById('app')
if (target) mount(App, { target, props: { backend } })
