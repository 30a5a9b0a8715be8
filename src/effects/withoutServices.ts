import { Context, Effect, type Exit, type Scope } from "effect"

/** How the keys of Spillway's own services begin. */
const OWN = "spillway/"

/**
 * `effect` without Spillway's services in its context, none of which its type wants. Each step that has a scope of its own copies the
 * context of its fiber, so that what runs for every viewer should carry little: such copies were a third of what a miss
 * allocates.
 */
export const withoutServices = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.updateContext(
    effect,
    (context: Context.Context<R>) =>
      Context.makeUnsafe<R>(new Map([...context.mapUnsafe].filter(([key]) => !key.startsWith(OWN))))
  )

/** Has `work`, which must not throw, done when the scope closes. A finalizer that is an effect is given a copy of the context to run in. */
export const atEnd = (work: (exit: Exit.Exit<unknown, unknown>) => void): Effect.Effect<void, never, Scope.Scope> =>
  Effect.addFinalizer((exit) => {
    work(exit)
    return Effect.void
  })
