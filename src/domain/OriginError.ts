import { Schema } from "effect"

/**
 * What can go wrong between Spillway and the origin.
 */

/** No answer could be had: refused, unreachable, name not found, or the connection broke before the header was complete. */
export class OriginUnreachable extends Schema.TaggedError<OriginUnreachable>()("OriginUnreachable", {
  url: Schema.String,
  cause: Schema.Defect()
}) {
  override get message(): string {
    return `${this.url}: no connection to the origin`
  }
}

/** The origin was silent for longer than is waited: before its header, or in the middle of its body. */
export class OriginTimeout extends Schema.TaggedError<OriginTimeout>()("OriginTimeout", {
  url: Schema.String,
  phase: Schema.Literals(["header", "body"])
}) {
  override get message(): string {
    return `${this.url}: the origin sent no ${this.phase} in time`
  }
}

/** The body ended or broke before its announced end, at byte `offset` of the representation. */
export class OriginBodyFailed extends Schema.TaggedError<OriginBodyFailed>()("OriginBodyFailed", {
  url: Schema.String,
  offset: Schema.Int,
  cause: Schema.Defect()
}) {
  override get message(): string {
    return `${this.url}: the body broke off at byte ${this.offset}`
  }
}

/** The origin answered, but not with the bytes that were asked for. */
export class OriginUnexpected extends Schema.TaggedError<OriginUnexpected>()("OriginUnexpected", {
  url: Schema.String,
  status: Schema.Int,
  detail: Schema.String
}) {
  override get message(): string {
    return `${this.url}: unexpected answer ${this.status}: ${this.detail}`
  }
}

/** The origin's file is another one than the one that is being streamed. */
export class RepresentationChanged extends Schema.TaggedError<RepresentationChanged>()("RepresentationChanged", {
  url: Schema.String
}) {
  override get message(): string {
    return `${this.url}: the file changed at the origin`
  }
}

/** A failure of the origin, never of the cache. */
export type OriginError =
  | OriginUnreachable
  | OriginTimeout
  | OriginBodyFailed
  | OriginUnexpected
  | RepresentationChanged

/** Whether asking again for the same byte may help. */
export const isTransient = (error: OriginError): boolean => {
  switch (error._tag) {
    case "OriginUnreachable":
    case "OriginTimeout":
    case "OriginBodyFailed":
      return true
    case "OriginUnexpected":
      return error.status === 429 || error.status === 502 || error.status === 503 || error.status === 504
    case "RepresentationChanged":
      return false
  }
}
