import { defineConfig } from 'vite'
import vue from '@vitejs/plugin-vue'

// `npm run dev` shows the page with hot reload against a server that runs on this machine.
const SERVER = process.env.NORTHWATCH_SERVER ?? 'http://127.0.0.1:8080'

export default defineConfig({
  plugins: [vue()],
  build: {
    target: 'es2022',
    // Fonts stay files: a browser then loads only the subsets whose characters stand on the page.
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 1600,
  },
  server: { proxy: { '/api': { target: SERVER, ws: true } } },
})
