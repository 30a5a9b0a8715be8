import { Effect, Layer } from "effect"
import { resolve4, resolve6 } from "node:dns/promises"
import { type Announcement, Membership, MembershipFailed } from "./Membership.ts"

/** How often the name is resolved, in milliseconds. */
const RESOLVE_MILLIS = 5000

/** A node is dropped when the answers lack its address for this long, in milliseconds: some answers have only a part of the addresses. */
const LEASE_MILLIS = 15_000

/** The name of the node at an address, which has no other: `10.0.0.3` is `10.0.0.3`, `fd00::3` is `fd00--3`. */
export const nodeAt = (address: string): string => address.replaceAll(":", "-")

/** Codes for "there are no such records", which is an answer. */
const NONE: ReadonlySet<unknown> = new Set(["ENODATA", "ENOTFOUND"])

const resolved = (resolve: (name: string) => Promise<ReadonlyArray<string>>, name: string) =>
  Effect.tryPromise({
    try: () => resolve(name),
    catch: (cause) => new MembershipFailed({ cause })
  }).pipe(
    Effect.catchIf(
      ({ cause }) => NONE.has((cause as NodeJS.ErrnoException).code),
      () => Effect.succeed<ReadonlyArray<string>>([])
    )
  )

/**
 * The nodes are at all addresses of a name, such as that of a headless service of Kubernetes, and all have the same port. There is no log of
 * purges.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  { host, port }: { readonly host: string; readonly port: number }
): Layer.Layer<Membership> =>
  Layer.succeed(Membership, {
    label: `dns://${host}:${port}`,
    hasLog: false,
    hasWeights: false,
    beatMillis: RESOLVE_MILLIS,
    leaseMillis: LEASE_MILLIS,
    open: () =>
      Effect.succeed({
        beat: () =>
          Effect.all([resolved(resolve4, host), resolved(resolve6, host)], { concurrency: 2 }).pipe(
            Effect.map((addresses) => ({
              nodes: addresses.flat().map((address): Announcement => ({
                _tag: "Configured",
                name: nodeAt(address),
                host: address,
                port
              })),
              log: undefined
            }))
          ),
        append: () => Effect.void,
        leave: () => Effect.void
      })
  })
