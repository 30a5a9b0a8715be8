/**
 * Buffers of one size that are used again and again. Every 64 MiB of new buffers would trigger a full mark of V8's heap, and new memory costs
 * a page fault every 4 KiB.
 */
export class BufferPool {
  readonly #bytes: number
  readonly #most: number
  readonly #free: Array<Buffer> = []

  /** Keeps at most `most` free buffers of `bytes` bytes. */
  constructor(bytes: number, most: number) {
    this.#bytes = bytes
    this.#most = most
  }

  /** A buffer with any content. */
  take(): Buffer {
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(this.#bytes)
  }

  /** Takes a buffer back, which nobody reads or writes any more. */
  give(buffer: Buffer): void {
    if (this.#free.length < this.#most) this.#free.push(buffer)
  }
}
