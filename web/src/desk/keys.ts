// Whose key it is: the desk listens on the whole window, but others are asked first.

/** Somebody types, or a dialog is open: it has the keys wherever the focus went when one of its buttons left. */
export function isTaken({ target }: KeyboardEvent): boolean {
  const isTyped = target instanceof Element && target.closest('input, textarea, select') !== null
  return isTyped || document.querySelector('dialog[open]') !== null
}
