import { Context, Effect, Layer, Option } from "effect"
import type { Ban, BanTarget } from "../../domain/BanList.ts"
import type { CacheError } from "../../domain/CacheError.ts"
import { Bans } from "../cache/Bans.ts"
import { CacheIndex } from "../cache/CacheIndex.ts"
import { Replicas } from "../cache/Replicas.ts"
import { WriteLock } from "../cache/WriteLock.ts"
import { ChunkStore } from "../disk/ChunkStore.ts"
import { DiskBreaker } from "../disk/DiskBreaker.ts"
import { Lookup } from "../media/Lookup.ts"
import { type Cached, Inventory } from "./Inventory.ts"
import { Sweeper } from "./Sweeper.ts"

/**
 * Purges and pins resources on behalf of the operator. Failures of the disk are reported to `DiskBreaker`, and returned.
 */
export class Purger extends Context.Service<Purger, {
  /**
   * Bans what was stored until now. It takes effect at once and in all processes, however much it covers. Returns when the disk knows of it, so
   * that a restart does too; or, if the disk has no room for that, when nothing is left. `Sweeper` removes files, with their pins. Running
   * streams continue from the origin. If the disk fails, so does this: the ban is in effect until this process ends.
   */
  readonly purge: (target: BanTarget) => Effect.Effect<Ban, CacheError>
  /**
   * Protects a resource from eviction, also after a restart; or lets it and all its variants be evicted again. `None` if nothing of it is
   * cached.
   */
  readonly pin: (url: string, pinned: boolean) => Effect.Effect<Option.Option<Cached>, CacheError>
}>()("spillway/services/operate/Purger") {
  static readonly layer: Layer.Layer<
    Purger,
    never,
    Bans | DiskBreaker | CacheIndex | ChunkStore | Lookup | Inventory | Sweeper | WriteLock
  > = Layer.effect(Purger, Effect.suspend(() => make))
}

/** How long a purge that the disk can't record waits until everything is removed. */
const SWEEP_TIMEOUT = "20 seconds"

const make = Effect.gen(function*() {
  const bans = yield* Bans
  const breaker = yield* DiskBreaker
  const index = yield* CacheIndex
  const lookup = yield* Lookup
  const inventory = yield* Inventory
  const store = yield* ChunkStore
  const sweeper = yield* Sweeper
  const { withWriteLock } = yield* WriteLock
  const { settled } = yield* Replicas

  /** Waits until a restart would not bring back what was banned. */
  const recorded = (ban: Ban): Effect.Effect<void, CacheError> =>
    Effect.catch(bans.saved, (error) =>
      Effect.timeoutOrElse(sweeper.swept(ban), {
        duration: SWEEP_TIMEOUT,
        orElse: () => Effect.fail(error)
      }))

  // Each variant may have been pinned while it was the most recently used.
  const unpin = Effect.fnUntraced(function*(url: string) {
    for (const resource of (yield* inventory.family(url)).filter(index.isPinned)) {
      const lift = Effect.andThen(store.pin(resource, false), Effect.sync(() => index.unpin(resource)))
      yield* withWriteLock(Effect.uninterruptible(lift))
    }
  })

  const pin = ({ entry }: Cached) =>
    Effect.suspend(() => {
      const { id, resource } = entry.representation
      if (!index.hasResource(resource)) return Effect.succeedNone
      return Effect.map(store.pin(resource, true), () => {
        index.pin(resource, id)
        sweeper.notePin(resource)
        return Option.some(inventory.cached(entry))
      })
    })

  return Purger.of({
    purge: Effect.fnUntraced(function*(target) {
      const ban = yield* lookup.ban(target)
      yield* settled
      yield* Effect.tapError(recorded(ban), breaker.report)
      return ban
    }),
    pin: Effect.fnUntraced(function*(url, pinned) {
      const cached = yield* inventory.find(url)
      if (!pinned) {
        yield* Effect.tapError(unpin(url), breaker.report)
        return Option.map(cached, ({ entry }) => inventory.cached(entry))
      }
      if (Option.isNone(cached)) return cached
      // What a purge has left of it would take its pin along.
      const work = Effect.andThen(
        sweeper.sweep([cached.value.entry.representation.resource]),
        withWriteLock(Effect.uninterruptible(pin(cached.value)))
      )
      return yield* Effect.tapError(work, breaker.report)
    })
  })
})
