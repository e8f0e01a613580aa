// The page shown is the part of the address after #: it needs nothing from the server and survives a reload.

import { ref } from 'vue'

const PAGES = ['desk', 'alarms', 'tickets', 'vehicles', 'terminals', 'import', 'holds', 'quarantine', 'explain', 'health', 'users', 'audit'] as const
export type PageName = (typeof PAGES)[number]

const read = (): PageName => PAGES.find((page) => location.hash === `#/${page}`) ?? 'desk'

export const page = ref<PageName>(read())
addEventListener('hashchange', () => (page.value = read()))
