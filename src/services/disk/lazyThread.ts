import { Effect, type Scope } from "effect"

/** How long the end of the program waits for a thread, which a disk that hangs may hold. */
const END_TIMEOUT = "1 second"

/**
 * Makes the function that returns a thread, which starts at the first call and ends with the scope. `undefined` if it can't start, as where
 * Node's permission model forbids threads, and once the scope has closed.
 */
export const make = Effect.fnUntraced(function*<T extends { readonly end: () => Promise<unknown> }>(
  start: () => T
): Effect.fn.Return<() => T | undefined, never, Scope.Scope> {
  let thread: T | undefined
  let isOver = false
  yield* Effect.addFinalizer(() =>
    Effect.promise(() => {
      isOver = true
      return thread?.end() ?? Promise.resolve()
    }).pipe(Effect.interruptible, Effect.timeoutOption(END_TIMEOUT))
  )
  return () => {
    if (isOver) return undefined
    try {
      return thread ??= start()
    } catch {
      isOver = true
      return undefined
    }
  }
})
