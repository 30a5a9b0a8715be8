import { Effect, Stream } from "effect"
import type { HttpServerRequest } from "effect/http"
import { tagFields } from "../../domain/CacheTags.ts"
import { withoutChanged } from "../../domain/fieldChanges.ts"
import { withForwarded } from "../../domain/Forwarded.ts"
import { loggable, type OriginError, OriginTimeout } from "../../domain/OriginError.ts"
import { pathOf } from "../../domain/RequestTarget.ts"
import type { Resource } from "../../domain/Resource.ts"
import * as CacheStatus from "../../domain/rfc/CacheStatus.ts"
import { endToEnd, type HeaderFields } from "../../domain/rfc/HeaderFields.ts"
import { routeTo } from "../../domain/routeTo.ts"
import { matchesAny } from "../../domain/TtlRule.ts"
import { CacheConfig } from "../../services/config/CacheConfig.ts"
import { OriginConfig } from "../../services/config/OriginConfig.ts"
import { NodeName } from "../../services/fleet/NodeName.ts"
import { type Location, makeAskOrigin, type Source } from "../../services/origin/askOrigin.ts"
import type { OriginRequest, OriginResponse } from "../../services/origin/Origin.ts"
import { LOCATE_MILLIS, OriginResolver, URL_PATH } from "../../services/origin/OriginResolver.ts"
import { makePassing } from "./accounting.ts"
import { beginBody } from "./beginBody.ts"
import { earlyHintsTo } from "./earlyHints.ts"
import { type Names, ofTheHop } from "./forwardedFields.ts"
import { makeForwarding } from "./forwarding.ts"
import { makeLocations } from "./locations.ts"
import { answer, withCookies } from "./mediaResponse.ts"
import type { OriginLog } from "./originLog.ts"
import { isOfPeer } from "./peerRequests.ts"

type Request = HttpServerRequest.HttpServerRequest

/** Fields of the origin's response that Spillway writes itself. */
const replaced = new Set(["cache-status", "set-cookie"])

/** The same, and those that are for caches only. */
const replacedForViewers = new Set([...replaced, ...tagFields])

/** The way past the cache: a viewer's request to the origin, and the origin's response to the viewer. */
export const makePassthrough = Effect.fnUntraced(function*(log: OriginLog) {
  const node = yield* NodeName
  const named = node === undefined ? {} : { node }
  const askOrigin = yield* makeAskOrigin
  const resolver = yield* OriginResolver
  const cacheConfig = yield* CacheConfig
  const locations = yield* makeLocations
  const passing = yield* makePassing
  const originConfig = yield* OriginConfig
  const forwarding = yield* makeForwarding

  const logCut = (url: string) => (body: Stream.Stream<Uint8Array, OriginError>) =>
    Stream.tapError(body, (error) => log.cut(url, error))

  /** The origin as a source of a resource for a viewer whose `fields` are sent. */
  const sourceOf = (resource: Resource, request: Pick<Request, "headers" | "url">, fields: HeaderFields): Source => ({
    fields,
    target: request.url,
    locate: (refusal) =>
      Effect.timeoutOrElse(resolver.locate({ target: request.url, headers: request.headers }, resource, refusal), {
        duration: LOCATE_MILLIS,
        orElse: () => Effect.fail(new OriginTimeout({ url: loggable(resource.url), phase: "location" }))
      })
  })

  /** How the requests of a viewer's route are treated; `undefined` for a URL that the viewer has named. */
  const policyOf = (url: string, { headers, url: target }: Pick<Request, "headers" | "url">) =>
    pathOf(target) === URL_PATH
      ? undefined
      : routeTo(originConfig.origins, { host: headers["host"], target }, new URL(url))?.policy

  /** Whether the origin may wait for an event before it responds to a request for `resource`. */
  const isLongPoll = ({ url }: Resource, { headers, url: target }: Pick<Request, "headers" | "url">): boolean => {
    const { origins } = originConfig
    return origins.routes.some(({ policy }) => policy.longPolls) &&
      routeTo(origins, { host: headers["host"], target }, new URL(url))?.policy.longPolls === true
  }

  /** The fields of a GET or HEAD for the origin. */
  const fieldsFor = ({ url }: Resource, request: Request, drop: Names): HeaderFields => {
    const fields = endToEnd(request.headers, drop)
    if (fields["cookie"] !== undefined && matchesAny(cacheConfig.ignoreCookies, url)) delete fields["cookie"]
    // Responses don't depend on what the origin doesn't get of the viewer.
    const changes = policyOf(url, request)?.requestFields
    return changes === undefined ? fields : withoutChanged(fields, changes)
  }

  /** A viewer's request, of any method, as it goes to the origin at `location`. `fields` replace those of the viewer. */
  const requestTo = (location: Location, request: Request, fields: HeaderFields = {}): OriginRequest => ({
    method: request.method,
    url: location.url,
    access: location.access ?? "any",
    route: location.route,
    headers: {
      ...withForwarded(endToEnd(request.headers, ofTheHop), location.route, forwarding(request, true)),
      ...fields,
      ...location.headers
    },
    secrets: Object.keys(location.headers)
  })

  /** Fields of the origin's response as they are to the viewer. */
  const fieldsToViewer = (
    headers: HeaderFields,
    resource: Resource,
    request: Request,
    cacheStatus: CacheStatus.CacheStatus
  ) => ({
    ...locations.toViewer(endToEnd(headers, isOfPeer(request) ? replaced : replacedForViewers), resource.url, request),
    "cache-status": CacheStatus.append(headers["cache-status"], { ...cacheStatus, ...named })
  })

  const cookiesToViewer = ({ setCookie }: OriginResponse, { url }: Resource, request: Request): ReadonlyArray<string> =>
    setCookie.map((line) => locations.cookieToViewer(line, url, request))

  /** The origin's response as a reply to the viewer. */
  const passedOn = Effect.fnUntraced(function*(
    resource: Resource,
    received: OriginResponse,
    request: Request,
    cacheStatus: CacheStatus.CacheStatus
  ) {
    const { headers, status } = received
    const setCookie = cookiesToViewer(received, resource, request)
    const head = { status, headers: fieldsToViewer(headers, resource, request, cacheStatus) }
    if (request.method === "HEAD" || status === 204 || status === 304) {
      return { response: withCookies(answer(head), setCookie), cacheStatus }
    }
    const stream = yield* passing(received, resource, request, headers, cacheStatus.detail)
    const begun = logCut(resource.url)(yield* beginBody(stream, request))
    return { response: withCookies(answer(head, begun), setCookie), cacheStatus }
  })

  /** Asks the origin for a GET or HEAD of this viewer alone. */
  const forward = Effect.fnUntraced(function*(resource: Resource, request: Request, detail: string) {
    const method = request.method === "HEAD" ? "HEAD" : "GET"
    const source = sourceOf(resource, request, fieldsFor(resource, request, ofTheHop))
    const forwarded = forwarding(request, true)
    const response = yield* askOrigin({ ...source, forwarded, onHints: earlyHintsTo(request) }, { method, headers: {} })
    return yield* passedOn(resource, response, request, { fwd: "bypass", detail })
  })

  return {
    cookiesToViewer,
    fieldsFor,
    fieldsToViewer,
    forward,
    forwarding,
    isLongPoll,
    logCut,
    locations,
    passedOn,
    requestTo,
    sourceOf
  }
})

/** What `makePassthrough` makes. */
export type Passthrough = Effect.Success<ReturnType<typeof makePassthrough>>
