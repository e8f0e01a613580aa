// Alarms that can be heard. A browser plays nothing before a click, so a shift starts with one.

import { onScopeDispose, ref } from 'vue'
import { desk, onDifference } from './live'
import { heard } from './state'

const EMERGENCY = 1
const URGENT = 2
const AGAIN_MS = 60_000 // an emergency that nobody took sounds again
const CHECK_MS = 1_000

let audio: AudioContext | null = null
let soundedAt = 0
export const onShift = ref(false)

export async function startShift(): Promise<void> {
  audio ??= new AudioContext()
  await audio.resume()
  onShift.value = true
  play([[660, 0, 0.12], [880, 0.14, 0.18]], 0.06)
}

export async function endShift(): Promise<void> {
  await audio?.suspend()
  onShift.value = false
}

type Tone = [hertz: number, at_s: number, length_s: number]

function play(tones: Tone[], loudness: number): void {
  if (!audio || !onShift.value) return
  for (const [hertz, at, length] of tones) {
    const begin = audio.currentTime + at
    const tone = new OscillatorNode(audio, { frequency: hertz, type: 'triangle' })
    const volume = new GainNode(audio, { gain: 0 })
    volume.gain.linearRampToValueAtTime(0, begin)
    volume.gain.linearRampToValueAtTime(loudness, begin + 0.015)
    volume.gain.setValueAtTime(loudness, begin + length - 0.03)
    volume.gain.linearRampToValueAtTime(0, begin + length)
    tone.connect(volume).connect(audio.destination)
    tone.start(begin)
    tone.stop(begin + length)
  }
}

const SIREN: Tone[] = [0, 0.6, 1.2, 1.8].flatMap((at): Tone[] => [[960, at, 0.28], [720, at + 0.29, 0.28]])
const CHIME: Tone[] = [[620, 0, 0.15], [620, 0.2, 0.15]]

function soundEmergency(): void {
  soundedAt = Date.now()
  play(SIREN, 0.25)
}

/** Sound new alarms, and emergencies again until somebody takes them. To be called in a component. */
export function useAlarmSound(): void {
  const stop = onDifference(({ raised }) => {
    const worst = heard(raised)
    if (worst === EMERGENCY) soundEmergency()
    else if (worst === URGENT) play(CHIME, 0.12)
  })
  const again = setInterval(() => {
    const isWaiting = heard(desk.value.alarms.values()) === EMERGENCY
    if (isWaiting && Date.now() - soundedAt > AGAIN_MS) soundEmergency()
  }, CHECK_MS)
  onScopeDispose(() => {
    stop()
    clearInterval(again)
  })
}
