#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/string_map.h"
#include "millrace/config/v1/workspace.pb.h"

namespace millrace::delivery {

/// Which waiting events of one destination are to become dead letters with reason `given_up`: those
/// that an operator gave up, those older than the destination's share allows, and the backlog of a
/// destination that has been disabled for long.
///
/// A value; reading is thread-safe.
class GiveUpRules {
 public:
  GiveUpRules() = default;
  /// `disabled_backlog`: how long what waits is kept once a destination is disabled.
  GiveUpRules(const config::v1::Destination& destination, std::chrono::seconds disabled_backlog);

  /// Why the event is given up, a sentence; nothing when it is not. `appended_at_us`: when it first
  /// came into the destination's topic. `now_us`: of AgeClock::WallMicros.
  std::optional<std::string> Match(int64_t appended_at_us, std::string_view user_key,
                                   int64_t now_us) const;
  /// True when no event will ever match: nothing that waits need be looked through.
  bool empty() const { return every_user_.empty() && by_user_.empty() && !by_time(); }

 private:
  struct Span {
    std::string id;
    int64_t from_us = 0;
    int64_t before_us = 0;
  };
  static const Span* Find(const std::vector<Span>& spans, int64_t appended_at_us);
  bool by_time() const { return max_age_us_ > 0 || disabled_at_us_ > 0; }

  std::vector<Span> every_user_;
  StringMap<std::vector<Span>> by_user_;
  int64_t latest_us_ = 0;  // no span reaches beyond
  int64_t max_age_us_ = 0;
  int64_t disabled_at_us_ = 0;
  int64_t disabled_backlog_us_ = 0;
};

}  // namespace millrace::delivery
