// Texts of terminals and imports are data: what is not seen in them, or turns the direction of writing, is shown as
// an escape, the same as in `store/text.py`. The API's own JSON stays exact.

const UNSEEN =
  // eslint-disable-next-line no-control-regex
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\p{Cf}\p{Cs}\p{Zl}\p{Zp}\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\u{e0000}-\u{e0fff}]/gu
const MAY_HAVE_SOME = new RegExp(`\\\\u|${UNSEEN.source}`, 'u')

/** The text with each unseen character as an escape; ends of lines stay. */
export function visible(text: string): string {
  return text.replace(UNSEEN, (letter) => {
    const number = letter.codePointAt(0)!
    if (number < 0x100) return `\\x${number.toString(16).padStart(2, '0')}`
    return number < 0x10000 ? `\\u${number.toString(16).padStart(4, '0')}` : `\\U${number.toString(16).padStart(8, '0')}`
  })
}

/** JSON as it may be shown. */
export function read<Answer>(json: string): Answer {
  if (!MAY_HAVE_SOME.test(json)) return JSON.parse(json) as Answer
  return JSON.parse(json, (_, value: unknown) => (typeof value === 'string' ? visible(value) : value)) as Answer
}
