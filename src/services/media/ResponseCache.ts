import type { Resource } from "../../domain/Resource.ts"
import type { RequestDirectives } from "../../domain/rfc/CacheControl.ts"
import { type Freshness, isFresh } from "../../domain/rfc/Freshness.ts"
import { type HeaderFields, lengthOf } from "../../domain/rfc/HeaderFields.ts"
import { LruMap } from "../../effects/LruMap.ts"

/** A short answer of the origin's that is not file: a redirect, "not found", and so on. */
export interface StoredResponse {
  readonly status: number
  readonly headers: HeaderFields
  readonly body: Uint8Array
}

/** A stored response, with its freshness and the URL that it is of. */
export interface Kept {
  readonly url: string
  readonly answer: StoredResponse
  readonly freshness: Freshness
}

/** How much is kept, in bytes. */
const CAPACITY_BYTES = 16 * 1024 ** 2

/** What an answer takes besides its body and fields, in bytes, roughly. */
const OVERHEAD_BYTES = 2048

/**
 * Answers other than files that the origin lets a cache keep (RFC 9111 §3, RFC 9110 §15.1), in memory for as long as they are
 * fresh. The least recently used go first.
 */
export const make = () => {
  const answers = new LruMap<string, Kept>(CAPACITY_BYTES)

  return {
    /** What is kept, where it is fresh, and as young as the request wants it. */
    get: (key: string, now: number, request?: RequestDirectives): Kept | undefined => {
      const kept = answers.get(key)
      if (kept === undefined) return undefined
      if (!isFresh(kept.freshness, now)) {
        answers.delete(key)
        return undefined
      }
      return isFresh(kept.freshness, now, request) ? kept : undefined
    },
    put: ({ id, url }: Resource, answer: StoredResponse, freshness: Freshness): void => {
      const weight = url.length + answer.body.length + lengthOf(answer.headers) + OVERHEAD_BYTES
      answers.set(id, { url, answer, freshness }, weight)
    },
    remove: (key: string): void => answers.delete(key),
    removeAll: (matches: (url: string) => boolean): void => {
      for (const key of answers.keys()) if (matches(answers.peek(key)!.url)) answers.delete(key)
    },
    clear: (): void => answers.clear()
  }
}
