import { ServerResponse } from "node:http"
import type { ByteSource } from "../../services/observe/Counters.ts"

/** An answer that can be asked, once it has ended, what it was. */
export class WatchedResponse extends ServerResponse {
  /** When its request came, by `performance.now`. */
  readonly startedAt = performance.now()
  /** The `Cache-Status` that was sent. */
  cacheStatus: string | undefined
  /** Bytes of its body that were handed over to be sent. */
  bodyBytes = 0
  /** Whether it is another process's answer, which reports it. */
  isRelayed = false
  /** Where the last bytes of a stream came from. */
  source: ByteSource | undefined

  override writeHead(status: number, ...rest: Array<any>): this {
    this.cacheStatus = sent(rest.at(-1), "cache-status")
    return super.writeHead(status, ...rest)
  }

  override write(chunk: any, ...rest: Array<any>): boolean {
    this.bodyBytes += chunk.length
    return super.write(chunk, ...rest)
  }

  override end(...args: Array<any>): this {
    const [chunk] = args
    if (chunk !== undefined && chunk !== null && typeof chunk !== "function") this.bodyBytes += chunk.length
    return super.end(...args)
  }
}

/** The field `name` of those that `writeHead` takes: an object, or names and values in turn. */
const sent = (fields: unknown, name: string): string | undefined => {
  if (typeof fields !== "object" || fields === null) return undefined
  if (!Array.isArray(fields)) return (fields as Record<string, string>)[name]
  for (let i = 0; i < fields.length; i += 2) if (fields[i] === name) return fields[i + 1]
  return undefined
}
