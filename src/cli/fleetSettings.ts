import { Effect, type Layer } from "effect"
import { readFile } from "node:fs/promises"
import { hostname, networkInterfaces } from "node:os"
import { errnoOf } from "../domain/CacheError.ts"
import type { FleetEngine } from "../domain/FleetEngine.ts"
import { NODE_NAME } from "../domain/FleetMember.ts"
import type { Address } from "../http/server/Server.ts"
import type { SettingValues } from "../services/config/settings.ts"
import * as Dns from "../services/fleet/dnsEngine.ts"
import type { FleetOptions, PeerTls } from "../services/fleet/FleetConfig.ts"
import * as List from "../services/fleet/listEngine.ts"
import type { Membership } from "../services/fleet/Membership.ts"
import * as Redis from "../services/fleet/redisEngine.ts"
import { invalidInvocation, StartupError } from "./StartupError.ts"
import { size } from "./text.ts"

/**
 * From the options of `spillway serve` to those of a node in a fleet.
 */

/** A node in a fleet: its options, its engine, and where it listens for the others. */
export interface FleetNode {
  readonly options: FleetOptions
  readonly membership: Layer.Layer<Membership>
  readonly listen: Address
}

const GIB = 1024 ** 3

const fail = (message: string) => Effect.fail(invalidInvocation(message))

const isWildcard = (host: string): boolean => host === "0.0.0.0" || host === "::"

/** An address of this machine at which others find it, if it listens at `host`. */
const ownAddress = (host: string): string => {
  if (!isWildcard(host)) return host
  const addresses = Object.values(networkInterfaces()).flatMap((interfaces) => interfaces ?? [])
  const outer = addresses.filter(({ internal }) => !internal)
  return (outer.find(({ family }) => family === "IPv4") ?? outer[0])?.address ?? host
}

/** Where this node is, and what it is called. A list says both; names in DNS are addresses. */
const identityOf = Effect.fnUntraced(function*(
  { advertise, node }: SettingValues,
  engine: FleetEngine,
  listen: Address
) {
  const own = advertise ?? { host: ownAddress(listen.host), port: listen.port }
  if (own.port === 0) {
    return yield* fail("--peer-port (SPILLWAY_PEER_PORT): 0 isn't possible, because other machines have to know it")
  }
  if (engine._tag === "Dns") return { node: Dns.nodeAt(own.host), advertise: own }
  const name = node ?? hostname()
  if (!NODE_NAME.test(name)) {
    return yield* fail(`the host name "${name}" can't be the name of a machine in a fleet; set one with --node`)
  }
  if (engine._tag === "Redis") return { node: name, advertise: own }
  const listed = engine.nodes.find((listed) => listed.name === name)
  return listed === undefined
    ? yield* fail(
      `--fleet (SPILLWAY_FLEET): the list has no machine called "${name}"; add it, or set its name with --node`
    )
    : { node: name, advertise: { host: listed.host, port: listed.port } }
})

const read = (file: string) =>
  Effect.tryPromise({
    try: () => readFile(file, "utf8"),
    catch: (cause) => new StartupError({ message: `cannot read ${file}: ${errnoOf(cause)}` })
  })

const tlsOf = Effect.fnUntraced(function*({ peerTlsCa, peerTlsCert, peerTlsKey }: SettingValues) {
  if (peerTlsCert === undefined && peerTlsKey === undefined && peerTlsCa === undefined) return undefined
  if (peerTlsCert === undefined || peerTlsKey === undefined || peerTlsCa === undefined) {
    return yield* fail("TLS between machines needs all of --peer-tls-cert, --peer-tls-key and --peer-tls-ca")
  }
  return {
    cert: yield* read(peerTlsCert),
    key: yield* read(peerTlsKey),
    ca: yield* read(peerTlsCa)
  } satisfies PeerTls
})

const membershipOf = (engine: FleetEngine): Layer.Layer<Membership> => {
  switch (engine._tag) {
    case "Redis":
      return Redis.layer(engine.url)
    case "Dns":
      return Dns.layer(engine)
    case "List":
      return List.layer(engine.nodes.map((node) => ({ _tag: "Configured", ...node })))
  }
}

/** The node that the options describe; `undefined` without `--fleet`. */
export const fleetNode = Effect.fnUntraced(
  function*(settings: SettingValues): Effect.fn.Return<FleetNode | undefined, StartupError> {
    const { chunkSize, fleet: engine, fleetSecret, maxSize, stretch } = settings
    if (engine === undefined) return undefined
    if (fleetSecret === undefined) {
      return yield* fail("--fleet (SPILLWAY_FLEET) needs a secret that all machines share; set SPILLWAY_FLEET_SECRET")
    }
    if (stretch % chunkSize !== 0) {
      return yield* fail(
        `--stretch (${size(stretch)}) isn't a multiple of --chunk-size (${size(chunkSize)}); change one of them`
      )
    }
    const listen = { host: settings.peerHost ?? settings.host, port: settings.peerPort }
    const identity = yield* identityOf(settings, engine, listen)
    const options: FleetOptions = {
      fleet: settings.fleetName,
      ...identity,
      weight: settings.fleetWeight ?? maxSize / GIB,
      secrets: fleetSecret,
      stretch,
      patience: settings.peerPatience,
      settle: settings.fleetSettle,
      isolated: settings.fleetIsolated,
      tls: yield* tlsOf(settings)
    }
    return { options, membership: membershipOf(engine), listen }
  }
)
