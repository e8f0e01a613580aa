// Calls of the API. An answer other than 2xx becomes an ApiError that carries the server's problem details.

import { ref, shallowRef } from 'vue'
import { read } from './read'
import type { Page, Person, ProblemDetails, Settings } from './types'

const BASE = '/api/v1'

/** The server refused, or could not be reached (`code` is then `unreachable`). */
export class ApiError extends Error {
  constructor(readonly problem: ProblemDetails) {
    super(problem.detail || problem.title)
  }

  get code(): string {
    return this.problem.code
  }
}

/** Who is signed in; null: nobody; undefined: not asked yet. */
export const person = shallowRef<Person | null | undefined>(undefined)
/** The sign-in has ended while somebody worked: what was begun stays until that person signs in again. */
export const isEnded = ref(false)
export const settings = shallowRef<Settings | null>(null)

export type Query = Record<string, string | number | boolean | null | undefined>

export function address(path: string, query: Query = {}): string {
  const entries = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== '')
  const text = new URLSearchParams(entries.map(([key, value]) => [key, String(value)])).toString()
  return BASE + path + (text && `?${text}`)
}

async function call<Answer>(method: string, url: string, body?: BodyInit, contentType?: string): Promise<Answer> {
  const headers = { Accept: 'application/json', ...(contentType && { 'Content-Type': contentType }) }
  const response = await fetch(url, { method, headers, body }).catch(() => null)
  if (!response?.ok) throw await refusal(response)
  return response.status === 204 ? (undefined as Answer) : read<Answer>(await response.text())
}

/** What an answer other than 2xx says; null is no answer. */
export async function refusal(response: Response | null): Promise<ApiError> {
  if (!response) return new ApiError({ title: 'The server cannot be reached', status: 0, detail: '', code: 'unreachable' })
  const problem = await problemOf(response)
  if (problem.code === 'not_signed_in') {
    if (person.value) isEnded.value = true
    else person.value = null
  }
  return new ApiError(problem)
}

async function problemOf(response: Response): Promise<ProblemDetails> {
  const unknown = { title: response.statusText, status: response.status, detail: '', code: `http_${response.status}` }
  return response.text().then(
    (body) => ({ ...unknown, ...read<Partial<ProblemDetails>>(body) }),
    () => unknown,
  )
}

const withJson =
  (method: string) =>
  <Answer>(path: string, body: unknown = {}): Promise<Answer> =>
    call(method, address(path), JSON.stringify(body), 'application/json')

export const api = {
  get: <Answer>(path: string, query?: Query) => call<Answer>('GET', address(path, query)),
  list: <Item>(path: string, query?: Query) => call<Page<Item>>('GET', address(path, query)),
  post: withJson('POST'),
  patch: withJson('PATCH'),
  put: withJson('PUT'),
  delete: <Answer>(path: string, query?: Query) => call<Answer>('DELETE', address(path, query)),
  /** A file, sent as its bytes: the server finds out its encoding. */
  sendCsv: <Answer>(path: string, query: Query, file: Blob) => call<Answer>('POST', address(path, query), file, 'text/csv'),
}

/** Ask who is signed in and what the center is called. */
export async function start(): Promise<void> {
  try {
    await enter(await api.get<Person>('/me'))
  } catch (error) {
    if (!(error instanceof ApiError)) throw error
    person.value = null
    if (error.code !== 'not_signed_in') throw error
  }
}

export async function signIn(name: string, password: string, code = ''): Promise<void> {
  await enter(await api.post<Person>('/sign-in', { name, password, ...(code && { code }) }))
}

/** Go on as the person who is signed in; who has something to do first is told nothing else before. */
export async function enter(who: Person): Promise<void> {
  if (!who.must) settings.value = await api.get<Settings>('/settings')
  person.value = who
  isEnded.value = false
}

/** Forget who was here. */
export function leave(): void {
  person.value = null
  isEnded.value = false
}

export async function signOut(): Promise<void> {
  await api.post('/sign-out')
  leave()
}
