import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import type { IncomingMessage } from "node:http"
import * as HttpDate from "../../src/domain/rfc/HttpDate.ts"
import { PATIENCE_MILLIS } from "../support/patience.ts"
import { type OriginFile, randomBytes, type SeenRequest } from "../support/TestOrigin.ts"
import { CHUNK_BYTES, makeTestProxy, type TestProxy, type TestProxyOptions } from "./TestProxy.ts"

/** What the origin answers. */
export interface Reply {
  readonly status?: number
  readonly headers?: Record<string, string | ReadonlyArray<string>>
  readonly body?: string | Buffer
}

/** A proxy and its origin, both by the clock of the test, which starts at a whole second. */
export interface Site extends TestProxy {
  /** The date in so many seconds from the start of the test. */
  readonly at: (seconds: number) => string
  /** Has the origin serve a file: `bytes`, with the `ETag` `"v1"`, last modified 1000 s ago, fresh for a minute. */
  readonly file: (path: string, options?: Partial<OriginFile>) => void
  /** Has the origin answer by hand, with a `Content-Length` unless it says otherwise. */
  readonly answer: (path: string, reply: (request: IncomingMessage) => Reply | Promise<Reply>) => void
  /** The requests that the origin got for `path`. */
  readonly seen: (path: string) => ReadonlyArray<SeenRequest>
}

/** The size of a file of several chunks, the last of which is short, in bytes. */
export const SIZE = 3 * CHUNK_BYTES + 1234

export const bytes = randomBytes(SIZE)

/** Those of another version of the file. */
export const otherBytes = randomBytes(SIZE, 2)

/** Fields that make an answer fresh for so many seconds. */
export const maxAge = (seconds: number, ...more: ReadonlyArray<string>) => ({
  "cache-control": [`max-age=${seconds}`, ...more].join(", ")
})

const BEGUN = Date.parse("Tue, 01 Jan 2030 12:00:00 GMT")

/** Starts both. */
export const start = Effect.fnUntraced(function*(options: TestProxyOptions = {}) {
  yield* TestClock.setTime(BEGUN)
  const at = (seconds: number) => HttpDate.format(BEGUN + seconds * 1000)
  const proxy = yield* makeTestProxy(options)
  const { origin } = proxy
  const site: Site = {
    ...proxy,
    at,
    file: (path, { headers = maxAge(60), ...options } = {}) => {
      origin.handlers.delete(path)
      origin.files.set(path, {
        bytes,
        etag: "\"v1\"",
        lastModified: at(-1000),
        contentType: "video/mp4",
        headers,
        ...options
      })
    },
    answer: (path, reply) => {
      origin.handlers.set(path, (request, response) => {
        void Promise.resolve(reply(request)).then(({ body = "", headers = {}, status = 200 }) => {
          const length = status === 304 || "transfer-encoding" in headers
            ? {}
            : { "content-length": String(body.length) }
          response.writeHead(status, { ...length, ...headers } as Record<string, string>)
          response.end(request.method === "HEAD" || status === 304 ? undefined : body)
        })
      })
    },
    seen: (path) => origin.requests.filter(({ url }) => url === path)
  }
  return site
})

/** Waits for what the network brings, in real time. */
export const until = (what: string, check: () => boolean): Effect.Effect<void> =>
  Effect.callback((resume) => {
    const deadline = performance.now() + PATIENCE_MILLIS
    const look = (): void => {
      if (check()) return resume(Effect.void)
      if (performance.now() > deadline) return resume(Effect.die(`waited in vain for ${what}`))
      timer = setTimeout(look, 1)
    }
    let timer = setTimeout(look, 0)
    return Effect.sync(() => clearTimeout(timer))
  })

/** Runs `effect` while the clock goes on, as it has to for pauses between tries. */
export const withTime = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(effect)
    while (fiber.pollUnsafe() === undefined) {
      yield* TestClock.adjust("50 millis")
      yield* Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 1)))
    }
    return yield* Fiber.join(fiber)
  })

/** Something for an answer to wait for. */
export const makeGate = () => {
  const { promise, resolve } = Promise.withResolvers<void>()
  return { opened: promise, open: () => resolve() }
}
