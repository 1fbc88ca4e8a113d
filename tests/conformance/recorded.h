#pragma once

#include <nlohmann/json.hpp>

#include <map>
#include <string>
#include <vector>

#include "libs/base/mutex.h"
#include "libs/transformation/fetcher.h"
#include "libs/transformation/geolocation.h"

/// The world around a recorded transformation, as it was when it was recorded.
namespace millrace::conformance {

using Json = nlohmann::json;

/// Serves a case's `fetches`: for each question the first one left with the same arguments.
class RecordedFetcher final : public transformation::Fetcher {
 public:
  explicit RecordedFetcher(const Json& fetches)
      : fetches_(fetches), served_(fetches.size(), false) {}

  void Fetch(std::string_view arguments_json, std::string_view cache_scope,
             std::function<void(script::HostAnswer)> done) override;
  /// What was asked for and is not recorded, or recorded and was not asked for; empty: nothing.
  std::string Complaint() const;

 private:
  const Json& fetches_;
  mutable Mutex mu_;
  std::vector<bool> served_ ABSL_GUARDED_BY(mu_);
  std::string unknown_ ABSL_GUARDED_BY(mu_);
};

/// Cases do not hold the answers of the peer's geolocation service; they are what the recorded
/// events have in context.geo, or its error in context.geoerror.
class RecordedGeolocation final : public transformation::Geolocation {
 public:
  explicit RecordedGeolocation(const Json& output);

  /// Whether the peer had such a service.
  bool available() const { return available_; }
  StatusOr<std::string> Lookup(const std::string& ip) override;

 private:
  bool available_ = true;
  std::string answer_ = "{}";
  std::string error_;
};

/// The code of cases that were recorded without it: that of the earlier case of the same version
/// whose description is this one's with a few words less.
class EarlierCode {
 public:
  void Add(const Json& recorded);
  /// Null when it cannot be told.
  const Json* Find(const Json& recorded) const;

 private:
  struct Entry {
    std::vector<std::string> words;
    Json transformation;
  };
  std::map<std::string, std::vector<Entry>> by_version_;
};

}  // namespace millrace::conformance
