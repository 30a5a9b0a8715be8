import { Context, Effect, Layer, Semaphore } from "effect"

/** Serializes changes of the disk: a write and an eviction never meet in one directory. */
export class WriteLock extends Context.Service<WriteLock, {
  /** Runs `change` when no other change is running. */
  readonly withWriteLock: <A, E, R>(change: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}>()("spillway/services/cache/WriteLock") {
  static readonly layer: Layer.Layer<WriteLock> = Layer.effect(
    WriteLock,
    Effect.map(Semaphore.make(1), (mutex) => WriteLock.of({ withWriteLock: (change) => mutex.withPermit(change) }))
  )
}
