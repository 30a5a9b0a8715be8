import { Effect, type Scope } from "effect"
import type { Socket } from "node:net"
import { makeRawOrigin, type RawOrigin, type RawRequest } from "./RawOrigin.ts"

/** A file of a `ScriptedOrigin`, and how it is served where no script says otherwise. */
export interface ScriptedFile {
  readonly bytes: Buffer
  /** Sent with it, names in lower case: validators, freshness, encoding. */
  readonly fields: Readonly<Record<string, string>>
  /** Whether range requests are honoured; the whole file is sent otherwise. */
  readonly ranges?: boolean
  /** Whether `If-Range` is honoured. */
  readonly ifRange?: boolean
  /** Sent in chunks, without a length. */
  readonly chunked?: boolean
}

/** An answer as it should be, for a script to spoil. A field that is `undefined` is left out. */
export interface Answer {
  readonly status: string
  readonly fields: Readonly<Record<string, string | undefined>>
  readonly body: Buffer
  /** The whole file, and where `body` begins in it. */
  readonly file: Buffer
  readonly start: number
}

/** What is done for a request, one after the other. When nothing ends the connection, its next request is read. */
export type Step =
  /** Written as it is. */
  | Uint8Array
  /** Milliseconds without a byte. */
  | { readonly pause: number }
  /** Until the test calls `release`. */
  | "wait"
  /** Until the other side leaves. */
  | "silence"
  /** RST. */
  | "reset"
  /** FIN. */
  | "close"

/** What an origin does for a request, given what it should answer. */
export type Script = (answer: Answer, request: RawRequest) => ReadonlyArray<Step>

/** A `RawOrigin` that writes exactly what a script says, and HTTP as it should be where there is none. */
export interface ScriptedOrigin extends RawOrigin {
  /** By path. */
  readonly files: Map<string, ScriptedFile>
  /** By path, for all its queries: what is done for its n-th GET, from 0; as should be where that is `undefined`. */
  readonly scripts: Map<string, (nth: number) => Script | undefined>
  /** The GET requests for a path, with any query, in their order. */
  readonly gets: (path: string) => ReadonlyArray<RawRequest>
  /** Ends the waiting of scripts for a path. Whether there was one. */
  readonly release: (path: string) => boolean
}

/** Each character a byte. */
export const text = (text: string): Buffer => Buffer.from(text, "latin1")

/** The header of an answer, as it goes over the wire. */
export const headOf = ({ fields, status }: Pick<Answer, "fields" | "status">): Buffer => {
  const lines = Object.entries(fields).flatMap(([name, value]) => value === undefined ? [] : [`${name}: ${value}`])
  return text([`HTTP/1.1 ${status}`, ...lines, "", ""].join("\r\n"))
}

const CHUNK_BYTES = 50_000

/** A body in the chunked coding, without the chunk that ends it. */
export const inChunks = (body: Buffer): Buffer => {
  const parts: Array<Buffer> = []
  for (let at = 0; at < body.length; at += CHUNK_BYTES) {
    const part = body.subarray(at, at + CHUNK_BYTES)
    parts.push(text(`${part.length.toString(16)}\r\n`), part, text("\r\n"))
  }
  return Buffer.concat(parts)
}

/** All of an answer. */
export const stepsOf = (answer: Pick<Answer, "body" | "fields" | "status">): ReadonlyArray<Step> =>
  answer.fields["transfer-encoding"] === undefined
    ? [headOf(answer), answer.body]
    : [headOf(answer), inChunks(answer.body), text("0\r\n\r\n")]

const opaque = (etag: string | undefined) => etag?.replace(/^W\//, "")

const rangeOf = ({ bytes, fields, ifRange, ranges }: ScriptedFile, headers: RawRequest["fields"]) => {
  const condition = headers["if-range"]
  const applies = condition === undefined || ifRange === false || condition === fields["last-modified"] ||
    (condition === fields["etag"] && !condition.startsWith("W/"))
  const match = ranges === false || !applies ? null : /^bytes=(\d*)-(\d*)$/.exec(headers["range"] ?? "")
  if (match === null) return undefined
  if (match[1] === "") return { start: Math.max(0, bytes.length - Number(match[2])), end: bytes.length }
  return { start: Number(match[1]), end: match[2] === "" ? bytes.length : Math.min(Number(match[2]) + 1, bytes.length) }
}

/** What a well-behaved origin answers: 200, 206, 304, 404 or 416. */
const answerTo = (file: ScriptedFile | undefined, { fields: headers }: RawRequest): Answer => {
  const bytes = file?.bytes ?? Buffer.alloc(0)
  const answer = (status: string, fields: Answer["fields"], start = 0, end = start): Answer => ({
    status,
    fields,
    body: bytes.subarray(start, end),
    file: bytes,
    start
  })
  if (file === undefined) return answer("404 Not Found", { "content-length": "0" })
  const fields = { ...file.fields, ...(file.ranges !== false && { "accept-ranges": "bytes" }) }
  const noneMatch = headers["if-none-match"]
  const isSame = noneMatch === undefined
    ? headers["if-modified-since"] !== undefined && headers["if-modified-since"] === file.fields["last-modified"]
    : opaque(noneMatch) === opaque(file.fields["etag"])
  if (isSame) return answer("304 Not Modified", fields)
  const range = rangeOf(file, headers)
  if (range !== undefined && range.start >= bytes.length) {
    const unsatisfied = { "content-range": `bytes */${bytes.length}`, "content-length": "0" }
    return answer("416 Range Not Satisfiable", unsatisfied)
  }
  const { end, start } = range ?? { start: 0, end: bytes.length }
  const length = file.chunked ? { "transfer-encoding": "chunked" } : { "content-length": String(end - start) }
  if (range === undefined) return answer("200 OK", { ...fields, ...length }, start, end)
  const place = { "content-range": `bytes ${start}-${end - 1}/${bytes.length}` }
  return answer("206 Partial Content", { ...fields, ...length, ...place }, start, end)
}

const pathOf = (target: string): string => target.split("?", 1)[0]!

const SLICE_BYTES = 64 * 1024

/** Starts an origin on a free port of the loopback interface; it ends with the scope. */
export const makeScriptedOrigin: Effect.Effect<ScriptedOrigin, never, Scope.Scope> = Effect.gen(function*() {
  const files: ScriptedOrigin["files"] = new Map()
  const scripts: ScriptedOrigin["scripts"] = new Map()
  const gates = new Map<string, PromiseWithResolvers<void>>()

  const gateOf = (path: string) => {
    const gate = gates.get(path) ?? Promise.withResolvers<void>()
    gates.set(path, gate)
    return gate
  }

  const gets = (path: string) =>
    raw.requests.filter(({ method, target }) => method === "GET" && pathOf(target) === path)

  /** Fulfilled when the system has taken them, or the connection is gone. */
  const write = (socket: Socket, bytes: Uint8Array, request: RawRequest): Promise<void> =>
    new Promise((resolve) =>
      socket.write(bytes, (error) => {
        if (error === undefined || error === null) request.sent += bytes.length
        resolve()
      })
    )

  const play = async (request: RawRequest, steps: ReadonlyArray<Step>): Promise<void> => {
    const { socket, target } = request
    for (const step of steps) {
      if (socket.destroyed) return
      if (step === "wait") await gateOf(pathOf(target)).promise
      else if (step === "silence") await new Promise<void>((resolve) => socket.once("close", resolve))
      else if (step === "reset") socket.resetAndDestroy()
      else if (step === "close") socket.end()
      else if ("pause" in step) await new Promise((resolve) => setTimeout(resolve, step.pause))
      else {
        for (let at = 0; at < step.length && !socket.destroyed; at += SLICE_BYTES) {
          await write(socket, step.subarray(at, at + SLICE_BYTES), request)
        }
      }
    }
  }

  const raw: RawOrigin = yield* makeRawOrigin((request): Promise<void> => {
    const path = pathOf(request.target)
    // First the script: the file may be another one from this request on.
    const script = request.method === "GET" ? scripts.get(path)?.(gets(path).length - 1) : undefined
    const right = answerTo(files.get(path), request)
    return play(request, request.method === "GET" ? script?.(right, request) ?? stepsOf(right) : [headOf(right)])
  })
  const release = (path: string): boolean => {
    const awaited = gates.has(path)
    gateOf(path).resolve()
    return awaited
  }
  return Object.assign(raw, { files, scripts, gets, release })
})
