#!/usr/bin/env bash
# A real country database (CC0) for tests, fetched once from the npm registry; prints its path.
set -euo pipefail

version=2.3.2026061719
sha256=91757a1b06cdcd1955f292e4c4cfc54e091204f998e159a3187f7a2ef3724be0
package=@ip-location-db/geo-whois-asn-country-mmdb
cache=${MILLRACE_CACHE:-$HOME/.cache/millrace}/geolocation
file=$cache/country-$version.mmdb

if [ ! -e "$file" ]; then
  command -v npm >/dev/null || {
    echo "geolocation.sh: npm is missing; run deploy/install-deps.sh --tests" >&2
    exit 1
  }
  mkdir -p "$cache"
  work=$(mktemp -d "$cache/fetch.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  (cd "$work" && npm pack --silent "$package@$version" >/dev/null)
  echo "$sha256  $(echo "$work"/*.tgz)" | sha256sum -c --quiet - >&2
  tar -xzf "$work"/*.tgz -C "$work" package/geo-whois-asn-country.mmdb
  mv "$work/package/geo-whois-asn-country.mmdb" "$file"
fi
echo "$file"
