import { createApp } from 'vue'
import '@fontsource-variable/noto-sans-sc/wght.css'
import 'maplibre-gl/dist/maplibre-gl.css'
import './style.css'
import App from './App.vue'

createApp(App).mount('#app')
