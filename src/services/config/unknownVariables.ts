import { nearest } from "../../effects/nearest.ts"
import { variableOf } from "./makeSetting.ts"
import { configSetting, fileSettings } from "./settings.ts"

/** A variable that has the prefix of Spillway's, and no effect. */
export interface UnknownVariable {
  readonly name: string
  /** The variable that was probably meant. */
  readonly meant: string | undefined
}

/** Other variables of Spillway: the server that commands talk to, and those of its own processes. */
const OTHERS = ["SPILLWAY_SERVER", "SPILLWAY_WORKER_ORDERS"]

/** What Kubernetes sets in each container if a service has the name `spillway`. */
const OF_KUBERNETES = /^SPILLWAY_(?:SERVICE_(?:HOST|PORT)|PORT_\d+_)/

const known = [configSetting.name, ...Object.keys(fileSettings)].map(variableOf).concat(OTHERS)

/** The variables of `names` that are misspelt. */
export const unknownVariables = (names: ReadonlyArray<string>): ReadonlyArray<UnknownVariable> =>
  names
    .filter((name) => name.startsWith("SPILLWAY_") && !known.includes(name) && !OF_KUBERNETES.test(name))
    .map((name) => ({ name, meant: nearest(name, known) }))
