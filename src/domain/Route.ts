import { defaultPolicy, type RoutePolicy } from "./RoutePolicy.ts"

/**
 * Which servers Spillway may contact, and which of them a request is for.
 */

/**
 * An origin, and the requests that are for it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Route {
  readonly match:
    | { readonly _tag: "All" }
    /** Paths that are `prefix` or below it. It starts with `/`, does not end with it, and is spelt as a URL parser does. */
    | { readonly _tag: "Path"; readonly prefix: string }
    /** Requests to a host, in lower case; to any port of it unless one is named. */
    | { readonly _tag: "Host"; readonly host: string }
  /**
   * That of the first origin, which names the files in the cache, whichever origin has sent them. Absolute, `http`, `https` or `file`, without
   * user, query and fragment.
   */
  readonly url: URL
  readonly policy: RoutePolicy
}

/**
 * A route to `url`, for the requests that `match`. Without `policy`, it has the defaults.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeRoute = (match: Route["match"], url: URL, policy: RoutePolicy = defaultPolicy(url)): Route => ({
  match,
  url,
  policy
})

/**
 * Everything that may be contacted.
 *
 * @since 0.1.0
 * @category options
 */
export interface Origins {
  readonly routes: ReadonlyArray<Route>
  /**
   * Hosts that requests may name in a URL of their own: `example.org` at the scheme's port, `example.org:8443`, and
   * `*.example.org` for what is below it. Without any, no request may.
   */
  readonly urlHosts: ReadonlyArray<string>
  /** Whether those may be at addresses that are not public. */
  readonly allowPrivate: boolean
}

/** To what addresses a connection may go: to any, or to public ones. */
export type Access = "any" | "public"

const SCHEME = /^[a-z][a-z0-9+.-]*:\/\//i

/** Where the URL of `/prefix=URL` or `host=URL` begins. */
const ASSIGNED = /=(?:https?|file):\/\//i

const parsePrefix = (text: string): Route["match"] | undefined => {
  const url = URL.parse(`http://prefix${text}`)
  if (url === null || url.search !== "" || url.hash !== "" || /[?#\\]/.test(text)) return undefined
  const prefix = url.pathname.replace(/\/+$/, "")
  return prefix === "" ? { _tag: "All" } : { _tag: "Path", prefix }
}

const parseHost = (text: string): Route["match"] | undefined => {
  if (text === "" || /[/?#@*\\\s]/.test(text)) return undefined
  const url = URL.parse(`http://${text}`)
  if (url === null) return undefined
  // The parser drops the port 80, which may be what is meant.
  const port = /:(\d+)$/.exec(text.replace(/^\[.*\]/, ""))?.[1]
  return { _tag: "Host", host: port === undefined ? url.hostname : `${url.hostname}:${Number(port)}` }
}

/** The requests that a text names: those below a path, which starts with `/`, or those to a host. */
export const parseMatch = (text: string): Route["match"] | undefined =>
  text.startsWith("/") ? parsePrefix(text) : parseHost(text)

/** What is said of a text that is wrong ends up in logs, also where what is wrong with it is that it has a password or a token. */
const withoutSecrets = (text: string): string =>
  text.replace(/:\/\/[^/?#]*@/, "://…@").replace(/(:\/\/[^?#]*[?#]).+$/s, "$1…")

/** The URL of an origin, or what is wrong with it in a line; `whole` is the text that it is part of. */
export const parseOrigin = (text: string, whole = text): URL | string => {
  const wrong = (why: string) => `origin "${withoutSecrets(whole)}": ${why}`
  const url = URL.parse(text)
  if (url === null) return wrong("not a URL; give one such as https://media.example.org")
  if (url.protocol === "s3:") {
    return wrong("a bucket is named in a configuration file, as origin = { url = \"s3://…\" }")
  }
  if (!/^(?:https?|file):$/.test(url.protocol)) return wrong("only http, https and file are supported")
  if (url.protocol === "file:" && url.host !== "") {
    return wrong("a file URL has no host; give one such as file:///mnt/films")
  }
  if (url.username !== "" || url.password !== "") return wrong("a user name or password in it is not supported")
  return /[?#]/.test(url.href) ? wrong("it must have no query and no fragment") : url
}

/**
 * The route in a text, as on the command line: `URL` for everything, `/prefix=URL`, or `host=URL`. Returns a line that says what is wrong if
 * the text isn't a route.
 *
 * @example
 * ```ts
 * import { parseRoute } from "spillway"
 *
 * const route = parseRoute("/films=https://media.example.org")
 * if (typeof route === "string") throw new Error(route)
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const parseRoute = (text: string): Route | string => {
  const at = SCHEME.test(text) ? -1 : ASSIGNED.exec(text)?.index ?? text.indexOf("=")
  const url = parseOrigin(text.slice(at + 1), text)
  if (typeof url === "string") return url
  if (at < 0) return makeRoute({ _tag: "All" }, url)
  const key = text.slice(0, at)
  const isPath = key.startsWith("/")
  const match = parseMatch(key)
  if (match !== undefined) return makeRoute(match, url)
  const wrong = (why: string) => `origin "${withoutSecrets(text)}": ${why}`
  return wrong(isPath ? `"${key}" is no path` : `"${key}" is neither a path, which starts with /, nor a host`)
}

/** A route as `parseRoute` reads it. Its policy is not part of the text. */
export const formatRoute = ({ match, url }: Route): string => {
  switch (match._tag) {
    case "All":
      return url.href
    case "Path":
      return `${match.prefix}=${url.href}`
    case "Host":
      return `${match.host}=${url.href}`
  }
}

/** Whether `host`, one of `Origins.urlHosts`, is that of `url`. */
const matches = (host: string, url: URL): boolean => {
  const [, name, port] = /^(.*?)(?::(\d+))?$/.exec(host.toLowerCase())!
  const standard = url.protocol === "https:" ? "443" : "80"
  if ((port ?? standard) !== (url.port || standard)) return false
  if (!name!.startsWith("*.")) return url.hostname === name
  return url.hostname.length > name!.length - 1 && url.hostname.endsWith(name!.slice(1))
}

/**
 * At what addresses `url` may be contacted; `undefined` when it never may be. An origin (scheme, host and port, RFC 6454 §4)
 * that has a route is wherever the operator put it.
 */
export const accessTo = (origins: Origins, url: URL): Access | undefined => {
  if (url.protocol !== "http:" && url.protocol !== "https:") return undefined
  const isRouted = ({ policy }: Route) => policy.origins.some((server) => server.url.origin === url.origin)
  if (origins.routes.some(isRouted)) return "any"
  if (!origins.urlHosts.some((host) => matches(host, url))) return undefined
  return origins.allowPrivate ? "any" : "public"
}

/** A host fits more narrowly than a path of any length. */
const HOST_AND_PORT = Number.MAX_SAFE_INTEGER

/** How narrowly `match` fits a request, or `undefined` when it does not. */
const fit = (match: Route["match"], host: string | undefined, path: string): number | undefined => {
  switch (match._tag) {
    case "All":
      return 0
    case "Path": {
      const { length } = match.prefix
      return path.startsWith(match.prefix) && (path.length === length || path[length] === "/") ? length : undefined
    }
    case "Host":
      if (host === match.host) return HOST_AND_PORT
      return host?.replace(/:\d*$/, "") === match.host ? HOST_AND_PORT - 1 : undefined
  }
}

/**
 * The route of a request for `path`, which has no query, with `host` in its `Host` field: one for the host, else the one with
 * the longest prefix, else one for all; of several such, the first.
 */
export const findRoute = (origins: Origins, host: string | undefined, path: string): Route | undefined => {
  const asked = host?.toLowerCase()
  let found: Route | undefined
  let best = -1
  for (const route of origins.routes) {
    const narrow = fit(route.match, asked, path)
    if (narrow !== undefined && narrow > best) {
      found = route
      best = narrow
    }
  }
  return found
}
