import { Effect } from "effect"

/**
 * A read buffer that one viewer reuses for every chunk when nothing else keeps the bytes. Every 64 MiB of new buffers would trigger a
 * full mark of V8's heap, which costs more than the reads.
 */

export type ReadBuffer = <E>(read: (buffer: Buffer) => Effect.Effect<Uint8Array, E>) => Effect.Effect<Uint8Array, E>

/** A buffer for chunks of up to `chunkSize` bytes, allocated at the first read. */
export const make = (chunkSize: number): ReadBuffer => {
  let free: Buffer | undefined
  return (read) =>
    Effect.suspend(() => {
      const buffer = free ?? Buffer.allocUnsafeSlow(chunkSize)
      // A read that failed may continue in the background, and write to the buffer at any time.
      free = undefined
      return Effect.tap(read(buffer), () => Effect.sync(() => free = buffer))
    })
}
