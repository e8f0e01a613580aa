import { expect, test } from 'vitest'
import { read, visible } from '../src/api/read'

test('what is not seen is shown as an escape', () => {
  expect(visible('\u001b[2J\u202eevil\u2028\u200b\u{e0041}\u009b')).toBe('\\x1b[2J\\u202eevil\\u2028\\u200b\\U000e0041\\x9b')
  expect(visible('辽A12345\n<b>[/]')).toBe('辽A12345\n<b>[/]')
})

test('texts of an answer are shown so, however JSON writes them', () => {
  const said = { plate: '\u202e辽A', list: ['\u0007'], number: 1, none: null }
  const shown = { plate: '\\u202e辽A', list: ['\\x07'], number: 1, none: null }
  expect(read(JSON.stringify(said))).toEqual(shown)
  expect(read('{"plate": "\\u202e辽A", "list": ["\\u0007"], "number": 1, "none": null}')).toEqual(shown)
  expect(read('{"plate": "辽A12345"}')).toEqual({ plate: '辽A12345' })
})
