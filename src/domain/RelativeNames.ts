import { isBelow } from "./below.ts"
import type { HeaderFields } from "./rfc/HeaderFields.ts"
import { accessTo, type Origins } from "./Route.ts"

/**
 * When a redirect is followed here, the viewer takes what it leads to for what was requested, and resolves the relative names in it
 * against the URL that was requested (RFC 3986 §5.1.3). For a film that makes no difference. For a page, a playlist or a directory the
 * viewer has to see the redirect.
 */

/** Files that name others: pages, styles, scripts, playlists, manifests, subtitles with pictures, scenes; and directories. */
const NAMING_PATH =
  /(?:\/|\.(?:x?html?|css|m?js|svg|xml|m3u8?|mpd|f4m|pls|xspf|smil|vtt|gltf)|\/manifest(?:\([^/]*\))?)$/i

/** The same by their type. */
const NAMING_TYPE = /html|css|javascript|xml|mpegurl|\bf4m\b|\bx-scpls\b|\bsmil\b|\bvtt\b|\bgltf\+json\b/i

/** What relative names at `url` are resolved against. */
const baseOf = ({ origin, pathname }: URL): string => origin + pathname.slice(0, pathname.lastIndexOf("/") + 1)

/** Whether viewers can reach `url` if they are redirected there, after a request for `asked`: by a route, or directly. */
const isWithinReach = (origins: Origins, asked: URL, url: URL): boolean => {
  if (accessTo(origins, url) === undefined) return false
  const routes = origins.routes.filter((route) => route.url.origin === url.origin)
  return routes.length === 0 ||
    routes.some((route) =>
      isBelow(route.url.pathname, url.pathname) && (route.match._tag !== "Host" || url.origin === asked.origin)
    )
}

/**
 * Whether a viewer who asked for `asked` has to see a redirect from there to `to`; `answer` has the fields of what is there, if it has
 * been requested.
 */
export const needsRedirect = (origins: Origins, asked: URL, to: URL, answer?: HeaderFields): boolean => {
  if (baseOf(asked) === baseOf(to) || !isWithinReach(origins, asked, to)) return false
  return answer === undefined ? NAMING_PATH.test(to.pathname) : NAMING_TYPE.test(answer["content-type"] ?? "")
}
