import { Context, Effect, Layer, type Scope } from "effect"
import { createHmac, randomBytes } from "node:crypto"
import { MediaRefused, NotServed, TooManyRegistrations } from "../../domain/OpenError.ts"
import { loggable, OriginUnexpected } from "../../domain/OriginError.ts"
import { pathOf, type TargetError } from "../../domain/RequestTarget.ts"
import { make as makeResource, type Resource } from "../../domain/Resource.ts"
import type { HeaderFields } from "../../domain/rfc/HeaderFields.ts"
import type { Access } from "../../domain/Route.ts"
import type { Location } from "./askOrigin.ts"
import { OriginResolver } from "./OriginResolver.ts"

/** The path of local URLs: behind it come the token, which is all that lets anybody in, and a name. */
export const LOCAL_PATH = "/_spillway/local/"

/** How many are registered at one time at most. */
export const MAX_LOCAL_URLS = 10_000

/** How many random bytes a token has. */
const TOKEN_BYTES = 24

/** How an application has something fetched. */
export interface FetchOptions {
  /** Fields for the origin alone, such as `authorization`. No viewer sees them, and they are not written to disk. */
  readonly headers?: HeaderFields
  /**
   * The name that the bytes have in the cache, independent of their URL and `headers`: anyone who opens or registers the same one shares an
   * entry, so give it to what is the same file, for viewers who may all see it. Without it, the URL names the entry where there are
   * no `headers`; and where there are, URL and `headers` do, until the program ends.
   */
  readonly key?: string
  /** `public`: connections go to public addresses only. For URLs that are not the application's own choice. */
  readonly access?: Access
}

/** Something that an application has fetched: its key in the cache, and where it is. */
export interface Named {
  readonly resource: Resource
  readonly location: Location
}

/** A local URL, until its scope closes. */
export interface Registration {
  /** Absolute, at the address where this program listens. */
  readonly url: string
  /** The same without scheme, host and port, for pages that come from this program. */
  readonly path: string
  /** Ends it at once: requests are answered 404, and an answer under way is cut where it needs the origin once more. */
  readonly unregister: Effect.Effect<void>
}

/** What applications name by URL, and the local URLs of what they have registered. */
export class LocalUrls extends Context.Service<LocalUrls, {
  /** What `url` with `options` is. */
  readonly name: (url: string, options?: FetchOptions) => Effect.Effect<Named, MediaRefused>
  /** A local URL for `url`, until the scope closes. At most `MAX_REGISTRATIONS` at a time. */
  readonly register: (
    url: string,
    options?: FetchOptions
  ) => Effect.Effect<Registration, MediaRefused | NotServed | TooManyRegistrations, Scope.Scope>
  /** Tells that Spillway's handler is served below `base`, a URL without a slash at its end. */
  readonly serveAt: (base: string) => void
  /** The last of these; nothing while it is served nowhere. */
  readonly servedAt: () => string | undefined
  /** What is registered under the path of a request. */
  readonly find: (path: string) => Named | undefined
}>()("spillway/services/origin/LocalUrls") {
  static readonly layer: Layer.Layer<LocalUrls> = Layer.sync(LocalUrls, () => make())

  /** The `OriginResolver` in context, with local URLs in front of it. */
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

/** The end of a path, for players that go by it; nothing in it needs encoding. */
const nameOf = (url: URL): string => /[\w.-]{1,64}$/.exec(url.pathname)?.[0] ?? "media"

const make = (): LocalUrls["Service"] => {
  const byPath = new Map<string, Named>()
  // Nobody can tell fields by trying what key they give, and none are kept longer than this program runs.
  const secret = randomBytes(32)
  let base: string | undefined

  const keyOf = (url: URL, headers: HeaderFields, key: string | undefined): string => {
    if (key !== undefined) return `registered:${encodeURIComponent(key)}`
    const href = url.origin + url.pathname + url.search
    const fields = Object.entries(headers).toSorted(([a], [b]) => a < b ? -1 : 1)
    if (fields.length === 0) return href
    // A fragment is never sent, so that no plain URL is the same.
    return `${href}#${createHmac("sha256", secret).update(JSON.stringify(fields)).digest("hex").slice(0, 32)}`
  }

  const name = (text: string, { access = "any", headers = {}, key }: FetchOptions = {}) => {
    const url = URL.parse(text)
    const refuse = (reason: string) => Effect.fail(new MediaRefused({ url: loggable(text), reason }))
    if (url === null || !/^https?:$/.test(url.protocol)) return refuse("not an absolute http or https URL")
    if (url.username !== "" || url.password !== "") return refuse("a user or password goes into an authorization field")
    const fields: Record<string, string> = {}
    for (const [name, value] of Object.entries(headers)) {
      if (!FIELD_NAME.test(name) || !FIELD_VALUE.test(value)) {
        return refuse(`not a header field: ${JSON.stringify(name)}`)
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
