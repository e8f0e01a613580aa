// A list of the API, page by page, asked anew when its question changes.

import { ref, shallowRef, watch, type Ref, type ShallowRef } from 'vue'
import { api } from '../api/client'
import { fault } from '../parts/notices'

const TYPING_MS = 200

export interface List<Item> {
  items: ShallowRef<Item[]>
  total: Ref<number | null>
  next: Ref<string | null>
  isBusy: Ref<boolean>
  reload: () => Promise<void>
  more: () => Promise<void>
}

type Question = Record<string, string | number | boolean | null>

export function useList<Item>(path: string, question: () => Question): List<Item> {
  const items = shallowRef<Item[]>([])
  const total = ref<number | null>(null)
  const next = ref<string | null>(null)
  const isBusy = ref(true)
  let asked = 0

  async function load(cursor: string | null): Promise<void> {
    const number = ++asked
    isBusy.value = true
    try {
      const page = await api.list<Item>(path, { ...question(), limit: 100, cursor })
      if (number !== asked) return // an older question's answer came late
      items.value = cursor ? [...items.value, ...page.items] : page.items
      next.value = page.next
      total.value = page.total ?? null
    } catch (error) {
      fault(error)
    } finally {
      if (number === asked) isBusy.value = false
    }
  }

  const reload = (): Promise<void> => load(null)
  let timer = 0
  watch(
    () => JSON.stringify(question()),
    () => {
      clearTimeout(timer)
      timer = window.setTimeout(reload, TYPING_MS)
    },
  )
  void reload()
  return { items, total, next, isBusy, reload, more: () => load(next.value) }
}
