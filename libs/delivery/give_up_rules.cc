#include "libs/delivery/give_up_rules.h"

#include <fmt/format.h>

#include <algorithm>

namespace millrace::delivery {
namespace {

constexpr int64_t kMicros = 1'000'000;
constexpr uint64_t kLongestSeconds = 100ull * 365 * 86'400;

int64_t MicrosOf(uint64_t seconds) {
  return static_cast<int64_t>(std::min(seconds, kLongestSeconds)) * kMicros;
}

}  // namespace

GiveUpRules::GiveUpRules(const config::v1::Destination& destination,
                         std::chrono::seconds disabled_backlog)
    : max_age_us_(MicrosOf(destination.share().max_age_s())),
      disabled_at_us_(destination.enabled() ? 0 : destination.disabled_at_us()),
      disabled_backlog_us_(MicrosOf(static_cast<uint64_t>(disabled_backlog.count()))) {
  for (const auto& given_up : destination.give_ups()) {
    auto& spans = given_up.user_key().empty() ? every_user_ : by_user_[given_up.user_key()];
    spans.push_back({given_up.id(), given_up.appended_from_us(), given_up.appended_before_us()});
    latest_us_ = std::max(latest_us_, given_up.appended_before_us());
  }
}

const GiveUpRules::Span* GiveUpRules::Find(const std::vector<Span>& spans, int64_t appended_at_us) {
  const auto found = std::ranges::find_if(spans, [&](const Span& span) {
    return appended_at_us >= span.from_us && appended_at_us < span.before_us;
  });
  return found == spans.end() ? nullptr : &*found;
}

std::optional<std::string> GiveUpRules::Match(int64_t appended_at_us, std::string_view user_key,
                                              int64_t now_us) const {
  if (appended_at_us < latest_us_) {
    const Span* span = Find(every_user_, appended_at_us);
    if (span == nullptr && !by_user_.empty()) {
      const auto it = by_user_.find(user_key);
      if (it != by_user_.end()) span = Find(it->second, appended_at_us);
    }
    if (span != nullptr) return fmt::format("an operator gave it up ({})", span->id);
  }
  if (max_age_us_ > 0 && now_us - appended_at_us >= max_age_us_) {
    return fmt::format("it waited longer than the destination's share allows: {} s",
                       max_age_us_ / kMicros);
  }
  if (disabled_at_us_ > 0 && now_us - disabled_at_us_ >= disabled_backlog_us_) {
    return fmt::format("the destination has been disabled for {} s, so long its backlog is kept",
                       disabled_backlog_us_ / kMicros);
  }
  return std::nullopt;
}

}  // namespace millrace::delivery
