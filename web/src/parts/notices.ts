// Short messages at the edge of the page: what went wrong with the last action, what went well.

import { ref } from 'vue'
import { ApiError } from '../api/client'
import { problemText } from '../i18n'

const SHOWN_MS = 6_000

export interface Notice {
  id: number
  text: string
  isFault: boolean
}

export const notices = ref<Notice[]>([])
let last = 0

export function tell(text: string, isFault = false): void {
  const id = ++last
  notices.value.push({ id, text, isFault })
  setTimeout(() => (notices.value = notices.value.filter((notice) => notice.id !== id)), SHOWN_MS)
}

export function fault(error: unknown): void {
  if (!(error instanceof ApiError)) throw error
  if (error.code !== 'not_signed_in') tell(problemText(error.problem), true)
}
