import { mount } from 'svelte'
import { setBackend } from '../backend'
import App from './App.svelte'
import './app.css'

/** The real backend in the application; the one in memory where there is none, which production leaves out altogether. */
async function choose() {
  if (import.meta.env.MODE === 'production' || '__TAURI_INTERNALS__' in window) {
    return (await import('../backend/tauri')).tauriBackend
  }
  return (await import('../backend/memory/demo')).demoBackend()
}

const backend = await choose()
setBackend(backend)
const target = document.getElementById('app')
if (target) mount(App, { target, props: { backend } })
