/** Where the server has the library, the dashboard's scripts import it from. */
declare module "*/uPlot.esm.js" {
  import uPlot from "uplot"
  export default uPlot
}
