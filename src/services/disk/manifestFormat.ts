import { Option, Schema } from "effect"
import { crc32 } from "node:zlib"
import { isSound, Representation } from "../../domain/Representation.ts"
import { CHUNK_SIZE } from "../config/settingTypes.ts"

/**
 * The file of a manifest: a line of JSON with the representation, and a line with its checksum (CRC-32), which reveals a torn or
 * foreign file.
 */

/**
 * The largest manifest in bytes: ten times the largest header that an origin may send.
 *
 * @since 0.1.0
 * @category encoding
 */
export const MAX_MANIFEST_BYTES = 256 * 1024

// The file says `born`, as earlier versions wrote it.
const json = Schema.fromJsonString(Representation.pipe(Schema.encodeKeys({ generatedAt: "born" })))
const encodeJson = Schema.encodeSync(json)
const decodeJson = Schema.decodeUnknownOption(json)

/**
 * The file for a representation.
 *
 * @since 0.1.0
 * @category encoding
 */
export const encode = (representation: Representation): Uint8Array => {
  const text = encodeJson(representation)
  return Buffer.from(`${text}\n${crc32(text)}`)
}

/**
 * The representation in `text`, or none if `text` is not what was written for `resource`.
 *
 * @since 0.1.0
 * @category encoding
 */
export const decode = (resource: string, text: string): Option.Option<Representation> => {
  const [line = "", checksum] = text.split("\n")
  return checksum === String(crc32(line))
    ? Option.filter(decodeJson(line), (found) => isSound(found, resource) && found.chunkSize <= CHUNK_SIZE.maximum)
    : Option.none()
}
