import { Context } from "effect"
import type { Running } from "./ActiveStreams.ts"

/** What other processes are doing, as of a second ago. */
export interface Usage {
  /** Chunks that they have in memory. */
  readonly memory: { readonly bytes: number; readonly maxBytes: number; readonly chunks: number; readonly hits: number }
  /** What they stream by themselves. */
  readonly streams: ReadonlyArray<Running>
}

/** The usage of no process. */
export const nothing: Usage = { memory: { bytes: 0, maxBytes: 0, chunks: 0, hits: 0 }, streams: [] }

/** Returns the usage of the other processes that serve viewers from this cache. By default there are none. */
export class WorkerUsage extends Context.Reference<() => Usage>("spillway/services/observe/WorkerUsage", {
  defaultValue: () => () => nothing
}) {}
