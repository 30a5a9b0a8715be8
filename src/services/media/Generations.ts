import { Effect } from "effect"
import { familyOf, type Resource } from "../../domain/Resource.ts"

/**
 * Tells which requests to the origin are older than the last invalidation of their resource. Their responses may be older than the change
 * that invalidated it. They serve the viewers who asked before it, and nobody who asks afterwards.
 */
export const makeGenerations = () => {
  /** By the family of the resource, while requests are under way. */
  const underWay = new Map<string, { requests: number; generation: number }>()

  const current = ({ id }: Resource): number => underWay.get(familyOf(id))?.generation ?? 0

  return {
    /** The generation of a request that begins now: another one than that of requests before an invalidation. */
    current,
    /** Runs a request for `resource`. If the resource is invalidated meanwhile, `onOutdated` runs after it succeeds. */
    during: <A, E>(
      resource: Resource,
      request: Effect.Effect<A, E>,
      onOutdated: Effect.Effect<void>
    ): Effect.Effect<A, E> =>
      Effect.suspend(() => {
        const family = familyOf(resource.id)
        const entry = underWay.get(family) ?? { requests: 0, generation: 0 }
        underWay.set(family, entry)
        entry.requests += 1
        const { generation } = entry
        return request.pipe(
          Effect.tap(() => entry.generation === generation ? Effect.void : onOutdated),
          Effect.ensuring(Effect.sync(() => {
            entry.requests -= 1
            if (entry.requests === 0) underWay.delete(family)
          }))
        )
      }),
    /** Makes the requests for a resource and its variants outdated. */
    end: ({ id }: Resource): void => {
      const entry = underWay.get(familyOf(id))
      if (entry !== undefined) entry.generation += 1
    }
  }
}

/** What `makeGenerations` makes. */
export type Generations = ReturnType<typeof makeGenerations>
