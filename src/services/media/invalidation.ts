import { Effect } from "effect"
import { ANONYMOUS } from "../../domain/Asker.ts"
import type { Resource } from "../../domain/Resource.ts"
import { everyAccepted } from "../../domain/rfc/ContentCoding.ts"
import { treeAt } from "../../domain/UrlTrees.ts"
import { Catalog } from "../cache/Catalog.ts"
import { Manifests } from "../cache/Manifests.ts"
import type { Memories } from "./fetchRepresentation.ts"
import { memoryKey } from "./storedUse.ts"

/** Ends the use of what is stored: `forget`, `invalidate` and `invalidateTree` of `Lookup`. */
export const makeInvalidation = Effect.fnUntraced(
  function*({ generations, hints, unmeasured }: Pick<Memories, "generations" | "hints" | "unmeasured">) {
    const catalog = yield* Catalog
    const manifests = yield* Manifests
    return {
      forget: (): void => {
        hints.clear()
        generations.endAll()
        unmeasured.releaseAll()
      },
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
        }),
      invalidateTree: ({ url }: Resource): Effect.Effect<void> =>
        Effect.suspend(() => {
          hints.clear()
          generations.endAll()
          unmeasured.releaseAll()
          return catalog.invalidateTree(treeAt(url))
        })
    }
  }
)
