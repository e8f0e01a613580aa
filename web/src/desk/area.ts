// The area search as the operator left it: it is still there after a look at a track.

import { ref, shallowRef } from 'vue'
import { api, ApiError } from '../api/client'
import type { Visit } from '../api/types'
import { problemText } from '../i18n'
import { questionOf, type Shape } from '../map/area'
import { between, type Period } from '../time'

export const shape = shallowRef<Shape | null>(null)
/** Null: now. */
export const period = ref<Period | null>(null)
export const visits = shallowRef<Visit[] | null>(null)
export const isBusy = ref(false)
export const problem = ref('')
let asked = 0

export async function search(): Promise<void> {
  if (!shape.value) return
  const number = ++asked
  isBusy.value = true
  problem.value = ''
  try {
    const { items } = await api.get<{ items: Visit[] }>('/areas/visits', { ...questionOf(shape.value), ...(period.value && between(period.value)) })
    if (number === asked) visits.value = items
  } catch (error) {
    if (!(error instanceof ApiError)) throw error
    if (number !== asked) return
    visits.value = null
    problem.value = problemText(error.problem)
  } finally {
    if (number === asked) isBusy.value = false
  }
}

export function clear(): void {
  asked++
  shape.value = null
  visits.value = null
  problem.value = ''
  isBusy.value = false
}
