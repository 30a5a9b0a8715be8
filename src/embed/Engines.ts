/**
 * Engines for `Spillway.layerFleet`.
 */

export { layer as dns } from "../services/fleet/dnsEngine.ts"
export { layer as list } from "../services/fleet/listEngine.ts"
export { layer as redis } from "../services/fleet/redisEngine.ts"
