import { isUrlBelow } from "./below.ts"
import { pathOf, withoutDots } from "./RequestTarget.ts"
import { findRoute, type Origins, type Route } from "./Route.ts"

/**
 * The route by which a request has come to `url`: the one for its target and host, or, if that leads elsewhere because an operator or an
 * application has named the URL, the one with the longest URL that leads there.
 */
export const routeTo = (
  origins: Origins,
  { host, target }: { readonly host: string | undefined; readonly target: string },
  url: URL
): Route | undefined => {
  const own = target.startsWith("/") ? findRoute(origins, host, pathOf(withoutDots(target))) : undefined
  if (own !== undefined && isUrlBelow(own.url, url)) return own
  return origins.routes.filter((route) => isUrlBelow(route.url, url))
    .toSorted((a, b) => b.url.pathname.length - a.url.pathname.length)[0]
}
