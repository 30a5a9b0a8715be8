import type { Path } from "effect"
import { type ChunkKey, MAX_CHUNKS } from "../../domain/Chunk.ts"

/**
 * Where files are in the cache directory. A resource has a directory, below one for the first two digits of its identifier:
 *
 *     v1/revoked-trees.json
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
const REVOKED_TREES = "revoked-trees.json"

/** Whether `name` is that of a directory for resources with the same first digits. */
export const isPrefix = (name: string): boolean => /^[0-9a-f]{2}$/.test(name)

/** Whether `name` is that of a resource's directory. */
export const isResource = (name: string): boolean => /^[0-9a-f]{32}$/.test(name)

/** The resource of a directory, or of a compact file, called `name`, if it is one. */
export const parseResource = (name: string): string | undefined =>
  /^([0-9a-f]{32})(?:\.compact|\.revoked)?$/.exec(name)?.[1]

/** The chunk of a file called `name` in the directory of `resource`, if it is one. */
export const parseFileName = (resource: string, name: string): ChunkKey | undefined => {
  const match = /^([0-9a-f]{32})\.(\d{1,10})$/.exec(name)
  const index = Number(match?.[2])
  return match !== null && index < MAX_CHUNKS ? { resource, representation: match[1]!, index } : undefined
}

/** The paths of the store in the cache directory `directory`. */
export const make = (path: Path.Path, directory: string) => {
  const root = path.join(directory, "v1")
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
    revokedTrees: path.join(root, REVOKED_TREES)
  }
}
