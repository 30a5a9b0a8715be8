/**
 * The files that an HLS playlist (RFC 8216) names.
 */

/** Tags whose `URI` attribute names a file that players fetch (§4.3). */
const TAGS = /^#EXT-X-(?:MAP|MEDIA|I-FRAME-STREAM-INF|KEY|SESSION-KEY|SESSION-DATA|PART):/

/** Whether `text` is a playlist (§4.3.1.1). */
export const isHls = (text: string): boolean => text.startsWith("#EXTM3U")

/** The number of characters that are read in one turn. */
const TURN_LENGTH = 65_536

/**
 * The names in a playlist, in its order, as they are written. A file of which the playlist names several ranges comes as often. Yields
 * `undefined` now and then, so that the caller can let others have their turn.
 */
export function* hlsNames(text: string): Generator<string | undefined> {
  let end = -1
  let turn = TURN_LENGTH
  while (end < text.length) {
    const start = end + 1
    if (start > turn) {
      turn = start + TURN_LENGTH
      yield undefined
    }
    end = text.indexOf("\n", start)
    if (end === -1) end = text.length
    const line = text.slice(start, end).trim()
    if (!line.startsWith("#")) {
      if (line !== "") yield line
    } else if (TAGS.test(line)) {
      const uri = /[:,]URI="([^"]*)"/.exec(line)?.[1]
      if (uri !== undefined && uri !== "") yield uri
    }
  }
}
