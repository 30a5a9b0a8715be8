import { Context, Effect, Fiber, Layer, Semaphore } from "effect"

/**
 * The only door to the disk. A disk that hangs holds a thread of Node's pool for each call that is under way, and when it
 * has them all nothing else runs: no other file, no name resolution. So no more calls are let through than a part of the
 * pool, and each runs apart from whoever waits for it, who can give up waiting at any time.
 */
export class DiskGate extends Context.Service<DiskGate, {
  /** Runs `call` when there is room. Interrupting the caller gives up waiting; a call that has begun goes on to its end. */
  readonly pass: <A, E>(call: Effect.Effect<A, E>) => Effect.Effect<A, E>
  /** How many calls are under way. */
  readonly inFlight: () => number
}>()("spillway/services/DiskGate") {
  /** Lets half of Node's thread pool through, at least two calls. */
  static readonly layer: Layer.Layer<DiskGate> = Layer.sync(
    DiskGate,
    () => make(Math.max(2, Math.floor(poolSize() / 2)))
  )
}

/** The number of threads in Node's pool: four unless `UV_THREADPOOL_SIZE` says otherwise. */
const poolSize = (): number => Number(process.env["UV_THREADPOOL_SIZE"]) || 4

const make = (permits: number) => {
  const semaphore = Semaphore.makeUnsafe(permits)
  let inFlight = 0
  const count = <A, E>(call: Effect.Effect<A, E>): Effect.Effect<A, E> =>
    Effect.suspend(() => {
      inFlight += 1
      return Effect.ensuring(Effect.uninterruptible(call), Effect.sync(() => inFlight -= 1))
    })
  return DiskGate.of({
    pass: (call) =>
      Effect.flatMap(
        Effect.forkDetach(semaphore.withPermit(count(call))),
        (fiber) => Effect.onInterrupt(Fiber.join(fiber), () => Effect.sync(() => fiber.interruptUnsafe()))
      ),
    inFlight: () => inFlight
  })
}
