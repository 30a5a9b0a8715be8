import { setFlagsFromString } from "node:v8"

/**
 * Keeps V8's space for young objects at its first size, 1 MiB, instead of letting it grow to 16: collections of it are more, and each
 * of them short, so that fewer viewers wait for one; and a process takes some 70 MB less.
 */
setFlagsFromString("--semi-space-growth-factor=1")
