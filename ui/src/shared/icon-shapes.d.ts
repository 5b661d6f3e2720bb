/** The outlines of the icons that `icons.ts` names, each as one path; made from Lucide's when the window is built. */
declare module 'virtual:icon-shapes' {
  const shapes: Record<string, string>
  export default shapes
}
