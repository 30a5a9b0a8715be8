import { Cause, Effect, Stream } from "effect"
import { HttpServerRequest } from "effect/http"
import type { RangeSpec } from "../../../src/domain/rfc/ByteRange.ts"
import { Proxy } from "../../../src/http/proxy/Proxy.ts"
import * as Invariants from "./invariants.ts"
import type { Period } from "./machine.ts"
import { ORIGIN, type OriginFile } from "./origin.ts"
import { type Leg, versionField } from "./schedule.ts"
import { fieldsOf, type Identity, REPLACED_AT } from "./site.ts"
import { UNSENT_BYTES } from "./spillway.ts"

/** How long the last bytes take to be sent, in milliseconds. */
const SENT_MILLIS = 50

/** Where a viewer tells what it sees. */
export interface Observer {
  readonly now: () => number
  readonly shownWithin: (time: number, millis: number, isJoined: boolean) => ReadonlyArray<Period>
  readonly note: (line: string) => void
  readonly judge: (view: Invariants.View, violation: string | undefined) => void
  /** Everybody who is waiting for something. */
  readonly views: Set<Invariants.View>
}

const field = (spec: RangeSpec | undefined): Record<string, string> => {
  if (spec === undefined) return {}
  return { range: spec._tag === "Suffix" ? `bytes=-${spec.length}` : `bytes=${spec.start}-${spec.last ?? ""}` }
}

const requestOf = (file: OriginFile, method: string, headers: Record<string, string>) =>
  HttpServerRequest.fromWeb(new Request(file.url.replace(ORIGIN, "http://spillway"), { method, headers }))

/** Pieces that a viewer was handed and has not been sent, as a server's socket has them. */
class SendQueue {
  readonly #pieces: Array<{ readonly piece: Uint8Array; readonly before: Uint8Array }> = []
  #bytes = 0

  add(piece: Uint8Array): void {
    this.#pieces.push({ piece, before: Uint8Array.from(piece) })
    this.#bytes += piece.length
  }

  /** Sends all pieces if `UNSENT_BYTES` wait, or if it must. What is wrong with them, if they have changed since they were handed over. */
  send(isForced: boolean): string | undefined {
    if (this.#bytes < UNSENT_BYTES && !isForced) return undefined
    const sent = this.#pieces.splice(0)
    this.#bytes = 0
    const changed = sent.filter(({ before, piece }) => Buffer.compare(piece, before) !== 0)
    return changed.length === 0 ? undefined : `${changed.length} pieces were overwritten before they were sent`
  }
}

/** One request, read as `leg` says; every byte of the answer is judged. */
const watch = Effect.fnUntraced(function*(
  id: string,
  file: OriginFile,
  leg: Leg,
  identity: Identity | undefined,
  observer: Observer
) {
  const { judge, note, now, shownWithin } = observer
  const opened = now()
  const view: Invariants.View = {
    id,
    file,
    spec: leg.range,
    opened,
    identity,
    decodes: leg.accepts?.codings ?? [],
    isHead: leg.isHead === true,
    // The clock may be set between the question and the answer.
    keptWithin: (millis, isJoined) => [
      ...shownWithin(opened, millis, isJoined),
      ...shownWithin(now(), millis, isJoined)
    ],
    version: undefined,
    start: 0,
    end: 0,
    received: 0,
    isStale: false,
    isJoined: false,
    isPassedOn: false,
    waitingSince: now()
  }
  observer.views.add(view)
  yield* Effect.addFinalizer(() => Effect.sync(() => observer.views.delete(view)))

  const proxy = yield* Proxy
  const { site } = file.plan
  const known = site === undefined || identity === undefined ? {} : fieldsOf(site, identity)
  const request = requestOf(file, leg.isHead === true ? "HEAD" : "GET", {
    ...field(leg.range),
    ...(leg.accepts && { "accept-encoding": leg.accepts.field }),
    ...known
  })
  const { response } = yield* Effect.provideService(proxy.handler, HttpServerRequest.HttpServerRequest, request)
  const { body, headers, status } = response
  const length = ("contentLength" in body ? body.contentLength : undefined) ??
    (headers["content-length"] === undefined ? undefined : Number(headers["content-length"]))
  note(
    `${id} ${status} ${headers["cache-status"] ?? ""} ${headers[versionField(file.plan)] ?? ""} ${
      headers["content-encoding"] ?? ""
    } ${length}`
  )
  judge(view, Invariants.onHead(view, { status, headers, length }, now()))
  if (view.version === undefined || view.isHead) return

  /** `false`: the viewer goes away. */
  const read = Effect.fnUntraced(function*(bytes: Uint8Array) {
    judge(view, Invariants.onBytes(view, bytes))
    if (leg.leaveAfter !== undefined && view.received >= leg.leaveAfter) return false
    const { stall } = leg
    if (stall !== undefined && view.received >= stall.after && view.received - bytes.length < stall.after) {
      yield* Effect.sleep(stall.millis)
    }
    if (leg.pace > 0) yield* Effect.sleep(leg.pace)
    return true
  })

  const end = (error: { readonly _tag: string } | undefined) => {
    note(`${id} ${error?._tag ?? "complete"} ${view.received}`)
    judge(view, Invariants.onEnd(view, error, now()))
  }

  view.waitingSince = undefined
  const queue = new SendQueue()
  const finish = Effect.fnUntraced(function*(error: { readonly _tag: string } | undefined) {
    end(error)
    yield* Effect.sleep(SENT_MILLIS)
    judge(view, queue.send(true))
  })
  if (body._tag === "Uint8Array" || (body._tag === "Raw" && body.body instanceof Uint8Array)) {
    queue.add(body.body as Uint8Array)
    yield* read(body.body as Uint8Array)
    return yield* finish(undefined)
  }
  if (body._tag !== "Stream") return end(undefined)
  const pull = yield* Stream.toPull(body.stream)
  while (true) {
    view.waitingSince = now()
    const pulled = yield* Effect.result(pull)
    view.waitingSince = undefined
    if (pulled._tag === "Failure") {
      const error = pulled.failure
      return yield* finish(Cause.isDone(error) ? undefined : error as { readonly _tag: string })
    }
    for (const bytes of pulled.success) {
      queue.add(bytes)
      if (!(yield* read(bytes))) return note(`${id} left ${view.received}`)
    }
    judge(view, queue.send(false))
  }
}, Effect.scoped)

/** A viewer, one leg after another. */
export const visit = Effect.fnUntraced(
  function*(
    id: string,
    file: OriginFile,
    legs: ReadonlyArray<Leg>,
    identity: Identity | undefined,
    observer: Observer
  ) {
    for (const [i, leg] of legs.entries()) yield* watch(`${id}.${i}`, file, leg, identity, observer)
  }
)

/** A viewer who has the origin delete a file, or replaces it. */
export const alter = Effect.fnUntraced(function*(method: "DELETE" | "PUT", file: OriginFile, { note, now }: Observer) {
  const proxy = yield* Proxy
  const request = requestOf(file, method, {})
  const { response: { headers, status } } = yield* Effect.provideService(
    proxy.handler,
    HttpServerRequest.HttpServerRequest,
    request
  )
  note(`${method} ${file.url} ${status}`)
  if (status !== 204) return
  if (method === "DELETE") file.foundGone(now())
  else file.foundReplaced(Number(headers[REPLACED_AT]), now())
}, Effect.scoped)
