import { fileURLToPath } from "node:url"

/**
 * The path of a file or directory of the package, such as `assets/sample.mp4`. It is found from here, and from the program in one piece in `dist/bin`:
 * both are two levels below the package.
 */
export const packagePath = (name: string): string => fileURLToPath(new URL(`../../${name}`, import.meta.url))
