import { Config, Context, Effect, FileSystem, Path } from "effect"

/**
 * Where the secrets of a configuration file come from: `${env:NAME}` and `${file:path}` in it.
 */

/** The largest file that a reference may name, in bytes. */
const MAX_SECRET_BYTES = 1024 ** 2

/** What a reference names. */
export interface Reference {
  readonly kind: "env" | "file"
  readonly name: string
}

const textOf = ({ kind, name }: Reference): string => `${kind}:${name}`

/** Reads what references name. */
export class SecretSource extends Context.Service<SecretSource, {
  /** Its text, or why there is none. */
  readonly read: (reference: Reference) => Effect.Effect<string, string>
}>()("spillway/services/config/SecretSource") {
  /** Environment variables, and files relative to `directory`. A newline at the end of a file is not part of the secret. */
  static readonly make = Effect.fnUntraced(function*(directory: string) {
    const fs = yield* FileSystem.FileSystem
    const paths = yield* Path.Path

    const readVariable = (name: string) =>
      Config.option(Config.String(name)).pipe(
        Effect.orElseSucceed(() => ({ _tag: "None" }) as const),
        Effect.flatMap((value) =>
          value._tag === "Some" && value.value !== ""
            ? Effect.succeed(value.value)
            : Effect.fail(`the environment variable ${name} is not set`)
        )
      )

    const readFile = Effect.fnUntraced(function*(name: string) {
      const path = paths.resolve(directory, name)
      const read = Effect.gen(function*() {
        const { size } = yield* fs.stat(path)
        return Number(size) > MAX_SECRET_BYTES ? undefined : yield* fs.readFileString(path)
      })
      const text = yield* Effect.mapError(read, ({ reason }) => `cannot read ${path} (${reason._tag})`)
      if (text === undefined) return yield* Effect.fail(`${path} has more than ${MAX_SECRET_BYTES} bytes`)
      return text.replace(/\r?\n$/, "")
    })

    return SecretSource.of({ read: ({ kind, name }) => kind === "env" ? readVariable(name) : readFile(name) })
  })

  /** The secrets that another source has read. */
  static readonly from = (secrets: ReadonlyMap<string, string>): SecretSource["Service"] => ({
    read: (reference) =>
      Effect.fromNullishOr(secrets.get(textOf(reference))).pipe(Effect.mapError(() => "it was not read"))
  })

  /** A source that notes in `secrets` what it has read. */
  static readonly noting = (
    { read }: SecretSource["Service"],
    secrets: Map<string, string>
  ): SecretSource["Service"] => ({
    read: (reference) => Effect.tap(read(reference), (text) => Effect.sync(() => secrets.set(textOf(reference), text)))
  })
}
