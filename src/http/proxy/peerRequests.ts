import { Effect } from "effect"
import type { HttpServerRequest } from "effect/http"
import { hasCredential } from "../../domain/Asker.ts"
import type { Wants } from "../../domain/PeerProtocol.ts"
import type { Resource } from "../../domain/Resource.ts"
import { OriginConfig } from "../../services/config/OriginConfig.ts"
import { Fleet } from "../../services/fleet/Fleet.ts"
import type { Source } from "../../services/origin/askOrigin.ts"
import { LOCAL_PATH } from "../../services/origin/LocalUrls.ts"

/** A request that another node of the fleet has signed. */
export interface PeerMark {
  /** The name of the node. */
  readonly name: string
  readonly wants: Wants | undefined
  /** That node may not rank below this one for what it asks, as it does if both order nodes alike. */
  readonly isApart: boolean
}

/** Only the server for other nodes writes here, and nobody can have a request of a viewer look like one of theirs. */
const marks = new WeakMap<object, PeerMark>()

/** Marks the source of a request as that of another node, after its signature was verified. */
export const markPeer = (source: object, mark: PeerMark): void => void marks.set(source, mark)

/** What is known of a request if another node has sent it. */
export const peerMarkOf = ({ source }: HttpServerRequest.HttpServerRequest): PeerMark | undefined => marks.get(source)

/** Whether another node has sent a request, given as the platform has it or as Node has it. */
export const isOfPeer = (request: object): boolean =>
  marks.has(request) || ("source" in request && typeof request.source === "object" && request.source !== null &&
    marks.has(request.source))

/**
 * Makes the function that says what other nodes can be asked instead of the origin. Nothing, if only this process knows what the target
 * means.
 */
export const makePeerSource = Effect.gen(function*() {
  const fleet = yield* Fleet
  const { credentialFields } = yield* OriginConfig
  return (
    { url }: Resource,
    request: HttpServerRequest.HttpServerRequest
  ): Pick<Source, "isApart" | "peers"> => {
    const { headers } = request
    if (fleet.self === undefined || request.url.startsWith(LOCAL_PATH)) return {}
    const mark = peerMarkOf(request)
    const asked = {
      url,
      target: request.url,
      host: headers["host"] ?? "",
      ...(hasCredential(headers, credentialFields) && { hasCredential: true })
    }
    if (mark === undefined) return { peers: asked }
    return { peers: { ...asked, from: mark.name }, ...(mark.isApart && { isApart: true }) }
  }
})
