import { below } from "./below.ts"
import { findRoute, type Origins } from "./Route.ts"

/**
 * The request targets by which viewers of `host` may find `url`, a URL at an origin: first by the route of `path`, in whose response the
 * URL was, then by the other routes that have no host of their own. The route of each has yet to be looked up.
 */
export const viewerTargets = (
  origins: Origins,
  url: URL,
  asked: { readonly host: string | undefined; readonly path: string }
): ReadonlyArray<string> => {
  const own = findRoute(origins, asked.host, asked.path)
  const others = origins.routes.filter((route) => route !== own && route.match._tag !== "Host")
  return [...(own === undefined ? [] : [own]), ...others].flatMap(({ match, url: base }) => {
    const rest = base.origin === url.origin ? below(base.pathname, url.pathname) : undefined
    if (rest === undefined) return []
    const target = (match._tag === "Path" ? match.prefix : "") + rest
    return [(target === "" ? "/" : target) + url.search]
  })
}
