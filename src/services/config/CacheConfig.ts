import { Context, Layer, Struct } from "effect"
import type { TtlRule } from "../../domain/TtlRule.ts"
import { defaultSettings, type ServiceSettings } from "./settings.ts"

/** What the people who run a cache decide about it. Sizes are in bytes. */
export interface CacheOptions {
  /** Where chunks are kept. Created when missing; only `v1` inside it is ever touched. */
  readonly directory: string
  /** The size of a chunk, 64 KiB to 64 MiB. */
  readonly chunkSize: number
  /** How much the cache may hold on disk. */
  readonly maxSize: number
  /** How much of the disk stays free for other programs. */
  readonly minFree: number
  /** How much whole chunks may take in memory. */
  readonly memory: number
  /** How long a viewer waits for a cached chunk before the origin takes over, in milliseconds. */
  readonly readDeadline: number
  /** How long files are fresh if the origin doesn't say, or regardless of what it says. */
  readonly ttl: ReadonlyArray<TtlRule>
  /** Paths, in which `*` stands for any characters, where cookies play no part: they do not go to the origin with GET and HEAD. */
  readonly ignoreCookies: ReadonlyArray<string>
}

/** The options of the cache among all settings. */
export const fromSettings = (settings: ServiceSettings): CacheOptions =>
  Struct.pick(settings, [
    "directory",
    "chunkSize",
    "maxSize",
    "minFree",
    "memory",
    "readDeadline",
    "ttl",
    "ignoreCookies"
  ])

/** The defaults. */
export const defaults: CacheOptions = fromSettings(defaultSettings)

/** The options in force. */
export class CacheConfig extends Context.Service<CacheConfig, CacheOptions>()("spillway/services/config/CacheConfig") {
  /** `options` over the defaults. */
  static readonly layer = (options: Partial<CacheOptions> = {}): Layer.Layer<CacheConfig> =>
    Layer.succeed(CacheConfig, { ...defaults, ...options })
}
