import { Effect, Exit, Layer } from "effect"
import * as SampleOrigin from "../sample/SampleOrigin.ts"
import type { CacheConfig } from "../services/config/CacheConfig.ts"
import type { LiveConfig } from "../services/config/LiveConfig.ts"
import type { OriginConfig } from "../services/config/OriginConfig.ts"
import * as Clients from "../services/config/ServerConfig.ts"
import type { ConfigSource, Orders } from "../workers/messages.ts"
import * as AccessLog from "./accessLog.ts"
import type { LogWriter } from "./LogWriter.ts"
import { type Given, optionsOf, parseSource, type ServeSettings, settingsOf } from "./serveSettings.ts"
import type { StartupError } from "./StartupError.ts"

/**
 * The configuration of one process of a run.
 */

/** The options of a run, and the URL of the sample origin if it is the only origin. */
export interface Settings extends ServeSettings {
  readonly sample: URL | undefined
}

/** The options of one process: all processes share the memory, and the workers share the clients. */
export const shareOf = (settings: Settings, orders: Orders | undefined): Settings => {
  const processes = settings.workers > 1 ? settings.workers + 1 : 1
  const servers = orders === undefined ? 1 : settings.workers
  return {
    ...settings,
    memory: Math.ceil(settings.memory / processes),
    maxConnections: Math.ceil(settings.maxConnections / servers),
    maxStreams: Math.ceil(settings.maxStreams / servers)
  }
}

/** The configuration of this process. */
export const configOf = (settings: Settings, orders: Orders | undefined, live: LiveConfig): ProcessConfig =>
  Layer.mergeAll(
    AccessLog.layer(settings),
    live.layer,
    Clients.ServerConfig.layer({
      ...Clients.fromSettings(shareOf(settings, orders)),
      sampleVideo: settings.sample === undefined ? undefined : SampleOrigin.VIDEO
    })
  )

/** What takes over a configuration that the owner has replaced. */
export const reconfigureBy = (given: Given, live: LiveConfig) => (source: ConfigSource | undefined): void => {
  if (source === undefined) return
  const options = Effect.runSyncExit(
    Effect.flatMap(parseSource(source), (config) => Effect.map(settingsOf(given, config), optionsOf))
  )
  if (Exit.isSuccess(options)) live.replace(options.value)
  // The owner replaces it by a worker that has the same configuration as the others.
  else process.exit(1)
}

export type ProcessConfig = Layer.Layer<CacheConfig | OriginConfig, StartupError, LogWriter>
