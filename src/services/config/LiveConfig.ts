import { Layer } from "effect"
import { CacheConfig, type CacheOptions } from "./CacheConfig.ts"
import { OriginConfig, type OriginOptions } from "./OriginConfig.ts"

/** The options of a cache and its origins. */
export interface Options {
  readonly cache: CacheOptions
  readonly origin: OriginOptions
}

/** The options that a program replaces while it runs: those of origins, and the rules of the cache by path. */
export interface LiveConfig {
  readonly layer: Layer.Layer<CacheConfig | OriginConfig>
  /** Replaces the options of `LIVE` for the requests that follow. The others stay as they are. */
  readonly replace: (options: Options) => void
}

/** The names of options, as in `SettingValues`, that `LiveConfig.replace` replaces. */
export const LIVE: ReadonlySet<string> = new Set([
  "allowPrivate",
  "assumeUnchanged",
  "cacheKey",
  "ignoreCookies",
  "origins",
  "ttl",
  "urlHosts"
])

/** Makes options that can be replaced. */
export const makeLiveConfig = (first: Options): LiveConfig => {
  let current = first
  return {
    layer: Layer.merge(
      Layer.succeed(CacheConfig, {
        ...first.cache,
        get assumeUnchanged() {
          return current.cache.assumeUnchanged
        },
        get cacheKey() {
          return current.cache.cacheKey
        },
        get ignoreCookies() {
          return current.cache.ignoreCookies
        },
        get ttl() {
          return current.cache.ttl
        }
      }),
      Layer.succeed(OriginConfig, {
        ...first.origin,
        get origins() {
          return current.origin.origins
        }
      })
    ),
    replace: (options) => {
      current = options
    }
  }
}
