import { Context, Layer } from "effect"
import type { TtlRule } from "../../domain/TtlRule.ts"

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

/** What is used where nothing is said. */
export const defaults: CacheOptions = {
  directory: "./.spillway",
  chunkSize: 1024 ** 2,
  maxSize: 10 * 1024 ** 3,
  minFree: 1024 ** 3,
  memory: 256 * 1024 ** 2,
  readDeadline: 250,
  ttl: [],
  ignoreCookies: []
}

/** The bounds of `chunkSize`, in bytes. */
export const CHUNK_SIZE = { minimum: 64 * 1024, maximum: 64 * 1024 ** 2 }

/** The options in force. */
export class CacheConfig extends Context.Service<CacheConfig, CacheOptions>()("spillway/services/config/CacheConfig") {
  /** `options` over the defaults. */
  static readonly layer = (options: Partial<CacheOptions> = {}): Layer.Layer<CacheConfig> =>
    Layer.succeed(CacheConfig, { ...defaults, ...options })
}
