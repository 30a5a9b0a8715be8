/** The bytes and paths that the origin, the bare server and the verification agree upon. */

export const MEBIBYTE = 1024 ** 2

export const FILE_BYTES = 64 * MEBIBYTE

export const RANGE_BYTES = 64 * 1024

/** How fast the origin sends all `/rated/` files together, in bytes per second. */
export const ORIGIN_RATE = 40_000_000

/** How fast the origin sends each `/paced/` file, in bytes per second. */
export const PACE = 20_000_000

/** A stream of pseudo-random 32 bit numbers, the same for the same seed. */
export const randomWords = (seed: number): () => number => {
  let state = Math.imul(seed, 2654435761) || 1
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return state >>> 0
  }
}

/** What every file begins with. */
export const makeContent = (): Buffer => {
  const words = new Uint32Array(FILE_BYTES / 4)
  const next = randomWords(1)
  for (let index = 0; index < words.length; index++) words[index] = next()
  return Buffer.from(words.buffer)
}

let names = 0

/**
 * A path that nobody has asked for yet. `rated` files share the origin's limited rate, `paced` ones have a rate each, and
 * `cold` ones come as fast as can be.
 */
export const freshPath = (kind: "cold" | "rated" | "paced", bytes: number): string => `/${kind}/${bytes}/${names++}`

/** The file that is served from caches. */
export const WARM_PATH = `/cold/${FILE_BYTES}/warm`

/** How many bytes the file at `path` has, or `undefined` when there is none. */
export const bytesOf = (path: string): number | undefined => {
  const match = /^\/(?:cold|rated|paced)\/(\d+)\/\w+$/.exec(path)
  const bytes = Number(match?.[1] ?? Number.NaN)
  return bytes <= FILE_BYTES ? bytes : undefined
}
