import { Context, Effect, Latch, Layer, Stream } from "effect"
import { OriginBodyFailed, type OriginError, OriginTimeout, OriginUnreachable } from "../domain/OriginError.ts"
import { OriginFault } from "../domain/OriginFault.ts"
import { formatContentRange, formatRange, formatUnsatisfied, parseRange, resolve } from "../domain/rfc/ByteRange.ts"
import { Origin, type OriginRequest, type OriginResponse } from "../services/origin/Origin.ts"

/**
 * A file that the origin has.
 *
 * @since 0.1.0
 * @category testing
 */
export interface MemoryFile {
  readonly bytes: Uint8Array
  readonly etag?: string
  readonly lastModified?: string
  readonly headers?: Record<string, string>
  /** `false`: every answer is the whole file. */
  readonly acceptsRanges?: boolean
  /** `true`: answers have no `Content-Length`. */
  readonly isChunked?: boolean
  /** What it is in content codings, for requests that accept them. The first one that is accepted is used. */
  readonly coded?: Readonly<Record<string, MemoryFile>>
}

/**
 * What the origin does to one answer instead of sending it whole.
 *
 * @since 0.1.0
 * @category testing
 */
export type Misbehaviour =
  /** No connection. */
  | { readonly _tag: "Refuse" }
  /** The connection breaks after this many bytes of the body. */
  | { readonly _tag: "Reset"; readonly after: number }
  /** The body ends after this many bytes as if that were all. */
  | { readonly _tag: "Truncate"; readonly after: number }
  /** Nothing comes after this many bytes, until Spillway gives up after `millis`; without it, until the connection is closed. */
  | { readonly _tag: "Stall"; readonly after: number; readonly millis?: number }
  /** Not even a header comes, until Spillway gives up after `millis`. */
  | { readonly _tag: "Silent"; readonly millis: number }
  /** The answer is this status, without the file. */
  | { readonly _tag: "Status"; readonly status: number; readonly headers?: Record<string, string> }
  /** The bytes sent start this far from where the answer says. */
  | { readonly _tag: "Shift"; readonly by: number }
  /** The answer is of a range that starts this many bytes after the one that was requested, and says so. */
  | { readonly _tag: "Displace"; readonly by: number }

/**
 * A request as the origin saw it, and how many body bytes were taken of its answer.
 *
 * @since 0.1.0
 * @category testing
 */
export interface MemoryRequest extends OriginRequest {
  sent: number
}

/**
 * The files of an origin in memory, its requests, and how it misbehaves.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { MemoryOrigin } from "spillway/testing"
 *
 * const breakOff = Effect.map(MemoryOrigin.MemoryOrigin, (origin) => {
 *   origin.files.set("https://media.example.org/a", { bytes: new Uint8Array(1000), etag: "\"1\"" })
 *   // The first response breaks off in its middle.
 *   origin.behaviour = (_, index) => index === 0 ? { _tag: "Reset", after: 500 } : undefined
 * })
 * ```
 *
 * @since 0.1.0
 * @category services
 */
export class MemoryOrigin extends Context.Service<MemoryOrigin, {
  /** Files by URL. */
  readonly files: Map<string, MemoryFile>
  readonly requests: Array<MemoryRequest>
  /** Decides about each request; without it, or where it returns `undefined`, the origin behaves. */
  behaviour: ((request: MemoryRequest, index: number) => Misbehaviour | undefined) | undefined
  /** Called when a misbehaviour has taken effect. */
  struck: ((request: MemoryRequest, misbehaviour: Misbehaviour) => void) | undefined
  /** How many bytes come at a time. */
  sliceBytes: number
  /** How long each header and each of these takes, in milliseconds; no time at all without it. */
  latency: (() => number) | undefined
  /** How many answers have not been read to their end or given up: connections that are in use. */
  open: number
}>()("spillway/testing/MemoryOrigin") {}

const head = (status: number, headers: Record<string, string>): OriginResponse => ({
  status,
  headers,
  setCookie: [],
  body: Stream.empty
})

/** The file in the content coding that the origin chooses for `request`. */
const chosen = (file: MemoryFile, request: OriginRequest): MemoryFile => {
  const accepted = (request.headers["accept-encoding"] ?? "").split(/[\s,]+/)
  const [coding, coded] = Object.entries(file.coded ?? {}).find(([coding]) => accepted.includes(coding)) ?? []
  if (coded === undefined) return file
  return { ...coded, headers: { ...coded.headers, "content-encoding": coding! } }
}

const answer = (file: MemoryFile, request: OriginRequest): { response: OriginResponse; start: number; end: number } => {
  const size = file.bytes.length
  const headers: Record<string, string> = {
    ...(file.etag !== undefined && { etag: file.etag }),
    ...(file.lastModified !== undefined && { "last-modified": file.lastModified }),
    ...(file.acceptsRanges !== false && { "accept-ranges": "bytes" }),
    ...file.headers
  }
  const noneMatch = request.headers["if-none-match"]
  const since = request.headers["if-modified-since"]
  if (noneMatch !== undefined ? noneMatch === file.etag : since !== undefined && since === file.lastModified) {
    return { response: head(304, headers), start: 0, end: 0 }
  }
  const spec = file.acceptsRanges === false ? undefined : parseRange(request.headers["range"])
  const range = spec === undefined ? { start: 0, end: size } : resolve(spec, size)
  if (range === undefined) {
    return {
      response: head(416, { "content-range": formatUnsatisfied(size), "content-length": "0" }),
      start: 0,
      end: 0
    }
  }
  if (spec !== undefined) headers["content-range"] = formatContentRange(range, size)
  if (file.isChunked !== true) headers["content-length"] = String(range.end - range.start)
  const { end, start } = range
  return {
    response: head(spec === undefined ? 200 : 206, headers),
    start,
    end: request.method === "HEAD" ? start : end
  }
}

/** The request for a range that starts `by` bytes later. */
const displaced = (request: OriginRequest, by: number): OriginRequest => {
  const spec = parseRange(request.headers["range"])
  if (spec?._tag !== "From" || (spec.last !== undefined && spec.start + by > spec.last)) return request
  return {
    ...request,
    headers: { ...request.headers, range: formatRange(spec.start + by, spec.last && spec.last + 1) }
  }
}

const make = () => {
  const knobs: MemoryOrigin["Service"] = {
    files: new Map(),
    requests: [],
    behaviour: undefined,
    struck: undefined,
    sliceBytes: 16 * 1024,
    latency: undefined,
    open: 0
  }

  // An answer takes a turn, as over a network.
  const turn = Effect.suspend(() => knobs.latency === undefined ? Effect.yieldNow : Effect.sleep(knobs.latency()))

  const request = Effect.fnUntraced(function*(origin: OriginRequest) {
    yield* Effect.acquireRelease(Effect.sync(() => knobs.open += 1), () => Effect.sync(() => knobs.open -= 1))
    const closed = yield* Latch.make(false)
    yield* Effect.addFinalizer(() => closed.open)
    yield* turn
    origin.onAdmitted?.(origin)
    const seen: MemoryRequest = { ...origin, sent: 0 }
    const index = knobs.requests.push(seen) - 1
    const { url } = origin
    const fault = knobs.behaviour?.(seen, index)
    const strike = Effect.sync(() => {
      if (fault !== undefined) knobs.struck?.(seen, fault)
    })
    switch (fault?._tag) {
      case "Refuse":
        yield* strike
        return yield* new OriginUnreachable({ url, cause: new OriginFault("ECONNREFUSED") })
      case "Silent":
        yield* Effect.sleep(fault.millis)
        yield* strike
        return yield* new OriginTimeout({ url, phase: "header" })
      case "Status":
        yield* strike
        return head(fault.status, { "content-length": "0", ...fault.headers })
    }
    const known = knobs.files.get(url)
    if (known === undefined) return head(404, { "content-length": "0" })
    const file = chosen(known, origin)
    const { end, response, start } = answer(file, fault?._tag === "Displace" ? displaced(origin, fault.by) : origin)
    if (fault?._tag === "Displace") yield* strike
    const limit = fault !== undefined && "after" in fault ? Math.min(end, start + fault.after) : end
    const shift = fault?._tag === "Shift" ? fault.by : 0
    const sliceAt = (from: number, to: number): Uint8Array =>
      shift === 0
        ? file.bytes.subarray(from, to)
        : Uint8Array.from({ length: to - from }, (_, i) => file.bytes[(from + i + shift) % file.bytes.length]!)
    const bytes = Stream.unfold(start, (offset) =>
      Effect.map(turn, () => {
        if (offset >= limit) return undefined
        const next = Math.min(limit, offset + knobs.sliceBytes)
        seen.sent += next - offset
        return [sliceAt(offset, next), next] as const
      }))
    const rest = Stream.suspend((): Stream.Stream<never, OriginError> => {
      switch (fault?._tag) {
        case "Reset":
          return limit < end
            ? Stream.fail(new OriginBodyFailed({ url, offset: limit, cause: new OriginFault("ECONNRESET") }))
            : Stream.empty
        case "Stall":
          return fault.millis === undefined
            ? Stream.fromEffectDrain(
              Effect.andThen(
                closed.await,
                Effect.fail(new OriginBodyFailed({ url, offset: limit, cause: new OriginFault("CLOSED") }))
              )
            )
            : Stream.fromEffectDrain(
              Effect.andThen(Effect.sleep(fault.millis), Effect.fail(new OriginTimeout({ url, phase: "body" })))
            )
        default:
          return Stream.empty
      }
    })
    const failing = Stream.concat(
      Stream.fromEffectDrain(limit < end || fault?._tag === "Stall" ? strike : Effect.void),
      rest
    )
    return { ...response, body: Stream.concat(bytes, failing) }
  })
  return Context.make(MemoryOrigin, knobs).pipe(Context.add(Origin, Origin.of({ request })))
}

/**
 * An origin in memory, which misbehaves when told to.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Origin | MemoryOrigin> = Layer.effectContext(Effect.sync(make))
