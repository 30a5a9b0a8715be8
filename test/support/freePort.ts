import { Effect } from "effect"
import { type AddressInfo, createServer } from "node:net"

/** A port that is free, as far as one can know. */
export const freePort: Effect.Effect<number> = Effect.callback((resume) => {
  const server = createServer().listen(0, "127.0.0.1", () => {
    const { port } = server.address() as AddressInfo
    server.close(() => resume(Effect.succeed(port)))
  })
})
