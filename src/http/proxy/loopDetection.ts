import { VIA } from "../../services/origin/Origin.ts"

/** How often a request may have come through a Spillway before: one that has come oftener goes in a circle. */
const MAX_PASSES = 8

/** How often `via` (RFC 9110 §7.6.3) names a Spillway. */
const passes = (via: string): number => via.split(",").filter((hop) => hop.trim() === VIA).length

/** Whether a request with this `Via` goes in a circle. */
export const isLoop = (via: string | undefined): boolean => via !== undefined && passes(via) > MAX_PASSES
