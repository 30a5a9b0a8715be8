import { ServerResponse } from "node:http"
import type { CacheStatus } from "../../domain/rfc/CacheStatus.ts"
import type { ByteSource } from "../../services/observe/Counters.ts"

/** A response that records what the log needs to know when it has ended. */
export class WatchedResponse extends ServerResponse {
  /** When its request came, by `performance.now`. */
  readonly startedAt = performance.now()
  /** When its first byte was handed to the connection. */
  firstByteAt: number | undefined
  /** What the cache did for it. */
  cacheStatus: CacheStatus | undefined
  /** Bytes of its body that were handed to the connection. */
  bodyBytes = 0
  /** Whether another process wrote it, and logs it. */
  isRelayed = false
  /** Where the last bytes of a stream came from, or those that were read from disk in one piece. */
  source: ByteSource | undefined

  override write(chunk: any, ...rest: Array<any>): boolean {
    this.bodyBytes += chunk.length
    this.firstByteAt ??= performance.now()
    return super.write(chunk, ...rest)
  }

  override end(...args: Array<any>): this {
    const [chunk] = args
    if (chunk !== undefined && chunk !== null && typeof chunk !== "function") this.bodyBytes += chunk.length
    this.firstByteAt ??= performance.now()
    return super.end(...args)
  }
}

/** Records what the cache did for `response`, if somebody watches it. */
export const setCacheStatus = (response: ServerResponse, cacheStatus: CacheStatus | undefined): void => {
  if (response instanceof WatchedResponse) response.cacheStatus = cacheStatus
}
