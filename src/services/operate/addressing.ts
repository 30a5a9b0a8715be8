import { Effect } from "effect"
import type { BanTarget } from "../../domain/BanList.ts"
import { cacheKey } from "../../domain/CacheKey.ts"
import { loggable, OriginTimeout } from "../../domain/OriginError.ts"
import { pathOf, type TargetError } from "../../domain/RequestTarget.ts"
import { make as makeResource, makePublic, type Resource } from "../../domain/Resource.ts"
import { accessTo } from "../../domain/Route.ts"
import { CacheConfig } from "../config/CacheConfig.ts"
import { OriginConfig } from "../config/OriginConfig.ts"
import { makeOwnQuestion } from "../fleet/peerQuestion.ts"
import type { Source } from "../origin/askOrigin.ts"
import { LOCATE_MILLIS, OriginResolver } from "../origin/OriginResolver.ts"

/** What an operator has named to be purged, and whether softly. */
type PurgeNames =
  & ({ readonly url: string } | { readonly prefix: string } | { readonly tag: string } | { readonly all: true })
  & { readonly soft?: boolean }

/**
 * Turns an operator's text, which is a URL at the origin or a path at this server, into a resource and its source.
 */
export const makeAddressing = Effect.gen(function*() {
  const cacheConfig = yield* CacheConfig
  const originConfig = yield* OriginConfig
  const resolver = yield* OriginResolver
  const questionOf = yield* makeOwnQuestion

  const resourceOf = (text: string): Resource | TargetError => {
    if (text.startsWith("/")) return resolver.identify({ target: text, headers: {} })
    const url = URL.parse(text)
    if (url === null) {
      return { status: 400, reason: "not a URL: give one at the origin, or a path at this server" }
    }
    // An application may have keys that are not HTTP URLs.
    if (!/^https?:$/.test(url.protocol)) return makeResource(text)
    const key = cacheKey(cacheConfig.cacheKey, url)
    return accessTo(originConfig.origins, url) === "public" ? makePublic(key) : makeResource(key)
  }

  const prefixOf = (text: string): string | TargetError => {
    if (!text.startsWith("/")) return text
    const path = pathOf(text)
    const start = resourceOf(path)
    return "status" in start ? start : start.url + text.slice(path.length)
  }

  return {
    resourceOf,
    /** The beginning of the URLs at the origin that `text` begins. A query in it may be incomplete, so it stays as it is. */
    prefixOf,
    /** What a purge of these is for. */
    banTargetOf: (names: PurgeNames): BanTarget | TargetError => {
      const soft = names.soft === true ? { soft: true as const } : {}
      if ("tag" in names) return { _tag: "Tag", tag: names.tag, ...soft }
      if ("url" in names) {
        const resource = resourceOf(names.url)
        return "status" in resource ? resource : { _tag: "Url", url: resource.url, ...soft }
      }
      const prefix = prefixOf("prefix" in names ? names.prefix : "")
      return typeof prefix === "string" ? { _tag: "Prefix", prefix, ...soft } : prefix
    },
    /** Whether viewers can request a resource: an origin is configured for its URL, or none is configured at all. */
    isServed: ({ url }: Resource): boolean => {
      const parsed = URL.parse(url)
      const { origins } = originConfig
      if (parsed === null || origins.routes.length + origins.urlHosts.length === 0) return true
      return accessTo(origins, parsed) !== undefined
    },
    /** The source of a resource that was written as `text`. It has no header fields, because there is no viewer. */
    sourceOf: (text: string, resource: Resource, background: boolean): Source => {
      const url = URL.parse(text)
      const target = text.startsWith("/") || url === null ? text : url.pathname + url.search
      return {
        fields: {},
        target,
        background,
        ...questionOf(resource, target),
        locate: (refusal) =>
          Effect.timeoutOrElse(resolver.locate({ target, headers: {} }, resource, refusal), {
            duration: LOCATE_MILLIS,
            orElse: () => Effect.fail(new OriginTimeout({ url: loggable(resource.url), phase: "location" }))
          })
      }
    }
  }
})
