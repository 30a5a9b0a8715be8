import { setTimeout as sleep } from "node:timers/promises"

/** What Spillway says of its cache. */
interface CacheReport {
  readonly state: "usable" | "unusable"
  readonly bytes: number
}

const PATIENCE_MILLIS = 60_000

export const cacheOf = async (port: number): Promise<CacheReport> => {
  const response = await fetch(`http://127.0.0.1:${port}/_spillway/health`)
  const { cache } = await response.json() as { readonly cache: CacheReport }
  return cache
}

/** Looks every `interval` milliseconds until `check` is true. */
export const until = async (
  what: string,
  check: () => boolean | Promise<boolean>,
  interval = 50
): Promise<void> => {
  const deadline = performance.now() + PATIENCE_MILLIS
  while (!(await check())) {
    if (performance.now() > deadline) throw new Error(`waited in vain for ${what}`)
    await sleep(interval)
  }
}
