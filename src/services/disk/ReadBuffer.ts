import { Effect } from "effect"

/**
 * A read buffer that one viewer reuses for every piece when nothing else keeps the bytes. Every 64 MiB of new buffers would trigger a
 * full mark of V8's heap, which costs more than the reads.
 */

/** Runs `read` with a buffer of so many bytes. */
export type ReadBuffer = <E>(
  bytes: number,
  read: (buffer: Buffer) => Effect.Effect<Uint8Array, E>
) => Effect.Effect<Uint8Array, E>

/** A buffer that is allocated at the first read, and replaced when another size is needed: a slow viewer doesn't keep a large one. */
export const make = (): ReadBuffer => {
  let free: Buffer | undefined
  return (bytes, read) =>
    Effect.suspend(() => {
      const buffer = free === undefined || free.length !== bytes ? Buffer.allocUnsafeSlow(bytes) : free
      // A read that failed may continue in the background, and write to the buffer at any time.
      free = undefined
      return Effect.tap(read(buffer), () => Effect.sync(() => free = buffer))
    })
}
