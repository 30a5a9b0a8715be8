import { Effect, Layer, type Scope } from "effect"
import {
  type Announcement,
  type Heartbeat,
  Membership,
  type MembershipAnswer,
  MembershipFailed,
  type MembershipSession
} from "./Membership.ts"

/** The interval of heartbeats, and the time after which a node without one is dropped, in milliseconds. */
const BEAT_MILLIS = 1000
const LEASE_MILLIS = 3000

/** How long it may take to connect, in milliseconds. */
const CONNECT_MILLIS = 1000

/** How many purges the log keeps, at least. */
const LOG_LENGTH = 10_000

/** How many purges are read at a time. */
const READ_PURGES = 200

/**
 * One heartbeat, in one round trip, by the clock of Redis: it notes that a node is there, removes the nodes that have not been there for a
 * lease, and returns the others and the purges behind a place. The log is complete if the entry at that place is still there, or if there is
 * no such entry because nothing was ever removed.
 */
const BEAT = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local members, purges = KEYS[1], KEYS[2]
local name, record, lease, place, count = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
redis.call('HSET', members, name, now .. ' ' .. record)
local all, nodes = redis.call('HGETALL', members), {}
for i = 1, #all, 2 do
  local at = tonumber(string.match(all[i + 1], '^%d+'))
  if at == nil or now - at > lease then redis.call('HDEL', members, all[i])
  else nodes[#nodes + 1] = string.match(all[i + 1], ' (.*)$') end
end
local last, added, length = '0-0', 0, 0
if redis.call('EXISTS', purges) == 1 then
  local info = redis.call('XINFO', 'STREAM', purges)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then last = info[i + 1]
    elseif info[i] == 'entries-added' then added = info[i + 1]
    elseif info[i] == 'length' then length = info[i + 1] end
  end
end
local complete = 0
if place == '0-0' then
  if added == length then complete = 1 end
elseif place ~= '' and #redis.call('XRANGE', purges, place, place) == 1 then complete = 1 end
local entries, next = {}, last
if complete == 1 then
  next = place
  for _, entry in ipairs(redis.call('XRANGE', purges, '(' .. place, '+', 'COUNT', count)) do
    entries[#entries + 1] = entry[1]
    entries[#entries + 1] = entry[2][2]
    next = entry[1]
  end
end
return { complete, next, nodes, entries }`

/** What is used of the client. Its own type depends on its options. */
interface Client {
  readonly isOpen: boolean
  readonly connect: () => Promise<unknown>
  readonly destroy: () => void
  readonly sendCommand: (command: Array<string>) => Promise<unknown>
}

/** What `BEAT` returns. */
type BeatReply = readonly [
  complete: number,
  place: string,
  nodes: ReadonlyArray<string>,
  entries: ReadonlyArray<string>
]

/** When an entry of a stream was added, by its place. */
const timeAt = (place: string): number => Number(place.split("-")[0])

const answerOf = ([complete, place, nodes, entries]: BeatReply): MembershipAnswer => ({
  nodes: nodes.map((text): Announcement => ({ _tag: "Signed", text })),
  log: {
    isComplete: complete === 1,
    place,
    entries: entries.flatMap((at, i) => i % 2 === 0 ? [{ place: at, time: timeAt(at), text: entries[i + 1]! }] : [])
  }
})

/** Connects to Redis. The client never connects by itself again: a new session tells the truth about what was missed. */
const connect = (url: string): Effect.Effect<Client, MembershipFailed, Scope.Scope> =>
  Effect.gen(function*() {
    // A node without Redis doesn't load its client, and need not have it installed.
    const redis = yield* Effect.tryPromise({
      try: () => import("redis"),
      catch: (cause) => new MembershipFailed({ cause })
    })
    const client = yield* Effect.acquireRelease(
      Effect.try({
        try: (): Client => {
          const options = { connectTimeout: CONNECT_MILLIS, reconnectStrategy: false } as const
          // An error without a listener ends the process. Commands fail with it, too.
          return redis.createClient({ url, RESP: 2, socket: options }).on("error", () => {})
        },
        catch: (cause) => new MembershipFailed({ cause })
      }),
      // `close` would wait for the answers of a Redis that hangs.
      (client) => Effect.sync(() => client.isOpen && client.destroy())
    )
    yield* Effect.tryPromise({ try: () => client.connect(), catch: (cause) => new MembershipFailed({ cause }) })
    return client
  })

/** The session of the fleet called `fleet` by a client. The braces have a cluster keep both keys on one node. */
const sessionOf = (client: Client, fleet: string): MembershipSession => {
  const members = `spillway:{${fleet}}:members`
  const purges = `spillway:{${fleet}}:purges`
  const send = (...command: ReadonlyArray<string>) =>
    Effect.tryPromise({
      try: () => client.sendCommand([...command]),
      catch: (cause) => new MembershipFailed({ cause })
    })
  return {
    beat: ({ name, place = "", record }: Heartbeat) =>
      Effect.map(
        send("EVAL", BEAT, "2", members, purges, name, record, String(LEASE_MILLIS), place, String(READ_PURGES)),
        (reply) => answerOf(reply as BeatReply)
      ),
    append: (text) => Effect.asVoid(send("XADD", purges, "MAXLEN", "~", String(LOG_LENGTH), "*", "purge", text)),
    leave: (name) => Effect.asVoid(send("HDEL", members, name))
  }
}

/**
 * Redis or Valkey at `url`: nodes announce themselves in a hash, with a heartbeat, and purges are in a stream. Needs the package `redis`. If it
 * is down, the nodes keep the last list.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (url: URL): Layer.Layer<Membership> =>
  Layer.succeed(Membership, {
    label: `${url.protocol}//${url.host}`,
    hasLog: true,
    hasWeights: true,
    beatMillis: BEAT_MILLIS,
    leaseMillis: LEASE_MILLIS,
    open: (fleet) => Effect.map(connect(url.href), (client) => sessionOf(client, fleet))
  })
