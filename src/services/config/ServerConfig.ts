import { Context, Layer, Struct } from "effect"
import { defaultSettings, type ServiceSettings } from "./settings.ts"

/** What the people who run a server allow strangers to take of it. */
export interface ServerOptions {
  /** Connections that are served at one time. */
  readonly maxConnections: number
  /** Answers that are being fetched or streamed at one time; those from memory are not counted. */
  readonly maxStreams: number
  /** How long a viewer may take nothing of what is there for it, or a sender send nothing, in milliseconds. */
  readonly idleTimeout: number
  /** How long the header of a request may take to arrive, in milliseconds. */
  readonly headerTimeout: number
  /** What has to be shown to see Spillway's own pages; without it, they are shown to this machine alone. */
  readonly adminToken: string | undefined
  /** The path of a video that the dashboard has a player for. */
  readonly sampleVideo: string | undefined
}

/** The options of a server among all settings. */
export const fromSettings = (settings: ServiceSettings): ServerOptions => ({
  ...Struct.pick(settings, ["maxConnections", "maxStreams", "idleTimeout", "headerTimeout", "adminToken"]),
  sampleVideo: undefined
})

/** The defaults. */
export const defaults: ServerOptions = fromSettings(defaultSettings)

/** The options in force: the defaults where none are provided. */
export class ServerConfig extends Context.Reference<ServerOptions>("spillway/services/config/ServerConfig", {
  defaultValue: () => defaults
}) {
  /** `options` over the defaults. */
  static readonly layer = (options: Partial<ServerOptions> = {}): Layer.Layer<never> =>
    Layer.succeed(ServerConfig, { ...defaults, ...options })
}
