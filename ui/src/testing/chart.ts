/** Stands in for uPlot, which draws on a canvas that jsdom does not have. */
export default class {
  setSize() {}
  destroy() {}
}
