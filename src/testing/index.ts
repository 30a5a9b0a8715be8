/**
 * Layers for tests of applications that embed Spillway, and of Spillway itself.
 */
/**
 * The promises of a `ChunkStore`, as cases for your own test runner.
 *
 * @since 0.1.0
 * @category modules
 */
export * as ChunkStoreContract from "./ChunkStoreContract.ts"
/**
 * The promises of an `EvictionPolicy`, as cases for your own test runner.
 *
 * @since 0.1.0
 * @category modules
 */
export * as EvictionPolicyContract from "./EvictionPolicyContract.ts"
/**
 * A file system that fails or hangs as planned.
 *
 * @since 0.1.0
 * @category modules
 */
export * as FaultyFileSystem from "./FaultyFileSystem.ts"
/**
 * A disk in memory, whose size and contents a test can change.
 *
 * @since 0.1.0
 * @category modules
 */
export * as MemoryFileSystem from "./MemoryFileSystem.ts"
/**
 * Origins in memory, which can misbehave.
 *
 * @since 0.1.0
 * @category modules
 */
export * as MemoryOrigin from "./MemoryOrigin.ts"
/**
 * All of Spillway, with a disk and origins in memory.
 *
 * @since 0.1.0
 * @category modules
 */
export * as TestSpillway from "./TestSpillway.ts"
