import { Effect } from "effect"
import { ANONYMOUS } from "../../domain/Asker.ts"
import type { Ban, BanTarget } from "../../domain/BanList.ts"
import type { Resource } from "../../domain/Resource.ts"
import { everyAccepted } from "../../domain/rfc/ContentCoding.ts"
import { Bans } from "../cache/Bans.ts"
import { Catalog } from "../cache/Catalog.ts"
import { Manifests } from "../cache/Manifests.ts"
import type { Memories } from "./fetchRepresentation.ts"
import { memoryKey } from "./storedUse.ts"

/** Ends the use of what is stored: `ban` and `invalidate` of `Lookup`. */
export const makeInvalidation = Effect.fnUntraced(
  function*({ generations, hints, unmeasured }: Pick<Memories, "generations" | "hints" | "unmeasured">) {
    const bans = yield* Bans
    const catalog = yield* Catalog
    const manifests = yield* Manifests
    return {
      ban: (target: BanTarget): Effect.Effect<Ban> =>
        // A new ban has a higher number than those of earlier processes.
        Effect.andThen(
          Effect.ignore(bans.loaded),
          Effect.sync(() => {
            hints.clear()
            unmeasured.releaseAll()
            return bans.add(target)
          })
        ),
      invalidate: (resource: Resource): Effect.Effect<void> =>
        Effect.suspend(() => {
          generations.end(resource)
          unmeasured.releaseFamily(resource)
          for (const cookie of [ANONYMOUS, "any"]) {
            for (const accepted of everyAccepted) {
              hints.remove(memoryKey(resource, { cookie, credential: "" }, accepted))
            }
          }
          return Effect.andThen(catalog.invalidate(resource), manifests.settled)
        })
    }
  }
)
