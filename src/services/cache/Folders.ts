import { ResourceTable } from "../../domain/ResourceTable.ts"
import { Column } from "../../effects/Column.ts"
import { inBlocks } from "../disk/blocks.ts"
import type { StoredManifest } from "../disk/ChunkStore.ts"
import { Families } from "./Families.ts"

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

/** The bits of what is known of a resource. */
const HAS_FOLDER = 1
const IS_REVOKED = 2
const IS_COMPACT = 4
const IS_COMPACT_REVOKED = 8

/** What a directory takes with so many chunks in it, and a manifest of so many bytes, without the files of the chunks. */
const folderBytes = (chunks: number, manifest: number): number => manifest + directoryBytes(chunks + OTHER_NAMES)

/** What the directory of a prefix takes, in bytes, with so many resources in it. */
const prefixBytes = (resources: number): number => resources === 0 ? 0 : directoryBytes(resources)

const prefixOf = (resource: string): string => resource.slice(0, 2)

/**
 * What the cache takes of the disk besides chunks: manifests, the directories of resources, and those of prefixes that they are in.
 * Directories are counted as the file systems do that give them blocks.
 */
export class Folders {
  readonly #resources: ResourceTable
  readonly #families = new Families()
  /** How many resources there are by prefix. */
  readonly #prefixes = new Map<string, number>()
  readonly #pins = new Set<string>()
  /** Those without a chunk that are not pinned. */
  readonly #hollow = new Set<string>()
  /** Of each resource: bits, the number of its chunks, and what the manifest takes of the disk, in bytes. */
  readonly #bits = new Column()
  readonly #chunks = new Column()
  readonly #manifest = new Column()
  #count = 0
  #bytes = 0

  constructor(resources = new ResourceTable()) {
    this.#resources = resources
  }

  /** All of them, in bytes. */
  get bytes(): number {
    return this.#bytes
  }

  /** How many file nodes they take. */
  get nodes(): number {
    return this.#count * NODES_PER_FOLDER + this.#prefixes.size
  }

  /** Resources that have a directory, but no chunk, and are not pinned. */
  hollow(): ReadonlyArray<string> {
    return [...this.#hollow]
  }

  pin(resource: string): void {
    this.#pins.add(resource)
    this.#hollow.delete(resource)
    // The pin is in a directory.
    if (this.isCompact(resource)) this.#at(resource)
  }

  unpin(resource: string): void {
    const row = this.#resources.find(resource)
    if (this.#has(row, IS_COMPACT) && this.#isEmpty(row) && this.#manifest.get(row) === 0) return this.remove(resource)
    this.#pins.delete(resource)
    this.#noteHollow(resource, row)
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
    const row = this.#resources.find(resource)
    return this.#has(row, HAS_FOLDER) ? this.#bytesAt(row) + (this.isAlone(resource) ? prefixBytes(1) : 0) : 0
  }

  /** Whether there is a manifest that holds. */
  hasManifest(resource: string): boolean {
    const row = this.#resources.find(resource)
    if (this.#has(row, IS_COMPACT) && !this.#has(row, IS_COMPACT_REVOKED)) return true
    return this.#has(row, HAS_FOLDER) && this.#manifest.get(row) > 0 && !this.#has(row, IS_REVOKED)
  }

  /** Takes note that the manifest of a resource, should there be one, holds no longer. */
  revokeManifest(resource: string): void {
    const row = this.#resources.find(resource)
    if (this.#has(row, HAS_FOLDER)) this.#change(row, IS_REVOKED, true)
    if (this.#has(row, IS_COMPACT)) this.#change(row, IS_COMPACT_REVOKED, true)
  }

  /** Whether a resource has chunks or a manifest in files of their own. */
  hasFolder(resource: string): boolean {
    return this.#has(this.#resources.find(resource), HAS_FOLDER)
  }

  isCompact(resource: string): boolean {
    return this.#has(this.#resources.find(resource), IS_COMPACT)
  }

  addCompact(resource: string, isRevoked: boolean): void {
    const row = this.#add(resource, IS_COMPACT)
    this.#change(row, IS_COMPACT_REVOKED, isRevoked)
    if (this.#pins.has(resource)) this.#at(resource)
  }

  removeCompact(resource: string): void {
    const row = this.#resources.find(resource)
    if (!this.#has(row, IS_COMPACT)) return
    this.#change(row, IS_COMPACT_REVOKED, false)
    this.#remove(resource, row, IS_COMPACT)
  }

  /** How much more they take when all of this is written, in bytes; each manifest is counted beside the one that there is. */
  growth(additions: Iterable<Addition>): number {
    let sum = 0
    /** How many directories each prefix gets. */
    const added = new Map<string, number>()
    for (const { chunks, isCompact = false, manifest, resource } of additions) {
      const row = this.#resources.find(resource)
      if (this.#has(row, HAS_FOLDER)) {
        sum += folderBytes(this.#chunks.get(row) + chunks, this.#manifest.get(row) + manifest) - this.#bytesAt(row)
      } else {
        if (!isCompact) sum += folderBytes(chunks, manifest)
        const names = this.#has(row, IS_COMPACT) ? 0 : 1
        added.set(prefixOf(resource), (added.get(prefixOf(resource)) ?? 0) + names)
      }
    }
    for (const [prefix, count] of added) {
      const before = this.#prefixes.get(prefix) ?? 0
      sum += prefixBytes(before + count) - prefixBytes(before)
    }
    return sum
  }

  setManifest(resource: string, { bytes, isRevoked }: StoredManifest): void {
    const row = this.#at(resource)
    this.#bytes += bytes - this.#manifest.get(row)
    this.#manifest.set(row, bytes)
    this.#change(row, IS_REVOKED, isRevoked)
    this.#noteHollow(resource, row)
  }

  addChunk(resource: string): void {
    const row = this.#at(resource)
    this.#setChunks(row, this.#chunks.get(row) + 1)
    this.#hollow.delete(resource)
  }

  removeChunk(resource: string): void {
    const row = this.#resources.find(resource)
    if (!this.#has(row, HAS_FOLDER)) return
    this.#setChunks(row, this.#chunks.get(row) - 1)
    this.#noteHollow(resource, row)
  }

  /** The directory has been removed, with all that was in it, the pin included; and that of its prefix, when there was nothing else in it. */
  remove(resource: string): void {
    this.#pins.delete(resource)
    this.#hollow.delete(resource)
    const row = this.#resources.find(resource)
    if (!this.#has(row, HAS_FOLDER)) return
    this.#bytes -= this.#bytesAt(row)
    this.#count -= 1
    this.#chunks.set(row, 0)
    this.#manifest.set(row, 0)
    this.#change(row, IS_REVOKED, false)
    this.#remove(resource, row, HAS_FOLDER)
  }

  /** Whether there is no other resource in the directory of its prefix. */
  isAlone(resource: string): boolean {
    const isThere = this.#bits.get(this.#resources.find(resource)) !== 0
    return this.#neighbours(resource) === (isThere ? 1 : 0)
  }

  /** The resource and its variants, as far as they are there. */
  family(resource: string): ReadonlyArray<string> {
    return this.#families.of(resource)
  }

  /** How many resources are in the directory of a resource's prefix, itself included. */
  #neighbours(resource: string): number {
    return this.#prefixes.get(prefixOf(resource)) ?? 0
  }

  #has(row: number, bit: number): boolean {
    return (this.#bits.get(row) & bit) !== 0
  }

  #change(row: number, bit: number, isSet: boolean): void {
    this.#bits.set(row, isSet ? this.#bits.get(row) | bit : this.#bits.get(row) & ~bit)
  }

  #isEmpty(row: number): boolean {
    return this.#has(row, HAS_FOLDER) && this.#chunks.get(row) === 0
  }

  #bytesAt(row: number): number {
    return folderBytes(this.#chunks.get(row), this.#manifest.get(row))
  }

  #setChunks(row: number, chunks: number): void {
    this.#bytes -= this.#bytesAt(row)
    this.#chunks.set(row, chunks)
    this.#bytes += this.#bytesAt(row)
  }

  #noteHollow(resource: string, row: number): void {
    if (this.#isEmpty(row) && !this.#pins.has(resource)) this.#hollow.add(this.#resources.idOf(row))
    else this.#hollow.delete(resource)
  }

  /** The row of a resource that has a directory from now on. */
  #at(resource: string): number {
    const known = this.#resources.find(resource)
    if (this.#has(known, HAS_FOLDER)) return known
    const row = this.#add(resource, HAS_FOLDER)
    this.#bytes += this.#bytesAt(row)
    this.#count += 1
    return row
  }

  /** Sets a bit. The first one puts a name into the directory of the resource's prefix. */
  #add(resource: string, bit: number): number {
    const known = this.#resources.find(resource)
    if (this.#bits.get(known) !== 0) {
      this.#change(known, bit, true)
      return known
    }
    const row = this.#resources.acquire(resource)
    this.#bits.set(row, bit)
    const neighbours = this.#neighbours(resource)
    this.#bytes += prefixBytes(neighbours + 1) - prefixBytes(neighbours)
    this.#prefixes.set(prefixOf(resource), neighbours + 1)
    this.#families.add(this.#resources.idOf(row))
    return row
  }

  /** Undoes `#add`. */
  #remove(resource: string, row: number, bit: number): void {
    this.#change(row, bit, false)
    if (this.#bits.get(row) !== 0) return
    const neighbours = this.#neighbours(resource)
    this.#bytes -= prefixBytes(neighbours) - prefixBytes(neighbours - 1)
    if (neighbours === 1) this.#prefixes.delete(prefixOf(resource))
    else this.#prefixes.set(prefixOf(resource), neighbours - 1)
    this.#families.delete(resource)
    this.#resources.release(row)
  }
}
