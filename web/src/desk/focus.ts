// What the operator looks at, and what may be done with it.

import { ref, shallowRef } from 'vue'
import { api, ApiError, person } from '../api/client'
import type { Alarm, AlarmResult, TerminalName, VehicleName } from '../api/types'
import { fault } from '../parts/notices'
import { dayOf, type Period } from '../time'
import { showAlarm } from './live'

/** The terminal whose card is open. */
export const focusedTerminal = ref<number | null>(null)
export const focusedAlarm = ref<number | null>(null)
/** The alarm being handled, the ticket being read. */
export const handling = shallowRef<Alarm | null>(null)
export const readingTicket = ref<number | null>(null)
/** Grows when the map should go to the terminal. */
export const flights = ref(0)

/** What stands on the left side of the map. */
export type Panel = 'card' | 'replay' | 'area'
export const panel = ref<Panel>('card')

/** Whose track is looked at, and where one goes back to. */
export interface Replayed {
  vehicleId: number | null
  /** Counts where there is no vehicle. */
  terminalId: number | null
  name: string
  period?: Period
}
export const replayed = shallowRef<(Replayed & { from: Panel }) | null>(null)

export function replay(whose: Replayed): void {
  replayed.value = { ...whose, from: panel.value === 'replay' ? 'card' : panel.value }
  panel.value = 'replay'
}

/** From another page: what happened to a vehicle on the day of `at`. */
export function replayOnDesk(vehicle: VehicleName | null, terminal: TerminalName | null, at: number): void {
  replay({ vehicleId: vehicle?.id ?? null, terminalId: terminal?.id ?? null, name: vehicle?.plate || terminal?.identity || '', period: dayOf(at) })
  location.hash = '#/desk'
}

/** One step back. */
export function closePanel(): void {
  if (panel.value === 'card') focusTerminal(null)
  else panel.value = (panel.value === 'replay' && replayed.value?.from) || 'card'
}

export function focusTerminal(id: number | null, fly = true): void {
  panel.value = 'card'
  focusedTerminal.value = id
  if (id !== null && fly) flights.value++
}

export function focusAlarm(alarm: Alarm): void {
  focusedAlarm.value = alarm.id
  focusTerminal(alarm.terminal.id)
}

export const isMine = (alarm: Alarm): boolean => alarm.taken_by?.id === person.value?.id
export const mayRelease = (alarm: Alarm): boolean =>
  alarm.desk === 'taken' && (isMine(alarm) || person.value?.role === 'admin')
export const mayHandle = (alarm: Alarm): boolean => alarm.desk === 'free' || mayRelease(alarm)

async function act(alarm: Alarm, verb: 'take' | 'release' | 'handle', body = {}): Promise<Alarm | null> {
  try {
    const changed = await api.post<Alarm>(`/alarms/${alarm.id}/${verb}`, body)
    showAlarm(changed)
    return changed
  } catch (error) {
    // Somebody was faster: show how it stands now.
    if (error instanceof ApiError && error.problem.current) showAlarm(error.problem.current as Alarm)
    fault(error)
    return null
  }
}

export const take = (alarm: Alarm): Promise<Alarm | null> => act(alarm, 'take')
export const release = (alarm: Alarm): Promise<Alarm | null> => act(alarm, 'release')

/** Only the one who took an alarm handles it, so a free one is taken on the way. */
export async function beginHandling(alarm: Alarm): Promise<void> {
  const taken = alarm.desk === 'free' ? await take(alarm) : alarm
  if (!taken) return
  focusAlarm(taken)
  handling.value = taken
}

export const handle = (alarm: Alarm, result: AlarmResult, note: string): Promise<Alarm | null> =>
  act(alarm, 'handle', { result, note })
