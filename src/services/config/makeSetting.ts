import { Config, ConfigProvider, Effect, Option } from "effect"
import { CliError, Flag } from "effect/cli"
import { BOOLEAN, type SettingType } from "./settingTypes.ts"

/**
 * Makes a flag and an environment variable of one option.
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
}

/** An option that has a flag as well. */
export interface FlagSetting<A> extends Setting<A> {
  readonly flag: Flag.Flag<A>
}

/** `SPILLWAY_MAX_SIZE` of `max-size`. */
export const variableOf = (name: string): string => `SPILLWAY_${name.toUpperCase().replaceAll("-", "_")}`

const mismatch = <A>({ expected, isSecret = false }: SettingType<A>, text: string): string =>
  `expected ${expected}${isSecret ? "" : `; got "${text}"`}`

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

const describe = ({ help, isRepeatable, name, text }: Omit<Setting<unknown>, "config">): string => {
  const last = isRepeatable ? "repeatable" : text
  return `${help.replaceAll("`", "")} (${variableOf(name)}${last === undefined ? "" : `, ${last}`})`
}

/** An option without a flag. */
export const variable = <A>(
  name: string,
  type: SettingType<A>,
  text: string,
  help: string
): Setting<A> => ({
  name,
  help,
  isRepeatable: false,
  text,
  fallback: Option.getOrThrow(type.parse(text)),
  config: Config.mapEffect(textOf(name, text), parseVariable(name, type))
})

/** An option with a default. */
export const one = <A>(name: string, type: SettingType<A>, text: string, help: string): FlagSetting<A> => {
  const row = variable(name, type, text, help)
  return {
    ...row,
    flag: Flag.String(name).pipe(
      Flag.withMetavar(type.unit),
      Flag.withFallbackConfig(Config.String(variableOf(name))),
      Flag.withDefault(text),
      Flag.withDescription(describe(row)),
      Flag.mapEffect(parseFlag(name, type))
    )
  }
}

/** An option without a flag or a default. */
export const optionalVariable = <A>(name: string, type: SettingType<A>, help: string): Setting<A | undefined> => ({
  name,
  help,
  isRepeatable: false,
  text: undefined,
  fallback: undefined,
  config: Config.option(Config.String(variableOf(name))).pipe(
    Config.mapEffect(Option.match({ onNone: () => Effect.undefined, onSome: parseVariable(name, type) }))
  )
})

/** An option without a default. */
export const optional = <A>(name: string, type: SettingType<A>, help: string): FlagSetting<A | undefined> => {
  const row = optionalVariable(name, type, help)
  return {
    ...row,
    flag: Flag.String(name).pipe(
      Flag.withMetavar(type.unit),
      Flag.withFallbackConfig(Config.String(variableOf(name))),
      Flag.optional,
      Flag.withDescription(describe(row)),
      Flag.mapEffect(Option.match({ onNone: () => Effect.undefined, onSome: parseFlag(name, type) }))
    )
  }
}

/** An option that can be given several times. Its variable is a list. */
export const many = <A>(name: string, type: SettingType<A>, help: string): FlagSetting<ReadonlyArray<A>> => {
  const row = { name, help, isRepeatable: true, text: undefined, fallback: [] } as const
  const { separator = /\s+/ } = type
  const texts = Config.map(textOf(name, ""), (text) => text.trim().split(separator).filter((part) => part !== ""))
  return {
    ...row,
    flag: Flag.String(name).pipe(
      Flag.withMetavar(type.unit),
      Flag.atLeast(0),
      Flag.withDescription(describe(row)),
      Flag.mapEffect(Effect.fnUntraced(function*(given) {
        return yield* Effect.forEach(given.length > 0 ? given : yield* Effect.orDie(texts), parseFlag(name, type))
      }))
    ),
    config: Config.mapEffect(texts, Effect.forEach(parseVariable(name, type)))
  }
}

/** An option that is on or off; its variable says `true` or `false`. */
export const toggle = (name: string, help: string): FlagSetting<boolean> => {
  const row = variable(name, BOOLEAN, "false", help)
  return {
    ...row,
    flag: Flag.Boolean(name).pipe(
      Flag.optional,
      Flag.withDescription(describe(row)),
      Flag.mapEffect(Effect.fnUntraced(function*(given) {
        if (Option.isSome(given)) return given.value
        return yield* parseFlag(name, BOOLEAN)(yield* Effect.orDie(textOf(name, "false")))
      }))
    )
  }
}
