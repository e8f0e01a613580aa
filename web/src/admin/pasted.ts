// Bytes on their way to the page that explains them.

import { ref } from 'vue'
import { page } from '../route'

export const pasted = ref('')

export function explain(hex: string): void {
  pasted.value = hex.replace(/(..)/g, '$1 ').trim()
  location.hash = '#/explain'
  page.value = 'explain'
}
