import type { ChunkKey } from "../../domain/Chunk.ts"
import type { Representation } from "../../domain/Representation.ts"
import { inBlocks } from "./blocks.ts"
import { encodeHeader, headerBytes } from "./chunkFormat.ts"

/**
 * The file of a compact resource, whose body is one short chunk: the chunk as in `chunkFormat`, the manifest as in `manifestFormat`, and the
 * length of the manifest. Each of the two has its own checksum.
 */

/** The longest body of a compact resource, in bytes. */
export const COMPACT_BYTES = 32 * 1024

const LENGTH_BYTES = 4

/** Whether a representation can be stored as a compact resource. */
export const isShort = ({ chunkSize, size }: Pick<Representation, "chunkSize" | "size">): boolean =>
  size <= Math.min(COMPACT_BYTES, chunkSize)

/** The size on disk of a compact resource with so many bytes of body and manifest, in bytes. */
export const compactBytesOnDisk = (payload: number, manifest: number): number =>
  inBlocks(headerBytes(payload) + payload + manifest + LENGTH_BYTES)

/** The file for a chunk and a manifest that `manifestFormat` has encoded. */
export const encode = (key: ChunkKey, payload: Uint8Array, manifest: Uint8Array): Uint8Array => {
  const length = Buffer.alloc(LENGTH_BYTES)
  length.writeUInt32LE(manifest.length)
  return Buffer.concat([encodeHeader(key, payload), payload, manifest, length])
}

/** The chunk and the manifest in a file. Both may be damaged, which their checksums tell. */
export const split = (file: Buffer): { readonly chunk: Buffer; readonly manifest: Buffer } => {
  const end = Math.max(0, file.length - LENGTH_BYTES)
  const length = end === 0 ? 0 : Math.min(end, file.readUInt32LE(end))
  return { chunk: file.subarray(0, end - length), manifest: file.subarray(end - length, end) }
}
