/// <reference types="vite/client" />

declare module '*.vue' {
  import type { DefineComponent } from 'vue'
  const component: DefineComponent
  export default component
}

interface Window {
  /** The map, for tests and for people with a console. */
  __map?: import('maplibre-gl').Map
}
