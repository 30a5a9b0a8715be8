import { Cache, Clock, Effect, Equal, Exit, type Scope, Stream } from "effect"
import type { Authorization, AwsKeys, AwsProfile } from "../../../domain/OriginAccess.ts"
import {
  loggable,
  type OriginError,
  OriginForbidden,
  OriginUnexpected,
  OriginUnreachable
} from "../../../domain/OriginError.ts"
import type { OriginFault } from "../../../domain/OriginFault.ts"
import type { Hop } from "../../../domain/Redirect.ts"
import type { HeaderFields } from "../../../domain/rfc/HeaderFields.ts"
import * as HttpDate from "../../../domain/rfc/HttpDate.ts"
import { isRead } from "../../../domain/rfc/Method.ts"
import type { HopResponse, SendRequest } from "../HopResponse.ts"
import type { OriginRequest } from "../Origin.ts"
import { readProfile } from "./awsProfile.ts"
import { canonicalPath, signed } from "./signature.ts"

type Signing = Extract<Authorization, { readonly _tag: "SigV4" }>

/** How long after a failure a profile is read again, in milliseconds. */
const FAILED_MILLIS = 1000

/** How many profiles are remembered. */
const MAX_PROFILES = 64

/** How far this machine's clock may differ from that of the server, in milliseconds. S3 refuses signatures that are 15 minutes old. */
const SKEW_MILLIS = 4 * 60_000

/** How often the keys of a profile are read again because they are refused, in milliseconds. Files that nobody may read are refused as well. */
const RENEW_MILLIS = 10_000

/** How much of an error is read, in bytes. */
const ERROR_BYTES = 8 * 1024

/** What is sent of a viewer's request, besides the fields that the route sets. Each field that begins with `x-amz-` would have to be signed. */
const sent = new Set([
  "accept-encoding",
  "if-match",
  "if-modified-since",
  "if-none-match",
  "if-range",
  "if-unmodified-since",
  "range",
  "user-agent",
  "via"
])

/** What of that isn't signed, because it may be changed on the way. */
const unsigned = new Set(["accept-encoding", "user-agent", "via"])

/** Errors that are about the configuration of the route, and not about a file. */
const ofTheRoute = new Set([
  "AuthorizationHeaderMalformed",
  "ExpiredToken",
  "InvalidAccessKeyId",
  "InvalidBucketName",
  "InvalidToken",
  "NoSuchBucket",
  "RequestTimeTooSkewed",
  "SignatureDoesNotMatch",
  "TokenRefreshRequired"
])

const without = (status: number, headers: HeaderFields = {}): HopResponse => ({
  status,
  headers: { "content-length": "0", ...headers },
  setCookie: [],
  stream: Stream.empty
})

const partOf = (fields: HeaderFields, isPart: (name: string) => boolean): HeaderFields =>
  Object.fromEntries(Object.entries(fields).filter(([name]) => isPart(name)))

/** The beginning of a body. */
const beginning = (response: HopResponse): Effect.Effect<string> => {
  const pieces: Array<Uint8Array> = []
  let length = 0
  return Stream.runForEachWhile(response.stream, (piece) =>
    Effect.sync(() => {
      pieces.push(piece)
      return (length += piece.length) < ERROR_BYTES
    })).pipe(Effect.ignore, Effect.map(() => Buffer.concat(pieces).subarray(0, ERROR_BYTES).toString("latin1")))
}

/** A word that an error of S3 has in an element, or nothing. */
const wordIn = (text: string, element: string): string | undefined =>
  new RegExp(`<${element}>([\\w-]{1,64})</${element}>`).exec(text)?.[1]

/** The keys of routes, which those of a profile replace over time. */
const makeKeys = Effect.map(
  Cache.makeWith(readProfile, {
    capacity: MAX_PROFILES,
    timeToLive: Exit.match({ onFailure: () => FAILED_MILLIS, onSuccess: ({ lasting }) => lasting })
  }),
  (profiles) => ({
    current: (keys: AwsKeys | AwsProfile): Effect.Effect<AwsKeys, OriginFault> =>
      keys._tag === "Keys" ? Effect.succeed(keys) : Effect.map(Cache.get(profiles, keys), ({ keys }) => keys),
    forget: (keys: AwsKeys | AwsProfile) => keys._tag === "Keys" ? Effect.void : Cache.invalidate(profiles, keys)
  })
)

const withoutSlashes = (path: string): string => path.replace(/\/+$/, "")

/** `hop` as S3 is asked: for a file by its canonical name, without a query. `undefined` if that can't be a file. */
const toFile = (hop: Hop, method: string): Hop | undefined => {
  const path = canonicalPath(hop.url.pathname)
  if (path === undefined) return undefined
  // GET would list the bucket.
  const isRoot = withoutSlashes(hop.url.pathname) === withoutSlashes(hop.server?.url.pathname ?? "")
  if (isRoot && method !== "HEAD") return undefined
  const url = new URL(hop.url)
  url.pathname = path
  url.search = ""
  return { ...hop, url }
}

/** What S3 says besides the file, such as the name of the key that it is encrypted with, isn't for viewers. */
const forViewers = (response: HopResponse): HopResponse => ({
  ...response,
  headers: partOf(response.headers, (name) => !name.startsWith("x-amz-") || name.startsWith("x-amz-meta-"))
})

/** The refusal `response`, whose body began with `text`, for the viewer: without its body, which may have what was signed. */
const refusal = (url: string, { headers, status }: HopResponse, text: string, { region: used }: Signing) => {
  const region = headers["x-amz-bucket-region"] ?? wordIn(text, "Region")
  const elsewhere = region === undefined || region === used ? "" : `; the bucket is in the region ${region}`
  const code = wordIn(text, "Code")
  if (status < 400) {
    return Effect.fail(new OriginUnexpected({ url, status, detail: `the bucket has another endpoint${elsewhere}` }))
  }
  if (code !== undefined && ofTheRoute.has(code)) {
    return Effect.fail(new OriginUnexpected({ url, status, detail: `${code}${elsewhere}` }))
  }
  const { "cache-control": control, "content-range": range, date, "retry-after": retry } = headers
  return Effect.succeed(without(status, {
    ...(control !== undefined && { "cache-control": control }),
    ...(date !== undefined && { date }),
    ...(range !== undefined && { "content-range": range }),
    ...(retry !== undefined && { "retry-after": retry })
  }))
}

/**
 * Makes the function that requests files of a bucket, through `http`. Only GET and HEAD are signed: viewers who may read through Spillway must
 * not change the bucket, or request anything but its files. If the keys or the clock were refused, the request is repeated once with
 * new keys, or with the time of the server.
 */
export const makeS3Requests = Effect.fnUntraced(function*(http: SendRequest) {
  const keysOf = yield* makeKeys
  /** How far the clock of the server is ahead of this machine's, in milliseconds. */
  const offsets = new WeakMap<Signing, number>()
  /** When keys were read again because they had been refused, in milliseconds since 1970. */
  const renewed = new WeakMap<Signing, number>()

  /** Sends a request that is signed with `keys`. */
  const attempt = Effect.fnUntraced(function*(request: OriginRequest, hop: Hop, signing: Signing, keys: AwsKeys) {
    const ofRoute = request.route?.requestFields.set ?? {}
    const host = hop.server?.access.host
    const fields = partOf(hop.headers, (name) => sent.has(name) || Object.hasOwn(ofRoute, name))
    const signature = signed({
      method: request.method,
      url: hop.url,
      headers: { ...partOf(fields, (name) => !unsigned.has(name)), ...(host !== undefined && { host }) },
      region: signing.region,
      now: (yield* Clock.currentTimeMillis) + (offsets.get(signing) ?? 0)
    }, keys)
    return yield* http(request, { ...hop, headers: { ...fields, ...signature } })
  })

  /** Whether a request that was refused for `code` may be accepted now: with the time of the server, or with other keys. */
  const mayHelp = Effect.fnUntraced(
    function*(signing: Signing, used: AwsKeys, { headers }: HopResponse, code: string | undefined) {
      const now = yield* Clock.currentTimeMillis
      const date = HttpDate.parse(headers["date"])
      const offset = date === undefined ? 0 : date - now
      const isSkewed = Math.abs(offset - (offsets.get(signing) ?? 0)) > SKEW_MILLIS
      if (isSkewed) offsets.set(signing, offset)
      if (code === "RequestTimeTooSkewed") return isSkewed
      if (Math.abs(now - (renewed.get(signing) ?? 0)) > RENEW_MILLIS) {
        renewed.set(signing, now)
        yield* keysOf.forget(signing.keys)
      }
      return !Equal.equals(yield* keysOf.current(signing.keys), used) || isSkewed
    }
  )

  return Effect.fnUntraced(
    function*(request: OriginRequest, asked: Hop): Effect.fn.Return<HopResponse, OriginError, Scope.Scope> {
      const url = loggable(asked.url.href)
      const signing = asked.server?.access.authorization
      if (signing?._tag !== "SigV4") return yield* new OriginForbidden({ url })
      // The bucket itself says which pages may read it.
      if (request.method === "OPTIONS") return yield* http(request, asked)
      if (!isRead(request.method)) return without(405, { allow: "GET, HEAD, OPTIONS" })
      const hop = toFile(asked, request.method)
      if (hop === undefined) return without(404)
      const unreachable = (cause: OriginFault) => new OriginUnreachable({ url, cause })
      const current = Effect.mapError(keysOf.current(signing.keys), unreachable)
      const keys = yield* current
      let response = yield* attempt(request, hop, signing, keys)
      if (response.status < 300 || response.status === 304) return forViewers(response)
      let text = yield* beginning(response)
      const isRefused = [400, 401, 403].includes(response.status)
      if (isRefused && (yield* Effect.mapError(mayHelp(signing, keys, response, wordIn(text, "Code")), unreachable))) {
        response = yield* attempt(request, hop, signing, yield* current)
        if (response.status < 300 || response.status === 304) return forViewers(response)
        text = yield* beginning(response)
      }
      return yield* refusal(url, response, text, signing)
    }
  )
})
