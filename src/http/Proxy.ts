import { Clock, Context, Effect, Layer, type Scope, Stream } from "effect"
import { type Cookies, HttpServerRequest, HttpServerResponse } from "effect/http"
import { formatContentRange, formatUnsatisfied, parseRange } from "../domain/ByteRange.ts"
import * as CacheStatus from "../domain/CacheStatus.ts"
import { endToEnd, type HeaderFields } from "../domain/Headers.ts"
import type { OriginError } from "../domain/OriginError.ts"
import { isNotModified } from "../domain/Preconditions.ts"
import type { Resource } from "../domain/Resource.ts"
import { type Media, MediaStream } from "../services/MediaStream.ts"
import { Origin } from "../services/Origin.ts"
import { Admin, PREFIX } from "./Admin.ts"
import { resourcesOf } from "./target.ts"

type Response = HttpServerResponse.HttpServerResponse

/** Answers a request for a path of the origin's; never fails. */
export type Handler = Effect.Effect<Response, never, HttpServerRequest.HttpServerRequest | Scope.Scope>

/**
 * The reverse proxy as an HTTP handler: requests to `MediaStream`, and what it opens to responses. Knows HTTP, and nothing
 * of disks.
 */
export class Proxy extends Context.Service<Proxy, {
  /** The handler for one origin, an absolute `http` or `https` URL without query. */
  readonly to: (origin: URL) => Handler
}>()("spillway/http/Proxy") {
  static readonly layer: Layer.Layer<Proxy, never, Admin | MediaStream | Origin> = Layer.effect(
    Proxy,
    Effect.suspend(() => make)
  )
}

const text = (
  status: number,
  body: string,
  cacheStatus: CacheStatus.CacheStatus,
  headers: HeaderFields = {}
): Response =>
  HttpServerResponse.text(`${body}\n`, {
    status,
    headers: { ...headers, "cache-status": CacheStatus.format(cacheStatus) }
  })

const refused = (status: number, reason: string, headers: HeaderFields = {}): Response =>
  text(status, reason, { fwd: "bypass", detail: "REFUSED" }, headers)

/** What the viewer is told when the origin failed before the first byte. */
const originFailed = (error: OriginError): Response => {
  switch (error._tag) {
    case "OriginTimeout":
      return text(504, "The origin did not answer in time", { fwd: "miss", detail: "ORIGIN_TIMEOUT" })
    case "OriginUnreachable":
      return text(502, "The origin cannot be reached", { fwd: "miss", detail: "ORIGIN_UNREACHABLE" })
    default:
      return text(502, "The origin's answer cannot be used", { fwd: "miss", detail: "ORIGIN_UNEXPECTED" })
  }
}

/** A URL as it may be logged: queries hold secrets. */
const loggable = (url: string): string => url.replace(/\?.*$/s, "?…")

interface Head {
  readonly status: number
  readonly headers: HeaderFields
  readonly cookies?: Cookies.Cookies
}

/** An answer with exactly these fields: the platform would invent a `Content-Type` for a body that has none. */
const answer = (body: Uint8Array | Stream.Stream<Uint8Array, OriginError>, head: Head): Response => {
  const typed = head.headers["content-type"] !== undefined
  if (body instanceof Uint8Array) {
    return typed ? HttpServerResponse.uint8Array(body, head) : HttpServerResponse.raw(body, head)
  }
  const response = HttpServerResponse.stream(body, head)
  return typed ? response : HttpServerResponse.removeHeader(response, "content-type")
}

/** Fields of a request that are Spillway's own business on the way to the origin. */
const ofTheHop = new Set(["host", "expect", "accept-encoding"])

const replaced = new Set(["set-cookie", "cache-status"])

const make = Effect.gen(function*() {
  const media = yield* MediaStream
  const admin = yield* Admin
  const origin = yield* Origin
  const clock = yield* Clock.Clock

  const logCut = (url: string) => (error: OriginError) =>
    Effect.logWarning("Response cut: the origin failed").pipe(
      Effect.annotateLogs({ url: loggable(url), error: error._tag, reason: error.message.replace(url, loggable(url)) })
    )

  /** The request as it is to the origin, and its answer as it is to the viewer. */
  const forward = Effect.fnUntraced(function*(
    resource: Resource,
    request: HttpServerRequest.HttpServerRequest,
    detail: string
  ) {
    const method = request.method === "HEAD" ? "HEAD" : "GET"
    const response = yield* origin.request({
      method,
      url: resource.url,
      headers: endToEnd(request.headers, ofTheHop)
    })
    const { body, cookies, status } = response
    const headers = {
      ...endToEnd(response.headers, replaced),
      "cache-status": CacheStatus.format({ fwd: "bypass", detail })
    }
    const bodiless = method === "HEAD" || status === 204 || status === 304
    return bodiless
      ? HttpServerResponse.empty({ status, headers, cookies })
      : answer(Stream.tapError(body, logCut(resource.url)), { status, headers, cookies })
  })

  /** The head of the answer, and whether a body follows. */
  const headOf = (
    opened: Media,
    request: HttpServerRequest.HttpServerRequest
  ): Head & { readonly hasBody: boolean } => {
    const { entry: { confirmed, representation }, isPartial, range, status: cacheStatus } = opened
    const headers: Record<string, string> = {
      ...representation.headers,
      "accept-ranges": "bytes",
      "cache-status": CacheStatus.format(cacheStatus)
    }
    const age = Math.floor((clock.currentTimeMillisUnsafe() - confirmed) / 1000)
    if (confirmed > 0 && age > 0) headers["age"] = String(age)
    if (isNotModified(request.headers, representation)) {
      delete headers["content-type"]
      return { status: 304, headers, hasBody: false }
    }
    if (range === undefined) {
      headers["content-range"] = formatUnsatisfied(representation.size)
      headers["content-length"] = "0"
      delete headers["content-type"]
      return { status: 416, headers, hasBody: false }
    }
    headers["content-length"] = String(range.end - range.start)
    if (isPartial) headers["content-range"] = formatContentRange(range, representation.size)
    return { status: isPartial ? 206 : 200, headers, hasBody: request.method === "GET" }
  }

  const respond = Effect.fnUntraced(function*(opened: Media, request: HttpServerRequest.HttpServerRequest) {
    const head = headOf(opened, request)
    if (!head.hasBody) return HttpServerResponse.empty(head)
    if (opened.body instanceof Uint8Array) return answer(opened.body, head)
    const { url } = opened.entry.representation
    return answer(Stream.tapError(yield* opened.body, logCut(url)), head)
  })

  /** The answer where that takes no waiting, which most do: everything else is left to `get`. */
  const getNow = (resource: Resource, request: HttpServerRequest.HttpServerRequest): Response | undefined => {
    const { headers, method } = request
    if (method !== "GET" || headers["authorization"] !== undefined) return undefined
    const opened = media.openNow({ resource, range: parseRange(headers["range"]), ifRange: headers["if-range"] })
    if (!(opened?.body instanceof Uint8Array)) return undefined
    const head = headOf(opened, request)
    return head.hasBody ? answer(opened.body, head) : HttpServerResponse.empty(head)
  }

  const get = Effect.fnUntraced(function*(
    resource: Resource,
    request: HttpServerRequest.HttpServerRequest
  ): Effect.fn.Return<Response, OriginError, Scope.Scope> {
    // An answer to one viewer's credentials is that viewer's.
    if (request.headers["authorization"] !== undefined) return yield* forward(resource, request, "AUTHORIZATION")
    const opened = request.method === "HEAD"
      ? yield* media.head(resource)
      : yield* media.open({
        resource,
        range: parseRange(request.headers["range"]),
        ifRange: request.headers["if-range"]
      })
    switch (opened._tag) {
      case "Media":
        return yield* respond(opened, request)
      case "NotStorable":
        return yield* forward(resource, request, opened.reason)
      case "Final": {
        const { body, cookies, head } = opened
        const headers = {
          ...endToEnd(head.headers, replaced),
          "cache-status": CacheStatus.format({ fwd: "miss", fwdStatus: head.status })
        }
        return request.method === "HEAD" || body.length === 0
          ? HttpServerResponse.empty({ status: head.status, headers, cookies })
          : answer(body, { status: head.status, headers, cookies })
      }
    }
  })

  const fetch = (resource: Resource, request: HttpServerRequest.HttpServerRequest) =>
    get(resource, request).pipe(
      // Found out before the first byte: the second time, the new file is asked for.
      Effect.catchTag("RepresentationChanged", () => get(resource, request)),
      Effect.catch((error) =>
        Effect.as(
          Effect.logWarning("Origin failed").pipe(
            Effect.annotateLogs({ url: loggable(resource.url), error: error._tag })
          ),
          originFailed(error)
        )
      )
    )

  const handle = (origin: URL): Handler => {
    const find = resourcesOf(origin)
    return Effect.flatMap(HttpServerRequest.HttpServerRequest, (request): Handler => {
      if (request.method !== "GET" && request.method !== "HEAD") {
        return Effect.succeed(refused(405, "Only GET and HEAD are served", { allow: "GET, HEAD" }))
      }
      if (request.url.startsWith(PREFIX)) return admin.answer(request.url)
      const resource = find(request.url)
      if ("status" in resource) return Effect.succeed(refused(resource.status, resource.reason))
      const now = getNow(resource, request)
      // The platform runs handlers to their end otherwise, though the viewer may have gone.
      return now === undefined ? Effect.interruptible(fetch(resource, request)) : Effect.succeed(now)
    }).pipe(
      Effect.catchDefect((defect) =>
        Effect.as(Effect.logError("Defect while answering a request", defect), refused(500, "Internal error"))
      )
    )
  }

  return Proxy.of({ to: handle })
})
