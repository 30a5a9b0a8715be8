import { Clock, Deferred, Effect, Scope, Stream } from "effect"
import { fileURLToPath } from "node:url"
import { loggable, OriginForbidden, OriginUnreachable } from "../../domain/OriginError.ts"
import { OriginFault } from "../../domain/OriginFault.ts"
import {
  type ByteRange,
  formatContentRange,
  formatUnsatisfied,
  parseRange,
  resolve
} from "../../domain/rfc/ByteRange.ts"
import type { HeaderFields } from "../../domain/rfc/HeaderFields.ts"
import * as HttpDate from "../../domain/rfc/HttpDate.ts"
import { isRead } from "../../domain/rfc/Method.ts"
import { evaluate, notModifiedHeaders, rangeApplies } from "../../domain/rfc/Preconditions.ts"
import type { HopResponse, SendRequest } from "./HopResponse.ts"
import { mediaTypeOf } from "./mediaTypes.ts"
import { makeMountCalls } from "./mountCalls.ts"
import { faultOf, type FileVersion, type OpenFile, openFile } from "./openFile.ts"

/** How many bytes of a file are read at a time. */
const PIECE_BYTES = 256 * 1024

/** The time within which a file may change again without another time of its last write, in milliseconds: that of FAT. */
const RESOLUTION_MILLIS = 2000

/** The path that `url` names; `undefined` if no file can have it. */
const pathOf = (url: URL): string | undefined => {
  try {
    const path = fileURLToPath(url)
    return path.includes("\0") ? undefined : path
  } catch {
    return undefined
  }
}

const withoutBody = (status: number, headers: HeaderFields): HopResponse => ({
  status,
  headers,
  setCookie: [],
  stream: Stream.empty
})

const refused = (status: number, headers: HeaderFields = {}): HopResponse =>
  withoutBody(status, { "content-length": "0", ...headers })

/** What is sent: the head, and the bytes of the body. */
interface Answer {
  readonly status: number
  readonly headers: HeaderFields
  readonly range?: ByteRange
}

/** The answer to a GET or HEAD for a file with these header fields. */
const answerTo = (request: HeaderFields, path: string, { modified, size, tag }: FileVersion, now: number): Answer => {
  const validators = {
    // A file that has just been written may change again and look the same.
    etag: now - modified < RESOLUTION_MILLIS ? `W/"${tag}"` : `"${tag}"`,
    "last-modified": HttpDate.format(modified)
  }
  const headers = {
    ...validators,
    "accept-ranges": "bytes",
    "content-type": mediaTypeOf(path),
    date: HttpDate.format(now)
  }
  const representation = { etag: validators.etag, lastModified: validators["last-modified"], headers }
  switch (evaluate(request, representation)) {
    case "Failed":
      return { status: 412, headers: { "content-length": "0" } }
    case "NotModified":
      return { status: 304, headers: { ...notModifiedHeaders(headers), ...validators } }
    case "Proceed": {
      const spec = rangeApplies(request["if-range"], representation) ? parseRange(request["range"]) : undefined
      const range = spec === undefined ? { start: 0, end: size } : resolve(spec, size)
      if (range === undefined) {
        return { status: 416, headers: { "content-length": "0", "content-range": formatUnsatisfied(size) } }
      }
      const length = { "content-length": String(range.end - range.start) }
      return spec === undefined
        ? { status: 200, headers: { ...headers, ...length }, range }
        : { status: 206, headers: { ...headers, ...length, "content-range": formatContentRange(range, size) }, range }
    }
  }
}

const promised = <A>(call: () => Promise<A>): Effect.Effect<A, OriginFault> =>
  Effect.tryPromise({ try: call, catch: faultOf })

/**
 * Makes the function that answers requests with the files of a directory, as a server for static files does. It waits for nothing but the
 * file system.
 */
export const makeFileRequests = Effect.map(makeMountCalls, (calls): SendRequest => {
  /** Opens the file at `path` until the scope closes, also if that happens first. */
  const open = Effect.fnUntraced(function*(root: string, path: string) {
    const scope = yield* Effect.scope
    const opened = Effect.tap(promised(() => openFile(root, path)), (file) => {
      if (typeof file === "number") return Effect.void
      // It may hang as well, and nobody waits for it.
      return Scope.addFinalizer(scope, Effect.forkDetach(Effect.ignore(calls.run(root, promised(file.close)))))
    })
    return yield* calls.run(root, opened)
  })

  /** The bytes of `range`. They end in a fault if the scope closes before. */
  const body = Effect.fnUntraced(function*(root: string, file: OpenFile, { end, start }: ByteRange) {
    const closed = yield* Deferred.make<never, OriginFault>()
    yield* Effect.addFinalizer(() => Deferred.fail(closed, new OriginFault("CLOSED")))
    return Stream.unfold(start, (at) =>
      at >= end
        ? Effect.succeed(undefined)
        : calls.run(root, promised(() => file.read(at, Math.min(PIECE_BYTES, end - at)))).pipe(
          Effect.map((bytes) => [bytes, at + bytes.length] as const),
          Effect.raceFirst(Deferred.await(closed))
        ))
  })

  return Effect.fnUntraced(function*({ method }, hop) {
    const url = loggable(hop.url.href)
    if (hop.server?.url.protocol !== "file:") return yield* new OriginForbidden({ url })
    if (!isRead(method)) return refused(405, { allow: "GET, HEAD" })
    const root = fileURLToPath(hop.server.url)
    const path = pathOf(hop.url)
    if (path === undefined) return refused(404)
    const file = yield* Effect.mapError(open(root, path), (cause) => new OriginUnreachable({ url, cause }))
    if (typeof file === "number") return refused(file)
    const { headers, range, status } = answerTo(hop.headers, path, file, yield* Clock.currentTimeMillis)
    if (range === undefined) return withoutBody(status, headers)
    const stream = method === "HEAD" ? Stream.empty : yield* body(root, file, range)
    return { status, headers, setCookie: [], stream }
  })
})
