import { Context, Layer, Struct } from "effect"
import type { CacheKeyRule } from "../../domain/CacheKey.ts"
import type { PathRule, TtlRule } from "../../domain/TtlRule.ts"
import { defaultSettings, type ServiceSettings } from "./settings.ts"

/** The options of a cache. Sizes are in bytes, times in milliseconds. */
export interface CacheOptions {
  /** The directory of the cache. Created if missing; only `v1` inside it is ever touched. */
  readonly directory: string
  /** The size of a chunk, 64 KiB to 64 MiB. */
  readonly chunkSize: number
  /** The maximum size of the cache on disk. */
  readonly maxSize: number
  /** The space to keep free on the disk, in spite of other programs. */
  readonly minFree: number
  /** The maximum size of the cache in memory. */
  readonly memory: number
  /** The time to wait for a cached chunk from disk before the origin takes over. */
  readonly readDeadline: number
  /** The freshness of files if the origin doesn't say, or regardless of the origin. */
  readonly ttl: ReadonlyArray<TtlRule>
  /** Which query parameters identify a file. The first rule that matches the path of its URL at the origin counts. */
  readonly cacheKey: ReadonlyArray<CacheKeyRule>
  /** Paths where responses don't depend on cookies; `*` stands for any characters. GET and HEAD requests go to the origin without them. */
  readonly ignoreCookies: ReadonlyArray<string | PathRule>
  /**
   * Paths where a file without a validator never changes while its size and `Content-Type` stay the same; `*` stands for any characters.
   * Parts of such files are cached and combined.
   */
  readonly assumeUnchanged: ReadonlyArray<string | PathRule>
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
    "cacheKey",
    "ignoreCookies",
    "assumeUnchanged"
  ])

/** Whether the cache has room for `MIN_CHUNKS` chunks. */
export const hasRoom = ({ chunkSize, maxSize }: Pick<CacheOptions, "chunkSize" | "maxSize">): boolean =>
  maxSize >= MIN_CHUNKS * chunkSize

/** The number of chunks that a cache has room for at least. */
const MIN_CHUNKS = 4

/** The defaults. */
export const defaults: CacheOptions = fromSettings(defaultSettings)

/**
 * The options of the cache. A program may replace `ttl`, `cacheKey`, `ignoreCookies` and `assumeUnchanged` while it runs, so services read them
 * when they need them.
 *
 * @since 0.1.0
 * @category services
 */
export class CacheConfig extends Context.Service<CacheConfig, CacheOptions>()("spillway/services/config/CacheConfig") {
  /** `options`, and the defaults of the others. */
  static readonly layer = (options: Partial<CacheOptions> = {}): Layer.Layer<CacheConfig> =>
    Layer.succeed(CacheConfig, { ...defaults, ...options })
}
