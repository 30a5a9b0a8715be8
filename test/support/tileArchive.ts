import { randomBytes } from "./TestOrigin.ts"

/**
 * Writes archives of map tiles: PMTiles, version 3, without compression, with leaf directories. Readers find a tile by a few short ranges:
 * the header with the root directory, a leaf directory, and the tile.
 */

/** How many entries a leaf directory has. */
const LEAF_ENTRIES = 256

const HEADER_BYTES = 127

/** An entry of a directory: a tile, or a leaf directory whose first tile is `id`. */
interface Entry {
  readonly id: number
  readonly offset: number
  readonly length: number
  readonly isLeaf: boolean
}

/** The number in groups of seven bits, the lowest first. */
const varint = (n: number): ReadonlyArray<number> => n < 128 ? [n] : [(n % 128) + 128, ...varint(Math.floor(n / 128))]

const directory = (entries: ReadonlyArray<Entry>): Buffer =>
  Buffer.from([
    entries.length,
    ...entries.map(({ id }, i) => id - (entries[i - 1]?.id ?? 0)),
    ...entries.map(({ isLeaf }) => isLeaf ? 0 : 1),
    ...entries.map(({ length }) => length),
    // 0 stands for the end of the entry before.
    ...entries.map(({ offset }, i) => i > 0 ? 0 : offset + 1)
  ].flatMap(varint))

interface Place {
  readonly offset: number
  readonly length: number
}

/** Where each part is if they are put one after the other. */
const placesOf = (parts: ReadonlyArray<Buffer>): ReadonlyArray<Place> => {
  let end = 0
  return parts.map(({ length }) => {
    end += length
    return { offset: end - length, length }
  })
}

/** An archive with every tile of the zoom levels from 0 to `maxZoom`, each with other random bytes, and of `least` to `most` of them. */
export const makeArchive = (
  maxZoom: number,
  { least, most }: { readonly least: number; readonly most: number }
): Buffer => {
  const count = (4 ** (maxZoom + 1) - 1) / 3
  const random = randomBytes(count * most, 5)
  const tiles = Array.from(
    { length: count },
    (_, id) => random.subarray(id * most, id * most + least + (random.readUInt32LE(id * most) % (most - least)))
  )
  const entries = placesOf(tiles).map(({ length, offset }, id) => ({ id, offset, length, isLeaf: false }))
  const groups = Array.from(
    { length: Math.ceil(count / LEAF_ENTRIES) },
    (_, i) => entries.slice(i * LEAF_ENTRIES, (i + 1) * LEAF_ENTRIES)
  )
  const leaves = groups.map(directory)
  const root = directory(
    placesOf(leaves).map(({ length, offset }, i) => ({ id: groups[i]![0]!.id, offset, length, isLeaf: true }))
  )
  const metadata = Buffer.from("{}")
  const sections = [Buffer.alloc(HEADER_BYTES), root, metadata, Buffer.concat(leaves), Buffer.concat(tiles)]
  const [header] = sections
  header!.write("PMTiles", "latin1")
  for (const [i, { length, offset }] of placesOf(sections).slice(1).entries()) {
    header!.writeBigUInt64LE(BigInt(offset), 8 + 16 * i)
    header!.writeBigUInt64LE(BigInt(length), 16 + 16 * i)
  }
  for (const at of [72, 80, 88]) header!.writeBigUInt64LE(BigInt(count), at)
  // Version, sorted, no compression of directories and tiles, vector tiles, zoom levels.
  header!.writeUInt8(3, 7)
  for (const [i, value] of [1, 1, 1, 1, 0, maxZoom].entries()) header!.writeUInt8(value, 96 + i)
  for (const [i, degrees] of [-180, -85, 180, 85].entries()) header!.writeInt32LE(degrees * 1e7, 102 + 4 * i)
  return Buffer.concat(sections)
}
