import { Context, Layer, Struct } from "effect"
import { CREDENTIAL_FIELDS } from "../../domain/Asker.ts"
import type { Origins } from "../../domain/Route.ts"
import { defaultSettings, type ServiceSettings } from "./settings.ts"

/** What the people who run a cache decide about its origins. Times are in milliseconds. */
export interface OriginOptions {
  /** Which servers may be contacted. */
  readonly origins: Origins
  /** How long it may take until a connection stands, TLS included; give or take half a second. */
  readonly connectTimeout: number
  /** How long an origin may take until the end of its header, and a request until others have left room for it. */
  readonly firstByteTimeout: number
  /** How long an origin may be silent in the middle of a body that is being read. */
  readonly silenceTimeout: number
  /** How many requests to one origin are under way at most. */
  readonly maxRequests: number
  /** Request fields, in lower case, that are credentials as `Authorization` is. */
  readonly credentialFields: ReadonlyArray<string>
  /** Whether no origin is contacted at all. */
  readonly offline: boolean
}

/** The options of origins among all settings, and the routes that these name. */
export const fromSettings = (settings: ServiceSettings, routes: Origins["routes"]): OriginOptions => ({
  ...Struct.pick(settings, ["connectTimeout", "firstByteTimeout", "silenceTimeout", "maxRequests", "offline"]),
  credentialFields: [...CREDENTIAL_FIELDS, ...settings.credentialFields],
  origins: { routes, urlHosts: settings.urlHosts, allowPrivate: settings.allowPrivate }
})

/** The defaults. */
export const defaults: OriginOptions = fromSettings(defaultSettings, [])

/** The options in force. */
export class OriginConfig
  extends Context.Service<OriginConfig, OriginOptions>()("spillway/services/config/OriginConfig")
{
  /** `options` over the defaults. */
  static readonly layer = (options: Partial<OriginOptions> = {}): Layer.Layer<OriginConfig> =>
    Layer.succeed(OriginConfig, { ...defaults, ...options })
}
