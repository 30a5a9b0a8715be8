import { assert } from "@effect/vitest"
import { Effect } from "effect"
import type { Answer, Ask, TestProxy } from "../TestProxy.ts"

/** The control API of a proxy, as a program on its machine asks it. */
export const control = ({ ask }: Pick<TestProxy, "ask">) => {
  const send = (path: string, options: Ask = {}): Effect.Effect<Answer, Error> =>
    ask(`/_spillway/api${path}`, { ...options, headers: { host: "localhost", ...options.headers } })

  /** The JSON of an answer of `status`. */
  const json = <A>(path: string, options: Ask = {}, status = 200): Effect.Effect<A, Error> =>
    Effect.map(send(path, options), (answer) => {
      const text = answer.body.toString()
      assert.strictEqual(answer.status, status, text)
      assert.strictEqual(answer.headers["cache-control"], "no-store")
      return JSON.parse(text) as A
    })

  return {
    send,
    get: <A>(path: string) => json<A>(path),
    call: <A>(method: string, path: string, body?: unknown) =>
      json<A>(path, {
        method,
        headers: { "content-type": "application/json" },
        ...(body !== undefined && { body: JSON.stringify(body) })
      }),
    /** The message of a refusal with `status`. */
    refusal: (status: number, path: string, options: Ask = {}): Effect.Effect<string, Error> =>
      Effect.map(json<{ readonly message: string }>(path, options, status), (told) => {
        assert.hasAllKeys(told, ["message"])
        return told.message
      })
  }
}
