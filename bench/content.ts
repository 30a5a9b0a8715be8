/** The bytes and paths that the origin, the bare server and the verification agree upon. */

export const MEBIBYTE = 1024 ** 2

export const FILE_BYTES = 64 * MEBIBYTE

export const RANGE_BYTES = 64 * 1024

/** The length of a range that is not much more than its head, in bytes. */
export const SHORT_RANGE_BYTES = 4 * 1024

/** How fast the origin sends all `/rated/` files together, in bytes per second. */
export const ORIGIN_RATE = 40_000_000

/** How fast the origin sends each file of these kinds, in bytes per second. */
export const PACES = { paced: 20_000_000, slow: 2_000_000, brisk: 100_000_000 } as const

/** The largest file that the origin has, in bytes; it repeats the content. */
export const LARGE_FILE_BYTES = 1024 * MEBIBYTE

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

/** What every file begins with, and a larger one repeats. */
export const makeContent = (): Buffer => {
  const words = new Uint32Array(FILE_BYTES / 4)
  const next = randomWords(1)
  for (let index = 0; index < words.length; index++) words[index] = next()
  return Buffer.from(words.buffer)
}

let names = 0

/** The part of a file's bytes from `offset` on that is in one piece, of at most `length` bytes. */
export const pieceAt = (content: Buffer, offset: number, length: number): Buffer => {
  const start = offset % content.length
  return content.subarray(start, Math.min(start + length, content.length))
}

/**
 * A path that nobody has asked for yet. `rated` files share the origin's limited rate, those of `PACES` have a rate each, and
 * `cold` ones come as fast as can be.
 */
export const freshPath = (kind: "cold" | "rated" | keyof typeof PACES, bytes: number): string =>
  `/${kind}/${bytes}/${names++}`

/** The file that is served from caches. */
export const WARM_PATH = `/cold/${FILE_BYTES}/warm`

/** The file that is served from disk. It comes at a rate at which every cache can write all of it. */
export const LARGE_PATH = `/brisk/${4 * FILE_BYTES}/large`

/** How many bytes the file at `path` has, or `undefined` when there is none. */
export const bytesOf = (path: string): number | undefined => {
  const match = /^\/(?:cold|rated|paced|slow|brisk)\/(\d+)\/\w+$/.exec(path)
  const bytes = Number(match?.[1] ?? Number.NaN)
  return bytes <= LARGE_FILE_BYTES ? bytes : undefined
}
