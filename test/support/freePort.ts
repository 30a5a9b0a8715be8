import { Effect } from "effect"
import { createServer } from "node:net"

/** Below the ports that the system gives to connections, and to servers that ask for any: nobody else takes a port of these by chance. */
const FIRST = 12_000
const LAST = 32_000

/** How many ports each process of the suite has for itself. */
const SHARE = 1000

const share = Number(process.env["VITEST_POOL_ID"] ?? 0) % ((LAST - FIRST) / SHARE)
let taken = Math.floor(Math.random() * SHARE)

const isFree = (port: number): Effect.Effect<boolean> =>
  Effect.callback((resume) => {
    const server = createServer()
    server.on("error", () => resume(Effect.succeed(false)))
    server.listen(port, "0.0.0.0", () => void server.close(() => resume(Effect.succeed(true))))
  })

/** A port that stays free until the test uses it, also between the end of a server and its next start. */
export const freePort: Effect.Effect<number> = Effect.suspend(() => {
  taken = (taken + 1) % SHARE
  const port = FIRST + share * SHARE + taken
  return Effect.flatMap(isFree(port), (free) => free ? Effect.succeed(port) : freePort)
})
