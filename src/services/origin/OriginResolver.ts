import { Context, Effect, Layer } from "effect"
import { cacheKey, type CacheKeyRule, ignoredParameters } from "../../domain/CacheKey.ts"
import type { OriginError } from "../../domain/OriginError.ts"
import { pathOf, refusalOf, type TargetError, urlBelow, withoutDots } from "../../domain/RequestTarget.ts"
import { make as makeResource, makePublic, type Resource } from "../../domain/Resource.ts"
import type { HeaderFields } from "../../domain/rfc/HeaderFields.ts"
import { accessTo, findRoute, type Origins } from "../../domain/Route.ts"
import { hasNoQueries } from "../../domain/RoutePolicy.ts"
import { routeTo } from "../../domain/routeTo.ts"
import { CacheConfig } from "../config/CacheConfig.ts"
import { OriginConfig } from "../config/OriginConfig.ts"
import type { Location, Refusal } from "./askOrigin.ts"

/**
 * The parts of a request that determine where its bytes are.
 *
 * @since 0.1.0
 * @category models
 */
export interface Wanted {
  /** The request target: path and query. */
  readonly target: string
  readonly headers: HeaderFields
}

/**
 * Maps a request to the key of its cache entry, and to the location of its bytes. An application that signs its URLs, or keeps its files in
 * several places, provides its own to `Spillway.layerNoResolver`. Requests with the same key share an entry, even if their locations differ.
 *
 * @example
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { OriginResolver, Resource, Spillway } from "spillway"
 *
 * const resolver = Layer.succeed(OriginResolver, {
 *   // The key: the same for all viewers, regardless of their tokens.
 *   identify: ({ target }) => Resource.make(`https://media.example.org${target.split("?")[0]}`),
 *   locate: (_, { url }) => Effect.succeed({ url: `${url}?signature=…`, headers: {} })
 * })
 *
 * const layer = Layer.provide(Spillway.layerNoResolver, resolver)
 * ```
 *
 * @since 0.1.0
 * @category services
 */
export class OriginResolver extends Context.Service<OriginResolver, {
  /** The resource that a request is for, or why it is refused. Synchronous, because it is called for every request. */
  readonly identify: (wanted: Wanted) => Resource | TargetError
  /**
   * The current location of `resource`. Called before each request to the origin, and again with the `refusal` when the origin has responded
   * to GET or HEAD with 401 or 403, also in the middle of a body. Also called to learn how far to read ahead of a viewer who begins with cached
   * bytes. If it fails or exceeds `LOCATE_MILLIS`, the viewer gets a 502 or its
   * response is cut off, and the failure is logged.
   */
  readonly locate: (wanted: Wanted, resource: Resource, refusal?: Refusal) => Effect.Effect<Location, OriginError>
}>()("spillway/services/origin/OriginResolver") {
  /**
   * Uses the routes of `OriginConfig`. Path and query are appended to the URL of the route. Keys are made by the rules of `CacheConfig`; the
   * location has all parameters of the request.
   *
   * @since 0.1.0
   * @category layers
   */
  static readonly layer: Layer.Layer<OriginResolver, never, CacheConfig | OriginConfig> = Layer.effect(
    OriginResolver,
    Effect.gen(function*() {
      const cacheConfig = yield* CacheConfig
      const originConfig = yield* OriginConfig
      let origins = originConfig.origins
      let resolver = make(origins, cacheConfig.cacheKey)
      return OriginResolver.of({
        identify: (wanted) => {
          // What it remembers is right for its routes and rules only.
          if (originConfig.origins !== origins) {
            origins = originConfig.origins
            resolver = make(origins, cacheConfig.cacheKey)
          }
          return resolver.identify(wanted)
        },
        locate: (wanted, resource) => (makers.get(resource) ?? resolver).locate(wanted, resource)
      })
    })
  )
}

/** The path of requests that contain a URL: `?url=` and the URL, percent-encoded. */
export const URL_PATH = "/_spillway/url"

/** How long `locate` may take, in milliseconds. */
export const LOCATE_MILLIS = 10_000

/** How many requests are remembered with their resources. */
const REMEMBERED = 4096

/** How long the host and target of a remembered request may be, in characters. */
const REMEMBERED_LENGTH = 1024

const NOT_ENABLED: TargetError = { status: 404, reason: "naming a URL is not enabled" }

const NOT_ALLOWED: TargetError = { status: 403, reason: "this URL is not among those allowed" }

/** The URL in a request that contains one. */
const urlIn = (target: string): URL | null => {
  const text = new URLSearchParams(target.slice(URL_PATH.length)).get("url")
  return text === null ? null : URL.parse(text)
}

/** The location of the file with the key `key` for a request for `target`, which has the same path and parameters of its own. */
const locationOf = (rules: ReadonlyArray<CacheKeyRule>, target: string, key: string) => {
  const plain = { url: key, ignored: [] }
  if (rules.length === 0) return plain
  const url = new URL(key)
  url.search = pathOf(target) === URL_PATH ? urlIn(target)?.search ?? "" : target.slice(pathOf(target).length)
  return cacheKey(rules, url) === key ? { url: url.href, ignored: ignoredParameters(rules, url) } : plain
}

/** What has identified a resource. A request keeps its route to the end, also when the routes have been replaced. */
const makers = new WeakMap<Resource, OriginResolver["Service"]>()

const make = (origins: Origins, rules: ReadonlyArray<CacheKeyRule>) => {
  const known = new Map<string, Resource>()
  const byHost = origins.routes.some(({ match }) => match._tag === "Host")
  /** What viewers may name. An origin with a route may have a private address, but only for that route. */
  const named: Origins = { ...origins, routes: [] }

  const explicit = (target: string): Resource | TargetError => {
    const url = urlIn(target)
    if (url === null || !/^https?:$/.test(url.protocol) || url.username !== "" || url.password !== "") {
      return { status: 400, reason: "give the URL as ?url=, percent-encoded" }
    }
    const access = accessTo(named, url)
    if (access === undefined) return NOT_ALLOWED
    const key = cacheKey(rules, url)
    // A hit makes no connection that could check the address, so its entry must be from a public one.
    return access === "public" ? makePublic(key) : makeResource(key)
  }

  const identify = ({ headers, target }: Wanted): Resource | TargetError => {
    const refused = refusalOf(target)
    if (refused !== undefined) return refused
    const path = pathOf(target)
    if (path === URL_PATH) return origins.urlHosts.length > 0 ? explicit(target) : NOT_ENABLED
    const plain = withoutDots(target)
    const route = findRoute(origins, headers["host"], pathOf(plain))
    if (route === undefined) return { status: 404, reason: "no origin is configured for this" }
    const below = route.match._tag === "Path" ? plain.slice(route.match.prefix.length) : plain
    const url = urlBelow(route.url, below.startsWith("/") ? below : `/${below}`)
    if ("status" in url) return url
    if (route.policy.origins.some(hasNoQueries)) url.search = ""
    return makeResource(cacheKey(rules, url))
  }

  const resolver = OriginResolver.of({
    identify: (wanted) => {
      const key = byHost ? `${wanted.headers["host"]} ${wanted.target}` : wanted.target
      const remembered = known.get(key)
      if (remembered !== undefined) return remembered
      const resource = identify(wanted)
      if ("status" in resource) return resource
      makers.set(resource, resolver)
      if (key.length <= REMEMBERED_LENGTH) {
        if (known.size >= REMEMBERED) known.clear()
        known.set(key, resource)
      }
      return resource
    },
    locate: ({ headers, target }, { url }) =>
      Effect.sync(() => {
        const from = pathOf(target) === URL_PATH ? named : origins
        const at = new URL(url)
        const route = routeTo(from, { host: headers["host"], target }, at)
        return {
          ...locationOf(rules, target, url),
          file: url,
          headers: {},
          access: accessTo(from, at) ?? "public",
          ...(route !== undefined && { route: route.policy })
        }
      })
  })
  return resolver
}
