import { Effect, Exit, Scope } from "effect"
import { hasCredential } from "../../domain/Asker.ts"
import { variesOnForwarded, withForwarded } from "../../domain/Forwarded.ts"
import type { OriginError } from "../../domain/OriginError.ts"
import type { OriginHead } from "../../domain/Representation.ts"
import type { Resource } from "../../domain/Resource.ts"
import { responseDirectives } from "../../domain/rfc/CacheControl.ts"
import type { HeaderFields } from "../../domain/rfc/HeaderFields.ts"
import type { Access } from "../../domain/Route.ts"
import type { RouteOrigin, RoutePolicy } from "../../domain/RoutePolicy.ts"
import { OriginConfig } from "../config/OriginConfig.ts"
import { Origin, type OriginRequest, type OriginResponse, type PeerQuestion } from "./Origin.ts"

/**
 * Where the bytes of a resource are at the moment.
 *
 * @since 0.1.0
 * @category models
 */
export interface Location {
  readonly url: string
  /** Fields for the origin besides the viewer's, such as a token. */
  readonly headers: HeaderFields
  /**
   * The parameters of `url` that are not part of the cache key, as they are written. Only a success is for other viewers too, unless it
   * repeats one of them: a refusal or a redirect may be about them.
   */
  readonly ignored?: ReadonlyArray<string>
  /** `public`: the connection may only be made to a public address. The default is `any`. */
  readonly access?: Access
  /** How requests of its route are treated; the defaults without it. A reference to that of `OriginConfig`. */
  readonly route?: RoutePolicy
  /** What the cache knows the resource as, if `url` has more than that. */
  readonly file?: string
}

/**
 * A location that the origin did not accept, and the status of its response: 401 or 403.
 *
 * @since 0.1.0
 * @category models
 */
export interface Refusal {
  readonly location: Location
  readonly status: number
}

/** The origin as one viewer sees it. */
export interface Source {
  /** The viewer's fields that are sent to the origin, which `Vary` may name. */
  readonly fields: HeaderFields
  /** What servers learn about the viewer, on routes that want it. It is neither part of the cache key nor named by `Vary`. */
  readonly forwarded?: HeaderFields | undefined
  /** What the viewer requested, if `locate` may depend on it. */
  readonly target?: string
  /** Nobody waits for its responses, so requests that viewers wait for go first. */
  readonly background?: boolean
  /** What other nodes of a fleet are asked; nothing if only the origin is asked. */
  readonly peers?: PeerQuestion
  /**
   * Another node of a fleet asks that orders nodes differently. It may itself be waiting for transfers of this node's viewers, so it shares
   * none of them.
   */
  readonly isApart?: boolean
  /** Called with the fields of each 103 (Early Hints) that comes before a response. */
  readonly onHints?: ((fields: HeaderFields) => void) | undefined
  /** Called before each request, and again with the `refusal` when the origin did not accept the location. */
  readonly locate: (refusal?: Refusal) => Effect.Effect<Location, OriginError>
}

/** Whether two sources look the same to the origin, because their requests have the same target and fields. */
export const isSameSource = (a: Source | undefined, b: Source | undefined): boolean => {
  if (a === b) return true
  if (a === undefined || b === undefined || a.target !== b.target) return false
  const names = Object.keys(a.fields)
  return names.length === Object.keys(b.fields).length && names.every((name) => a.fields[name] === b.fields[name])
}

/** A resource at its own URL, for an unknown viewer. */
export const plainSource = ({ url }: Resource): Source => ({
  fields: {},
  locate: () => Effect.succeed({ url, headers: {} })
})

/** A request without its location. */
export interface Question {
  readonly method: "GET" | "HEAD"
  readonly headers: HeaderFields
  /** Nobody waits for it, so requests that viewers wait for go first. */
  readonly background?: boolean
  /** Called when it no longer waits for those. */
  readonly onAdmitted?: OriginRequest["onAdmitted"]
  /** Whether it may be sent once more if its response is late: a viewer waits for a file. */
  readonly isHedgeable?: boolean
  /** It is for bytes that have been requested already. */
  readonly isHedge?: boolean
  /** The validator of the requested version, if it is known. */
  readonly validator?: string | undefined
  /** Whether a response has what was requested. Otherwise the next origin of the route is asked, if it has several. */
  readonly accepts?: ((head: OriginHead) => boolean) | undefined
  /** The origins of the route that are asked last, in this order, because they have just failed or are silent. */
  readonly avoid?: ReadonlyArray<RouteOrigin> | undefined
}

const isElsewhere = (a: Location, b: Location): boolean =>
  a.url !== b.url || JSON.stringify(a.headers) !== JSON.stringify(b.headers)

/** Fields of a response that name a place, which may have the query of the request. */
const PLACES = ["content-location", "link", "location", "refresh"]

/** Whether a response to a request with credentials, or with parameters that other viewers don't share, may be about those. */
const mayBeAboutViewer = ({ headers, status }: OriginHead, hasIgnored: boolean): boolean => {
  if (status === 304) return false
  if (status < 200 || status >= 300) return true
  const directives = responseDirectives(headers)
  return hasIgnored && (directives.has("private") || directives.has("no-store"))
}

/** `response` as it is to the cache: `private` if it may be about parameters that other viewers don't share. */
const forItsViewers = (
  response: OriginResponse,
  { ignored = [], route }: Location,
  isAuthorized: boolean
): OriginResponse => {
  const { headers } = response
  if (route?.forwarded === true && variesOnForwarded(headers["vary"])) {
    return { ...response, headers: { ...headers, "cache-control": "private" } }
  }
  const hasIgnored = ignored.length > 0
  const repeats = PLACES.some((name) => ignored.some((parameter) => headers[name]?.includes(parameter)))
  const isAboutViewer = repeats || ((hasIgnored || isAuthorized) && mayBeAboutViewer(response, hasIgnored))
  if (!isAboutViewer) return response
  const told = { ...response, isAboutViewer }
  return hasIgnored ? { ...told, headers: { ...headers, "cache-control": "private" } } : told
}

/** `headers` with a `Vary` that names the fields of the route's keys, too. */
const withVary = (headers: HeaderFields, { keyFields }: RoutePolicy): HeaderFields => {
  if (keyFields.length === 0) return headers
  const vary = [...headers["vary"] === undefined ? [] : [headers["vary"]], ...keyFields].join(", ")
  return { ...headers, vary }
}

/** Sends one request at the location of a source. */
export type AskOrigin = (
  source: Source,
  question: Question
) => Effect.Effect<OriginResponse, OriginError, Scope.Scope>

/**
 * Makes `AskOrigin`. If the origin responds with 401 or 403, the location is looked up again. If it is another one by then, such as a newly
 * signed URL, the request is repeated there.
 */
export const makeAskOrigin: Effect.Effect<AskOrigin, never, Origin | OriginConfig> = Effect.gen(function*() {
  const origin = yield* Origin
  const { credentialFields } = yield* OriginConfig

  const askAt = Effect.fnUntraced(function*(
    source: Source,
    { background = false, headers, validator, ...question }: Question,
    location: Location
  ) {
    const { access = "any", file, headers: ofLocation, route, url } = location
    const { peers } = source
    const scope = yield* Scope.fork(yield* Effect.scope)
    const response = yield* Scope.provide(
      origin.request({
        ...question,
        url,
        access,
        route,
        file,
        background: background || source.background === true,
        headers: { ...withForwarded(source.fields, route, source.forwarded), ...ofLocation, ...headers },
        secrets: Object.keys(ofLocation),
        onHints: source.onHints,
        ...(peers !== undefined && { peers: validator === undefined ? peers : { ...peers, validator } })
      }),
      scope
    )
    const told = forItsViewers(response, location, hasCredential(source.fields, credentialFields))
    return { response: route === undefined ? told : { ...told, route, headers: withVary(told.headers, route) }, scope }
  })

  return Effect.fnUntraced(function*(source, question) {
    const location = yield* source.locate()
    const { response, scope } = yield* askAt(source, question, location)
    if (response.status !== 401 && response.status !== 403) return response
    const next = yield* source.locate({ location, status: response.status })
    if (!isElsewhere(location, next)) return response
    yield* Scope.close(scope, Exit.void)
    return (yield* askAt(source, question, next)).response
  })
})
