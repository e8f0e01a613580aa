// Files of the API. They are fetched before they are saved, so that a refusal is told and not saved.

import { address, refusal, type Query } from './client'

export async function download(path: string, query: Query): Promise<void> {
  const response = await fetch(address(path, query)).catch(() => null)
  if (!response?.ok) throw await refusal(response)
  const name = /filename="([^"]+)"/.exec(response.headers.get('Content-Disposition') ?? '')?.[1] ?? 'northwatch'
  const url = URL.createObjectURL(await response.blob())
  Object.assign(document.createElement('a'), { href: url, download: name }).click()
  URL.revokeObjectURL(url)
}
