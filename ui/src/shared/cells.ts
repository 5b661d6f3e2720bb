/** What a cell of a chart of outcomes can be. */
export type CellKind = 'ok' | 'stored' | 'bad' | 'miss' | 'pause' | 'run' | 'none' | 'future'
