import type { ChunkKey } from "../../domain/Chunk.ts"
import type { Representation } from "../../domain/Representation.ts"
import type { RoutePolicy } from "../../domain/RoutePolicy.ts"
import type { ReusedBuffers } from "../../effects/ReusedBuffers.ts"
import { Assemblies } from "./Assemblies.ts"
import { Fetches } from "./Fetches.ts"
import type { Reader } from "./Reader.ts"

/** The fetches and readers of one representation, and the chunks that they have in memory. */
export class Download {
  readonly key: string
  /** The same representation throughout; what is learned about its origin's range support is added. */
  representation: Representation
  readonly assemblies: Assemblies
  readonly fetches: Fetches
  readonly readers = new Set<Reader>()
  /** The policy of its route; `"none"` if it has none, and `undefined` until that is known. */
  policy: RoutePolicy | "none" | undefined
  /** Called when the policy is known. */
  onPolicy: ((policy: RoutePolicy) => void) | undefined
  /** Whether it is being fetched to its end without viewers. */
  isFinishing = false
  /** Called when a reader is added. */
  onReader: (() => void) | undefined

  constructor(representation: Representation, memory: ReusedBuffers, key: string = representation.id) {
    this.key = key
    this.assemblies = new Assemblies(memory)
    this.representation = representation
    this.fetches = new Fetches(representation.chunkSize)
  }

  /** Whether it can be forgotten. */
  get isIdle(): boolean {
    return this.readers.size === 0 && this.fetches.size === 0 && !this.isFinishing
  }

  /** Notes the route of a request. */
  learnPolicy(route: RoutePolicy | undefined): void {
    if (this.policy !== undefined) return
    this.policy = route ?? "none"
    if (route !== undefined) this.onPolicy?.(route)
  }

  keyOf(index: number): ChunkKey {
    const { id, resource } = this.representation
    return { resource, representation: id, index }
  }
}
