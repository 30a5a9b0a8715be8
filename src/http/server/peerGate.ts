import { Clock, Effect, Option } from "effect"
import { type RequestSignature, verifyRequest } from "../../domain/FleetSignature.ts"
import {
  ALIVE_PATH,
  HOST_FIELD,
  PURGE_PATH,
  REPORT_PATH,
  SIGNATURE_FIELD,
  signedParts,
  WANTS_FIELD,
  wantsOf
} from "../../domain/PeerProtocol.ts"
import { isAbove } from "../../domain/Rendezvous.ts"
import { ReplayWindow } from "../../domain/ReplayWindow.ts"
import { parseRange } from "../../domain/rfc/ByteRange.ts"
import { Fleet } from "../../services/fleet/Fleet.ts"
import { FleetConfig } from "../../services/fleet/FleetConfig.ts"
import * as Metrics from "../../services/observe/pullMetrics.ts"
import { FleetPurger } from "../../services/operate/FleetPurger.ts"
import { PREFIX } from "../admin/AdminPages.ts"
import { isNamed } from "../proxy/namedUrl.ts"
import type { PeerMark } from "../proxy/peerRequests.ts"
import { Proxy } from "../proxy/Proxy.ts"

/** What the port for other nodes does with requests, without the sockets. */

/** How long a purge may be, in bytes. */
export const MAX_PURGE_BYTES = 512 * 1024

/** For how many stretches of a range the order of two nodes is compared. A node asks for no more at a time. */
const MAX_COMPARED = 64

/** The head of a request. */
export interface PeerHead {
  readonly method: string
  readonly url: string
  readonly headers: Record<string, string>
}

/** A request of a node of the fleet. */
export interface Admitted {
  /** The code of its signature, for the proof of the answer. */
  readonly mac: string
  readonly mark: PeerMark
}

/** Whether nodes may ask for a target: a file, or one of their own pages. Spillway's pages for people are not for them. */
const isForPeers = ({ method, url }: PeerHead): boolean => {
  if (url === PURGE_PATH) return method === "POST"
  if (url === ALIVE_PATH) return method === "HEAD"
  if (url === REPORT_PATH) return method === "GET"
  return (method === "GET" || method === "HEAD") && (!url.startsWith(PREFIX) || isNamed(url))
}

/** Changes the fields of a node's request to those of the viewer's. */
export const restoreFields = (headers: Record<string, string>): void => {
  headers["host"] = headers[HOST_FIELD] ?? ""
  for (const name of [HOST_FIELD, SIGNATURE_FIELD, WANTS_FIELD]) delete headers[name]
}

/** Makes the function that compares this node with one that asks it. `onOtherOrder` is called if the two order nodes differently. */
const makeMarkOf = Effect.fnUntraced(function*(onOtherOrder: () => void) {
  const { peers, self, stretchAt } = yield* Fleet
  const { identify } = yield* Proxy

  /** Whether a node ranks below this one for all that it asks, so that it may wait for what this one waits for. */
  const isBelow = (name: string, url: string, range: string | undefined): boolean => {
    const spec = parseRange(range)
    // The node that owns the end of a file may be the one that asks.
    if (spec?._tag === "Suffix") return false
    const asker = peers().find(({ member }) => member.name === name)?.member ?? { ...self!, name }
    const first = spec?._tag === "From" ? stretchAt(spec.start) : 0
    const last = spec?._tag === "From" && spec.last !== undefined ? stretchAt(spec.last) : first
    for (let stretch = first; stretch <= last && stretch < first + MAX_COMPARED; stretch++) {
      if (!isAbove(asker, self!, url, stretch)) continue
      onOtherOrder()
      return false
    }
    return true
  }

  return ({ headers, url }: PeerHead, { name }: RequestSignature): PeerMark => {
    const wants = wantsOf(headers)
    const resource = identify({ target: url, headers })
    // Who asks for what is cached waits for nobody.
    const isApart = wants !== "cached" && !("status" in resource) && !isBelow(name, resource.url, headers["range"])
    return { name, wants, isApart }
  }
})

/** Makes the gate: it tells the requests of nodes from those of strangers, and from those that a stranger sends again. */
export const makePeerGate = Effect.gen(function*() {
  const { secrets } = yield* FleetConfig
  const { traffic } = yield* Fleet
  const clock = yield* Clock.Clock
  const window = new ReplayWindow()
  let forbidden = 0
  let apart = 0
  const markOf = yield* makeMarkOf(() => apart += 1)
  yield* Metrics.counter(
    "spillway_peer_forbidden_total",
    "Requests to the port for other nodes without a valid signature",
    () => forbidden
  )
  yield* Metrics.counter(
    "spillway_peer_apart_total",
    "Requests of other nodes that order nodes differently",
    () => apart
  )
  return {
    secrets,
    /** Signatures that were used lately. */
    window,
    /** `undefined` if the request gets a 403, and nothing else. */
    admit: (head: PeerHead): Admitted | undefined => {
      const { headers, method, url } = head
      const time = clock.currentTimeMillisUnsafe()
      const signature = verifyRequest(secrets, signedParts(method, url, headers), headers[SIGNATURE_FIELD], time)
      const isFirst = signature !== undefined && window.isFirst(signature.nonce, signature.time, time)
      if (signature === undefined || !isFirst || !isForPeers(head)) {
        forbidden += 1
        return undefined
      }
      if (!url.startsWith(PREFIX) || isNamed(url)) traffic.served += 1
      return { mac: signature.mac, mark: markOf(head, signature) }
    }
  }
})

/** What `makePeerGate` makes. */
export type PeerGate = Effect.Success<typeof makePeerGate>

/** Makes the function that does a purge of another node, and returns the status of the answer. */
export const makeReceive = Effect.gen(function*() {
  const { log } = yield* Fleet
  const { receive } = yield* FleetPurger
  return Effect.fnUntraced(function*(text: string) {
    const purge = yield* log.open(text)
    if (Option.isNone(purge)) return 400
    return (yield* receive(purge.value)) ? 200 : 500
  })
})
