import { createHash } from "node:crypto"
import * as Fs from "node:fs"
import { join } from "node:path"
import { setImmediate as breathe } from "node:timers/promises"

/** The files of a cache, as Spillway names them: `v1/ab/RESOURCE/REPRESENTATION.INDEX`. */

/** The header of a chunk's file: 64 bytes, and a checksum of 4 bytes for each part of 16 KiB. */
const headerBytes = (payload: number): number => 64 + 4 * Math.ceil(payload / (16 * 1024))

const BLOCK_BYTES = 4096

/** All files of chunks below `directory`, in the order of their indices. */
export const chunkFiles = (directory: string): Array<string> =>
  Fs.readdirSync(directory, { recursive: true, encoding: "utf8" })
    .filter((name) => /\b[0-9a-f]{32}\.\d+$/.test(name))
    .toSorted((a, b) => Number(a.slice(a.lastIndexOf(".") + 1)) - Number(b.slice(b.lastIndexOf(".") + 1)))
    .map((name) => join(directory, name))

const identifier = (text: string): string => createHash("sha256").update(text).digest("hex").slice(0, 32)

/**
 * Adds chunks that are nothing but holes, of resources that nobody asks for. Those of one resource are links to one file. What Spillway will
 * count for them, in bytes, without what it counts for each resource.
 */
export const addSparseChunks = async (
  directory: string,
  { bytes, each, resources }: { readonly resources: number; readonly each: number; readonly bytes: number }
): Promise<number> => {
  const size = headerBytes(bytes) + bytes
  const representation = identifier("representation")
  for (let number = 0; number < resources; number++) {
    const resource = identifier(`resource ${number}`)
    const parent = join(directory, "v1", resource.slice(0, 2), resource)
    Fs.mkdirSync(parent, { recursive: true })
    const first = join(parent, `${representation}.0`)
    Fs.closeSync(Fs.openSync(first, "w"))
    Fs.truncateSync(first, size)
    for (let index = 1; index < each; index++) Fs.linkSync(first, join(parent, `${representation}.${index}`))
    // Signals are to be heard.
    await breathe()
  }
  return resources * each * Math.ceil(size / BLOCK_BYTES) * BLOCK_BYTES
}
