#!/usr/bin/env bash
# Check the scripts of the page in fer_infer/web/page with ESLint and TypeScript, where Node.js is installed.
set -euo pipefail
cd -- "$(dirname -- "$0")/.."

skip() {
    echo "The scripts of the page are not checked: $1"
    exit 0
}

command -v npm > /dev/null || skip "npm is not installed"
node -e 'process.exit(Number(process.versions.node.split(".")[0]) >= 20 ? 0 : 1)' || skip "Node.js 20 or newer is needed"
if [[ ! -e node_modules/.installed || package-lock.json -nt node_modules/.installed ]]; then
    npm ci --silent > /dev/null 2>&1 || skip "npm ci failed"
    touch node_modules/.installed
fi
npx --no-install eslint .
npx --no-install tsc
