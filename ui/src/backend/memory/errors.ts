/** The errors of the in-memory backend, in both languages, the way the engine renders them. */
import type { Code, CoffreError, Details } from '../generated'

type Texts = Record<string, { code: Code; en: [string, string]; fr: [string, string] }>

const texts = {
  tool_too_old: {
    code: 'TOOL_TOO_OLD',
    en: [
      '{tool} {found} is older than the server, {server}.',
      'Install the PostgreSQL client tools {major}, then try again. Nothing was written.',
    ],
    fr: [
      '{tool} {found} est plus ancien que le serveur, {server}.',
      'Installez les outils clients PostgreSQL {major}, puis réessayez. Rien n’a été écrit.',
    ],
  },
  dest_unreachable: {
    code: 'DEST_UNREACHABLE',
    en: [
      'The destination {destination} does not answer. Nothing was written.',
      'Check that {place} is switched on and reachable, then try again.',
    ],
    fr: [
      'La destination {destination} ne répond pas. Rien n’a été écrit.',
      'Vérifiez que {place} est allumé et joignable, puis réessayez.',
    ],
  },
  smtp_auth_refused: {
    code: 'AUTH_FAILED',
    en: [
      '{place} refuses the user “{user}” or the password: {answer}',
      'Give the password again. Many providers ask for a password made for one application.',
    ],
    fr: [
      '{place} refuse l’utilisateur «\u202f{user}\u202f» ou le mot de passe\u202f: {answer}',
      'Redonnez le mot de passe. Beaucoup de fournisseurs demandent un mot de passe d’application.',
    ],
  },
  channel_no_address: {
    code: 'USAGE',
    en: ['This channel has no address to go to.', 'Give the whole address: it is kept as a secret.'],
    fr: ['Ce canal n’a pas d’adresse.', 'Donnez l’adresse entière\u202f: elle est gardée comme un secret.'],
  },
  interrupted: {
    code: 'INTERRUPTED',
    en: ['Coffre ended before the backup was finished.', 'The unfinished part was removed. Start the backup again.'],
    fr: [
      'Coffre s’est arrêté avant la fin de la sauvegarde.',
      'La partie inachevée a été supprimée. Relancez la sauvegarde.',
    ],
  },
  cancelled: {
    code: 'CANCELLED',
    en: ['Somebody stopped this backup.', 'The unfinished part was removed.'],
    fr: ['Quelqu’un a arrêté cette sauvegarde.', 'La partie inachevée a été supprimée.'],
  },
  skipped_overlap: {
    code: 'BUSY',
    en: ['The run before was not finished yet.', 'The next slot is not affected.'],
    fr: ['L’exécution précédente n’était pas terminée.', 'Le créneau suivant n’est pas touché.'],
  },
  missed_asleep: {
    code: 'INTERRUPTED',
    en: ['This computer was asleep or Coffre was not running.', 'One catch-up makes up for the missed slots.'],
    fr: [
      'Cet ordinateur était en veille, ou Coffre ne tournait pas.',
      'Un seul rattrapage remplace les créneaux manqués.',
    ],
  },
  unreachable: {
    code: 'UNREACHABLE',
    en: ['{place} does not answer.', 'Check the host and the port, and that a firewall lets this computer through.'],
    fr: ['{place} ne répond pas.', 'Vérifiez l’hôte et le port, et qu’un pare-feu laisse passer cet ordinateur.'],
  },
  auth_failed: {
    code: 'AUTH_FAILED',
    en: [
      'The server refuses the password of {user}.',
      'Type it again. The old one stays in the keychain until you save.',
    ],
    fr: [
      'Le serveur refuse le mot de passe de {user}.',
      'Saisissez-le de nouveau. L’ancien reste dans le trousseau tant que vous n’enregistrez pas.',
    ],
  },
  field_required: { code: 'USAGE', en: ['This is needed.', ''], fr: ['Ce champ est nécessaire.', ''] },
  address_port: {
    code: 'USAGE',
    en: ['A port is a number from 1 to 65535.', ''],
    fr: ['Un port est un nombre de 1 à 65535.', ''],
  },
  path_absolute: {
    code: 'USAGE',
    en: ['Give the whole path, from the root.', ''],
    fr: ['Donnez le chemin complet, depuis la racine.', ''],
  },
  name_taken: { code: 'USAGE', en: ['{name} exists already.', ''], fr: ['{name} existe déjà.', ''] },
  name_empty: { code: 'USAGE', en: ['A name is needed.', ''], fr: ['Un nom est nécessaire.', ''] },
  destinations_none: {
    code: 'USAGE',
    en: ['Choose at least one destination.', ''],
    fr: ['Choisissez au moins une destination.', ''],
  },
  in_use: {
    code: 'REFUSED',
    en: ['{name} is used by {plans}.', 'Remove or change these plans first.'],
    fr: ['{name} est utilisé par {plans}.', 'Supprimez ou modifiez d’abord ces plans.'],
  },
  not_found: { code: 'NOT_FOUND', en: ['This no longer exists.', ''], fr: ['Ceci n’existe plus.', ''] },
  busy: {
    code: 'BUSY',
    en: ['{source} is being backed up already.', 'Wait for it to end, or cancel it.'],
    fr: ['{source} est déjà en cours de sauvegarde.', 'Attendez la fin, ou annulez-la.'],
  },
  last_verified: {
    code: 'REFUSED',
    en: ['This is the last verified backup of {source}.', 'Make and verify a newer one first.'],
    fr: ['C’est la dernière sauvegarde vérifiée de {source}.', 'Faites-en et vérifiez-en d’abord une plus récente.'],
  },
  target_not_empty: {
    code: 'REFUSED',
    en: ['{target} is not empty. Nothing that exists is ever touched.', 'Choose a new name.'],
    fr: ['{target} n’est pas vide. Rien de ce qui existe n’est jamais touché.', 'Choisissez un nouveau nom.'],
  },
  restored_rows_differ: {
    code: 'VERIFY_MISMATCH',
    en: ['The table {table} has {found_rows} rows; the backup has {expected_rows}.', 'Do not rely on this backup.'],
    fr: ['La table {table} a {found_rows} lignes ; la sauvegarde en a {expected_rows}.', 'Ne comptez pas dessus.'],
  },
  pg_server_missing: {
    code: 'TOOL_MISSING',
    en: ['No PostgreSQL server program of version {needed} was found.', 'Install it; it need not run.'],
    fr: [
      'Aucun programme serveur de PostgreSQL {needed} n’a été trouvé.',
      'Installez-le ; il n’a pas besoin de tourner.',
    ],
  },
  inside_closed: {
    code: 'NOT_FOUND',
    en: ['This backup is no longer open.', 'Open it again; that loads it anew.'],
    fr: ['Cette sauvegarde n’est plus ouverte.', 'Ouvrez-la de nouveau : elle sera rechargée.'],
  },
  inside_name_taken: {
    code: 'REFUSED',
    en: ['{target} has something called {name} already. Nothing was changed.', 'Choose another name.'],
    fr: ['{target} contient déjà quelque chose du nom de {name}. Rien n’a été changé.', 'Choisissez un autre nom.'],
  },
  replace_rows_changed: {
    code: 'REFUSED',
    en: ['Rows have come or gone since the preview was shown.', 'Look at the preview again.'],
    fr: ['Des lignes ont été ajoutées ou retirées depuis l’aperçu.', 'Regardez de nouveau l’aperçu.'],
  },
  replace_target_changed: {
    code: 'REFUSED',
    en: ['The live data is not what was shown.', 'Look at the preview again, then decide. Nothing was changed.'],
    fr: ['Les données ne sont pas celles de l’aperçu.', 'Regardez de nouveau l’aperçu. Rien n’a été modifié.'],
  },
  undo_gone: {
    code: 'REFUSED',
    en: ['What was live before the restore {restore} is not kept any more.', 'Its safety backup is.'],
    fr: [
      'Ce qui était en service avant la restauration {restore} n’est plus conservé.',
      'Sa sauvegarde de sûreté l’est.',
    ],
  },
  secret_locked: {
    code: 'SECRET_UNAVAILABLE',
    en: ['The keychain is locked.', 'Unlock it. What waits for it starts by itself; nothing is lost.'],
    fr: ['Le trousseau est verrouillé.', 'Déverrouillez-le. Ce qui l’attend démarre tout seul ; rien n’est perdu.'],
  },
  catalogue_corrupt: {
    code: 'CATALOGUE_CORRUPT',
    en: ['Coffre’s own catalogue is damaged.', 'Your backups are intact. Rebuild the catalogue from a destination.'],
    fr: [
      'Le catalogue de Coffre est endommagé.',
      'Vos sauvegardes sont intactes. Reconstruisez le catalogue depuis une destination.',
    ],
  },
  catalogue_sound: {
    code: 'REFUSED',
    en: [
      'Nothing is wrong with the catalogue {path}.',
      'A copy only takes the place of a catalogue that is damaged or gone. To go back all the same, move the file away first.',
    ],
    fr: [
      'Le catalogue {path} n’a rien.',
      'Une copie ne prend la place que d’un catalogue abîmé ou disparu. Pour revenir en arrière malgré tout, déplacez d’abord le fichier.',
    ],
  },
  internal: {
    code: 'INTERNAL',
    en: ['Something in Coffre did not work: {cause}', 'The details are in the log.'],
    fr: ['Quelque chose n’a pas marché dans Coffre : {cause}', 'Les détails sont dans le journal technique.'],
  },
  pg_restored_without_owners: {
    code: 'PRIVILEGE',
    en: [
      'Owners and privileges were left out: {roles} are not on this server.',
      'Everything belongs to “{user}” now. To have owners back, create the roles first and restore again.',
    ],
    fr: [
      'Les propriétaires et les privilèges ont été laissés de côté : {roles} n’existent pas sur ce serveur.',
      'Tout appartient maintenant à « {user} ». Pour retrouver les propriétaires, créez d’abord les rôles et restaurez de nouveau.',
    ],
  },
  pg_dump_remarks: {
    code: 'INTERNAL',
    en: ['pg_dump ended well and said: {stderr}', 'Nothing was left out because of it, as far as pg_dump says.'],
    fr: ['pg_dump s’est bien terminé et a dit : {stderr}', 'Rien n’a été omis pour autant, d’après pg_dump.'],
  },
  tool_newer: {
    code: 'TOOL_WRONG',
    en: ['{tool} {found} is newer than the server, {server}. That is allowed.', ''],
    fr: ['{tool} {found} est plus récent que le serveur, {server}. C’est permis.', ''],
  },
  cron_value: {
    code: 'USAGE',
    en: [
      'Field {field} of the schedule cannot be “{given}”: it takes {low} to {high}, *, lists (1,15), ranges (1-5) and steps (*/15).',
      'Fields: 1 minute, 2 hour, 3 day of the month, 4 month (or jan–dec), 5 day of the week (0 or 7 is Sunday, or mon–sun).',
    ],
    fr: [
      'Le champ {field} du calendrier ne peut pas être « {given} » : il accepte de {low} à {high}, *, des listes (1,15), des plages (1-5) et des pas (*/15).',
      'Champs : 1 minute, 2 heure, 3 jour du mois, 4 mois (ou jan–dec), 5 jour de la semaine (0 ou 7 est dimanche, ou mon–sun).',
    ],
  },
  cron_fields: {
    code: 'USAGE',
    en: [
      '“{given}” is not a schedule: five fields are needed, and it has {found}.',
      'Write minute, hour, day of the month, month and day of the week: 0 3 * * * is every day at 03:00. Or @hourly, @daily, @weekly, @monthly.',
    ],
    fr: [
      '« {given} » n’est pas un calendrier : il faut cinq champs, et il en a {found}.',
      'Écrivez minute, heure, jour du mois, mois et jour de la semaine : 0 3 * * * signifie chaque jour à 03:00. Ou bien @hourly, @daily, @weekly, @monthly.',
    ],
  },
  cron_seconds: {
    code: 'USAGE',
    en: [
      '“{given}” has {found} fields. Seconds and years are not taken: nothing here runs every second.',
      'Leave the seconds out: five fields, from the minute on. 0 3 * * * is every day at 03:00.',
    ],
    fr: [
      '« {given} » a {found} champs. Les secondes et les années ne sont pas acceptées : rien ici ne se lance chaque seconde.',
      'Retirez les secondes : cinq champs, à partir de la minute. 0 3 * * * signifie chaque jour à 03:00.',
    ],
  },
  cron_never: {
    code: 'USAGE',
    en: [
      '“{given}” would never run: no month of it has such a day.',
      'For the end of a month, take the first day of the next one: 0 3 1 * *.',
    ],
    fr: [
      '« {given} » ne se lancerait jamais : aucun de ses mois n’a un tel jour.',
      'Pour la fin d’un mois, prenez le premier jour du suivant : 0 3 1 * *.',
    ],
  },
  time_zone_unknown: {
    code: 'USAGE',
    en: ['There is no time zone “{given}”.', 'Write its IANA name, such as Europe/Paris, America/New_York or UTC.'],
    fr: [
      'Il n’existe pas de fuseau horaire « {given} ».',
      'Écrivez son nom IANA, par exemple Europe/Paris, America/New_York ou UTC.',
    ],
  },
  waits_for_network: {
    code: 'UNREACHABLE',
    en: ['It waits for the network.', 'It runs as soon as there is a way out of this machine.'],
    fr: ['Il attend le réseau.', 'Il se lance dès que cette machine peut sortir.'],
  },
  retention_implausible: {
    code: 'REFUSED',
    en: [
      'Nothing of {plan} leaves: {leaving_count} of its {verified_count} verified backups would go at once. That is more than anybody expects.',
      'Look at what would go, and say whether it is right.',
    ],
    fr: [
      'Rien de {plan} ne part : {leaving_count} de ses {verified_count} sauvegardes vérifiées partiraient à la fois. C’est plus que ce que l’on attend.',
      'Regardez ce qui partirait, et dites si c’est juste.',
    ],
  },
} satisfies Texts

export type ErrorText = keyof typeof texts

/** French typography asks for narrow no-break spaces; written here as plain ones before `; : ? !`. */
const narrow = (text: string) => text.replace(/ ([:;?!»])/g, '\u202f$1')

/** One error, said in a language. */
export function errorOf(text: ErrorText, details: Details = {}, language: 'en' | 'fr' = 'en'): CoffreError {
  const found = texts[text]
  const put = (message: string) =>
    message.replace(/\{(\w+)\}/g, (whole, name: string) =>
      details[name] === undefined ? whole : String(details[name]),
    )
  const [message, hint] = found[language].map((words) => put(language === 'fr' ? narrow(words) : words))
  return { code: found.code, text, message: message ?? '', hint: hint ?? '', details }
}
