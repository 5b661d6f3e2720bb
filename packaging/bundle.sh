#!/usr/bin/env bash
# Makes an installable package of what is built: packaging/bundle.sh debug|release (./dev bundle builds first).
# What Tauri's own bundler does not know comes with it: the terminal program, completions, manual pages, exact dependencies.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
profile="$1"
target="${CARGO_TARGET_DIR:-$PWD/target}"
programs="$target/$profile"
stage="$target/package-$profile"
rm -rf -- "$stage" "$programs/bundle/deb"
mkdir -p -- "$stage/debian"

# A manual page made of what a program says about itself, so that neither lags behind the other.
manual() { # LANGUAGE PROGRAM
  local help
  help="$(LC_ALL="$1.UTF-8" LANGUAGE='' COFFRE_HOME=/nonexistent "$programs/$2" --help)"
  {
    printf '.TH %s 1 "" "Coffre" "Coffre"\n.SH NAME\n%s \\- %s\n.SH DESCRIPTION\n.nf\n' "${2^^}" "$2" "$(head -n 1 <<<"$help")"
    # Neither a backslash nor a point at the beginning of a line may mean something.
    tail -n +3 <<<"$help" | sed -e 's/\\/\\e/g' -e 's/-/\\-/g' -e "s/^\([.']\)/\\\\\\&\1/"
    printf '.fi\n'
  } | gzip -9n >"$stage/$2.$1.1.gz"
}
for language in en fr; do
  manual "$language" coffre
  manual "$language" coffre-desktop
done
for shell in bash zsh fish; do "$programs/coffre" completions "$shell" >"$stage/completion.$shell"; done

gzip -9nc CHANGELOG.md >"$stage/changelog.gz"

# The libraries that the programs were linked with, in the versions whose symbols they use.
printf 'Source: coffre\n\nPackage: coffre\nArchitecture: any\n' >"$stage/debian/control"
depends="$(env -C "$stage" dpkg-shlibdeps -O "$programs/coffre-desktop" "$programs/coffre" 2>"$stage/shlibdeps.log")" || {
  cat "$stage/shlibdeps.log" >&2
  exit 1
}

jq -n --arg stage "$stage" --arg programs "$programs" --arg depends "${depends#shlibs:Depends=}" '{
  bundle: { linux: { deb: { depends: ($depends | split(", ")), files: {
    "/usr/bin/coffre": "\($programs)/coffre",
    "/usr/share/doc/coffre/changelog.gz": "\($stage)/changelog.gz",
    "/usr/share/bash-completion/completions/coffre": "\($stage)/completion.bash",
    "/usr/share/zsh/vendor-completions/_coffre": "\($stage)/completion.zsh",
    "/usr/share/fish/vendor_completions.d/coffre.fish": "\($stage)/completion.fish",
    "/usr/share/man/man1/coffre.1.gz": "\($stage)/coffre.en.1.gz",
    "/usr/share/man/man1/coffre-desktop.1.gz": "\($stage)/coffre-desktop.en.1.gz",
    "/usr/share/man/fr/man1/coffre.1.gz": "\($stage)/coffre.fr.1.gz",
    "/usr/share/man/fr/man1/coffre-desktop.1.gz": "\($stage)/coffre-desktop.fr.1.gz"
  } } } }
}' >"$stage/tauri.json"

options=(--bundles deb --ci --config "$stage/tauri.json")
if [ "$profile" = debug ]; then options+=(--debug); fi
# The program itself stays as it was linked: nothing here asks which kind of package it came in.
ui/node_modules/.bin/tauri bundle "${options[@]}" --no-binary-patching
echo "$programs"/bundle/deb/*.deb
