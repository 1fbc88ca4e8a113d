#include "libs/transformation/memory_state.h"

#include <nlohmann/json.hpp>

#include <string>

namespace millrace::transformation {
namespace {

constexpr size_t kMaxKeyBytes = 512;
constexpr size_t kMaxValueBytes = 64 << 10;

class MemoryState final : public StateScope {
 public:
  explicit MemoryState(const Clock& clock) : clock_(clock) {}

  void Begin() override { before_ = entries_; }
  void End(bool keep) override {
    if (!keep) entries_ = std::move(before_);
    before_.clear();
  }

  StatusOr<std::optional<std::string>> Get(std::string_view key) override {
    const auto found = entries_.find(key);
    if (found == entries_.end() || Over(found->second)) return std::optional<std::string>();
    return std::optional<std::string>(found->second.json);
  }

  Status Set(std::string_view key, std::string_view json,
             std::chrono::seconds time_to_live) override {
    if (key.size() > kMaxKeyBytes || json.size() > kMaxValueBytes) {
      return Error(StatusCode::kInvalidArgument,
                   "store: a key may have {} bytes and a value {}; these have {} and {}",
                   kMaxKeyBytes, kMaxValueBytes, key.size(), json.size());
    }
    const int64_t ends =
        time_to_live.count() == 0 ? 0 : clock_.NowMicros() + time_to_live.count() * 1'000'000;
    entries_[std::string(key)] = {std::string(json), ends};
    return OkStatus();
  }

  Status Delete(std::string_view key) override {
    const auto found = entries_.find(key);
    if (found != entries_.end()) entries_.erase(found);
    return OkStatus();
  }

  StatusOr<double> Increment(std::string_view key, double by,
                             std::chrono::seconds time_to_live) override {
    MR_ASSIGN_OR_RETURN(const std::optional<std::string> text, Get(key));
    const auto value = nlohmann::json::parse(text.value_or("0"), nullptr, false);
    if (!value.is_number()) {
      return Error(StatusCode::kInvalidArgument, "store.incr: the value of '{}' is no number", key);
    }
    const double sum = value.get<double>() + by;
    MR_RETURN_IF_ERROR(Set(key, nlohmann::json(sum).dump(), time_to_live));
    return sum;
  }

 private:
  struct Entry {
    std::string json;
    int64_t ends_us = 0;  // 0: never
  };
  bool Over(const Entry& entry) const {
    return entry.ends_us != 0 && entry.ends_us <= clock_.NowMicros();
  }

  const Clock& clock_;
  std::map<std::string, Entry, std::less<>> entries_;
  std::map<std::string, Entry, std::less<>> before_;
};

}  // namespace

std::unique_ptr<StateScope> MakeMemoryState(const Clock& clock) {
  return std::make_unique<MemoryState>(clock);
}

}  // namespace millrace::transformation
