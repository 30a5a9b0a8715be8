import { Effect, Exit, type Fiber } from "effect"
import type { BanTarget } from "../../../src/domain/BanList.ts"
import type { CacheError } from "../../../src/domain/CacheError.ts"
import * as Resource from "../../../src/domain/Resource.ts"
import { CacheIndex } from "../../../src/services/cache/CacheIndex.ts"
import { Purger } from "../../../src/services/operate/Purger.ts"
import { Sweeper } from "../../../src/services/operate/Sweeper.ts"
import type { OriginFile } from "./origin.ts"
import type { Spillway } from "./spillway.ts"

/** Whether others get a page in place of the file, which is kept under the same URL, but has none of the file's tags. */
const hasUntaggedPage = ({ plan }: OriginFile): boolean => {
  const others = plan.site?.gate?.others
  return others === "page" || others === "redirect"
}

/** People who say what is to be kept, and what not. */
export const makePeople = ({ fail, note, now, spillway }: {
  readonly now: () => number
  readonly spillway: () => Spillway
  readonly note: (line: string) => void
  readonly fail: (message: string) => void
}) => {
  /** What they have asked for that is not done yet. */
  const orders = new Set<Fiber.Fiber<unknown, unknown>>()
  let pinsUnderWay = 0
  let lastPin = -Infinity
  /** Of a file whose manifest the disk has lost, nobody knows the URL any more. */
  let isSpoilt = false

  const order = <A>(
    what: string,
    effect: Effect.Effect<A, CacheError, Purger | Sweeper>,
    done: (succeeded: boolean) => void
  ) => {
    const fiber = spillway().fork(effect)
    orders.add(fiber)
    fiber.addObserver((exit) => {
      orders.delete(fiber)
      note(`${what} ${exit._tag}`)
      if (Exit.isFailure(exit) && exit.cause.reasons.some(({ _tag }) => _tag === "Die")) {
        fail(`${what}: ${String(exit.cause)}`)
      }
      done(Exit.isSuccess(exit))
    })
  }

  return {
    purge: (files: ReadonlyArray<OriginFile>, how: { readonly by?: "tag"; readonly isSoft?: true }) => {
      const begun = now()
      const isSoft = how.isSoft === true
      const [only] = files.length === 1 ? files : []
      const target: BanTarget = {
        ...(how.by === "tag"
          ? { _tag: "Tag", tag: only?.plan.name ?? "all" }
          : only === undefined
          ? { _tag: "Prefix", prefix: "" }
          : { _tag: "Url", url: only.url }),
        ...(isSoft && { soft: true })
      }
      const confirmed = (): void => {
        for (const file of files) {
          if (isSoft) file.softened(begun, now())
          else file.purged(begun, now())
        }
      }
      order(
        `purge ${JSON.stringify(target)}`,
        Effect.gen(function*() {
          const ban = yield* (yield* Purger).purge(target)
          confirmed()
          yield* (yield* Sweeper).swept(ban)
        }),
        (succeeded) => {
          if (!succeeded || isSoft) return
          for (const file of files) {
            if (isSpoilt || pinsUnderWay > 0 || lastPin >= begun) continue
            // What is kept and pinned may be the page.
            if (how.by === "tag" && hasUntaggedPage(file)) continue
            const isPinned = spillway().use(CacheIndex, (index) => index.isPinned(Resource.make(file.url).id))
            if (isPinned) fail(`${file.url} is pinned though it was purged`)
          }
        }
      )
    },
    pin: ({ url }: OriginFile, pinned: boolean) => {
      pinsUnderWay += 1
      order(`${pinned ? "pin" : "unpin"} ${url}`, Purger.use((keeper) => keeper.pin(url, pinned)), () => {
        pinsUnderWay -= 1
        lastPin = now()
      })
    },
    /** The disk has lost something that it had. */
    spoilt: () => void (isSpoilt = true),
    /** With the process, what was asked of it is gone. */
    forget: () => {
      orders.clear()
      pinsUnderWay = 0
    },
    arePinning: () => pinsUnderWay > 0,
    areWaiting: () => orders.size > 0
  }
}
