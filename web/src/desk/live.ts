// The live connection: a snapshot, then what changes. A lost or silent connection is replaced by a new one.

import { computed, ref, shallowRef, triggerRef } from 'vue'
import { address, api, type ApiError } from '../api/client'
import { read } from '../api/read'
import type { Alarm, LiveMessage, Severity, Ticket } from '../api/types'
import { setServerTime } from '../time'
import { alarmingOf, apply, count, emptyDesk, putAlarm, putTicket, type Difference } from './state'

const SILENCE_MS = 25_000 // the server gives a sign of life at least every 15 s
const FIRST_RETRY_MS = 500
const LONGEST_RETRY_MS = 10_000
const NOT_SIGNED_IN = 4401
const WRONG_ORIGIN = 4403

export const desk = shallowRef(emptyDesk())
export const connection = ref<'connecting' | 'open' | 'lost'>('connecting')

/** The worst alarm of each terminal on the desk. */
export const worstAlarms = computed(() => {
  const worst = new Map<number, Severity>()
  for (const { terminal, severity } of desk.value.alarms.values()) {
    worst.set(terminal.id, Math.min(severity, worst.get(terminal.id) ?? severity) as Severity)
  }
  return worst
})
/** Terminals with an emergency that nobody took yet. */
export const emergencies = computed(
  () => new Set([...desk.value.alarms.values()].filter(({ severity, desk: at }) => severity === 1 && at === 'free').map(({ terminal }) => terminal.id)),
)
export const alarming = computed(() => alarmingOf(desk.value.alarms.values()))
/** Terminals that somebody watches over: all but the blocked ones. */
export const watched = computed(() => [...desk.value.states.values()].filter(({ blocked }) => !blocked))
export const counts = computed(() => count(watched.value, alarming.value))
export const ticketed = computed(() => new Map([...desk.value.tickets.values()].map((ticket) => [ticket.terminal.id, ticket])))

type Listener = (difference: Difference) => void
const listeners = new Set<Listener>()

/** Hear of every change; returns how to stop. */
export function onDifference(listener: Listener): () => void {
  listeners.add(listener)
  return () => void listeners.delete(listener)
}

let socket: WebSocket | null = null
let retryMs = FIRST_RETRY_MS
let timer = 0

export function connect(): void {
  disconnect()
  const url = new URL(address('/live'), location.href)
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
  const opened = new WebSocket(url)
  socket = opened
  expectMessage()
  opened.onmessage = ({ data }: MessageEvent<string>) => receive(read<LiveMessage>(data))
  opened.onclose = ({ code }) => {
    if (socket !== opened) return
    if (code === NOT_SIGNED_IN) api.get('/me').then(connect, ({ code }: ApiError) => code === 'not_signed_in' || retry())
    else if (code !== WRONG_ORIGIN) retry()
    connection.value = 'lost'
  }
}

export function disconnect(): void {
  clearTimeout(timer)
  const closing = socket
  socket = null
  closing?.close()
}

function receive(message: LiveMessage): void {
  const difference = apply(desk.value, message)
  if (!difference) return connect()
  setServerTime(message.at)
  expectMessage()
  connection.value = 'open'
  retryMs = FIRST_RETRY_MS
  tell(difference)
}

function expectMessage(): void {
  clearTimeout(timer)
  timer = window.setTimeout(() => {
    connection.value = 'lost'
    disconnect()
    retry()
  }, SILENCE_MS)
}

function retry(): void {
  clearTimeout(timer)
  timer = window.setTimeout(connect, retryMs * (0.5 + Math.random()))
  retryMs = Math.min(retryMs * 2, LONGEST_RETRY_MS)
}

function tell(difference: Difference): void {
  triggerRef(desk)
  for (const listener of listeners) listener(difference)
}

/** The answer to one's own action, shown before the live connection repeats it. */
export function showAlarm(alarm: Alarm): void {
  putAlarm(desk.value, alarm)
  tell({ whole: false, terminals: new Set([alarm.terminal.id]), raised: [] })
}

export function showTicket(ticket: Ticket): void {
  putTicket(desk.value, ticket)
  tell({ whole: false, terminals: new Set([ticket.terminal.id]), raised: [] })
}

/** Forget everything when another person signs in. */
export function reset(): void {
  disconnect()
  desk.value = emptyDesk()
  connection.value = 'connecting'
}
