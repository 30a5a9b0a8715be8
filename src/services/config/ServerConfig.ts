import { Context, Layer, Struct } from "effect"
import { defaultSettings, type ServiceSettings } from "./settings.ts"

/** The limits of a server, and the options of its own pages. Times are in milliseconds. */
export interface ServerOptions {
  /** The maximum number of client connections. */
  readonly maxConnections: number
  /** The maximum number of responses that are fetched or streamed at a time, not counting those from memory. */
  readonly maxStreams: number
  /** A connection is closed after this long without progress in either direction. */
  readonly idleTimeout: number
  /** The maximum time to receive a request header. */
  readonly headerTimeout: number
  /** The addresses, and networks in CIDR notation, of reverse proxies whose fields about viewers are right. */
  readonly trustedProxies: ReadonlyArray<string>
  /** The token for Spillway's own pages. Without it, they are available from this machine only. */
  readonly adminToken: string | undefined
  /** The path of a video that the dashboard plays. */
  readonly sampleVideo: string | undefined
}

/** The options of a server among all settings. */
export const fromSettings = (settings: ServiceSettings): ServerOptions => ({
  ...Struct.pick(settings, [
    "maxConnections",
    "maxStreams",
    "idleTimeout",
    "headerTimeout",
    "trustedProxies",
    "adminToken"
  ]),
  sampleVideo: undefined
})

/** The defaults. */
export const defaults: ServerOptions = fromSettings(defaultSettings)

/** The options of a server. If none are provided, the defaults. */
export class ServerConfig extends Context.Reference<ServerOptions>("spillway/services/config/ServerConfig", {
  defaultValue: () => defaults
}) {
  /** `options`, and the defaults of the others. */
  static readonly layer = (options: Partial<ServerOptions> = {}): Layer.Layer<never> =>
    Layer.succeed(ServerConfig, { ...defaults, ...options })
}
