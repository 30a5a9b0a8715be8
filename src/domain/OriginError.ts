import { Schema } from "effect"
import { explain } from "./OriginFault.ts"
import type { HeaderFields } from "./rfc/HeaderFields.ts"

/**
 * What can go wrong between Spillway and the origin. Errors are logged, so their `url` is `loggable`, and their `cause` tells
 * nothing of the request.
 */

/** The words for `cause` behind what it caused. */
const because = (cause: unknown): string => {
  const explained = explain(cause)
  return explained === undefined ? "" : `: ${explained.message}`
}

/** `url` without what may be a secret: its user and password, and its query. */
export const loggable = (url: string): string =>
  url.replace(/^([a-z][a-z0-9+.-]*:[\\/]*)[^\\/?#]*@/i, "$1").replace(/#.*$/s, "").replace(/\?.*$/s, "?…")

/** Another origin of the route works, so the rest of the body can be requested from there at once. */
const hasOtherOrigin = Schema.optionalKey(Schema.Boolean)

/**
 * No response came: the connection was refused or broke before the header was complete, the name was not found, the certificate is not
 * valid, or the response is not HTTP. `cause` says which, by its `code`. Spillway has retried before.
 *
 * @since 0.1.0
 * @category errors
 */
export class OriginUnreachable extends Schema.TaggedError<OriginUnreachable>()("OriginUnreachable", {
  url: Schema.String,
  cause: Schema.Defect()
}) {
  override get message(): string {
    return `${this.url}: no answer from the origin${because(this.cause)}`
  }
}

/**
 * A deadline passed. `phase` says which: resolving the location, waiting for other requests, connecting, receiving the header or
 * the body, or a viewer's progress while other requests waited for its place at the origin.
 *
 * @since 0.1.0
 * @category errors
 */
export class OriginTimeout extends Schema.TaggedError<OriginTimeout>()("OriginTimeout", {
  url: Schema.String,
  phase: Schema.Literals(["location", "queue", "connect", "header", "body", "viewer"]),
  hasOtherOrigin
}) {
  override get message(): string {
    switch (this.phase) {
      case "location":
        return `${this.url}: not found out in time where it is`
      case "queue":
        return `${this.url}: too many requests to the origin are under way`
      case "connect":
        return `${this.url}: no connection to the origin in time`
      case "viewer":
        return `${this.url}: the viewer took or sent nothing while others waited for the origin`
      default:
        return `${this.url}: the origin sent no ${this.phase} in time`
    }
  }
}

/**
 * The host has no address that may be contacted, so Spillway made no connection.
 *
 * @since 0.1.0
 * @category errors
 */
export class OriginForbidden extends Schema.TaggedError<OriginForbidden>()("OriginForbidden", {
  url: Schema.String
}) {
  override get message(): string {
    return `${this.url}: address not allowed`
  }
}

/**
 * The body ended or broke before its announced end, at byte `offset` of the representation.
 *
 * @since 0.1.0
 * @category errors
 */
export class OriginBodyFailed extends Schema.TaggedError<OriginBodyFailed>()("OriginBodyFailed", {
  url: Schema.String,
  offset: Schema.Int,
  cause: Schema.Defect(),
  hasOtherOrigin
}) {
  override get message(): string {
    return `${this.url}: the body broke off at byte ${this.offset}${because(this.cause)}`
  }
}

/**
 * The response isn't what was requested, such as a 404 (`status`). `retryAfter` is what `Retry-After` says, in milliseconds.
 *
 * @since 0.1.0
 * @category errors
 */
export class OriginUnexpected extends Schema.TaggedError<OriginUnexpected>()("OriginUnexpected", {
  url: Schema.String,
  status: Schema.Int,
  detail: Schema.String,
  /** In milliseconds. */
  retryAfter: Schema.optional(Schema.Finite),
  /** It may be about credentials or parameters that only one viewer has sent. */
  isAboutViewer: Schema.optionalKey(Schema.Boolean)
}) {
  override get message(): string {
    return `${this.url}: unexpected answer ${this.status}: ${this.detail}`
  }
}

/**
 * The file has changed at the origin since its stream began. `status` is that of the answer that shows it.
 *
 * @since 0.1.0
 * @category errors
 */
export class RepresentationChanged extends Schema.TaggedError<RepresentationChanged>()("RepresentationChanged", {
  url: Schema.String,
  status: Schema.Int
}) {
  override get message(): string {
    return `${this.url}: the file changed at the origin`
  }
}

/**
 * A failure of the origin, never of the cache.
 *
 * @since 0.1.0
 * @category errors
 */
export type OriginError =
  | OriginUnreachable
  | OriginTimeout
  | OriginForbidden
  | OriginBodyFailed
  | OriginUnexpected
  | RepresentationChanged

/** The code of what is at the bottom of an error, such as `ECONNREFUSED`, if there is one. */
export const codeOf = (error: OriginError): string | undefined =>
  "cause" in error ? explain(error.cause)?.code : undefined

const ORIGIN_LOG = "See whether the origin runs, and what its log says"

/** What the operator can do about an error. */
export const adviceOn = (error: OriginError): string => {
  switch (error._tag) {
    case "OriginUnreachable":
    case "OriginBodyFailed":
      return explain(error.cause)?.advice ?? ORIGIN_LOG
    case "OriginTimeout":
      return timeoutAdvice[error.phase]
    case "OriginForbidden":
      return "If private addresses are meant to be asked: --allow-private"
    case "OriginUnexpected":
      return ORIGIN_LOG
    case "RepresentationChanged":
      return "Nothing: the next request gets the new file"
  }
}

const timeoutAdvice: Record<OriginTimeout["phase"], string> = {
  location: "See why the application's OriginResolver takes so long",
  queue: "If the origin can take more requests at a time: --origin-requests",
  connect: "Check host, port and firewalls, or allow more time: --connect-timeout",
  header: "See why the origin is slow, or allow more time: --first-byte-timeout",
  body: "See why the origin is slow, or allow more time: --silence-timeout",
  viewer: "If the origin can take more requests at a time: --origin-requests"
}

/** What a log line says of an error. */
export const annotationsOf = (error: OriginError) => ({
  error: error._tag,
  reason: error.message,
  advice: adviceOn(error)
})

/** `error`, the failure of a body whose rest another origin of the route has. */
export const toBeHadElsewhere = (error: OriginError): OriginError => {
  switch (error._tag) {
    case "OriginBodyFailed":
      return new OriginBodyFailed({ url: error.url, offset: error.offset, cause: error.cause, hasOtherOrigin: true })
    case "OriginTimeout":
      return new OriginTimeout({ url: error.url, phase: error.phase, hasOtherOrigin: true })
    default:
      return error
  }
}

/** Whether another origin has the rest of a body that failed. */
export const canBeHadElsewhere = (error: OriginError): boolean =>
  "hasOtherOrigin" in error && error.hasOtherOrigin === true

/** Whether asking again for the same byte may help. */
export const isTransient = (error: OriginError): boolean => {
  switch (error._tag) {
    case "OriginUnreachable":
    case "OriginTimeout":
    case "OriginBodyFailed":
      return true
    case "OriginUnexpected":
      return [429, 500, 502, 503, 504].includes(error.status)
    case "OriginForbidden":
    case "RepresentationChanged":
      return false
  }
}

// The form that is to be generated (RFC 9110 §5.6.7); the obsolete ones are taken for nothing said.
const IMF_FIXDATE = /^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/

/**
 * For how long from `now` on, in milliseconds, an origin wants not to be asked again (RFC 9110 §10.2.3), or `undefined` when it
 * does not say.
 */
export const retryAfterMillis = (headers: HeaderFields, now: number): number | undefined => {
  const value = headers["retry-after"]
  if (value === undefined) return undefined
  if (/^\d+$/.test(value)) return Math.min(Number(value) * 1000, Number.MAX_SAFE_INTEGER)
  const date = IMF_FIXDATE.test(value) ? Date.parse(value) : Number.NaN
  return Number.isNaN(date) ? undefined : Math.max(0, date - now)
}
