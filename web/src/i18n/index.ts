// Two languages, one dictionary each. The browser's language decides until the person does.

import { computed, ref, watchEffect } from 'vue'
import { settings } from '../api/client'
import type { Fault, ProblemDetails } from '../api/types'
import { en } from './en'
import { zh } from './zh'

export type Key = keyof typeof zh
export type Language = 'zh' | 'en'
const KEPT = 'northwatch.language'
const dictionaries: Record<Language, Record<Key, string>> = { zh, en }

function first(): Language {
  const kept = localStorage.getItem(KEPT)
  if (kept === 'zh' || kept === 'en') return kept
  return navigator.language.toLowerCase().startsWith('zh') ? 'zh' : 'en'
}

export const language = ref<Language>(first())
watchEffect(() => {
  document.documentElement.lang = language.value === 'zh' ? 'zh-CN' : 'en'
})

export function setLanguage(chosen: Language): void {
  language.value = chosen
  localStorage.setItem(KEPT, chosen)
}

/** The text of `key` with its {names} filled in. */
export function t(key: Key, values: Record<string, string | number> = {}): string {
  return dictionaries[language.value][key].replace(/\{(\w+)\}/g, (all, name: string) => String(values[name] ?? all))
}

/** The text of a name that the server chose, or the name itself where no dictionary has it. */
export function named(group: string, name: string): string {
  const key = `${group}.${name}`
  return key in zh ? t(key as Key) : name
}

type Naming = { zh: string; en: string }
const conditions = computed(() => new Map<string, Naming>(settings.value?.conditions.map((each) => [each.name, each])))
const colors = computed(() => new Map<number, Naming>(settings.value?.plate_colors.map((each) => [each.code, each])))

export const conditionName = (name: string): string => conditions.value.get(name)?.[language.value] ?? name.replaceAll('_', ' ')
export const colorName = (code: number | null): string => (code ? (colors.value.get(code)?.[language.value] ?? `#${code}`) : '')

export function problemText(problem: ProblemDetails): string {
  const known = `problem.${problem.code}`
  if (known in zh) return t(known as Key, problem.params)
  return problem.detail || problem.title
}

/** What is wrong with one value, in the person's language where the server gave it a code that this page knows. */
export function faultText(fault: Fault): string {
  const known = `wrong.${fault.code}`
  return known in zh ? t(known as Key, fault.params) : fault.problem
}
