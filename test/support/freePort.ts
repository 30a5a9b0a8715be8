import { Effect, Option } from "effect"
import { createServer, type Server } from "node:net"

/** Below the ports that the system gives to connections, and to servers that ask for any: nobody else takes a port of these by chance. */
const FIRST = 12_000
const LAST = 32_000

/** Each process of a suite has a block of ports for itself. It listens on the first one until it ends, so that other processes see that. */
const BLOCK = 200
const BLOCKS = (LAST - FIRST) / BLOCK

const listen = (port: number): Effect.Effect<Option.Option<Server>> =>
  Effect.callback((resume) => {
    const server = createServer()
    server.on("error", () => resume(Effect.succeedNone))
    server.listen(port, "0.0.0.0", () => resume(Effect.succeedSome(server)))
  })

const isFree = (port: number): Effect.Effect<boolean> =>
  Effect.flatMap(
    listen(port),
    Option.match({
      onNone: () => Effect.succeed(false),
      onSome: (server) => Effect.callback((resume) => void server.close(() => resume(Effect.succeed(true))))
    })
  )

/** The first port of a block that no other process has. */
const claim = (block: number): Effect.Effect<number> => {
  const first = FIRST + (block % BLOCKS) * BLOCK
  return Effect.flatMap(
    listen(first),
    Option.match({
      onNone: () => claim(block + 1),
      onSome: (server) => Effect.as(Effect.sync(() => server.unref()), first)
    })
  )
}

const claimed = Effect.runSync(Effect.cached(Effect.suspend(() => claim(Math.floor(Math.random() * BLOCKS)))))

let taken = Math.floor(Math.random() * BLOCK)

/** A port that stays free until the test uses it, also between the end of a server and its next start. */
export const freePort: Effect.Effect<number> = Effect.flatMap(claimed, (first) => {
  taken = taken % (BLOCK - 1) + 1
  const port = first + taken
  return Effect.flatMap(isFree(port), (free) => free ? Effect.succeed(port) : freePort)
})
