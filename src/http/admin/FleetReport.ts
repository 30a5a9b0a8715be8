import { Clock, Context, Effect, Layer, Option, Schema } from "effect"
import { formatAddress } from "../../domain/FleetEngine.ts"
import type { FleetMember } from "../../domain/FleetMember.ts"
import { REPORT_PATH } from "../../domain/PeerProtocol.ts"
import { keepRunning } from "../../effects/keepRunning.ts"
import { Fleet, type Peer } from "../../services/fleet/Fleet.ts"
import { type FleetNode, type FleetView, NodeReport } from "./api/model.ts"
import { optional } from "./api/present.ts"
import { StatusReport } from "./StatusReport.ts"

/** The nodes of the fleet, with what each one reports of itself. */
export class FleetReport extends Context.Service<FleetReport, {
  /** What this node reports to others. */
  readonly own: Effect.Effect<NodeReport>
  /** All nodes, with reports of now. Takes at most `REPORT_MILLIS`. `undefined` if this node is alone. */
  readonly view: Effect.Effect<FleetView | undefined>
  /** The same with the last reports, which takes no waiting. They are collected every `REFRESH_MILLIS` while somebody uses this. */
  readonly recent: Effect.Effect<FleetView | undefined>
}>()("spillway/http/admin/FleetReport") {
  static readonly layer: Layer.Layer<FleetReport, never, StatusReport> = Layer.effect(
    FleetReport,
    Effect.suspend(() => make)
  )
}

/** How long other nodes have to report, in milliseconds. */
const REPORT_MILLIS = 1000

/** The interval of reports while somebody watches, in milliseconds. */
const REFRESH_MILLIS = 2000

const decode = Schema.decodeUnknownEffect(Schema.fromJsonString(NodeReport))

const nodeOf = (member: FleetMember, state: FleetNode["state"], report: NodeReport | undefined): FleetNode => ({
  name: member.name,
  address: formatAddress(member),
  weight: member.weight,
  state,
  ...optional("report", report)
})

const make = Effect.gen(function*() {
  const fleet = yield* Fleet
  const { status } = yield* StatusReport
  const clock = yield* Clock.Clock
  const { self } = fleet
  let latest: ReadonlyMap<string, NodeReport> = new Map()
  let used = Number.NEGATIVE_INFINITY

  const own = Effect.map(status, ({ cache, memory, startedAt, version }): NodeReport => {
    const { receivedBytes, requests, sentBytes, served } = fleet.traffic
    return {
      version,
      startedAt,
      cache: { state: cache.state, bytes: cache.bytes, maxBytes: cache.maxBytes },
      memory: { bytes: memory.bytes, maxBytes: memory.maxBytes },
      peers: { requests, served, receivedBytes, sentBytes: sentBytes() }
    }
  })

  const reportOf = ({ member, state }: Peer): Effect.Effect<Option.Option<NodeReport>> =>
    state === "Lost"
      ? Effect.succeedNone
      : Effect.flatMap(fleet.send(member, REPORT_PATH, undefined), decode).pipe(
        Effect.option,
        Effect.timeoutOrElse({ duration: REPORT_MILLIS, orElse: () => Effect.succeedNone }),
        Effect.tap((report) => Option.isNone(report) ? fleet.suspect(member) : Effect.void)
      )

  const collect = Effect.gen(function*() {
    const reports = yield* Effect.forEach(
      fleet.peers(),
      (peer) => Effect.map(reportOf(peer), (report) => [peer.member.name, report] as const),
      { concurrency: "unbounded" }
    )
    latest = new Map(reports.flatMap(([name, report]) => Option.isSome(report) ? [[name, report.value]] : []))
  })

  const compose = Effect.map(own, (report): FleetView | undefined =>
    self && {
      engine: { name: fleet.engine, up: fleet.isEngineUp() },
      nodes: [
        nodeOf(self, "self", report),
        ...fleet.peers().map(({ member, state }) =>
          nodeOf(member, state.toLowerCase() as Lowercase<typeof state>, latest.get(member.name))
        )
      ]
    })

  if (self !== undefined) {
    yield* keepRunning("FleetReport")(
      Effect.andThen(
        Effect.sleep(REFRESH_MILLIS),
        Effect.suspend(() => clock.currentTimeMillisUnsafe() - used > REFRESH_MILLIS ? Effect.void : collect)
      )
    )
  }

  return FleetReport.of({
    own,
    view: self === undefined ? Effect.undefined : Effect.andThen(collect, compose),
    recent: Effect.suspend(() => {
      used = clock.currentTimeMillisUnsafe()
      return self === undefined ? Effect.undefined : compose
    })
  })
})
