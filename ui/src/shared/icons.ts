/** The icons of the interface by the meaning they have here: 24 grid, round, one weight. */
import Activity from '@lucide/svelte/icons/activity'
import Archive from '@lucide/svelte/icons/archive'
import ArrowDown from '@lucide/svelte/icons/arrow-down'
import ArrowLeftRight from '@lucide/svelte/icons/arrow-left-right'
import ArrowRight from '@lucide/svelte/icons/arrow-right'
import ArrowUp from '@lucide/svelte/icons/arrow-up'
import Ban from '@lucide/svelte/icons/ban'
import CalendarClock from '@lucide/svelte/icons/calendar-clock'
import Check from '@lucide/svelte/icons/check'
import ChevronDown from '@lucide/svelte/icons/chevron-down'
import ChevronLeft from '@lucide/svelte/icons/chevron-left'
import ChevronRight from '@lucide/svelte/icons/chevron-right'
import CircleCheck from '@lucide/svelte/icons/circle-check'
import CircleDashed from '@lucide/svelte/icons/circle-dashed'
import Clock from '@lucide/svelte/icons/clock'
import ClockAlert from '@lucide/svelte/icons/clock-alert'
import Cloud from '@lucide/svelte/icons/cloud'
import Copy from '@lucide/svelte/icons/copy'
import Database from '@lucide/svelte/icons/database'
import Download from '@lucide/svelte/icons/download'
import Ellipsis from '@lucide/svelte/icons/ellipsis'
import FileQuestion from '@lucide/svelte/icons/file-question-mark'
import FileText from '@lucide/svelte/icons/file-text'
import FileX from '@lucide/svelte/icons/file-x'
import Folder from '@lucide/svelte/icons/folder'
import Gauge from '@lucide/svelte/icons/gauge'
import HardDrive from '@lucide/svelte/icons/hard-drive'
import History from '@lucide/svelte/icons/history'
import Info from '@lucide/svelte/icons/info'
import KeyRound from '@lucide/svelte/icons/key-round'
import Layers from '@lucide/svelte/icons/layers'
import Loader from '@lucide/svelte/icons/loader'
import Lock from '@lucide/svelte/icons/lock'
import Notebook from '@lucide/svelte/icons/notebook-text'
import OctagonX from '@lucide/svelte/icons/octagon-x'
import Pause from '@lucide/svelte/icons/pause'
import Pencil from '@lucide/svelte/icons/pencil'
import Pin from '@lucide/svelte/icons/pin'
import PinOff from '@lucide/svelte/icons/pin-off'
import Play from '@lucide/svelte/icons/play'
import Plus from '@lucide/svelte/icons/plus'
import RefreshCw from '@lucide/svelte/icons/refresh-cw'
import Search from '@lucide/svelte/icons/search'
import Shield from '@lucide/svelte/icons/shield'
import ShieldAlert from '@lucide/svelte/icons/shield-alert'
import ShieldCheck from '@lucide/svelte/icons/shield-check'
import ShieldX from '@lucide/svelte/icons/shield-x'
import SkipForward from '@lucide/svelte/icons/skip-forward'
import Sliders from '@lucide/svelte/icons/sliders-horizontal'
import Sparkles from '@lucide/svelte/icons/sparkles'
import StickyNote from '@lucide/svelte/icons/sticky-note'
import Table from '@lucide/svelte/icons/table-2'
import Terminal from '@lucide/svelte/icons/terminal'
import Trash from '@lucide/svelte/icons/trash-2'
import TriangleAlert from '@lucide/svelte/icons/triangle-alert'
import Undo from '@lucide/svelte/icons/undo-2'
import Unplug from '@lucide/svelte/icons/unplug'
import Users from '@lucide/svelte/icons/users'
import X from '@lucide/svelte/icons/x'

export const icons = {
  health: Activity,
  backups: Archive,
  down: ArrowDown,
  next: ArrowRight,
  up: ArrowUp,
  cancelled: Ban,
  plans: CalendarClock,
  check: Check,
  'chevron-down': ChevronDown,
  'chevron-left': ChevronLeft,
  'chevron-right': ChevronRight,
  verified: CircleCheck,
  stored: CircleDashed,
  clock: Clock,
  missed: ClockAlert,
  cloud: Cloud,
  copy: Copy,
  sources: Database,
  download: Download,
  more: Ellipsis,
  missing: FileQuestion,
  file: FileText,
  corrupt: FileX,
  folder: Folder,
  overview: Gauge,
  destinations: HardDrive,
  restore: History,
  info: Info,
  key: KeyRound,
  layers: Layers,
  loader: Loader,
  lock: Lock,
  journal: Notebook,
  failed: OctagonX,
  pause: Pause,
  edit: Pencil,
  pin: Pin,
  unpin: PinOff,
  play: Play,
  plus: Plus,
  refresh: RefreshCw,
  search: Search,
  shield: Shield,
  at_risk: ShieldAlert,
  protected: ShieldCheck,
  unprotected: ShieldX,
  skipped: SkipForward,
  settings: Sliders,
  sample: Sparkles,
  note: StickyNote,
  table: Table,
  terminal: Terminal,
  trash: Trash,
  warning: TriangleAlert,
  undo: Undo,
  interrupted: Unplug,
  sessions: Users,
  swap: ArrowLeftRight,
  close: X,
} as const

export type IconName = keyof typeof icons
