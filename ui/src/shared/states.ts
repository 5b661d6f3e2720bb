/** Icon, word and colour of each state: always the three together (`interface.md`, "States"). */
import type { IconName } from './icons'

export type Tone = 'ok' | 'run' | 'stored' | 'risk' | 'bad' | 'miss' | 'idle'

export type StateName =
  | 'protected'
  | 'at_risk'
  | 'unprotected'
  | 'verified'
  | 'stored'
  | 'running'
  | 'failed'
  | 'interrupted'
  | 'corrupt'
  | 'missed'
  | 'missing'
  | 'waiting'
  | 'skipped'
  | 'cancelled'
  | 'paused'
  | 'deleting'
  | 'deleted'

export const states: Record<StateName, { icon: IconName; tone: Tone }> = {
  protected: { icon: 'protected', tone: 'ok' },
  at_risk: { icon: 'at_risk', tone: 'risk' },
  unprotected: { icon: 'unprotected', tone: 'bad' },
  verified: { icon: 'verified', tone: 'ok' },
  stored: { icon: 'stored', tone: 'stored' },
  running: { icon: 'loader', tone: 'run' },
  failed: { icon: 'failed', tone: 'bad' },
  interrupted: { icon: 'interrupted', tone: 'bad' },
  corrupt: { icon: 'corrupt', tone: 'bad' },
  missed: { icon: 'missed', tone: 'miss' },
  missing: { icon: 'missing', tone: 'miss' },
  waiting: { icon: 'clock', tone: 'idle' },
  skipped: { icon: 'skipped', tone: 'idle' },
  cancelled: { icon: 'cancelled', tone: 'idle' },
  paused: { icon: 'pause', tone: 'idle' },
  deleting: { icon: 'trash', tone: 'idle' },
  deleted: { icon: 'trash', tone: 'idle' },
}
