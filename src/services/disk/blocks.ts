/** Disks allocate space in blocks of this many bytes. The size limit of the cache counts blocks. */
export const BLOCK_BYTES = 4096

/** The size on disk of `bytes` bytes. */
export const inBlocks = (bytes: number): number => Math.ceil(bytes / BLOCK_BYTES) * BLOCK_BYTES

/** The size on disk of the cache besides its resources, in bytes: its own directory, and the small file of a probe. */
export const ROOT_BYTES = 2 * BLOCK_BYTES
