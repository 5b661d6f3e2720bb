// The package, as a person gets it: unpacked into a root with nothing in it, and started from there.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { accessSync, constants, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { folder, open, programs, run, test, until } from './desktop.mjs'

/** The package that `packaging/bundle.sh debug` made of the programs under test. */
function made() {
  const where = join(programs, 'bundle/deb')
  const found = readdirSync(where).filter((name) => name.endsWith('.deb'))
  assert.equal(found.length, 1, `one package in ${where}`)
  return join(where, found[0])
}

test('the package installs on a clean root, its files are valid, and what it starts is Coffre', async () => {
  const deb = made()
  const root = folder()
  await run('dpkg-deb', ['-x', deb, root])
  const at = (path) => join(root, path)

  // Everything it needs is in this system's archive, or here already.
  const { stdout: simulated } = await run('apt-get', ['-s', '--no-install-recommends', 'install', deb])
  assert.match(simulated, /^Inst coffre /m)
  assert.doesNotMatch(simulated, /^Remv /m)
  const field = async (name) => (await run('dpkg-deb', ['-f', deb, name])).stdout.trim()
  assert.equal(await field('Package'), 'coffre')
  assert.equal(await field('Section'), 'database')
  // The exact library that the program was linked with, and the one that it opens at run time for the tray.
  assert.match(await field('Depends'), /libwebkit2gtk-4\.1-0 \(>= [\d.]+\)/)
  assert.match(await field('Depends'), /libayatana-appindicator3-1/)
  assert.match(await field('Recommends'), /xdg-desktop-portal.*gnome-keyring/)

  // The desktop file, the metadata for software centres, icons.
  await run('desktop-file-validate', [at('usr/share/applications/Coffre.desktop')])
  await run('appstreamcli', ['validate', '--no-net', at('usr/share/metainfo/dev.coffre.Coffre.metainfo.xml')])
  const entry = Object.fromEntries(
    readFileSync(at('usr/share/applications/Coffre.desktop'), 'utf8').split('\n').filter((line) => line.includes('=')).map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
  )
  assert.equal(entry.Exec, 'coffre-desktop')
  assert.ok(entry['Comment[fr]'] && entry.Comment)
  assert.doesNotMatch(JSON.stringify(entry), /\{\{/)
  for (const size of ['16x16', '24x24', '32x32', '48x48', '64x64', '128x128', '256x256', '512x512']) {
    const { stdout } = await run('file', ['-b', at(`usr/share/icons/hicolor/${size}/apps/${entry.Icon}.png`)])
    assert.match(stdout, new RegExp(`PNG image data, ${size.replace('x', ' x ')},`))
  }
  accessSync(at(`usr/share/icons/hicolor/scalable/apps/${entry.Icon}.svg`))
  const version = JSON.parse(readFileSync(new URL('../../ui/package.json', import.meta.url), 'utf8')).version
  assert.match(readFileSync(at('usr/share/metainfo/dev.coffre.Coffre.metainfo.xml'), 'utf8'), new RegExp(`<release version="${version}"`))

  // The terminal program, with what shells and man want of it.
  assert.equal((await run(at('usr/bin/coffre'), ['--version'])).stdout.trim(), `coffre ${version}`)
  await run('bash', ['-n', at('usr/share/bash-completion/completions/coffre')])
  for (const path of ['usr/share/zsh/vendor-completions/_coffre', 'usr/share/fish/vendor_completions.d/coffre.fish', 'usr/share/doc/coffre/copyright', 'usr/share/doc/coffre/changelog.gz']) {
    assert.ok(readFileSync(at(path)).length > 0, path)
  }
  assert.match((await run('zcat', [at('usr/share/man/man1/coffre.1.gz')])).stdout, /restore/)
  assert.match((await run('zcat', [at('usr/share/man/fr/man1/coffre.1.gz')])).stdout, /Restaurer/)

  // Started through the desktop file, as a menu does: its window is of the class by which desktops group it.
  accessSync(at('usr/bin/coffre-desktop'), constants.X_OK)
  const env = { ...process.env, PATH: `${at('usr/bin')}:${process.env.PATH}`, COFFRE_HOME: join(folder(), 'home') }
  // Nothing of ours is handed on: whoever waited for the end of its output would wait for the window's end.
  spawn('gio', ['launch', at('usr/share/applications/Coffre.desktop')], { env, stdio: 'ignore' })
  const window = await until('the window', async () => (await run('xdotool', ['search', '--onlyvisible', '--name', '^Coffre$'])).stdout.trim().split('\n')[0])
  const { stdout: wm } = await run('xprop', ['-id', window, 'WM_CLASS'])
  assert.ok(wm.includes(`"${entry.StartupWMClass}"`), wm)
  const pid = Number((await run('xdotool', ['getwindowpid', window])).stdout)
  assert.ok(readFileSync(`/proc/${pid}/maps`, 'utf8').includes(at('usr/bin/coffre-desktop')), 'the program of the package, no other')
  process.kill(pid, 'SIGTERM')
  await until('its end', () => {
    try {
      process.kill(pid, 0)
      return false
    } catch {
      return true
    }
  })

  // And what is in the window is Coffre's beginning.
  const desk = await open({ program: at('usr/bin/coffre-desktop') })
  await desk.find('heading', 'Backups that come back')
  await desk.picture('story-package')
})
