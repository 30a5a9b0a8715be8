import type { ByteRange } from "./rfc/ByteRange.ts"

/**
 * Chunks: a representation cut into pieces of one size, of which the last may be shorter. An empty one is stored as one empty chunk.
 */

/**
 * Names one chunk of one representation. `resource` and `representation` are identifiers, safe as file names.
 *
 * @since 0.1.0
 * @category models
 */
export interface ChunkKey {
  readonly resource: string
  readonly representation: string
  readonly index: number
}

/** One text for one chunk, for maps. */
export const keyText = (key: ChunkKey): string => `${key.resource}/${key.representation}.${key.index}`

/** The index of the chunk that holds the byte at `offset`. */
export const indexAt = (offset: number, chunkSize: number): number => Math.floor(offset / chunkSize)

/** The bytes of chunk `index`; the last one ends with the representation. */
export const span = (index: number, chunkSize: number, size: number): ByteRange => ({
  start: index * chunkSize,
  end: Math.min((index + 1) * chunkSize, size)
})

/** The most chunks that a representation may have: a chunk's file has room for an index of 32 bits. */
export const MAX_CHUNKS = 2 ** 32 - 1

/** How many chunks a representation of `size` bytes has. */
export const count = (size: number, chunkSize: number): number => Math.ceil(size / chunkSize)

/** `offset` rounded up to the end of the chunk that holds the byte before it, or to the end of the representation. */
export const roundUp = (offset: number, chunkSize: number, size: number): number =>
  Math.min(Math.ceil(offset / chunkSize) * chunkSize, size)
