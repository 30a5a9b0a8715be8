import { Clock, Effect, Semaphore } from "effect"
import { type ConfigReload, type Reloaded, ReloadRefused } from "../services/config/ConfigReload.ts"
import { LIVE, type LiveConfig } from "../services/config/LiveConfig.ts"
import { fileSettings } from "../services/config/settings.ts"
import type { ConfigSource } from "../workers/messages.ts"
import type { RunView } from "./configView.ts"
import { checkSettings, type Given, optionsOf, readConfig, type ServeSettings, settingsOf } from "./serveSettings.ts"

/**
 * Replaces the configuration of a program that runs.
 */

/** The text of a value, to compare it with another. */
const textOf = (value: unknown): string =>
  JSON.stringify(value, (_, part) => part instanceof URL ? part.href : part) ?? ""

/** The options that differ, and of which a program notices only when it starts. */
const needRestart = (before: ServeSettings, after: ServeSettings): ReadonlyArray<string> =>
  Object.values(fileSettings)
    .filter(({ key }) => !LIVE.has(key))
    .filter(({ key }) => textOf(before[key as keyof ServeSettings]) !== textOf(after[key as keyof ServeSettings]))
    .map(({ name }) => name)

/** A run that has a configuration file. */
interface Run {
  readonly file: string
  readonly given: Given
  /** The options with which it started. */
  readonly settings: ServeSettings
  readonly live: LiveConfig
  readonly view: RunView
  /** Passes the file on to all other processes. */
  readonly configure: (source: ConfigSource) => Effect.Effect<void>
}

/** Makes the reload of a run. */
export const makeReload = Effect.fnUntraced(function*({ configure, file, given, live, settings, view }: Run) {
  const context = yield* Effect.context<Effect.Services<ReturnType<typeof readConfig>>>()
  const one = yield* Semaphore.make(1)

  const replace = Effect.gen(function*() {
    const { config, source } = yield* readConfig(file)
    const next = yield* checkSettings(yield* settingsOf(given, config))
    const restart = needRestart(settings, next)
    live.replace(optionsOf(next))
    yield* configure(source)
    view.replace(next, restart, { path: file, readAt: yield* Clock.currentTimeMillis })
    return { routes: next.routes.length, restart } satisfies Reloaded
  })

  return replace.pipe(
    Effect.tap(({ restart, routes }) =>
      Effect.annotateLogs(Effect.logInfo("The configuration was reloaded"), {
        file,
        routes,
        ...(restart.length > 0 && { restart: `these options have an effect after a restart: ${restart.join(", ")}` })
      })
    ),
    Effect.tapError(({ message }) =>
      Effect.annotateLogs(Effect.logError("The configuration was not reloaded; the former one stays in force"), {
        file,
        reason: message
      })
    ),
    Effect.mapError(({ message }) => new ReloadRefused({ message })),
    // What has begun ends in all processes.
    Effect.uninterruptible,
    one.withPermits(1),
    Effect.provideContext(context)
  )
})

/** Reloads whenever this process gets the signal SIGHUP. Signals that come during a reload are one. */
export const onHangup = Effect.fnUntraced(function*(reload: typeof ConfigReload.Service) {
  const context = yield* Effect.context()
  let isRunning = false
  let isWanted = false
  const run = Effect.whileLoop({
    while: () => isWanted,
    body: () => {
      isWanted = false
      return Effect.ignore(reload)
    },
    step: () => {}
  })
  const begin = (): void => {
    isWanted = true
    if (isRunning) return
    isRunning = true
    Effect.runForkWith(context)(Effect.ensuring(run, Effect.sync(() => isRunning = false)))
  }
  yield* Effect.acquireRelease(
    Effect.sync(() => process.on("SIGHUP", begin)),
    () => Effect.sync(() => process.off("SIGHUP", begin))
  )
})
