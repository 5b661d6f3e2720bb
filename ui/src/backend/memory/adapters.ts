/** The adapters, with the fields that their forms are drawn from. */
import type { Adapter, Adapters, Field } from '../generated'

const field = (name: string, kind: Field['kind'], part: Field['part'], more: Partial<Field> = {}): Field => ({
  name,
  kind,
  part,
  required: false,
  choices: [],
  default: null,
  ...more,
})

const tls = field('tls', 'choice', 'option', {
  choices: ['disable', 'prefer', 'require', 'verify-full'],
  default: 'prefer',
})
const server = (port: string): Field[] => [
  field('host', 'text', 'host', { required: true, default: 'localhost' }),
  field('port', 'number', 'port', { default: port }),
  field('database', 'text', 'path', { required: true }),
  field('user', 'text', 'user', { required: true }),
  field('password', 'secret', 'secret'),
]

export const ADAPTERS: Adapters = {
  databases: [
    {
      name: 'postgres',
      schemes: ['postgres', 'postgresql'],
      label: 'PostgreSQL',
      fields: [
        ...server('5432'),
        tls,
        field('format', 'choice', 'option', { choices: ['custom', 'plain'], default: 'custom' }),
        field('include', 'lines', 'option'),
        field('exclude', 'lines', 'option'),
        field('no_owner', 'switch', 'option'),
        field('no_privileges', 'switch', 'option'),
        field('tool_path', 'folder', 'option'),
      ],
      capability: { needs_tools: true, network: true, consistent_counts: true, table_choice: true },
    },
    {
      name: 'sqlite',
      schemes: ['sqlite'],
      label: 'SQLite',
      fields: [field('path', 'file', 'path', { required: true })],
      capability: { needs_tools: false, network: false, consistent_counts: true, table_choice: false },
    },
    {
      name: 'mysql',
      schemes: ['mysql'],
      label: 'MySQL',
      fields: [...server('3306'), tls],
      capability: { needs_tools: true, network: true, consistent_counts: true, table_choice: true },
    },
    {
      name: 'mongodb',
      schemes: ['mongodb'],
      label: 'MongoDB',
      fields: [...server('27017'), tls],
      capability: { needs_tools: true, network: true, consistent_counts: false, table_choice: true },
    },
  ],
  storages: [
    {
      name: 'local',
      schemes: ['file'],
      label: 'Folder',
      capability: null,
      fields: [field('path', 'folder', 'path', { required: true })],
    },
    {
      name: 's3',
      schemes: ['s3'],
      label: 'S3',
      capability: null,
      fields: [
        field('bucket', 'text', 'host', { required: true }),
        field('prefix', 'text', 'path'),
        field('endpoint', 'text', 'option'),
        field('region', 'text', 'option', { default: 'auto' }),
        field('access_key', 'text', 'user', { required: true }),
        field('secret_key', 'secret', 'secret', { required: true }),
      ],
    },
  ],
}

export function adapterOf(list: Adapter[], address: string): Adapter {
  const scheme = address.split('://')[0] ?? ''
  return list.find((a) => a.schemes.includes(scheme)) ?? (list[0] as Adapter)
}
