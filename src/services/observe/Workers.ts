import { Context, Effect } from "effect"
import type { ChunkKey } from "../../domain/Chunk.ts"
import type { Running } from "./ActiveStreams.ts"

/** What the other processes are doing, as of a second ago. */
export interface Usage {
  /** Chunks that they have in memory. */
  readonly memory: { readonly bytes: number; readonly maxBytes: number; readonly chunks: number; readonly hits: number }
  /** What they stream by themselves. */
  readonly streams: ReadonlyArray<Running>
}

/**
 * The other processes that serve viewers from this cache, which have to learn what they may no longer serve. There are none
 * unless they are provided. Sending is synchronous and cheap, and messages arrive in order.
 */
export interface WorkersShape {
  /** What is known of a resource is no longer to be used without asking. */
  readonly forgotten: (resource: string) => void
  /** Nothing that there is of a resource is to be served any more. */
  readonly withdrawn: (resource: string) => void
  /** A chunk is on disk, and takes so many bytes of it. */
  readonly added: (key: ChunkKey, bytes: number) => void
  /** A chunk is on disk no longer, or about to be removed. */
  readonly removed: (key: ChunkKey) => void
  /** Waits until every worker has confirmed all messages so far. A worker that is late is ended. */
  readonly settled: Effect.Effect<void>
  readonly usage: () => Usage
}

const nobody: WorkersShape = {
  forgotten: () => {},
  withdrawn: () => {},
  added: () => {},
  removed: () => {},
  settled: Effect.void,
  usage: () => ({ memory: { bytes: 0, maxBytes: 0, chunks: 0, hits: 0 }, streams: [] })
}

/** Those that there are. */
export class Workers extends Context.Reference<WorkersShape>("spillway/services/observe/Workers", {
  defaultValue: () => nobody
}) {}
