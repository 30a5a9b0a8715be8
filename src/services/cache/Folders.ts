import { inBlocks } from "../disk/blocks.ts"
import type { StoredManifest } from "../disk/ChunkStore.ts"
import { Families } from "./Families.ts"

/** What the directory of a resource has, as far as it counts. */
interface Folder {
  /** What the manifest takes of the disk, in bytes; 0 where there is none. */
  manifest: number
  isRevoked: boolean
  chunks: number
}

/** What a write adds to a resource. */
export interface Addition {
  readonly resource: string
  /** How many chunks. */
  readonly chunks: number
  /** The size on disk of a new manifest, in bytes; 0 without one. */
  readonly manifest: number
  /** Whether chunk and manifest share a file, whose bytes are not counted here. */
  readonly isCompact?: boolean
}

/** What a name takes of its directory, in bytes, at most: those of chunks have up to 43 characters. */
const NAME_BYTES = 64

/** Names in the directory of a resource besides those of chunks: manifest, pin, and a temporary file. */
const OTHER_NAMES = 3

/** A directory and a manifest. */
const NODES_PER_FOLDER = 2

const directoryBytes = (names: number): number => inBlocks(names * NAME_BYTES)

const bytesOf = ({ chunks, manifest }: Omit<Folder, "isRevoked">): number =>
  manifest + directoryBytes(chunks + OTHER_NAMES)

/** What the directory of a prefix takes, in bytes, with so many resources in it. */
const prefixBytes = (resources: number): number => resources === 0 ? 0 : directoryBytes(resources)

const prefixOf = (resource: string): string => resource.slice(0, 2)

/**
 * What the cache takes of the disk besides chunks: manifests, the directories of resources, and those of prefixes that they are in.
 * Directories are counted as the file systems do that give them blocks.
 */
export class Folders {
  readonly #folders = new Map<string, Folder>()
  readonly #families = new Families()
  /** How many resources there are by prefix. */
  readonly #prefixes = new Map<string, number>()
  readonly #pins = new Set<string>()
  /** Whether each compact resource was revoked. They have a name in the directory of their prefix, and no directory. */
  readonly #compact = new Map<string, boolean>()
  /** Those without a chunk that are not pinned. */
  readonly #hollow = new Set<string>()
  #bytes = 0

  /** All of them, in bytes. */
  get bytes(): number {
    return this.#bytes
  }

  /** How many file nodes they take. */
  get nodes(): number {
    return this.#folders.size * NODES_PER_FOLDER + this.#prefixes.size
  }

  /** Resources that have a directory, but no chunk, and are not pinned. */
  hollow(): ReadonlyArray<string> {
    return [...this.#hollow]
  }

  pin(resource: string): void {
    this.#pins.add(resource)
    this.#hollow.delete(resource)
    // The pin is in a directory.
    if (this.#compact.has(resource)) this.#at(resource)
  }

  unpin(resource: string): void {
    const folder = this.#folders.get(resource)
    if (this.#compact.has(resource) && folder?.chunks === 0 && folder.manifest === 0) return this.remove(resource)
    this.#pins.delete(resource)
    this.#noteHollow(resource)
  }

  isPinned(resource: string): boolean {
    return this.#pins.has(resource)
  }

  pinned(): ReadonlyArray<string> {
    return [...this.#pins]
  }

  /** What pinned resources take besides their chunks, in bytes. */
  pinnedBytes(): number {
    let sum = 0
    for (const resource of this.#pins) sum += this.bytesOf(resource)
    return sum
  }

  /** What would be given back with a resource's directory, in bytes. */
  bytesOf(resource: string): number {
    const folder = this.#folders.get(resource)
    return folder === undefined ? 0 : bytesOf(folder) + (this.isAlone(resource) ? prefixBytes(1) : 0)
  }

  /** Whether there is a manifest that holds. */
  hasManifest(resource: string): boolean {
    if (this.#compact.get(resource) === false) return true
    const folder = this.#folders.get(resource)
    return folder !== undefined && folder.manifest > 0 && !folder.isRevoked
  }

  /** Takes note that the manifest of a resource, should there be one, holds no longer. */
  revokeManifest(resource: string): void {
    const folder = this.#folders.get(resource)
    if (folder !== undefined) folder.isRevoked = true
    if (this.#compact.has(resource)) this.#compact.set(resource, true)
  }

  /** Whether a resource has chunks or a manifest in files of their own. */
  hasFolder(resource: string): boolean {
    return this.#folders.has(resource)
  }

  isCompact(resource: string): boolean {
    return this.#compact.has(resource)
  }

  addCompact(resource: string, isRevoked: boolean): void {
    if (!this.#compact.has(resource) && !this.#folders.has(resource)) this.#addName(resource)
    this.#compact.set(resource, isRevoked)
    if (this.#pins.has(resource)) this.#at(resource)
  }

  removeCompact(resource: string): void {
    if (this.#compact.delete(resource) && !this.#folders.has(resource)) this.#removeName(resource)
  }

  /** How much more they take when all of this is written, in bytes; each manifest is counted beside the one that there is. */
  growth(additions: Iterable<Addition>): number {
    let sum = 0
    /** How many directories each prefix gets. */
    const added = new Map<string, number>()
    for (const { chunks, isCompact = false, manifest, resource } of additions) {
      const folder = this.#folders.get(resource)
      if (folder === undefined) {
        if (!isCompact) sum += bytesOf({ chunks, manifest })
        const names = this.#compact.has(resource) ? 0 : 1
        added.set(prefixOf(resource), (added.get(prefixOf(resource)) ?? 0) + names)
      } else {
        sum += bytesOf({ chunks: folder.chunks + chunks, manifest: folder.manifest + manifest }) - bytesOf(folder)
      }
    }
    for (const [prefix, count] of added) {
      const before = this.#prefixes.get(prefix) ?? 0
      sum += prefixBytes(before + count) - prefixBytes(before)
    }
    return sum
  }

  setManifest(resource: string, { bytes, isRevoked }: StoredManifest): void {
    const folder = this.#at(resource)
    this.#bytes += bytes - folder.manifest
    folder.manifest = bytes
    folder.isRevoked = isRevoked
    this.#noteHollow(resource)
  }

  addChunk(resource: string): void {
    const folder = this.#at(resource)
    this.#bytes -= bytesOf(folder)
    folder.chunks += 1
    this.#bytes += bytesOf(folder)
    this.#hollow.delete(resource)
  }

  removeChunk(resource: string): void {
    const folder = this.#folders.get(resource)
    if (folder === undefined) return
    this.#bytes -= bytesOf(folder)
    folder.chunks -= 1
    this.#bytes += bytesOf(folder)
    this.#noteHollow(resource)
  }

  /** The directory has been removed, with all that was in it, the pin included; and that of its prefix, when there was nothing else in it. */
  remove(resource: string): void {
    this.#pins.delete(resource)
    this.#hollow.delete(resource)
    const folder = this.#folders.get(resource)
    if (folder === undefined) return
    this.#folders.delete(resource)
    this.#bytes -= bytesOf(folder)
    if (!this.#compact.has(resource)) this.#removeName(resource)
  }

  /** Whether there is no other resource in the directory of its prefix. */
  isAlone(resource: string): boolean {
    return this.#neighbours(resource) === (this.#folders.has(resource) || this.#compact.has(resource) ? 1 : 0)
  }

  /** The resource and its variants, as far as they are there. */
  family(resource: string): ReadonlyArray<string> {
    return this.#families.of(resource)
  }

  /** How many resources are in the directory of a resource's prefix, itself included. */
  #neighbours(resource: string): number {
    return this.#prefixes.get(prefixOf(resource)) ?? 0
  }

  /** Counts a name in the directory of the resource's prefix. */
  #addName(resource: string): void {
    const neighbours = this.#neighbours(resource)
    this.#bytes += prefixBytes(neighbours + 1) - prefixBytes(neighbours)
    this.#prefixes.set(prefixOf(resource), neighbours + 1)
    this.#families.add(resource)
  }

  #removeName(resource: string): void {
    const neighbours = this.#neighbours(resource)
    this.#bytes -= prefixBytes(neighbours) - prefixBytes(neighbours - 1)
    if (neighbours === 1) this.#prefixes.delete(prefixOf(resource))
    else this.#prefixes.set(prefixOf(resource), neighbours - 1)
    this.#families.delete(resource)
  }

  #noteHollow(resource: string): void {
    if (this.#folders.get(resource)?.chunks === 0 && !this.#pins.has(resource)) this.#hollow.add(resource)
    else this.#hollow.delete(resource)
  }

  #at(resource: string): Folder {
    const known = this.#folders.get(resource)
    if (known !== undefined) return known
    const folder: Folder = { chunks: 0, isRevoked: false, manifest: 0 }
    this.#bytes += bytesOf(folder)
    if (!this.#compact.has(resource)) this.#addName(resource)
    this.#folders.set(resource, folder)
    return folder
  }
}
