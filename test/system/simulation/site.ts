import { Effect, Exit, Scope, Stream } from "effect"
import {
  Cookies,
  Headers,
  HttpClient,
  HttpClientError,
  type HttpClientRequest,
  type HttpClientResponse
} from "effect/http"
import type { OriginError } from "../../../src/domain/OriginError.ts"
import type { Origin, OriginResponse } from "../../../src/services/origin/Origin.ts"
import type { MemoryOrigin } from "../../../src/testing/MemoryOrigin.ts"
import { randomBytes } from "../../support/TestOrigin.ts"
import { ORIGIN, type OriginFile } from "./origin.ts"
import type * as Random from "./random.ts"

/** The response field that says when a PUT replaced a file. */
export const REPLACED_AT = "x-replaced-at"

/** The origin sends its bytes to everybody. */
export const plain: SitePlan = {
  gate: undefined,
  refuses: false,
  hop: undefined,
  control: undefined,
  head: "true",
  ranges: "announced"
}

/** The request field that tells who may have a file. */
export type GateField = "accept-language" | "authorization" | "cookie" | "x-api-key"

/** How an origin answers for a file, besides sending its bytes. */
export interface SitePlan {
  /** Who gets the file, and what all others get: a page in its place, a redirect to that page, or a refusal. */
  readonly gate: { readonly field: GateField; readonly others: "page" | "redirect" | "refused" } | undefined
  /** Requests with `X-Evil` are answered 403. */
  readonly refuses: boolean
  /** The file's URL redirects to another one, whose answers are fresh for as long as the file's plan says. */
  readonly hop: Hop | undefined
  /** A directive beside `max-age`. */
  readonly control: "no-store" | "private" | undefined
  /** The length that answers to HEAD have. */
  readonly head: "empty" | "long" | "true"
  /** The kind of answers to requests for ranges. */
  readonly ranges: "announced" | "bare" | "capped" | "unannounced" | "unclamped"
}

export interface Hop {
  readonly status: 301 | 302 | 307 | 308
  readonly cacheControl: string | undefined
  /** What that, or its absence, says, in seconds; `undefined` for as long as one likes. */
  readonly seconds: number | undefined
  readonly setsCookie: boolean
}

/** What a viewer sends besides its range. */
export interface Identity {
  readonly isMember: boolean
  readonly isEvil: boolean
}

/** The page that those get who may not have a file. */
export const PAGE_ETAG = "\"page\""
export const page = randomBytes(777, 99)

const MEMBER: Readonly<Record<GateField, string>> = {
  "accept-language": "de",
  authorization: "Bearer member",
  cookie: "session=member",
  "x-api-key": "member"
}

/** The fields by which a viewer is known to the origin. */
export const fieldsOf = ({ gate }: SitePlan, { isEvil, isMember }: Identity): Record<string, string> => ({
  ...(isEvil && { "x-evil": "<script>" }),
  ...(gate !== undefined && isMember && { [gate.field]: MEMBER[gate.field] })
})

export const planOf = (random: Random.Random): SitePlan => {
  const hop: Hop | undefined = random.weighted<() => Hop | undefined>([
    [() => undefined, 5],
    [() => ({ status: 302, cacheControl: undefined, seconds: 0, setsCookie: random.chance(0.3) }), 1],
    [() => ({ status: random.pick([301, 308]), cacheControl: undefined, seconds: undefined, setsCookie: false }), 1],
    [() => {
      const seconds = random.int(1, 5)
      return { status: random.pick([302, 307]), cacheControl: `max-age=${seconds}`, seconds, setsCookie: false }
    }, 2],
    [() => ({ status: 302, cacheControl: random.pick(["no-store", "private"]), seconds: 0, setsCookie: false }), 1]
  ])()
  const gated: ReadonlyArray<GateField> = ["cookie", "cookie", "authorization", "x-api-key", "accept-language"]
  return {
    gate: random.chance(0.5)
      ? { field: random.pick(gated), others: random.pick(["page", "redirect", "refused"]) }
      : undefined,
    refuses: random.chance(0.3),
    hop,
    control: random.weighted([[undefined, 8], ["private" as const, 1], ["no-store" as const, 1]]),
    head: random.pick(["empty", "long", "true"]),
    ranges: random.weighted([
      ["announced" as const, 3],
      ["unannounced" as const, 1],
      ["bare" as const, 1],
      ["capped" as const, 1],
      ["unclamped" as const, 1]
    ])
  }
}

/** What is asked of a site. */
interface Asked {
  readonly method: string
  readonly headers: Readonly<Record<string, string>>
}

const answer = (status: number, headers: Record<string, string>): OriginResponse => ({
  status,
  headers: { "content-length": "0", ...headers },
  setCookie: headers["set-cookie"] === undefined ? [] : [headers["set-cookie"]],
  body: Stream.empty
})

const redirect = (status: number, location: string, cacheControl?: string): OriginResponse =>
  answer(status, { location, ...(cacheControl !== undefined && { "cache-control": cacheControl }) })

const withFields = (response: OriginResponse, headers: Record<string, string>): OriginResponse => ({
  ...response,
  headers: { ...response.headers, ...headers }
})

/** The bytes of a part that is sent at most by those that cap what they send. */
const CAP_BYTES = 900

/** The request that a site of this kind answers in place of `asked`. */
const misread = (ranges: SitePlan["ranges"], { headers, ...asked }: Asked): Asked => {
  const [, start, last] = /^bytes=(\d+)-(\d*)$/.exec(headers["range"] ?? "") ?? []
  if (ranges !== "capped" || start === undefined) return { ...asked, headers }
  const capped = Number(start) + CAP_BYTES - 1
  return {
    ...asked,
    headers: { ...headers, range: `bytes=${start}-${last ? Math.min(Number(last), capped) : capped}` }
  }
}

/** An answer of the memory origin's as a site of this kind words it. */
const worded = (ranges: SitePlan["ranges"], asked: Asked, response: OriginResponse): OriginResponse => {
  const { "accept-ranges": _, ...unannounced } = response.headers
  if (ranges === "unannounced") return { ...response, headers: unannounced }
  if (response.status !== 206) return response
  const { etag: _1, "last-modified": _2, ...bare } = response.headers
  // As RFC 9110 §15.3.7 tells senders to.
  if (ranges === "bare" && asked.headers["if-range"] !== undefined) return { ...response, headers: bare }
  const [, last] = /^bytes=\d+-(\d+)$/.exec(asked.headers["range"] ?? "") ?? []
  const [, start, size] = /^bytes (\d+)-\d+\/(\d+)$/.exec(response.headers["content-range"] ?? "") ?? []
  if (ranges !== "unclamped" || last === undefined || start === undefined) return response
  return withFields(response, { "content-range": `bytes ${start}-${last}/${size}` })
}

const underlying = (error: OriginError): unknown => "cause" in error ? error.cause : new Error("ETIMEDOUT")

/** A response of the platform's, as far as `Origin` looks at it. */
const responseOf = (
  request: HttpClientRequest.HttpClientRequest,
  { body, headers, setCookie, status }: OriginResponse,
  errorOf: (error: OriginError) => HttpClientError.HttpClientError
): HttpClientResponse.HttpClientResponse =>
  ({
    request,
    status,
    headers: Headers.fromInput(headers),
    cookies: Cookies.empty,
    source: { headers: { "set-cookie": setCookie.length === 0 ? undefined : setCookie } },
    stream: Stream.mapError(body, errorOf)
  }) as unknown as HttpClientResponse.HttpClientResponse

export interface SiteOptions {
  readonly origin: Origin["Service"]
  readonly memory: MemoryOrigin["Service"]
  readonly fileOf: (url: string) => OriginFile | undefined
  readonly now: () => number
  readonly note: (line: string) => void
}

/** The network with the origin in it: a client that `Origin` asks, so that redirects and the gate are the real ones. */
export const makeClient = ({ fileOf, memory, now, note, origin }: SiteOptions): HttpClient.HttpClient => {
  const pageUrl = `${ORIGIN}/page`
  memory.files.set(pageUrl, { bytes: page, etag: PAGE_ETAG, headers: { "cache-control": "max-age=60" } })

  const turn = Effect.suspend(() => Effect.sleep(memory.latency?.() ?? 0))

  const fileAnswer = Effect.fnUntraced(function*(file: OriginFile, site: SitePlan, asked: Asked) {
    const response = yield* origin.request({ ...misread(site.ranges, asked), url: file.url })
    const control = file.isTakenBack() ? "no-store" : site.control
    const known = response.status === 404 || control === undefined
      ? response
      : withFields(response, { "cache-control": `${control}, ${response.headers["cache-control"]}` })
    const told = worded(site.ranges, asked, known)
    if (asked.method !== "HEAD" || told.status !== 200 || site.head === "true") return told
    const length = site.head === "empty" ? 0 : Number(told.headers["content-length"]) + 4321
    return withFields(told, { "content-length": String(length) })
  })

  const siteAnswer = Effect.fnUntraced(function*(file: OriginFile, site: SitePlan, asked: Asked) {
    const { gate, hop, refuses } = site
    if (asked.method === "DELETE") {
      yield* turn
      file.change("gone", 0, now())
      return answer(204, {})
    }
    if (asked.method === "PUT") {
      yield* turn
      file.change("new", file.plan.size, now())
      return answer(204, { [REPLACED_AT]: String(now()) })
    }
    if (refuses && asked.headers["x-evil"] !== undefined) {
      yield* turn
      file.refused(now())
      return answer(403, {})
    }
    if (gate !== undefined && asked.headers[gate.field] !== MEMBER[gate.field]) {
      if (gate.others === "page") return yield* origin.request({ ...asked, url: pageUrl })
      yield* turn
      return gate.others === "redirect" ? redirect(302, "/page") : answer(403, {})
    }
    if (hop === undefined) return yield* fileAnswer(file, site, asked)
    yield* turn
    const location = `/data/${file.plan.name}`
    const moved = redirect(hop.status, location, hop.cacheControl)
    return hop.setsCookie
      ? { ...withFields(moved, { "set-cookie": "seen=1" }), setCookie: ["seen=1"] }
      : moved
  })

  const request = Effect.fnUntraced(function*(url: string, asked: Asked) {
    const target = fileOf(url.replace("/data/", "/"))
    const site = target?.plan.site
    if (target === undefined || site === undefined) return yield* origin.request({ ...asked, url })
    if (url.includes("/data/")) return yield* fileAnswer(target, site, asked)
    const response = yield* siteAnswer(target, site, asked)
    note(`site ${asked.method} ${url} ${response.status} ${asked.headers["range"] ?? ""}`)
    return site.gate?.field === "accept-language" ? withFields(response, { vary: "accept-language" }) : response
  })

  return HttpClient.make((message, url, signal) =>
    Effect.gen(function*() {
      const errorOf = (error: OriginError) =>
        new HttpClientError.HttpClientError({
          reason: new HttpClientError.TransportError({ request: message, cause: underlying(error) })
        })
      const scope = yield* Scope.make()
      // As with a socket, the connection is closed by the signal.
      signal.addEventListener("abort", () => Effect.runSync(Scope.close(scope, Exit.void)))
      const asked = { method: message.method, headers: { ...message.headers } as Record<string, string> }
      const response = yield* request(url.href, asked).pipe(Scope.provide(scope), Effect.mapError(errorOf))
      return responseOf(message, response, errorOf)
    })
  )
}
