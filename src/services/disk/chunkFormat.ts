import { crc32 } from "node:zlib"
import type { ChunkKey } from "../../domain/Chunk.ts"
import { INPUT_BYTES, xxh3 } from "../../effects/xxh3/xxh3.ts"
import { inBlocks } from "./blocks.ts"

/**
 * The file of a chunk: a header that identifies the chunk and has a checksum of each part, then its bytes. A reader verifies the header
 * once, and of the bytes only the parts that it needs. The checksum of a part is an XXH3, that of the header a CRC-32 (ISO-HDLC). They
 * reveal a torn, truncated, swapped or foreign file under any name.
 *
 *     0  magic          8 bytes  "SPLWAY03"
 *     8  checksum       u32      of the header from byte 12 on
 *     12 length         u32      bytes after the header
 *     16 index          u32      of the chunk
 *     20 part length    u32      `PART_BYTES`; the last part may be shorter
 *     24 reserved       8 bytes  zero
 *     32 resource       16 bytes
 *     48 representation 16 bytes
 *     64 checksums      u32 each, of each part
 */

/** The size of a part, in bytes: what is read and verified at least. */
export const PART_BYTES = INPUT_BYTES

const FIXED_BYTES = 64

const MAGIC = Buffer.from("SPLWAY03", "latin1")

/** Files of the second version differ in the checksums of parts, which are CRC-32s. */
const SECOND_MAGIC = Buffer.from("SPLWAY02", "latin1")

/** The header of the first version has no part length and no checksums of parts. Its checksum covers the whole file from byte 12 on. */
const FIRST_MAGIC = Buffer.from("SPLWAY01", "latin1")

const beginsWith = (magic: Buffer, begin: Buffer): boolean => magic.equals(begin.subarray(0, magic.length))

/** The part that holds the byte at `offset` of a chunk. */
export const partAt = (offset: number): number => Math.floor(offset / PART_BYTES)

const countParts = (payload: number): number => Math.ceil(payload / PART_BYTES)

/** Bytes before a payload of `payload` bytes. */
export const headerBytes = (payload: number): number => FIXED_BYTES + 4 * countParts(payload)

/** The size on disk of a chunk with `payload` bytes, in bytes. */
export const bytesOnDisk = (payload: number): number => inBlocks(headerBytes(payload) + payload)

/** The payload of a file of `file` bytes that begins with `begin`, in bytes; 0 if it is too short for one. */
export const payloadBytes = (file: number, begin: Buffer): number => {
  const rest = Math.max(0, file - FIXED_BYTES)
  if (beginsWith(FIRST_MAGIC, begin)) return rest
  return Math.max(0, rest - 4 * Math.ceil(rest / (PART_BYTES + 4)))
}

const partOf = (payload: Uint8Array, part: number): Uint8Array =>
  payload.subarray(part * PART_BYTES, (part + 1) * PART_BYTES)

/** The first bytes of a header, without its checksum. */
const identify = (magic: Buffer, key: ChunkKey, payload: number): Buffer => {
  const header = Buffer.alloc(FIXED_BYTES)
  magic.copy(header)
  header.writeUInt32LE(payload, 12)
  header.writeUInt32LE(key.index, 16)
  header.writeUInt32LE(PART_BYTES, 20)
  header.write(key.resource, 32, 16, "hex")
  header.write(key.representation, 48, 16, "hex")
  return header
}

const checksumsOf = (payload: Uint8Array): Checksums =>
  Uint32Array.from({ length: countParts(payload.length) }, (_, part) => xxh3(partOf(payload, part)))

/** The header that goes before `payload`. */
export const encodeHeader = (key: ChunkKey, payload: Uint8Array): Buffer => {
  const header = Buffer.concat([identify(MAGIC, key, payload.length)], headerBytes(payload.length))
  for (const [part, checksum] of checksumsOf(payload).entries()) header.writeUInt32LE(checksum, FIXED_BYTES + 4 * part)
  header.writeUInt32LE(crc32(header.subarray(12)), 8)
  return header
}

/** The identifier of the representation in a header, which isn't verified. */
export const representationIn = (header: Buffer): string => header.toString("hex", 48, FIXED_BYTES)

/** The checksums of a chunk's parts, by part. */
export type Checksums = Uint32Array

/** How the bytes of a chunk are found and verified. */
export interface Layout {
  /** Where they begin in the file. */
  readonly offset: number
  readonly checksums: Checksums
  /** The checksum that the file's version has for a part. */
  readonly checksumOf: (part: Uint8Array) => number
}

/** Whether a file begins with the header of the version that `magic` stands for. */
const isHeaderOf = (magic: Buffer, key: ChunkKey, payload: number, begin: Buffer): boolean => {
  const expected = identify(magic, key, payload)
  if (magic === FIRST_MAGIC) expected.writeUInt32LE(0, 20)
  begin.copy(expected, 8, 8, 12)
  return expected.equals(begin.subarray(0, FIXED_BYTES))
}

/** How many bytes of a file have to be known to verify its header, if it begins with `begin` and its chunk has `payload` bytes. */
export const bytesToVerify = (payload: number, begin: Buffer): number =>
  beginsWith(FIRST_MAGIC, begin) ? FIXED_BYTES + payload : headerBytes(payload)

/** The layout of a file that begins with these `bytesToVerify`, or `undefined` if it isn't what was written for a chunk of `payload` bytes. */
export const decodeHeader = (key: ChunkKey, payload: number, bytes: Buffer): Layout | undefined => {
  if (bytes.length < FIXED_BYTES || crc32(bytes.subarray(12)) !== bytes.readUInt32LE(8)) return undefined
  const magic = [MAGIC, SECOND_MAGIC, FIRST_MAGIC].find((magic) => beginsWith(magic, bytes))
  if (magic === undefined || !isHeaderOf(magic, key, payload, bytes)) return undefined
  if (magic === FIRST_MAGIC) {
    return { offset: FIXED_BYTES, checksums: checksumsOf(bytes.subarray(FIXED_BYTES)), checksumOf: xxh3 }
  }
  const checksums = Uint32Array.from(
    { length: countParts(payload) },
    (_, part) => bytes.readUInt32LE(FIXED_BYTES + 4 * part)
  )
  return { offset: headerBytes(payload), checksums, checksumOf: magic === MAGIC ? xxh3 : crc32 }
}

/** Whether `bytes` are what was written, from the beginning of part `first` to the end of a part. */
export const isIntact = ({ checksumOf, checksums }: Layout, first: number, bytes: Uint8Array): boolean => {
  for (let part = 0; part < countParts(bytes.length); part++) {
    if (checksumOf(partOf(bytes, part)) !== checksums[first + part]) return false
  }
  return true
}
