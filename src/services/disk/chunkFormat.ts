import { crc32 } from "node:zlib"
import type { ChunkKey } from "../../domain/Chunk.ts"
import { inBlocks } from "./blocks.ts"

/**
 * The file of a chunk: a header that identifies the chunk, and its bytes. The checksum covers both, so that it reveals a torn,
 * truncated, swapped or foreign file under any name.
 *
 *     0  magic       8 bytes  "SPLWAY01"
 *     8  checksum    u32      CRC-32 (ISO-HDLC) of bytes 12 to the end
 *     12 length      u32      bytes after the header
 *     16 index       u32      of the chunk
 *     20 reserved    12 bytes zero
 *     32 resource    16 bytes
 *     48 representation 16 bytes
 */

/** Bytes before the payload. */
export const HEADER_BYTES = 64

/** The size on disk of a chunk with `payload` bytes, in bytes. */
export const bytesOnDisk = (payload: number): number => inBlocks(payload + HEADER_BYTES)

const MAGIC = Buffer.from("SPLWAY01", "latin1")

const headerOf = (key: ChunkKey, length: number): Buffer => {
  const header = Buffer.alloc(HEADER_BYTES)
  MAGIC.copy(header)
  header.writeUInt32LE(length, 12)
  header.writeUInt32LE(key.index, 16)
  header.write(key.resource, 32, 16, "hex")
  header.write(key.representation, 48, 16, "hex")
  return header
}

/** The header that goes before `payload`. */
export const encodeHeader = (key: ChunkKey, payload: Uint8Array): Buffer => {
  const header = headerOf(key, payload.length)
  header.writeUInt32LE(crc32(payload, crc32(header.subarray(12))), 8)
  return header
}

/** The payload of `file`, without a copy, or `undefined` if `file` is not exactly what was written for `key`. */
export const decode = (key: ChunkKey, file: Buffer): Buffer | undefined => {
  if (file.length < HEADER_BYTES) return undefined
  const payload = file.subarray(HEADER_BYTES)
  const expected = headerOf(key, payload.length)
  expected.writeUInt32LE(file.readUInt32LE(8), 8)
  if (!expected.equals(file.subarray(0, HEADER_BYTES))) return undefined
  return crc32(file.subarray(12)) === file.readUInt32LE(8) ? payload : undefined
}
