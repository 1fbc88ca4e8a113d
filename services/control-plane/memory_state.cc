#include "services/control-plane/memory_state.h"

#include <nlohmann/json.hpp>

namespace millrace::control_plane {
namespace {

constexpr size_t kMaxValues = 10'000;
constexpr size_t kMaxKeyBytes = 512;
constexpr size_t kMaxValueBytes = 64 << 10;

}  // namespace

StatusOr<std::optional<std::string>> MemoryState::Get(std::string_view key) {
  const auto found = values_.find(key);
  if (found == values_.end()) return std::optional<std::string>();
  return std::optional<std::string>(found->second);
}

Status MemoryState::Set(std::string_view key, std::string_view json, std::chrono::seconds) {
  if (key.size() > kMaxKeyBytes || json.size() > kMaxValueBytes) {
    return Error(StatusCode::kInvalidArgument, "store: a key is at most {} bytes, a value {}",
                 kMaxKeyBytes, kMaxValueBytes);
  }
  if (values_.size() >= kMaxValues && values_.find(key) == values_.end()) {
    return Error(StatusCode::kResourceExhausted, "store: a test run keeps at most {} values",
                 kMaxValues);
  }
  values_.insert_or_assign(std::string(key), std::string(json));
  return OkStatus();
}

Status MemoryState::Delete(std::string_view key) {
  if (const auto found = values_.find(key); found != values_.end()) values_.erase(found);
  return OkStatus();
}

StatusOr<double> MemoryState::Increment(std::string_view key, double by,
                                        std::chrono::seconds time_to_live) {
  double sum = by;
  if (const auto found = values_.find(key); found != values_.end()) {
    const auto value = nlohmann::json::parse(found->second, nullptr, false);
    if (!value.is_number()) {
      return Error(StatusCode::kInvalidArgument, "store: the value of '{}' is not a number", key);
    }
    sum += value.get<double>();
  }
  MR_RETURN_IF_ERROR(Set(key, nlohmann::json(sum).dump(), time_to_live));
  return sum;
}

}  // namespace millrace::control_plane
