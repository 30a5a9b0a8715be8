import type { ChunkKey } from "../../domain/Chunk.ts"
import { ChunkMap } from "../../domain/ChunkMap.ts"
import type { Representation } from "../../domain/Representation.ts"
import { lengthOf } from "../../domain/rfc/HeaderFields.ts"
import type { ReusedBuffers } from "../../effects/ReusedBuffers.ts"

/** A chunk to be written. */
export interface Job {
  readonly representation: Representation
  readonly key: ChunkKey
  readonly payload: Uint8Array
}

/** How much may wait of files that are not small, in bytes, but always at least two chunks. */
const LARGE_BYTES = 128 * 1024 ** 2

/** Up to this size, in bytes, a file is small: the write takes about as long as that of an empty one. */
const SMALL_FILE_BYTES = 64 * 1024

/** How much may wait of small files, in bytes, and how many of their chunks. */
const SMALL_BYTES = 32 * 1024 ** 2
const SMALL_JOBS = 1024

/** What a chunk that waits takes besides its bytes, and the URL and fields of its file, in bytes, roughly. */
const OVERHEAD_BYTES = 1024

const weightOf = ({ headers, url }: Representation, payload: number): number =>
  OVERHEAD_BYTES + payload + url.length + lengthOf(headers)

/** Chunks that wait in turn. One that has been taken counts until it is done. */
class Lane {
  readonly maxBytes: number
  readonly #maxJobs: number
  readonly #jobs: Array<Job> = []
  #taken = 0
  bytes = 0

  constructor(maxBytes: number, maxJobs: number) {
    this.maxBytes = maxBytes
    this.#maxJobs = maxJobs
  }

  get isEmpty(): boolean {
    return this.#jobs.length === 0
  }

  get isBehind(): boolean {
    return this.bytes > this.maxBytes / 2 || this.#jobs.length > this.#maxJobs / 2
  }

  hasRoom(weight: number): boolean {
    return this.bytes + weight <= this.maxBytes && this.#jobs.length + this.#taken < this.#maxJobs
  }

  add(job: Job): boolean {
    const weight = weightOf(job.representation, job.payload.length)
    if (!this.hasRoom(weight)) return false
    this.#jobs.push(job)
    this.bytes += weight
    return true
  }

  take(): Job | undefined {
    const job = this.#jobs.shift()
    if (job !== undefined) this.#taken += 1
    return job
  }

  done(job: Job): void {
    this.#taken -= 1
    this.bytes -= weightOf(job.representation, job.payload.length)
  }
}

/**
 * The chunks that wait to be written, bounded in bytes and number. Those of small files wait in a line of their own, and the two lines
 * take turns: however many small files a stranger asks for, the chunk of another file waits for as many of them at most as there are
 * chunks before it in its own line.
 */
export class Backlog {
  readonly #memory: ReusedBuffers
  readonly #large: Lane
  readonly #small = new Lane(SMALL_BYTES, SMALL_JOBS)
  readonly #pending = new ChunkMap<Job>()
  #count = 0
  #smallIsNext = false

  /** Holds the payloads in `memory`. */
  constructor(chunkSize: number, memory: ReusedBuffers) {
    this.#memory = memory
    this.#large = new Lane(Math.max(LARGE_BYTES, 2 * (chunkSize + SMALL_FILE_BYTES)), Infinity)
  }

  get isEmpty(): boolean {
    return this.#count === 0
  }

  /** Whether more than half of what may wait does. */
  get isBehind(): boolean {
    return this.#large.isBehind || this.#small.isBehind
  }

  get bytes(): number {
    return this.#large.bytes + this.#small.bytes
  }

  get maxBytes(): number {
    return this.#large.maxBytes + this.#small.maxBytes
  }

  /** The payload of a chunk that waits, or is being written. */
  get(key: ChunkKey): Uint8Array | undefined {
    return this.#pending.get(key)?.payload
  }

  /** Whether any chunk of a representation waits, or is being written. */
  hasAny({ id, resource }: Representation): boolean {
    return this.#pending.hasAny(resource, id)
  }

  /** The first index from the one of `key` on whose chunk does not wait. */
  firstMissing(key: ChunkKey): number {
    return this.#pending.firstMissing(key)
  }

  /** Whether there is room for a chunk of a representation. */
  hasRoom(representation: Representation): boolean {
    const { chunkSize, size } = representation
    return this.#laneOf(representation).hasRoom(weightOf(representation, Math.min(chunkSize, size)))
  }

  /** Takes in a chunk that does not wait yet; `false` when there is no room for it. */
  add(job: Job): boolean {
    if (!this.#laneOf(job.representation).add(job)) return false
    this.#memory.hold(job.payload)
    this.#pending.set(job.key, job)
    this.#count += 1
    return true
  }

  /** The chunk whose turn it is, which counts until `done`. */
  take(): Job | undefined {
    const lane = this.#small.isEmpty || (!this.#smallIsNext && !this.#large.isEmpty) ? this.#large : this.#small
    this.#smallIsNext = lane === this.#large
    return lane.take()
  }

  done(job: Job): void {
    this.#laneOf(job.representation).done(job)
    this.#pending.delete(job.key)
    this.#memory.release(job.payload)
    this.#count -= 1
  }

  #laneOf({ size }: Representation): Lane {
    return size < SMALL_FILE_BYTES ? this.#small : this.#large
  }
}
