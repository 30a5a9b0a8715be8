import type { Path } from "effect"
import { type ChunkKey, MAX_CHUNKS } from "../../domain/Chunk.ts"

/**
 * Where files are in the cache directory. A resource has a directory, below one for the first two digits of its identifier:
 *
 *     v1/bans.json
 *     v1/3f/3f0a…/manifest.json        its representation
 *     v1/3f/3f0a…/revoked.json         the same, if it was revoked
 *     v1/3f/3f0a…/pinned               present if the resource is pinned
 *     v1/3f/3f0a…/9c41….0              a chunk: the representation, and the index
 *
 * A compact resource has a file instead, and a directory only if it is pinned:
 *
 *     v1/3f/3f0a….compact              its representation and its only chunk
 *     v1/3f/3f0a….revoked              the same, if it was revoked
 */

export const MANIFEST = "manifest.json"
export const REVOKED = "revoked.json"
export const PINNED = "pinned"
const BANS = "bans.json"
/** What earlier versions had instead. */
const REVOKED_TREES = "revoked-trees.json"

/** Whether `name` is that of a directory for resources with the same first digits. */
export const isPrefix = (name: string): boolean => /^[0-9a-f]{2}$/.test(name)

/** A resource that has a name in the directory of a prefix. */
export interface NamedResource {
  readonly resource: string
  /** Whether it has a directory, and whether it has a compact file. */
  readonly hasDirectory: boolean
  readonly isCompact: boolean
}

/** The resources that have the names in the directory of a prefix. */
export const parseResources = (names: ReadonlyArray<string>): ReadonlyArray<NamedResource> => {
  const found = new Map<string, NamedResource>()
  for (const name of names) {
    const [, resource, suffix] = /^([0-9a-f]{32})(\.compact|\.revoked)?$/.exec(name) ?? []
    if (resource === undefined) continue
    const { hasDirectory = false, isCompact = false } = found.get(resource) ?? {}
    const isFile = suffix !== undefined
    found.set(resource, { resource, hasDirectory: hasDirectory || !isFile, isCompact: isCompact || isFile })
  }
  return [...found.values()]
}

/** The representations and indices of the chunks that have the names in the directory of a resource. */
export const parseIndices = (names: ReadonlyArray<string>): ReadonlyMap<string, ReadonlyArray<number>> => {
  const found = new Map<string, Array<number>>()
  let representation = ""
  let indices: Array<number> = []
  for (const name of names) {
    const at = name.indexOf(".") + 1
    const digits = name.slice(at)
    const index = Number(digits)
    if (!/^\d{1,10}$/.test(digits) || index >= MAX_CHUNKS) continue
    // Mostly all chunks are of one representation.
    if (at !== representation.length + 1 || !name.startsWith(representation)) {
      if (!/^[0-9a-f]{32}\./.test(name)) continue
      representation = name.slice(0, at - 1)
      indices = found.get(representation) ?? []
      found.set(representation, indices)
    }
    indices.push(index)
  }
  return found
}

/** Where this version keeps all its files in the cache directory `directory`. */
export const rootOf = (path: Path.Path, directory: string): string => path.join(directory, "v1")

/** The paths of the store in the cache directory `directory`. */
export const make = (path: Path.Path, directory: string) => {
  const root = rootOf(path, directory)
  // Joined by hand: each read needs one.
  const directoryOf = (resource: string) => root + path.sep + resource.slice(0, 2) + path.sep + resource
  return {
    root,
    directoryOf,
    prefixOf: (resource: string) => path.dirname(directoryOf(resource)),
    /** The directory for resources that begin with `prefix`. */
    prefixAt: (prefix: string) => path.join(root, prefix),
    pathOf: (key: ChunkKey) => `${directoryOf(key.resource)}${path.sep}${key.representation}.${key.index}`,
    compactOf: (resource: string, isRevoked: boolean) =>
      `${directoryOf(resource)}.${isRevoked ? "revoked" : "compact"}`,
    /** A file of the resource that is not a chunk. */
    fileOf: (resource: string, name: string) => path.join(directoryOf(resource), name),
    bans: path.join(root, BANS),
    revokedTrees: path.join(root, REVOKED_TREES)
  }
}
