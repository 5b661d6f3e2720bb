import { vitePreprocess } from '@sveltejs/vite-plugin-svelte'

export default {
  preprocess: vitePreprocess(),
  // Runes for our own files; packages decide for themselves.
  compilerOptions: { runes: ({ filename }) => (filename.includes('node_modules') ? undefined : true) },
}
