/**
 * The files that an HLS playlist (RFC 8216) names.
 */

/** Tags whose `URI` attribute names a file that players fetch (§4.3). */
const TAGS = /^#EXT-X-(?:MAP|MEDIA|I-FRAME-STREAM-INF|KEY|SESSION-KEY|PART|PRELOAD-HINT|RENDITION-REPORT):/

/** Whether `text` is a playlist (§4.3.1.1). */
export const isPlaylist = (text: string): boolean => text.replace(/^\uFEFF/, "").startsWith("#EXTM3U")

/** The HTTP URLs that a playlist at `base` names, in its order, without duplicates. */
export const urlsOf = (text: string, base: string): ReadonlyArray<string> => {
  const urls = new Set<string>()
  for (const line of text.split(/\r?\n/)) {
    const uri = line.startsWith("#") ? (TAGS.test(line) ? /[:,]URI="([^"]*)"/.exec(line)?.[1] : undefined) : line.trim()
    const url = uri === undefined || uri === "" ? null : URL.parse(uri, base)
    if (url !== null && /^https?:$/.test(url.protocol)) urls.add(url.href.replace(/#.*$/, ""))
  }
  return [...urls]
}
