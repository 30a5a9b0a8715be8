import { Context, Effect, Layer, type Scope } from "effect"
import { createHmac, randomBytes } from "node:crypto"
import { cacheKey } from "../../domain/CacheKey.ts"
import { MediaRefused, NotServed, TooManyRegistrations } from "../../domain/OpenError.ts"
import { loggable, OriginUnexpected } from "../../domain/OriginError.ts"
import { pathOf, type TargetError } from "../../domain/RequestTarget.ts"
import { make as makeResource, type Resource } from "../../domain/Resource.ts"
import type { HeaderFields } from "../../domain/rfc/HeaderFields.ts"
import type { Access } from "../../domain/Route.ts"
import { CacheConfig, type CacheOptions } from "../config/CacheConfig.ts"
import type { Location } from "./askOrigin.ts"
import { OriginResolver } from "./OriginResolver.ts"

/** The path of local URLs. After it come the token, which is the only protection, and a name. */
export const LOCAL_PATH = "/_spillway/local/"

/** How many URLs may be registered at a time. */
export const MAX_LOCAL_URLS = 10_000

/** How many random bytes a token has. */
const TOKEN_BYTES = 24

/**
 * How to fetch a URL for an application.
 *
 * @since 0.1.0
 * @category options
 */
export interface FetchOptions {
  /** Header fields for the origin only, such as `authorization`. Viewers don't see them, and they are not written to disk. */
  readonly headers?: HeaderFields
  /**
   * The name of the cache entry. URLs with the same key share one entry, so they must have the same file, and all their viewers must be
   * allowed to see it. Without it, the entry is named by the URL; or, if there are `headers`, by URL and `headers`, until the program ends.
   */
  readonly key?: string
  /** `public`: connect to public addresses only. For URLs that the application did not choose itself. */
  readonly access?: Access
}

/** A file that an application names: its key in the cache, and its location. */
interface Named {
  readonly resource: Resource
  readonly location: Location
}

/**
 * A local URL. It is valid until its scope closes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Registration {
  /** Absolute, with the address where this program listens. */
  readonly url: string
  /** The same without scheme, host and port, for pages that this program serves. */
  readonly path: string
  /** Ends it at once. Requests get 404, and a running response is cut off when it next needs the origin. */
  readonly unregister: Effect.Effect<void>
}

/**
 * The files that applications name by URL, and their local URLs.
 *
 * @since 0.1.0
 * @category services
 */
export class LocalUrls extends Context.Service<LocalUrls, {
  /** The file at `url` with `options`. */
  readonly name: (url: string, options?: FetchOptions) => Effect.Effect<Named, MediaRefused>
  /** A local URL for `url`, until the scope closes. At most `MAX_LOCAL_URLS` at a time. Fails with `NotServed` before `serveAt`. */
  readonly register: (
    url: string,
    options?: FetchOptions
  ) => Effect.Effect<Registration, MediaRefused | NotServed | TooManyRegistrations, Scope.Scope>
  /**
   * Sets where Spillway's handler is served: below `base`, a URL without a slash at its end. A server calls it when it listens, which is after
   * this service was built.
   */
  readonly serveAt: (base: string) => void
  /** The last base; `undefined` before `serveAt`. */
  readonly servedAt: () => string | undefined
  /** The file that is registered under the path of a request. */
  readonly find: (path: string) => Named | undefined
}>()("spillway/services/origin/LocalUrls") {
  static readonly layer: Layer.Layer<LocalUrls, never, CacheConfig> = Layer.effect(
    LocalUrls,
    Effect.map(CacheConfig, (config) => make(config))
  )

  /** Resolves local URLs, and leaves others to the `OriginResolver` in context. */
  static readonly layerResolver: Layer.Layer<OriginResolver, never, OriginResolver | LocalUrls> = Layer.effect(
    OriginResolver,
    Effect.gen(function*() {
      const { find } = yield* LocalUrls
      const resolver = yield* OriginResolver
      return OriginResolver.of({
        identify: (wanted) =>
          wanted.target.startsWith(LOCAL_PATH)
            ? find(pathOf(wanted.target))?.resource ?? NOT_REGISTERED
            : resolver.identify(wanted),
        locate: (wanted, resource, refusal) => {
          if (!wanted.target.startsWith(LOCAL_PATH)) return resolver.locate(wanted, resource, refusal)
          const named = find(pathOf(wanted.target))
          return named === undefined
            ? Effect.fail(
              new OriginUnexpected({ url: loggable(resource.url), status: 404, detail: "no longer registered" })
            )
            : Effect.succeed(named.location)
        }
      })
    })
  )
}

const NOT_REGISTERED: TargetError = { status: 404, reason: "nothing is registered here" }

/** A field name and a field value (RFC 9110 §5.1, §5.5). */
const FIELD_NAME = /^[\w!#$%&'*+.^`|~-]+$/
const FIELD_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/

/** The last segment of a path, for players that need its extension. Nothing in it needs encoding. */
const nameOf = (url: URL): string => /[\w.-]{1,64}$/.exec(url.pathname)?.[0] ?? "media"

const make = (config: Pick<CacheOptions, "cacheKey">): LocalUrls["Service"] => {
  const byPath = new Map<string, Named>()
  // Keyed, so that nobody can guess fields from the key that they produce. Lost when this program ends.
  const secret = randomBytes(32)
  let base: string | undefined

  const keyOf = (url: URL, headers: HeaderFields, key: string | undefined): string => {
    if (key !== undefined) return `registered:${encodeURIComponent(key)}`
    const href = cacheKey(config.cacheKey, url)
    const fields = Object.entries(headers).toSorted(([a], [b]) => a < b ? -1 : 1)
    if (fields.length === 0) return href
    // A fragment is never sent, so no plain URL can be the same.
    return `${href}#${createHmac("sha256", secret).update(JSON.stringify(fields)).digest("hex").slice(0, 32)}`
  }

  const name = (text: string, { access = "any", headers = {}, key }: FetchOptions = {}) => {
    const url = URL.parse(text)
    const refuse = (reason: string) => Effect.fail(new MediaRefused({ url: loggable(text), reason }))
    if (url === null || !/^https?:$/.test(url.protocol)) return refuse("not an absolute http or https URL")
    if (url.username !== "" || url.password !== "") {
      return refuse("a URL with a user or password: use an authorization header field")
    }
    const fields: Record<string, string> = {}
    for (const [name, value] of Object.entries(headers)) {
      if (!FIELD_NAME.test(name) || !FIELD_VALUE.test(value)) {
        return refuse(`not a valid header field: ${JSON.stringify(name)}`)
      }
      fields[name.toLowerCase()] = value
    }
    const resource = makeResource(keyOf(url, fields, key))
    return Effect.succeed({ resource, location: { url: url.href.replace(/#.*$/s, ""), headers: fields, access } })
  }

  return LocalUrls.of({
    name,
    register: Effect.fnUntraced(function*(url, options) {
      const named = yield* name(url, options)
      const at = base
      if (at === undefined) return yield* new NotServed()
      if (byPath.size >= MAX_LOCAL_URLS) return yield* new TooManyRegistrations({ limit: MAX_LOCAL_URLS })
      const token = randomBytes(TOKEN_BYTES).toString("base64url")
      const path = `${LOCAL_PATH}${token}/${nameOf(new URL(url))}`
      const unregister = Effect.sync(() => void byPath.delete(path))
      yield* Effect.acquireRelease(Effect.sync(() => byPath.set(path, named)), () => unregister)
      return { url: at + path, path: new URL(at + path).pathname, unregister }
    }),
    serveAt: (served) => {
      base = served
    },
    servedAt: () => base,
    find: (path) => byPath.get(path)
  })
}
