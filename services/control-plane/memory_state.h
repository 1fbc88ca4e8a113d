#pragma once

#include <map>
#include <optional>
#include <string>

#include "libs/transformation/state.h"

namespace millrace::control_plane {

/// The `store` of one test run: empty at its beginning, thrown away at its end. Nothing expires.
class MemoryState final : public transformation::StateScope {
 public:
  void Begin() override { before_ = values_; }
  void End(bool keep) override {
    if (!keep) values_ = before_;
  }
  StatusOr<std::optional<std::string>> Get(std::string_view key) override;
  Status Set(std::string_view key, std::string_view json,
             std::chrono::seconds time_to_live) override;
  Status Delete(std::string_view key) override;
  StatusOr<double> Increment(std::string_view key, double by,
                             std::chrono::seconds time_to_live) override;

 private:
  std::map<std::string, std::string, std::less<>> values_, before_;
};

}  // namespace millrace::control_plane
