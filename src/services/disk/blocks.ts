/** Disks give out space in blocks of so many bytes, and a cache of a limited size counts what it really takes. */
export const BLOCK_BYTES = 4096

/** What `bytes` take of the disk. */
export const inBlocks = (bytes: number): number => Math.ceil(bytes / BLOCK_BYTES) * BLOCK_BYTES

/** What the cache takes of the disk besides resources, in bytes: its own directory, and a small file of a probe. */
export const ROOT_BYTES = 2 * BLOCK_BYTES
