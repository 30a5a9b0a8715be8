import { Context } from "effect"

/** The name of this node of a fleet, as `Cache-Status` tells it; `undefined` if it is alone. The workers of a node have its name. */
export const NodeName = Context.Reference<string | undefined>("spillway/services/fleet/NodeName", {
  defaultValue: () => undefined
})
