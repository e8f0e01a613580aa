// What the API gives, field by field as docs/api.md says. Times are RFC 3339 text in UTC.

export type Time = string
export type Role = 'admin' | 'operator'
export type Mode = 'unknown' | 'moving' | 'parked' | 'asleep' | 'out_of_service' | 'deregistered'
export type Edition = '2011' | '2013' | '2019'
/** 1 emergency, 2 urgent, 3 warning, 4 notice. */
export type Severity = 1 | 2 | 3 | 4

export interface Someone {
  id: number
  name: string
  display_name: string
}

export interface Person extends Someone {
  role: Role
  has_second_factor: boolean
  must: 'change_password' | 'set_up_second_factor' | null
  until: Time
}

export interface User extends Someone {
  role: Role
  disabled: boolean
  must_change_password: boolean
  has_second_factor: boolean
  created_at: Time
}

/** A setting that facts depend on, in the unit of its name. */
export interface FactSetting {
  name: string
  value: number | null
  configured: number | null
  set_by: string | null
  set_at: Time | null
  is_taken: boolean
  least: number
  most: number
  is_whole: boolean
}

export interface SecondFactorProposal {
  secret: string
  url: string
}

export interface RecoveryCodes {
  recovery_codes: string[]
}

export interface TerminalName {
  id: number
  identity: string
}

export interface VehicleName {
  id: number
  plate: string
  plate_color: number
}

/** The latest of one terminal. */
export interface State {
  terminal_id: number
  identity: string
  known: boolean
  blocked: boolean
  vehicle_id: number | null
  plate: string | null
  plate_color: number | null
  link: 'open' | 'closed'
  link_changed_at: Time | null
  last_received_at: Time | null
  mode: Mode
  silent_since: Time | null
  /** In place of `silent_since`, where it spoke since without its code. */
  without_code_since: Time | null
  without_code_at: Time | null
  without_code: number
  reported_at: Time | null
  received_at: Time | null
  lat: number | null
  lon: number | null
  fix_at: Time | null
  speed_kmh: number | null
  heading_deg: number | null
  altitude_m: number | null
  alarm_bits: number
  status_bits: number
  mileage_km: number | null
  updated_at: Time | null
}

export type AlarmResult = 'real' | 'false_alarm' | 'test' | 'other'

export interface Alarm {
  id: number
  terminal: TerminalName
  vehicle: VehicleName | null
  condition: string
  object: string
  edition: Edition
  severity: Severity
  ends: 'by_terminal' | 'by_operator'
  late: boolean
  on_desk: boolean
  began_at: Time
  received_at: Time
  last_seen_at: Time
  ended_at: Time | null
  reports: number
  lat: number | null
  lon: number | null
  speed_kmh: number | null
  desk: 'free' | 'taken' | 'handled'
  taken_by: Someone | null
  taken_at: Time | null
  handled_by: Someone | null
  handled_at: Time | null
  result: AlarmResult | null
  note: string
}

export interface Change {
  id: number
  at: Time
  change: string
  by: Someone | null
  detail: Record<string, unknown>
}

export interface AlarmWithChanges extends Alarm {
  changes: Change[]
}

export type TicketState = 'open' | 'accepted' | 'repaired' | 'closed' | 'cancelled'

/** A reason as code and numbers: durations in seconds, times as the people of the center read them. */
export interface Why {
  code: string
  params: Record<string, string | number>
}

export interface Ticket {
  id: number
  terminal: TerminalName
  vehicle: VehicleName | null
  fault: string
  state: TicketState
  reason: string
  why: Why | null
  opened_at: Time
  closed_at: Time | null
  closed_because: string | null
  assigned_to: Someone | null
  note: string
}

export interface TicketWithEvidence extends Ticket {
  evidence: Record<string, unknown>
  changes: Change[]
}

export interface Incident {
  id: number
  kind: string
  opened_at: Time
  closed_at: Time | null
  terminals: number
  detail: Record<string, unknown>
}

export interface Problem {
  code: string
  severity: 'warning' | 'error'
  part: string
  zh: string
  en: string
}

export interface Part {
  state: 'ok' | 'degraded' | 'failing' | 'unknown'
  detail: Record<string, unknown>
}

export interface Figures {
  terminals: number | null
  online: number | null
  silent: number | null
  without_code: number | null
  alarms_on_desk: number | null
  alarms_taken: number | null
  tickets_open: number | null
  strangers: number | null
  strangers_in_alarm: number | null
  strangers_in_emergency: number | null
  quarantined_last_hour: number | null
  quarantine_mib: number | null
  quarantine_only_counted: number | null
  worker_lag_s: number | null
}

export interface Health {
  state: 'ok' | 'degraded' | 'failing'
  at: Time
  problems: Problem[]
  parts: Record<string, Part>
  figures: Figures
}

interface Numbered {
  sequence: number
  at: Time
}

export type LiveMessage = Numbered &
  (
    | { type: 'snapshot'; states: State[]; alarms: Alarm[]; tickets: Ticket[]; health: Health }
    | { type: 'states'; states: State[]; gone: number[] }
    | { type: 'alarms'; alarms: Alarm[] }
    | { type: 'tickets'; tickets: Ticket[] }
    | { type: 'health'; health: Health }
  )

export interface Settings {
  second_factor: 'off' | 'optional' | 'administrators' | 'all'
  name: string
  version: string
  policy: 'open' | 'known'
  map: { tiles_url: string | null; tiles_attribution: string | null; center: [number, number]; zoom: number }
  conditions: { name: string; zh: string; en: string }[]
  plate_colors: { code: number; zh: string; en: string }[]
}

export interface Vehicle extends VehicleName {
  vin: string | null
  owner: string
  contact: string
  note: string
  created_at: Time
  terminal: (TerminalName & { installed_at: Time }) | null
}

/** What a vehicle's terminals said in a period is kept until the hold is released. */
export interface Hold {
  id: number
  vehicle: VehicleName
  begins_at: Time
  ends_at: Time
  reason: string
  placed_by: string
  placed_at: Time
  released_by: string | null
  released_at: Time | null
}

/** Terminals that wait to be accepted; `enrolment`: until when many may come. */
export interface Lobby {
  waiting: number
  enrolment: { until: Time; room: number; opened_by: string } | null
}

/** What a terminal last said of itself without having authenticated since. */
export interface Claimed {
  received_at: Time
  manufacturer_id: string
  model: string
  maker_terminal_id: string
  plate: string
  plate_color: number
}

export interface Terminal extends TerminalName {
  edition: Edition
  known: boolean
  blocked: boolean
  code_epoch: number
  speaks_without_code: boolean
  province_id: number | null
  city_id: number | null
  manufacturer_id: string | null
  model: string | null
  maker_terminal_id: string | null
  registered_plate: string | null
  registered_plate_color: number | null
  registered_at: Time | null
  authenticated_at: Time | null
  iccid: string | null
  note: string
  first_seen_at: Time | null
  created_at: Time
  link: 'open' | 'closed' | null
  last_received_at: Time | null
  mode: Mode | null
  silent_since: Time | null
  without_code_since: Time | null
  without_code_at: Time | null
  without_code: number
  lat: number | null
  lon: number | null
  fix_at: Time | null
  alarm_bits: number
  severity: Severity | null
  claim: Claimed | null
  clone: Clone | null
  vehicle: (VehicleName & { installed_at: Time }) | null
}

/** Two links speak as one terminal: the newer one first. */
export interface Clone {
  began_at: Time
  last_seen_at: Time
  peers: [string, string]
  frames: [number, number]
  take_overs: number
}

export interface LinkEvent {
  id: number
  at: Time
  event: string
  session: string
  peer: string
}

export interface TrackPoint {
  at: Time
  lat: number
  lon: number
  speed_kmh: number
  heading_deg: number
  altitude_m: number
  alarm_bits: number
  status_bits: number
  late: boolean
  quality: number
}

export interface Track {
  from: Time
  to: Time
  total: number
  tolerance_m: number
  points: TrackPoint[]
}

/** An uninterrupted time in which a vehicle drove, or stood for five minutes or more. */
export interface Leg {
  kind: 'trip' | 'stop'
  began_at: Time
  ended_at: Time
  day: string
  fixes: number
  began_lat: number
  began_lon: number
  ended_lat: number
  ended_lon: number
  driving_s: number
  driving_night_s: number
  track_km: number
  /** From its last fix to the next one, where that came after a gap. */
  gap_km: number
  odometer_km: number
  max_speed_kmh: number
}

export interface VehicleDay {
  day: string
  fixes: number
  first_fix_at: Time | null
  last_fix_at: Time | null
  trips: number
  stops: number
  driving_s: number
  driving_night_s: number
  track_km: number
  gap_km: number
  odometer_km: number
  max_speed_kmh: number
  online_s: number
}

/** A terminal in an area, and the vehicle that had it then. */
export interface Visit {
  terminal: TerminalName
  vehicle: VehicleName | null
  first_at: Time
  last_at: Time
  points: number
  lat: number
  lon: number
}

/** A picture (kind 0), sound (1) or video (2) of a terminal. */
export interface Medium {
  id: number
  terminal: TerminalName
  vehicle: VehicleName | null
  received_at: Time
  reported_at: Time | null
  media_id: number
  kind: number
  format: number
  event: number
  channel: number
  lat: number | null
  lon: number | null
  speed_kmh: number | null
  alarm_bits: number | null
  status_bits: number | null
  sha256: string
  size: number
  copies: number
  alarms: number[]
}

/** A frame as it was on the wire; `chunk` null: still in the log. */
export interface RawFrame {
  received_at: Time
  session: string
  msg_id: number | null
  hex: string
  chunk: number | null
}

export interface ImportReport {
  dry_run: boolean
  lines: number
  vehicles_added: number
  vehicles_changed: number
  terminals_added: number
  terminals_changed: number
  bound: number
}

export interface Quarantined {
  id: number
  received_at: Time
  terminal: TerminalName | null
  peer: string
  msg_id: number | null
  reason: string
  detail: string
  size_bytes: number
  preview_hex: string
}

export interface ExplainChoices {
  editions: string[]
  dialects: string[]
  profiles: { name: string; zh: string; en: string }[]
  max_bytes: number
}

export interface ExplainedFinding {
  code: string
  severity: 'error' | 'notice'
  zh: string
  en: string
  offset: number
  length: number
}

/** Some bytes and what they mean; a group heads the parts behind it, a derived one has no bytes of its own. */
export interface ExplainedPart {
  kind: 'field' | 'group' | 'derived'
  section: 'flag' | 'header' | 'body' | 'check' | 'garbage'
  offset: number
  length: number
  hex: string
  field: string
  level: number
  value: unknown
  unit: string
  quantity: string
  option: string
  bits: { bit: number; width: number; value: number; name: string; zh: string; is_reserved: boolean }[]
  zh: string
  en: string
  clause: string
  finding: ExplainedFinding | null
}

/** A frame, or bytes that are none. */
export interface ExplainedUnit {
  protocol: '808' | '809' | null
  offset: number
  length: number
  edition: string | null
  msg_id: string | null
  zh: string
  en: string
  direction: 'up' | 'down' | null
  clause: string
  terminal: string | null
  serial: number | null
  findings: ExplainedFinding[]
  parts: ExplainedPart[]
}

export interface Explained {
  is_valid: boolean
  hex: string
  units: ExplainedUnit[]
  wholes: (ExplainedUnit & { reason: 'reassembled' | 'deciphered'; hex: string })[]
}

export interface AuditEntry {
  id: number
  at: Time
  user_name: string
  action: string
  subject: string
  detail: Record<string, unknown>
}

export interface Page<Item> {
  items: Item[]
  next: string | null
  total?: number
}

/** One fault of what a person entered: a field of a form, or a line of a file. */
export interface Fault {
  field: string
  problem: string
  line?: number
  code?: string
  params?: Record<string, string | number>
}

/** RFC 9457. */
export interface ProblemDetails {
  title: string
  status: number
  detail: string
  code: string
  params?: Record<string, string | number>
  errors?: Fault[]
  current?: unknown
}
