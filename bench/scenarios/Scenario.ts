import type { Metric } from "../Metric.ts"
import type { Origin } from "../servers.ts"

export interface Context {
  readonly origin: Origin
  readonly rounds: number
  /** The built checkout of another version, if that is what Spillway is compared with. */
  readonly against: string | undefined
  /** Where a CPU profile of Spillway is wanted. */
  readonly profile: { readonly directory: string; readonly name: string } | undefined
}

export interface Scenario {
  readonly name: string
  readonly about: string
  readonly run: (context: Context) => Promise<ReadonlyArray<Metric>>
}
