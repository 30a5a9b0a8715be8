import { Schema } from "effect"
import type { OriginError } from "./OriginError.ts"

/**
 * Why an application gets no stream of what it opens or registers. Their `url` is `loggable`.
 */

/** The request is invalid: the URL can't be fetched, a header field is malformed, or `OriginResolver` refuses it. */
export class MediaRefused extends Schema.TaggedError<MediaRefused>()("MediaRefused", {
  url: Schema.String,
  reason: Schema.String
}) {
  override get message(): string {
    return `${this.url}: ${this.reason}`
  }
}

/** The range starts at or after the end, which is at byte `size` where that is known. */
export class RangeNotSatisfiable extends Schema.TaggedError<RangeNotSatisfiable>()("RangeNotSatisfiable", {
  url: Schema.String,
  size: Schema.optional(Schema.Int)
}) {
  override get message(): string {
    return `${this.url}: nothing in this range${this.size === undefined ? "" : ` of ${this.size} bytes`}`
  }
}

/** It is not in the cache, and no origin may be asked (`OriginOptions.offline`). */
export class NotInCache extends Schema.TaggedError<NotInCache>()("NotInCache", { url: Schema.String }) {
  override get message(): string {
    return `${this.url}: not in the cache`
  }
}

/** As many are registered as may be: `limit`. */
export class TooManyRegistrations extends Schema.TaggedError<TooManyRegistrations>()("TooManyRegistrations", {
  limit: Schema.Int
}) {
  override get message(): string {
    return `${this.limit} are registered, and no more may be`
  }
}

/** No server of this program serves Spillway, so that there is no local URL: neither `routes` nor `layerServer` is in use. */
export class NotServed extends Schema.TaggedError<NotServed>()("NotServed", {}) {
  override get message(): string {
    return "no server of this program serves Spillway"
  }
}

/** What opening may fail with: for the origin's reasons or the caller's, never for the cache's. */
export type OpenError = OriginError | MediaRefused | RangeNotSatisfiable | NotInCache
