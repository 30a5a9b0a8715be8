import type { RequestDirectives } from "../domain/CacheControl.ts"
import { type Freshness, isFresh } from "../domain/Freshness.ts"
import type { HeaderFields } from "../domain/Headers.ts"
import type { Resource } from "../domain/Resource.ts"

/** A short answer of the origin's that is no file: a redirect, "not found", and so on. */
export interface Answer {
  readonly status: number
  readonly headers: HeaderFields
  readonly body: Uint8Array
}

interface Kept {
  readonly url: string
  readonly answer: Answer
  readonly freshness: Freshness
  readonly bytes: number
}

/** How much is kept, in bytes. */
const CAPACITY_BYTES = 16 * 1024 ** 2

/** What an answer takes besides its body, in bytes, roughly. */
const OVERHEAD_BYTES = 2048

/**
 * Answers that are no files and that the origin lets a cache keep (RFC 9111 §3, RFC 9110 §15.1), in memory for as long as they are
 * fresh. The least recently used go first.
 */
export const make = () => {
  const answers = new Map<string, Kept>()
  let bytes = 0

  const remove = (key: string): void => {
    bytes -= answers.get(key)?.bytes ?? 0
    answers.delete(key)
  }

  return {
    /** What is kept, where it is fresh, and as young as the request wants it. */
    get: (key: string, now: number, request?: RequestDirectives): Kept | undefined => {
      const kept = answers.get(key)
      if (kept === undefined) return undefined
      if (!isFresh(kept.freshness, now)) {
        remove(key)
        return undefined
      }
      answers.delete(key)
      answers.set(key, kept)
      return isFresh(kept.freshness, now, request) ? kept : undefined
    },
    put: ({ id: key, url }: Resource, answer: Answer, freshness: Freshness): void => {
      remove(key)
      const kept = { url, answer, freshness, bytes: answer.body.length + OVERHEAD_BYTES }
      answers.set(key, kept)
      bytes += kept.bytes
      for (const oldest of answers.keys()) {
        if (bytes <= CAPACITY_BYTES) break
        remove(oldest)
      }
    },
    remove,
    removeAll: (matches: (url: string) => boolean): void => {
      for (const [key, { url }] of answers) if (matches(url)) remove(key)
    },
    clear: (): void => {
      answers.clear()
      bytes = 0
    }
  }
}
