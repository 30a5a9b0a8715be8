import type { ByteRange } from "../../domain/rfc/ByteRange.ts"

/**
 * A chunk while its bytes arrive, possibly from two transfers: one that began in its middle, and one that fills in the
 * front behind it. Bytes that are there never change, so what `read` returns may be kept.
 */
export class ChunkAssembly {
  readonly index: number
  readonly span: ByteRange
  readonly #buffer: Buffer
  /** Whether it has been handed over as a whole. */
  isHandedOver = false
  /** What has arrived: ranges of the representation that neither overlap nor touch, in order. */
  #filled: Array<ByteRange> = []

  constructor(index: number, span: ByteRange) {
    this.index = index
    this.span = span
    this.#buffer = Buffer.allocUnsafeSlow(span.end - span.start)
  }

  /** The end of what has arrived from `offset` on; `offset` itself where its byte is missing. */
  filledTo(offset: number): number {
    return this.#filled.find(({ end, start }) => start <= offset && offset < end)?.end ?? offset
  }

  /** The first byte at or after `offset` that has arrived, or the end of the chunk. */
  missingTo(offset: number): number {
    return this.#filled.find(({ end }) => end > offset)?.start ?? this.span.end
  }

  /** Takes `bytes` for the place `offset`, where none has arrived yet. */
  write(offset: number, bytes: Uint8Array): void {
    this.#buffer.set(bytes, offset - this.span.start)
    const last = this.#filled.at(-1)
    if (last?.end === offset) {
      // So it is with nearly all bytes.
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

  /** The bytes from `start` to `end`, which have all arrived, without a copy. */
  read(start: number, end: number): Uint8Array {
    return this.#buffer.subarray(start - this.span.start, end - this.span.start)
  }

  /** The whole chunk, or `undefined` while bytes are missing. */
  get whole(): Uint8Array | undefined {
    return this.filledTo(this.span.start) === this.span.end ? this.#buffer : undefined
  }
}
