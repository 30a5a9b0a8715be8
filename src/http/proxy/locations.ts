import { Effect } from "effect"
import { cacheKey } from "../../domain/CacheKey.ts"
import { pathOf, type TargetError } from "../../domain/RequestTarget.ts"
import type { Resource } from "../../domain/Resource.ts"
import type { HeaderFields } from "../../domain/rfc/HeaderFields.ts"
import { viewerTargets } from "../../domain/viewerTargets.ts"
import { CacheConfig } from "../../services/config/CacheConfig.ts"
import { OriginConfig } from "../../services/config/OriginConfig.ts"
import { OriginResolver, URL_PATH } from "../../services/origin/OriginResolver.ts"
import type { RequestHead } from "./parseRequest.ts"

/**
 * URLs in fields, on their way between a viewer, who knows this server, and an origin, which knows itself.
 */

/** The request that a field is about. */
export type AboutRequest = Pick<RequestHead, "headers" | "url">

/** What may be done with the places in a field. */
type Rewrite = (value: string, placeOf: (place: string) => string) => string

/** Fields of a response that name places, and how. */
const PLACES: Readonly<Record<string, Rewrite>> = {
  "location": (value, placeOf) => placeOf(value),
  "content-location": (value, placeOf) => placeOf(value),
  // As browsers read it (HTML, "shared declarative refresh steps").
  "refresh": (value, placeOf) =>
    value.replace(
      /^([\d.\s]*[;,]\s*url\s*=\s*)(["']?)(.*?)(\2\s*)$/is,
      (_, before: string, quote: string, place: string, after: string) => before + quote + placeOf(place) + after
    ),
  // RFC 8288
  "link": (value, placeOf) => value.replace(/<([^<>]*)>/g, (_, place: string) => `<${placeOf(place)}>`)
}

const NAMES = Object.keys(PLACES)

/** Whether the fields of a response name places. */
export const namesPlaces = (fields: HeaderFields): boolean => NAMES.some((name) => fields[name] !== undefined)

/** A base for targets: what it is does not matter. */
const HERE = "http://viewer.invalid"

const isWithin = (host: string, domain: string): boolean => host === domain || host.endsWith(`.${domain}`)

/** Whether a cookie's `domain` has the origin's host and not the viewer's: a browser would drop the cookie. */
const isOnlyOf = (domain: string, origin: string, viewer = ""): boolean => {
  const plain = domain.toLowerCase().replace(/^\./, "")
  return isWithin(origin, plain) && !isWithin(viewer.toLowerCase().replace(/:\d*$/, ""), plain)
}

export const makeLocations = Effect.gen(function*() {
  const cacheConfig = yield* CacheConfig
  const originConfig = yield* OriginConfig
  const resolver = yield* OriginResolver

  /** The target by which the viewer of a request finds `url` here. */
  const targetOf = (url: URL, { headers, url: asked }: AboutRequest): string | undefined => {
    const key = cacheKey(cacheConfig.cacheKey, url)
    const targets = pathOf(asked) === URL_PATH
      ? [`${URL_PATH}?url=${encodeURIComponent(url.origin + url.pathname + url.search)}`]
      : viewerTargets(originConfig.origins, url, { host: headers["host"], path: pathOf(asked) })
    return targets.find((target) => {
      const found = resolver.identify({ target, headers })
      // The path of a route has a slash at its end, even if its origin has none.
      return "url" in found && (found.url === key || found.url === `${key}/`)
    })
  }

  /** `value`, a reference from `base` at the origin, as it is to the viewer. */
  const placeOf = (value: string, base: string, request: AboutRequest): string => {
    const url = URL.parse(value, base)
    if (url === null) return value
    const target = targetOf(url, request)
    // What a viewer named outright is not below this server's root.
    if (target === undefined) return pathOf(request.url) === URL_PATH ? url.href : value
    const seen = URL.parse(value, HERE + request.url)
    return seen?.origin === HERE && seen.pathname + seen.search === target ? value : target + url.hash
  }

  return {
    /** The fields of a response to `request`, with the places at `base` and other origins as the viewer gets to them. */
    toViewer: (fields: HeaderFields, base: string, request: AboutRequest): HeaderFields => {
      if (!namesPlaces(fields)) return fields
      const found = NAMES.filter((name) => fields[name] !== undefined)
      const rewritten = found.map((name) =>
        [name, PLACES[name]!(fields[name]!, (place) => placeOf(place, base, request))] as const
      )
      return { ...fields, ...Object.fromEntries(rewritten) }
    },
    /** A line of `Set-Cookie` in the response to `request` from `base`, for the host and path by which the viewer finds `base` here. */
    cookieToViewer: (line: string, base: string, request: AboutRequest): string => {
      const [cookie = "", ...attributes] = line.split(";")
      const { hostname } = new URL(base)
      const kept = attributes.flatMap((attribute) => {
        const [, name = "", value = ""] = /^\s*([^=]*?)\s*=\s*(.*?)\s*$/.exec(attribute) ?? []
        if (/^domain$/i.test(name)) return isOnlyOf(value, hostname, request.headers["host"]) ? [] : [attribute]
        // The root is right wherever the viewer is.
        const url = /^path$/i.test(name) && /^\/./.test(value) ? URL.parse(value, base) : null
        const target = url === null ? undefined : targetOf(url, request)
        return [target === undefined ? attribute : ` ${name}=${target.replace(/(?<=.)\/$/, "")}`]
      })
      return [cookie, ...kept].join(";")
    },
    /** What `destination`, a URL or path at this server, names, and by which target; `undefined` if it is elsewhere. */
    toOrigin: (
      destination: string,
      { headers }: AboutRequest
    ): { readonly target: string; readonly resource: Resource | TargetError } | undefined => {
      const here = URL.parse(`http://${headers["host"] ?? "viewer.invalid"}`)
      const url = here && URL.parse(destination, here.href)
      if (url === null || url.host !== here?.host) return undefined
      const target = url.pathname + url.search
      return { target, resource: resolver.identify({ target, headers }) }
    }
  }
})
