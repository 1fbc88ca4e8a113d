#!/usr/bin/env bash
# Things the code must not use, each with its reason.
set -euo pipefail
cd "$(dirname "$0")/.."

bad=0
# ban PATTERN REASON [PATHSPEC...]
ban() {
  local pattern=$1 reason=$2
  shift 2
  if git grep -nE "$pattern" -- 'libs/*.cc' 'libs/*.h' 'services/*.cc' 'services/*.h' "$@"; then
    echo "  ^ $reason"
    bad=1
  fi
}
ban 'absl::Mutex' 'the packaged build is not instrumented: ThreadSanitizer reports what it guards; use millrace::Mutex' ':!libs/base/mutex.h'
ban 'absl::string_view' 'another type than std::string_view here; use libs/base/status.h' ':!libs/base/status.cc'
ban 'std::views' 'clang-14 cannot parse them with libstdc++ 12'
ban 'system_clock::now' 'ask a Clock' ':!libs/base/clock.cc' ':!libs/event_log/kafka'
ban '\.detach\(\)' 'threads are joined'
ban 'cpprest/' 'a heavy header; only the command line may use it, in its adapter' ':!services/millrace/cli/rest_client.cc'
ban 'spdlog/' 'a heavy header; use libs/base/log.h' ':!libs/base/log.cc'
ban '\\"\{\}\\":' 'a name that is not escaped ends its text; use libs/json/writer.h' ':!services/processor/chain.cc'
exit $bad
