import { Schema } from "effect"
import type { OriginError } from "./OriginError.ts"

/**
 * Why an application gets no stream of what it opens or registers. Their `url` is `loggable`.
 */

/**
 * The request is invalid: the URL can't be fetched, a header field is malformed, or `OriginResolver` refuses it.
 *
 * @since 0.1.0
 * @category errors
 */
export class MediaRefused extends Schema.TaggedError<MediaRefused>()("MediaRefused", {
  url: Schema.String,
  reason: Schema.String
}) {
  override get message(): string {
    return `${this.url}: ${this.reason}`
  }
}

/**
 * The range starts at or after the end, which is at byte `size` where that is known.
 *
 * @since 0.1.0
 * @category errors
 */
export class RangeNotSatisfiable extends Schema.TaggedError<RangeNotSatisfiable>()("RangeNotSatisfiable", {
  url: Schema.String,
  size: Schema.optional(Schema.Int)
}) {
  override get message(): string {
    return `${this.url}: nothing in this range${this.size === undefined ? "" : ` of ${this.size} bytes`}`
  }
}

/**
 * The file isn't in the cache, and Spillway sends no request to the origin for it (`offline`, `onlyIfCached`).
 *
 * @since 0.1.0
 * @category errors
 */
export class NotInCache extends Schema.TaggedError<NotInCache>()("NotInCache", { url: Schema.String }) {
  override get message(): string {
    return `${this.url}: not in the cache`
  }
}

/**
 * The maximum number of local URLs, `limit`, is registered. Close the scope of one, or unregister it.
 *
 * @since 0.1.0
 * @category errors
 */
export class TooManyRegistrations extends Schema.TaggedError<TooManyRegistrations>()("TooManyRegistrations", {
  limit: Schema.Int
}) {
  override get message(): string {
    return `${this.limit} are registered, and no more may be`
  }
}

/**
 * No server of this program serves Spillway, so that there is no local URL: neither `routes` nor `layerServer` is in use.
 *
 * @since 0.1.0
 * @category errors
 */
export class NotServed extends Schema.TaggedError<NotServed>()("NotServed", {}) {
  override get message(): string {
    return "no server of this program serves Spillway"
  }
}

/**
 * What `open` fails with. The reason is the origin or the caller, never the cache.
 *
 * @example
 * ```ts
 * import { Effect, Option } from "effect"
 * import { Spillway } from "spillway"
 *
 * const sizeOf = Effect.fnUntraced(function*(url: string) {
 *   const { open } = yield* Spillway
 *   return yield* open(url).pipe(
 *     Effect.map(({ size }) => Option.fromNullishOr(size)),
 *     Effect.catchTag("NotInCache", () => Effect.succeedNone),
 *     Effect.scoped
 *   )
 * })
 * ```
 *
 * @since 0.1.0
 * @category errors
 */
export type OpenError = OriginError | MediaRefused | RangeNotSatisfiable | NotInCache
