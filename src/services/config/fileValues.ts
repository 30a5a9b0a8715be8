import { Effect, Option, Redacted, Schema, SchemaGetter, SchemaIssue } from "effect"
import { SecretSource } from "./SecretSource.ts"
import { mismatch, type SettingType } from "./settingTypes.ts"

/**
 * The values of a configuration file, as schemas of the types that flags and variables have, too.
 */

/** What a value becomes. */
const made = <A>() => Schema.declare<A>((value): value is A => value !== undefined)

const REFERENCE = /\$\{(env|file):([^{}]*)\}/g

const NO_REFERENCE = "a reference such as ${env:NAME} is possible in secrets only"

const invalid = (message: string) => new SchemaIssue.InvalidValue({ message })

const encode = SchemaGetter.forbidden<never, unknown>(() => "a configuration is not written")

/** The message for a value of another type, such as a table instead of a text. */
export const expecting = (expected: string) => ({ message: `Expected ${expected}` })

/** What `type` may be before it is parsed. */
const rawOf = ({ expected, native }: Pick<SettingType<unknown>, "expected" | "native">) => {
  switch (native) {
    case "boolean":
      return Schema.Boolean.annotate(expecting(expected))
    case "number":
      return Schema.Union([Schema.String, Schema.Finite]).annotate(expecting(expected))
    default:
      return Schema.String.annotate(expecting(expected))
  }
}

/** Replaces the references of a secret by what they name. */
const resolve = Effect.fnUntraced(function*(text: string) {
  const { read } = yield* SecretSource
  let resolved = ""
  let end = 0
  for (const { 0: whole, 1: kind, 2: name, index } of text.matchAll(REFERENCE)) {
    const secret = yield* Effect.mapError(read({ kind: kind as "env" | "file", name: name! }), invalid)
    resolved += text.slice(end, index) + secret
    end = index + whole.length
  }
  const rest = text.slice(end)
  if (/\$\{/.test(rest)) return yield* Effect.fail(invalid("a reference is ${env:NAME} or ${file:path}"))
  return resolved + rest
})

/** A value of `type`, without references. */
export const valueOf = <A>(type: SettingType<A>) =>
  rawOf(type).pipe(
    Schema.decodeTo(made<A>(), {
      decode: SchemaGetter.transformEffect((raw: string | number | boolean) => {
        const text = String(raw)
        if (/\$\{(?:env|file):/.test(text)) return Effect.fail(invalid(NO_REFERENCE))
        return Effect.mapError(Effect.fromOption(type.parse(text)), () => invalid(mismatch(type, text)))
      }),
      encode
    })
  )

/** A secret of `type`. Its text isn't part of messages, and it may come from a variable or a file. */
export const secretOf = <A>(type: Omit<SettingType<A>, "print">) =>
  Schema.String.annotate({ ...expecting(type.expected), writeOnly: true }).pipe(
    Schema.decodeTo(made<A>(), {
      decode: SchemaGetter.transformEffect(Effect.fnUntraced(function*(raw: string) {
        const text = yield* resolve(raw)
        return yield* Effect.mapError(
          Effect.fromOption(type.parse(text)),
          () => invalid(mismatch({ ...type, isSecret: true }, text))
        )
      })),
      encode
    })
  )

/** The text of a secret, kept from being printed. */
export const redactedOf = (type: SettingType<string>) =>
  secretOf<Redacted.Redacted>({ ...type, parse: (text) => Option.map(type.parse(text), (text) => Redacted.make(text)) })

/** A list, which may be written as its only value. */
export const listOf = <S extends Schema.Constraint>(value: S) =>
  Schema.Union([value, Schema.Array(value)]).annotate({
    message: Schema.toEncoded(value).ast.annotations?.["message"] as string
  }).pipe(
    Schema.decodeTo(made<ReadonlyArray<S["Type"]>>(), {
      decode: SchemaGetter.transform((given: S["Type"] | ReadonlyArray<S["Type"]>) =>
        Array.isArray(given) ? given : [given]
      ),
      encode
    })
  )

/** A table whose names are of `name`. */
export const tableOf = <S extends Schema.Constraint>(name: SettingType<string>, value: S) =>
  Schema.Record(Schema.String, value).annotate(expecting("a table")).pipe(
    Schema.decodeTo(made<Readonly<Record<string, S["Type"]>>>(), {
      decode: SchemaGetter.transformEffect((given: Readonly<Record<string, S["Type"]>>) =>
        Effect.map(
          Effect.forEach(Object.entries(given), ([key, value]) =>
            Effect.fromOption(name.parse(key)).pipe(
              Effect.mapError(() => new SchemaIssue.Pointer([key], invalid(`expected ${name.expected}`))),
              Effect.map((key) => [key, value] as const)
            )),
          (entries) => Object.fromEntries(entries)
        )
      ),
      encode
    })
  )
