import { Clock, Effect, type Scope } from "effect"
import { createHash } from "node:crypto"
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http"
import { freePort } from "./freePort.ts"

/** A file that a `TestOrigin` serves. */
export interface OriginFile {
  readonly bytes: Buffer
  readonly etag?: string
  readonly lastModified?: string
  readonly contentType?: string
  readonly headers?: Record<string, string>
  /** Whether range requests are honoured; the whole file is sent otherwise. */
  readonly ranges?: boolean
  /** Bytes per second for each response; as fast as it goes without it. */
  readonly rate?: number
  /** Whether interim responses (RFC 9110 §15.2) come before the final one. */
  readonly interim?: boolean
  /** Each response stops after `after` bytes until `until` is fulfilled, so that a test can act in mid-stream. */
  readonly hold?: { readonly after: number; readonly until: Promise<unknown> }
}

/** A request as the origin saw it. */
export interface SeenRequest {
  readonly method: string
  readonly url: string
  readonly headers: IncomingMessage["headers"]
  /** Body bytes handed to the socket for it. */
  sent: number
  /** Whether the answer was cut off by the client. */
  aborted: boolean
}

/** A real HTTP server with files in memory, which counts what it sends. */
export interface TestOrigin {
  readonly url: string
  readonly files: Map<string, OriginFile>
  readonly requests: Array<SeenRequest>
  readonly bodyBytes: () => number
  /** Answers a target by hand, before files are looked at; that of `*` answers all that have none. */
  readonly handlers: Map<string, (request: IncomingMessage, response: ServerResponse, seen: SeenRequest) => void>
  readonly reset: () => void
  /** Stops answering: closes the socket and all connections. `listen` undoes it on the same port. */
  readonly close: Effect.Effect<void>
  readonly listen: Effect.Effect<void>
}

/** Pseudo-random bytes, the same for the same seed. */
export const randomBytes = (length: number, seed = 1): Buffer => {
  const words = new Uint32Array(Math.ceil(length / 4))
  let state = Math.imul(seed, 2654435761) | 0 || 1
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    words[i] = state
  }
  return Buffer.from(words.buffer, 0, length)
}

export const MiB = 1024 ** 2

/** Something for `hold` to wait for. */
export const makeGate = (): { readonly opened: Promise<void>; readonly open: Effect.Effect<void> } => {
  const { promise, resolve } = Promise.withResolvers<void>()
  return { opened: promise, open: Effect.sync(() => resolve()) }
}

/** A file that may be cached for an hour, whose bytes and `ETag` come from `seed`. */
export const fileOf = (size: number, seed: number, options: Partial<OriginFile> = {}): OriginFile => ({
  bytes: randomBytes(size, seed),
  etag: `"${seed}"`,
  headers: { "cache-control": "max-age=3600" },
  ...options
})

export const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex")

const SLICE_BYTES = 64 * 1024

/** Writes `body` at the file's rate, minding back pressure. */
const send = (response: ServerResponse, body: Buffer, { hold, rate }: OriginFile, seen: SeenRequest): void => {
  const slice = rate === undefined ? SLICE_BYTES : Math.max(1, Math.min(SLICE_BYTES, Math.floor(rate / 50)))
  let started = performance.now()
  let first = 0
  let offset = 0
  let end = hold?.after ?? body.length
  const step = (): void => {
    while (offset < Math.min(end, body.length) && !response.destroyed) {
      const part = body.subarray(offset, Math.min(offset + slice, end))
      offset += part.length
      seen.sent += part.length
      const flowing = response.write(part)
      const pause = rate === undefined ? 0 : ((offset - first) / rate) * 1000 - (performance.now() - started)
      if (pause > 1) return void setTimeout(step, pause)
      if (!flowing) return void response.once("drain", step)
    }
    if (offset >= body.length || response.destroyed) return void response.end()
    void hold!.until.then(() => {
      started = performance.now()
      first = offset
      end = body.length
      step()
    })
  }
  step()
}

const serve = (file: OriginFile, request: IncomingMessage, response: ServerResponse, seen: SeenRequest): void => {
  const { bytes } = file
  if (file.interim === true) {
    response.writeContinue()
    response.writeProcessing()
    response.writeEarlyHints({ link: "</style.css>; rel=preload" })
  }
  const headers: Record<string, string> = {
    "content-type": file.contentType ?? "application/octet-stream",
    ...(file.etag !== undefined && { etag: file.etag }),
    ...(file.lastModified !== undefined && { "last-modified": file.lastModified }),
    ...(file.ranges !== false && { "accept-ranges": "bytes" }),
    ...file.headers
  }
  const noneMatch = request.headers["if-none-match"]
  const since = request.headers["if-modified-since"]
  if (noneMatch !== undefined ? noneMatch === file.etag : since !== undefined && since === file.lastModified) {
    response.writeHead(304, headers).end()
    return
  }
  const ifRange = request.headers["if-range"]
  const applies = file.ranges !== false &&
    (ifRange === undefined || ifRange === file.etag || ifRange === file.lastModified)
  const range = /^bytes=(\d*)-(\d*)$/.exec(request.headers.range ?? "")
  const isBackward = range !== null && range[2] !== "" && Number(range[1]) > Number(range[2])
  const match = !applies || (isBackward && range[1] !== "") ? null : range
  let start = 0
  let end = bytes.length
  if (match !== null) {
    if (match[1] === "") start = Math.max(0, bytes.length - Number(match[2]))
    else {
      start = Number(match[1])
      if (match[2] !== "") end = Math.min(Number(match[2]) + 1, bytes.length)
    }
    if (start >= bytes.length) {
      response.writeHead(416, { "content-range": `bytes */${bytes.length}` }).end()
      return
    }
    headers["content-range"] = `bytes ${start}-${end - 1}/${bytes.length}`
  }
  response.writeHead(match === null ? 200 : 206, { ...headers, "content-length": String(end - start) })
  if (request.method === "HEAD") response.end()
  else send(response, bytes.subarray(start, end), file, seen)
}

/** Starts an origin on a free port of an address of this machine; it ends with the scope. */
export const makeTestOriginAt = Effect.fnUntraced(function*(
  address: string
): Effect.fn.Return<TestOrigin, never, Scope.Scope> {
  const files: TestOrigin["files"] = new Map()
  const handlers: TestOrigin["handlers"] = new Map()
  const requests: Array<SeenRequest> = []
  const clock = yield* Clock.Clock
  const server: Server = createServer((request, response) => {
    // By the clock of the test, as all else.
    response.setHeader("date", new Date(clock.currentTimeMillisUnsafe()).toUTCString())
    const url = request.url ?? "/"
    const seen: SeenRequest = { method: request.method!, url, headers: request.headers, sent: 0, aborted: false }
    requests.push(seen)
    response.on("close", () => seen.aborted = !response.writableFinished)
    const handler = handlers.get(url) ?? handlers.get("*")
    const file = files.get(url)
    if (handler !== undefined) handler(request, response, seen)
    else if (file === undefined) response.writeHead(404, { "content-type": "text/plain" }).end("no such file\n")
    else serve(file, request, response, seen)
  })
  const port = yield* freePort
  const listen = Effect.callback<void>((resume) => void server.listen(port, address, () => resume(Effect.void)))
  const close = Effect.callback<void>((resume) => {
    server.close(() => resume(Effect.void))
    server.closeAllConnections()
  })
  yield* listen
  yield* Effect.addFinalizer(() => close)
  return {
    url: `http://${address}:${port}`,
    files,
    handlers,
    requests,
    bodyBytes: () => requests.reduce((sum, { sent }) => sum + sent, 0),
    reset: () => void requests.splice(0),
    close,
    listen
  }
})

/** Starts an origin on a free port of the loopback interface; it ends with the scope. */
export const makeTestOrigin: Effect.Effect<TestOrigin, never, Scope.Scope> = makeTestOriginAt("127.0.0.1")
