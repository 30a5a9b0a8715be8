import { Context, Effect, Layer } from "effect"

/** Whether the server accepts work: `Ready` until it begins to end, then `Draining`, in which it only finishes what it has begun. */
type ReadinessState = "Ready" | "Draining"

/**
 * The state that `/_spillway/ready` reports to load balancers.
 *
 * @since 0.1.0
 * @category services
 */
export class Readiness extends Context.Service<Readiness, {
  /** The state now. */
  readonly state: () => ReadinessState
  /** The server is about to end. */
  readonly drain: Effect.Effect<void>
}>()("spillway/http/admin/Readiness") {
  static readonly layer: Layer.Layer<Readiness> = Layer.sync(Readiness, () => {
    let state: ReadinessState = "Ready"
    return Readiness.of({
      state: () => state,
      drain: Effect.sync(() => void (state = "Draining"))
    })
  })
}
