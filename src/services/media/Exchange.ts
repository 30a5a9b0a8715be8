import { Effect, type Scope } from "effect"
import type { Asker } from "../../domain/Asker.ts"
import type { Resource } from "../../domain/Resource.ts"
import type { RangeSpec } from "../../domain/rfc/ByteRange.ts"
import type { Uncacheable } from "../../domain/rfc/Cacheability.ts"
import type { RequestDirectives } from "../../domain/rfc/CacheControl.ts"
import type { AcceptedCodings } from "../../domain/rfc/ContentCoding.ts"
import type { Entry } from "../cache/Catalog.ts"
import type { Source } from "../origin/askOrigin.ts"
import type { OriginResponse } from "../origin/Origin.ts"
import type { LookupResult, OriginExchange } from "./LookupResult.ts"
import type { RangeRequest } from "./requestedRanges.ts"
import * as SpareResponse from "./SpareResponse.ts"
import { trimmed } from "./trimmed.ts"

/** A request to the origin, with the viewer it is for and what the cache knows already. */
export interface Request extends RangeRequest {
  readonly method: "GET" | "HEAD"
  readonly resource: Resource
  /** The range to request from the origin; `undefined` for everything. */
  readonly wanted: RangeSpec | undefined
  readonly source: Source
  readonly asker: Asker
  /** The content codings that the viewer accepts. */
  readonly accepted: AcceptedCodings
  /** Whether the origin has chosen what is stored for these codings, as far as is known. */
  readonly isChosen: boolean
  readonly directives: RequestDirectives | undefined
  /** What is stored of the resource. */
  readonly stored: Entry | undefined
  /** The same, if it can deliver what the viewer requests, and is chosen. */
  readonly entry: Entry | undefined
  /** The same, as fresh as it is for the asker, if the origin has confirmed it for the asker. */
  readonly mine: Entry | undefined
  readonly reason: OriginExchange["reason"]
  /** Nobody waits for the answer. */
  readonly background?: boolean
}

/** A request to the origin that is under way. */
export interface Exchange {
  readonly request: Request
  asked: OriginExchange
  /** The number of the last ban when it began. */
  readonly afterBan: number
  /** Holds the connection. */
  readonly scope: Scope.Closeable
  /** Whether somebody else closes the scope: the viewer who takes the response, or the transfer. */
  isHandedOver: boolean
}

/** The response as it is, for the viewer whose request brought it. */
export const passOn = (
  exchange: Exchange,
  reason: Uncacheable,
  response: OriginResponse
): Effect.Effect<LookupResult> => {
  const { background = false, wanted } = exchange.request
  if (background) return Effect.succeed({ _tag: "Uncacheable", reason })
  exchange.isHandedOver = true
  return Effect.map(
    SpareResponse.make(trimmed(response, wanted), exchange.scope),
    (answer) => ({ _tag: "Uncacheable", reason, answer })
  )
}
