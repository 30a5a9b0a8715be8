import { Context, Effect, Layer } from "effect"
import * as Http from "node:http"
import * as Https from "node:https"
import { PROOF_FIELD } from "../../domain/PeerProtocol.ts"
import { FleetConfig } from "./FleetConfig.ts"

/** A message to another node. */
export interface PeerMessage {
  readonly method: "GET" | "HEAD" | "POST"
  readonly url: string
  readonly headers: Record<string, string>
  readonly body: string | undefined
}

/** An answer to a message, with the proof of the node that sent it, if there is one. */
export interface PeerReply {
  readonly status: number
  readonly proof: string | undefined
  readonly text: string
}

/** How long an answer to a message may be, in bytes. */
const MAX_ANSWER_BYTES = 256 * 1024

/** Carries messages to other nodes, each by a connection of its own, so that none waits for another. */
export class PeerMessenger extends Context.Service<PeerMessenger, {
  /** Sends a message. Takes as long as the node takes; interruption closes the connection. Fails with the cause if there is no answer. */
  readonly send: (message: PeerMessage) => Effect.Effect<PeerReply, unknown>
}>()("spillway/services/fleet/PeerMessenger") {
  static readonly layer: Layer.Layer<PeerMessenger, never, FleetConfig> = Layer.effect(
    PeerMessenger,
    Effect.map(FleetConfig, ({ tls }) =>
      PeerMessenger.of({
        send: ({ body, headers, method, url }) =>
          Effect.callback<PeerReply, unknown>((resume) => {
            const fail = (cause: unknown) => resume(Effect.fail(cause))
            const send = tls === undefined ? Http.request : Https.request
            const outgoing = send(url, { method, agent: false, headers, ...tls }, (incoming) => {
              const status = incoming.statusCode ?? 0
              const proof = incoming.headers[PROOF_FIELD]?.toString()
              let text = ""
              incoming.setEncoding("utf8")
              incoming.on("data", (data: string) => {
                text += data
                if (text.length > MAX_ANSWER_BYTES) incoming.destroy(new Error("the answer is too long"))
              })
              incoming.on("end", () => resume(Effect.succeed({ status, proof, text })))
              incoming.on("error", fail)
            })
            outgoing.on("error", fail)
            outgoing.end(body)
            return Effect.sync(() => outgoing.destroy())
          })
      }))
  )
}
