// The page shown is the part of the address after #: it needs nothing from the server and survives a reload.

import { ref } from 'vue'

const PAGES = ['desk', 'alarms', 'tickets', 'vehicles', 'terminals', 'import', 'holds', 'quarantine', 'explain', 'health', 'settings', 'users', 'audit'] as const
export type PageName = (typeof PAGES)[number]

const steps = (): string[] => location.hash.split('/').slice(1)
const read = (): PageName => PAGES.find((page) => page === steps()[0]) ?? 'desk'
const readPart = (): string => steps()[1] ?? ''

export const page = ref<PageName>(read())
/** What of the page, where the address says so: `#/terminals/lobby`. */
export const part = ref(readPart())
addEventListener('hashchange', () => {
  page.value = read()
  part.value = readPart()
})
