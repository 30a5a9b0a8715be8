import { Context, Layer, Struct } from "effect"
import { CREDENTIAL_FIELDS } from "../../domain/Asker.ts"
import type { Origins } from "../../domain/Route.ts"
import { defaultSettings, type ServiceSettings } from "./settings.ts"

/** The options for origins. Times are in milliseconds. */
export interface OriginOptions {
  /** The servers that Spillway may contact. */
  readonly origins: Origins
  /** The maximum time to connect, including TLS, with a tolerance of half a second. */
  readonly connectTimeout: number
  /** The maximum time until an origin has sent its header, and the maximum time of a request in the queue. */
  readonly firstByteTimeout: number
  /** The maximum time between two reads of an origin's body. */
  readonly silenceTimeout: number
  /** The maximum number of concurrent requests to one origin. */
  readonly maxRequests: number
  /** Request fields that are credentials like `Authorization`, in lower case. */
  readonly credentialFields: ReadonlyArray<string>
  /** Whether Spillway contacts no origin at all. */
  readonly offline: boolean
}

/** The options of origins among all settings. */
export const fromSettings = (settings: ServiceSettings): OriginOptions => ({
  ...Struct.pick(settings, ["connectTimeout", "firstByteTimeout", "silenceTimeout", "maxRequests", "offline"]),
  credentialFields: [...CREDENTIAL_FIELDS, ...settings.credentialFields],
  origins: { routes: settings.origins, urlHosts: settings.urlHosts, allowPrivate: settings.allowPrivate }
})

/** The defaults. */
export const defaults: OriginOptions = fromSettings(defaultSettings)

/**
 * The options for origins. A program may replace `origins` while it runs, so services read them when they need them.
 *
 * @since 0.1.0
 * @category services
 */
export class OriginConfig
  extends Context.Service<OriginConfig, OriginOptions>()("spillway/services/config/OriginConfig")
{
  /** `options`, and the defaults of the others. */
  static readonly layer = (options: Partial<OriginOptions> = {}): Layer.Layer<OriginConfig> =>
    Layer.succeed(OriginConfig, { ...defaults, ...options })
}
