import { Effect } from "effect"
import type { Resource } from "../../domain/Resource.ts"
import type { Source } from "../origin/askOrigin.ts"
import { OriginResolver } from "../origin/OriginResolver.ts"
import { Fleet } from "./Fleet.ts"

/**
 * Makes the function that says what other nodes get as a question for `target`, if it comes from the operator or an application and not from a
 * viewer. Nothing, if the target alone doesn't lead to the resource.
 */
export const makeOwnQuestion = Effect.gen(function*() {
  const { self } = yield* Fleet
  const { identify } = yield* OriginResolver
  return ({ id, url }: Resource, target: string): Pick<Source, "peers"> => {
    if (self === undefined) return {}
    const found = identify({ target, headers: {} })
    return "status" in found || found.id !== id ? {} : { peers: { url, target, host: "" } }
  }
})
