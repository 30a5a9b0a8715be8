import { HEURISTIC_MILLIS } from "./rfc/Freshness.ts"
import type { HeaderFields } from "./rfc/HeaderFields.ts"

/** The longest that a playlist or manifest is fresh by a guess, in milliseconds: that of a live stream changes with each segment. */
export const PLAYLIST_MILLIS = 2000

/** HLS, DASH, Smooth Streaming and HDS, and audio playlists. */
const PLAYLIST_TYPE = /mpegurl|\bdash(?:-patch)?\+xml|\bvnd\.ms-sstr\+xml|\bf4m(?:\+xml)?\b/i

/** The same by the end of a path: origins often send such files as plain text. */
const PLAYLIST_PATH = /(?:\.(?:m3u8?|mpd|f4m)|\/manifest(?:\([^/]*\))?)$/i

const pathOf = (url: string): string => url.split(/[?#;]/, 1)[0]!

/** Whether a response may be a playlist or a manifest, by its type or its path. */
export const isPlaylist = (url: string, headers: HeaderFields): boolean =>
  PLAYLIST_TYPE.test(headers["content-type"] ?? "") || PLAYLIST_PATH.test(pathOf(url))

/**
 * The longest that a response may be fresh by a guess, in milliseconds (RFC 9111 §4.2.2). The `Last-Modified` of an error is that of
 * the error page, and says nothing about the resource.
 */
export const longestGuess = (status: number, url: string, headers: HeaderFields): number => {
  if (status >= 400) return 0
  return isPlaylist(url, headers) ? PLAYLIST_MILLIS : HEURISTIC_MILLIS
}
