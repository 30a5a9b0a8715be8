import type { ByteRange } from "../../domain/rfc/ByteRange.ts"
import type { ReusedBuffers } from "../../effects/ReusedBuffers.ts"

/**
 * A chunk while its bytes arrive, possibly from two fetches: one that started in its middle, and one that fills in its front. Bytes that
 * have arrived don't change while someone holds the chunk in `memory`, as the assembly does until `release`.
 */
export class ChunkAssembly {
  readonly index: number
  readonly span: ByteRange
  readonly #buffer: Buffer
  readonly #memory: ReusedBuffers
  /** Whether the complete chunk has been handed to `ChunkCache`. */
  isHandedOver = false
  /** Whether the bytes that arrived last are those of another node of a fleet. */
  isFromPeer = false
  /** What has arrived: ordered ranges of the representation that neither overlap nor touch. */
  #filled: Array<ByteRange> = []

  constructor(index: number, span: ByteRange, memory: ReusedBuffers) {
    this.index = index
    this.span = span
    this.#memory = memory
    this.#buffer = memory.take(span.end - span.start)
  }

  /** The end of what has arrived from `offset` on; `offset` itself if its byte is missing. */
  filledTo(offset: number): number {
    return this.#filled.find(({ end, start }) => start <= offset && offset < end)?.end ?? offset
  }

  /** The first byte after the missing byte at `offset` that has arrived, or the end of the chunk. */
  missingTo(offset: number): number {
    return this.#filled.find(({ end }) => end > offset)?.start ?? this.span.end
  }

  /** Writes `bytes` at `offset`. None of them may have arrived yet. */
  write(offset: number, bytes: Uint8Array): void {
    this.#buffer.set(bytes, offset - this.span.start)
    const last = this.#filled.at(-1)
    if (last?.end === offset) {
      // The case of nearly all writes.
      this.#filled[this.#filled.length - 1] = { start: last.start, end: offset + bytes.length }
      return
    }
    const merged: Array<ByteRange> = []
    let { end, start } = { start: offset, end: offset + bytes.length }
    for (const range of this.#filled) {
      if (range.end < start || range.start > end) merged.push(range)
      else {
        start = Math.min(start, range.start)
        end = Math.max(end, range.end)
      }
    }
    this.#filled = [...merged, { start, end }].toSorted((a, b) => a.start - b.start)
  }

  /** The bytes from `start` to `end`, which must have arrived, without copying them. */
  read(start: number, end: number): Uint8Array {
    return this.#buffer.subarray(start - this.span.start, end - this.span.start)
  }

  /** Ends its hold of the memory. */
  release(): void {
    this.#memory.release(this.#buffer)
  }

  /** The whole chunk, or `undefined` while bytes are missing. */
  get whole(): Uint8Array | undefined {
    return this.filledTo(this.span.start) === this.span.end ? this.#buffer : undefined
  }
}
