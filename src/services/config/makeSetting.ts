import { Config, ConfigProvider, Effect, Option, type Schema } from "effect"
import { CliError, Flag } from "effect/cli"
import { listOf, secretOf, valueOf } from "./fileValues.ts"
import type { SecretSource } from "./SecretSource.ts"
import { BOOLEAN, mismatch, type SettingType } from "./settingTypes.ts"

/**
 * Makes a flag, an environment variable and a key of the configuration file of one option.
 */

/** An option that has an environment variable. */
export interface Setting<A> {
  /** The name of the flag, without the dashes. */
  readonly name: string
  /** Markdown; `--help` shows it without backticks. */
  readonly help: string
  readonly isRepeatable: boolean
  /** The default as it is written: `10GiB`. */
  readonly text: string | undefined
  /** The default as it is used. */
  readonly fallback: A
  readonly config: Config.Config<A>
  /** The texts of a value of the option: none if it has none, several if it is repeatable. `SECRET_TEXT` for a secret. */
  readonly textsOf: (value: unknown) => ReadonlyArray<string>
  /** The value in a configuration file. */
  readonly value: Schema.ConstraintDecoder<A, SecretSource>
}

/** What is shown instead of a secret. */
export const SECRET_TEXT = "(secret)"

/** A value of the command line or the environment. */
export interface Given<A> {
  readonly value: A
  readonly by: "flag" | "variable"
}

/** An option that has a flag as well. */
export interface FlagSetting<A> extends Setting<A> {
  readonly flag: Flag.Flag<A>
  /** The value of the flag or the variable; `undefined` if neither is given. */
  readonly given: Flag.Flag<Given<A> | undefined>
}

/** `SPILLWAY_MAX_SIZE` of `max-size`. */
export const variableOf = (name: string): string => `SPILLWAY_${name.toUpperCase().replaceAll("-", "_")}`

const parseVariable = <A>(name: string, type: SettingType<A>) => (text: string) =>
  Effect.mapError(
    Effect.fromOption(type.parse(text)),
    () =>
      new Config.ConfigError(
        new ConfigProvider.SourceError({ message: `${variableOf(name)}: ${mismatch(type, text)}` })
      )
  )

/** The error's `expected` is the whole message: it names the variable too, and doesn't show secrets. */
const parseFlag = <A>(name: string, type: SettingType<A>) => (text: string) =>
  Effect.mapError(Effect.fromOption(type.parse(text)), () => {
    const expected = `--${name} (${variableOf(name)}): ${mismatch(type, text)}`
    return new CliError.InvalidValue({ option: name, value: type.isSecret ? "" : text, expected, kind: "flag" })
  })

const textOf = (name: string, fallback: string): Config.Config<string> =>
  Config.String(variableOf(name)).pipe(Config.withDefault(fallback))

const describe = (
  { help, isRepeatable, name, text }: Pick<Setting<unknown>, "help" | "isRepeatable" | "name" | "text">
): string => {
  const last = isRepeatable ? "repeatable" : text
  return `${help.replaceAll("`", "")} (${variableOf(name)}${last === undefined ? "" : `, ${last}`})`
}

const inFile = <A>(type: SettingType<A>) => type.isSecret === true ? secretOf(type) : valueOf(type)

const makeText = <A>({ isSecret = false, print = String }: SettingType<A>) => (value: unknown): string =>
  isSecret ? SECRET_TEXT : print(value as A)

const textsOfOne = <A>(type: SettingType<A>) => (value: unknown): ReadonlyArray<string> =>
  value === undefined || value === "" ? [] : [makeText(type)(value)]

/** An option without a flag. */
export const variable = <A>(name: string, type: SettingType<A>, text: string, help: string): Setting<A> => ({
  name,
  help,
  isRepeatable: false,
  text,
  fallback: Option.getOrThrow(type.parse(text)),
  config: Config.mapEffect(textOf(name, text), parseVariable(name, type)),
  textsOf: textsOfOne(type),
  value: inFile(type)
})

/** An option without a flag or a default. */
export const optionalVariable = <A>(name: string, type: SettingType<A>, help: string): Setting<A | undefined> => ({
  name,
  help,
  isRepeatable: false,
  text: undefined,
  fallback: undefined,
  config: Config.option(Config.String(variableOf(name))).pipe(
    Config.mapEffect(Option.match({ onNone: () => Effect.undefined, onSome: parseVariable(name, type) }))
  ),
  textsOf: textsOfOne(type),
  value: inFile(type)
})

/** A flag with the default of its row. */
const withFlag = <A>(row: Setting<A>, given: Flag.Flag<Given<A> | undefined>): FlagSetting<A> => {
  const described = Flag.withDescription(given, describe(row))
  return {
    ...row,
    given: described,
    flag: Flag.map(described, (given) => given === undefined ? row.fallback : given.value)
  }
}

/** The value of a flag with the text `flag`, or else of a variable with the text `variable`. */
const givenBy = Effect.fnUntraced(function*<T, A>(
  flag: Option.Option<T>,
  variable: Config.Config<Option.Option<T>>,
  parse: (text: T) => Effect.Effect<A, CliError.InvalidValue>
) {
  if (Option.isSome(flag)) return { value: yield* parse(flag.value), by: "flag" } satisfies Given<A>
  const text = yield* Effect.orDie(variable)
  return Option.isSome(text) ? { value: yield* parse(text.value), by: "variable" } satisfies Given<A> : undefined
})

/** A flag for one text. */
const textFlag = <A>(name: string, type: SettingType<A>): Flag.Flag<Given<A> | undefined> =>
  Flag.String(name).pipe(
    Flag.withMetavar(type.unit),
    Flag.optional,
    Flag.mapEffect((flag) => givenBy(flag, Config.option(Config.String(variableOf(name))), parseFlag(name, type)))
  )

/** An option with a default. */
export const one = <A>(name: string, type: SettingType<A>, text: string, help: string): FlagSetting<A> =>
  withFlag(variable(name, type, text, help), textFlag(name, type))

/** An option without a default. */
export const optional = <A>(name: string, type: SettingType<A>, help: string): FlagSetting<A | undefined> =>
  withFlag(optionalVariable(name, type, help), textFlag(name, type))

const isSome = Option.liftPredicate((texts: ReadonlyArray<string>) => texts.length > 0)

/** An option that can be given several times. Its variable is a list. */
export const many = <A>(name: string, type: SettingType<A>, help: string): FlagSetting<ReadonlyArray<A>> => {
  const { separator = /\s+/ } = type
  const texts = Config.map(textOf(name, ""), (text) => text.trim().split(separator).filter((part) => part !== ""))
  const row: Setting<ReadonlyArray<A>> = {
    name,
    help,
    isRepeatable: true,
    text: undefined,
    fallback: [],
    textsOf: (value) => (value as ReadonlyArray<A>).map(makeText(type)),
    config: Config.mapEffect(texts, Effect.forEach(parseVariable(name, type))),
    value: listOf(inFile(type))
  }
  return withFlag(
    row,
    Flag.String(name).pipe(
      Flag.withMetavar(type.unit),
      Flag.atLeast(0),
      Flag.mapEffect((flags) =>
        givenBy(isSome(flags), Config.map(texts, isSome), (texts) => Effect.forEach(texts, parseFlag(name, type)))
      )
    )
  )
}

/** An option that is on or off; its variable says `true` or `false`. */
export const toggle = (name: string, help: string): FlagSetting<boolean> =>
  withFlag(
    variable(name, BOOLEAN, "false", help),
    Flag.Boolean(name).pipe(
      Flag.optional,
      Flag.mapEffect((flag) =>
        givenBy(
          Option.map(flag, String),
          Config.map(textOf(name, ""), Option.liftPredicate((text) => text !== "")),
          parseFlag(name, BOOLEAN)
        )
      )
    )
  )
